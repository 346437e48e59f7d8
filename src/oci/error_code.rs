//! The error codes of the distribution specification, "Error Codes".
//!
//! Closed: a code of our own would mean nothing to a client. Which status goes with a code is for `http` to know.

use std::fmt;

use serde::Serialize;

/// An error code, `code-1` to `code-14` of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// `code-1`: no such blob in this repository.
    BlobUnknown,
    /// `code-2`: the upload has failed and cannot go on.
    BlobUploadInvalid,
    /// `code-3`: no such upload in this repository.
    BlobUploadUnknown,
    /// `code-4`: not a digest, or not that of the content.
    DigestInvalid,
    /// `code-5`: a manifest names a manifest or blob that is not in this repository.
    ManifestBlobUnknown,
    /// `code-6`: the manifest breaks its specification.
    ManifestInvalid,
    /// `code-7`: no such manifest in this repository.
    ManifestUnknown,
    /// `code-8`: not a repository name.
    NameInvalid,
    /// `code-9`: no such repository.
    NameUnknown,
    /// `code-10`: the content does not have the length that was announced.
    SizeInvalid,
    /// `code-11`: who is calling is not known.
    Unauthorized,
    /// `code-12`: who is calling may not do this.
    Denied,
    /// `code-13`: this registry does not do that.
    Unsupported,
    /// `code-14`: too many requests. The specification writes it as one word.
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
}

impl ErrorCode {
    /// Every code, in the order of the specification.
    pub const ALL: [Self; 14] = [
        Self::BlobUnknown,
        Self::BlobUploadInvalid,
        Self::BlobUploadUnknown,
        Self::DigestInvalid,
        Self::ManifestBlobUnknown,
        Self::ManifestInvalid,
        Self::ManifestUnknown,
        Self::NameInvalid,
        Self::NameUnknown,
        Self::SizeInvalid,
        Self::Unauthorized,
        Self::Denied,
        Self::Unsupported,
        Self::TooManyRequests,
    ];

    /// The code as it stands in an error body.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_json_form_and_the_text_form_are_one() {
        for code in ErrorCode::ALL {
            assert_eq!(
                serde_json::to_string(&code).expect("json"),
                format!("\"{code}\"")
            );
        }
    }

    #[test]
    fn every_code_is_listed_once() {
        let codes: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
    }
}
