//! What an object store says when it does not do what it was asked.
//!
//! The library gives its errors as text, in which the store's answer stands whole; here the code in it is found and
//! turned into what a caller can act upon, or into a sentence for the operator.

use std::error::Error as _;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::S3Options;
use crate::error::StoreError;

/// What an error says, as far as it says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The status of the answer.
    pub(super) status: Option<u16>,
    /// The store's own word for it.
    pub(super) code: Option<String>,
    /// The region in which the bucket is, if the answer names it.
    region: Option<String>,
    /// What went wrong on the way, if there was no answer.
    way: Option<HttpErrorKind>,
}

impl Trouble {
    fn of_text(text: &str) -> Self {
        let status = text
            .split_once("status code: ")
            .and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        let code = between(text, "<Code>", "</Code>").map(str::to_owned);
        let region = between(text, "<Region>", "</Region>")
            .or_else(|| between(text, "expecting '", "'"))
            .filter(|region| {
                region
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
            .map(str::to_owned);
        Self {
            status,
            code,
            region,
            way: None,
        }
    }

    /// Whether the store has the code for something that is not there, or that is not what it was.
    pub(super) fn is_code(&self, codes: &[&str]) -> bool {
        self.code
            .as_deref()
            .is_some_and(|code| codes.contains(&code))
    }

    /// Whether the store, or the way to it, is to blame, so that the same request may succeed later.
    fn passes(&self) -> bool {
        match (self.status, self.way) {
            (Some(status), _) => status >= 500 || matches!(status, 408 | 429),
            (None, Some(_)) => true,
            (None, None) => false,
        }
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(found, _)| found)
}

/// What an error of the library says.
pub(super) fn trouble(error: &Error) -> Trouble {
    let mut cause = error.source();
    let mut way = None;
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            way = Some(http.kind());
        }
        cause = error.source();
    }
    Trouble {
        way,
        ..Trouble::of_text(&error.to_string())
    }
}

/// The error of a request about something below the root of the store.
pub(super) fn failed(action: &'static str, path: impl Into<String>, error: Error) -> StoreError {
    if trouble(&error).passes() {
        StoreError::Unavailable {
            action,
            path: path.into(),
            source: Box::new(error),
        }
    } else {
        StoreError::from_store(action, path, error)
    }
}

pub(super) fn unusable(reason: String) -> StoreError {
    StoreError::Unusable { reason }
}

/// What is wrong with the settings, or with what they point to, and what to do about it.
pub(super) fn explain(error: &Error, options: &S3Options) -> String {
    let bucket = &options.bucket;
    let at = options.endpoint.as_deref().unwrap_or("AWS");
    let trouble = trouble(error);
    let code = trouble.code.as_deref().unwrap_or_default();
    match (trouble.status, code) {
        (_, "InvalidAccessKeyId") => {
            format!("{at} does not know the access key; check storage.s3.access_key_id")
        }
        (_, "SignatureDoesNotMatch") => String::from(
            "the secret key is not the one of the access key; check storage.s3.secret_access_key",
        ),
        (_, "RequestTimeTooSkewed" | "RequestExpired") => format!(
            "the clock of this machine and that of {at} are too far apart; set this machine's clock, for example by NTP"
        ),
        (
            _,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "IllegalLocationConstraintException",
        )
        | (Some(301 | 307), _) => match &trouble.region {
            Some(region) => format!(
                "bucket {bucket} is in region {region}, not in {}; set storage.s3.region = {region:?}",
                options.region
            ),
            None => format!(
                "bucket {bucket} is not in region {}; set storage.s3.region to the bucket's own, and \
                 storage.s3.endpoint to that region's address",
                options.region
            ),
        },
        (_, "NoSuchBucket") | (Some(404), _) => format!(
            "there is no bucket {bucket} at {at}; make it first, or check storage.s3.bucket and storage.s3.endpoint"
        ),
        (_, "AccessDenied") | (Some(401 | 403), _) => format!(
            "{at} refuses the credentials, or does not let them put, get, list and delete objects in bucket {bucket}; \
             check storage.s3.access_key_id and secret_access_key, and what they are allowed"
        ),
        _ => match trouble.way {
            Some(HttpErrorKind::Connect) => format!(
                "{at} cannot be reached: {}; check storage.s3.endpoint, its port, its certificate and the network",
                innermost(error)
            ),
            Some(HttpErrorKind::Timeout) => format!(
                "{at} did not answer within {} seconds; check storage.s3.endpoint and the network",
                options.request_timeout.as_secs()
            ),
            Some(_) | None
                if error.to_string().contains("BareRedirect")
                    || error.to_string().contains("incorrectly configured region") =>
            {
                format!(
                    "bucket {bucket} is not in region {}; set storage.s3.region to the bucket's own",
                    options.region
                )
            }
            Some(_) | None => format!("{at} does not do what it was asked: {error}"),
        },
    }
}

/// The last cause, which is the one that says most about a connection.
fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::s3::{DEFAULT_PART_BYTES, S3Credentials};

    fn options() -> S3Options {
        S3Options {
            endpoint: Some(String::from("https://s3.example.com")),
            region: String::from("us-east-1"),
            bucket: String::from("images"),
            prefix: String::new(),
            credentials: S3Credentials::Surroundings,
            virtual_hosted: false,
            allow_http: false,
            part_bytes: DEFAULT_PART_BYTES,
            parts_in_flight: 4,
            request_timeout: Duration::from_secs(30),
            retries: 0,
            spool: PathBuf::new(),
            redirect_endpoint: None,
        }
    }

    fn answer(status: &str, code: &str, rest: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: format!(
                "Error performing PUT https://s3.example.com/images/x in 3ms - Server returned non-2xx status code: \
                 {status}: <Error><Code>{code}</Code>{rest}</Error>"
            )
            .into(),
        }
    }

    #[test]
    fn each_refusal_says_which_setting_to_look_at() {
        for (status, code, rest, expected) in [
            (
                "403 Forbidden",
                "InvalidAccessKeyId",
                "",
                "storage.s3.access_key_id",
            ),
            (
                "403 Forbidden",
                "SignatureDoesNotMatch",
                "",
                "storage.s3.secret_access_key",
            ),
            ("403 Forbidden", "AccessDenied", "", "what they are allowed"),
            (
                "403 Forbidden",
                "RequestTimeTooSkewed",
                "",
                "clock of this machine",
            ),
            (
                "404 Not Found",
                "NoSuchBucket",
                "",
                "there is no bucket images",
            ),
            (
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                "<Message>the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region>",
                "set storage.s3.region = \"eu-west-1\"",
            ),
            (
                "301 Moved Permanently",
                "PermanentRedirect",
                "",
                "is not in region us-east-1",
            ),
        ] {
            let explained = explain(&answer(status, code, rest), &options());
            assert!(explained.contains(expected), "{explained}");
        }
    }

    #[test]
    fn what_may_pass_is_told_apart_from_what_stays() {
        for (status, passes) in [
            ("500 Internal Server Error", true),
            ("503 Slow Down", true),
            ("429 Too Many Requests", true),
            ("403 Forbidden", false),
            ("400 Bad Request", false),
        ] {
            let error = failed("write", "x", answer(status, "Any", ""));
            let is_unavailable = matches!(error, StoreError::Unavailable { .. });
            assert_eq!(is_unavailable, passes, "{status}");
        }
    }
}
