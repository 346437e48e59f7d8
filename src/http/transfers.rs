//! The places of blobs under way: no workspace takes all of them.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;

use super::Http;
use super::error::DistributionError;
use crate::oci::ErrorCode;
use crate::shares::Share;
use crate::turns::NoTurn;

impl Http {
    /// A place for a blob that is sent or received.
    pub(super) fn transfer(&self, workspace_id: &str) -> Result<Share<String>, DistributionError> {
        let place = self.transfers.take(workspace_id.to_owned(), 1);
        place.ok_or_else(|| {
            busy("too many blobs are under way at once; try again in a few seconds")
                .limit("limits.open_transfers")
        })
    }
}

impl From<NoTurn> for DistributionError {
    fn from(error: NoTurn) -> Self {
        busy(&error.to_string())
    }
}

fn busy(message: &str) -> DistributionError {
    DistributionError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TooManyRequests,
        message,
    )
    .header(RETRY_AFTER, "5")
}
