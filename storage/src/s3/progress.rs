//! What the next request, on whatever replica, needs to go on with an upload.
//!
//! Owns the form of [`Progress::backend`](crate::Progress): a format version and then JSON, which an operator can read
//! in the row.

use serde::{Deserialize, Serialize};

use super::{MAX_PART_BYTES, MIN_PART_BYTES};

const FORMAT_VERSION: u8 = 1;

/// Where the bytes of an upload are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3Progress {
    /// The store's name for the multipart upload, once there is one.
    #[serde(rename = "upload", default, skip_serializing_if = "Option::is_none")]
    pub(super) upload_id: Option<String>,
    /// The size of each part.
    #[serde(rename = "part")]
    pub(super) part_bytes: u64,
    /// The entity tags of the parts that the store has, in order.
    #[serde(rename = "parts", default)]
    pub(super) parts: Vec<String>,
    /// What follows the parts, in order.
    #[serde(rename = "tails", default)]
    pub(super) tails: Vec<Tail>,
}

/// Bytes that do not fill a part yet, as an object of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Its name in the staging folder of the upload.
    pub(super) name: String,
    /// How many bytes it has.
    pub(super) bytes: u64,
    /// The names of tails that nobody needs since this one was written: the next request removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) spent: Vec<String>,
}

impl S3Progress {
    /// An upload with no bytes yet.
    pub(super) fn start(part_bytes: u64) -> Self {
        Self {
            upload_id: None,
            part_bytes,
            parts: Vec::new(),
            tails: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoded = vec![FORMAT_VERSION];
        // Cannot fail: there are neither maps with odd keys nor fallible fields.
        let written = serde_json::to_writer(&mut encoded, self);
        debug_assert!(written.is_ok());
        encoded
    }

    /// What was encoded, if it holds exactly `offset` bytes. New uploads have parts of `part_bytes`.
    pub(crate) fn decode(
        encoded: &[u8],
        offset: u64,
        part_bytes: u64,
    ) -> Result<Self, &'static str> {
        let progress = match encoded {
            [] => Self::start(part_bytes),
            [FORMAT_VERSION, json @ ..] => serde_json::from_slice(json)
                .map_err(|_| "its state in the object store cannot be read")?,
            [_, ..] => {
                return Err("it belongs to another backend, or to another version of this one");
            }
        };
        if !(MIN_PART_BYTES..=MAX_PART_BYTES).contains(&progress.part_bytes) {
            return Err("its parts have an impossible size");
        }
        if progress.upload_id.is_none() && !progress.parts.is_empty() {
            return Err("it has parts without a multipart upload");
        }
        let mut bytes = (progress.parts.len() as u64).checked_mul(progress.part_bytes);
        for tail in &progress.tails {
            bytes = bytes.and_then(|bytes| bytes.checked_add(tail.bytes));
        }
        if bytes != Some(offset) {
            return Err("its state in the object store is of another number of bytes");
        }
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = MIN_PART_BYTES;

    fn some() -> S3Progress {
        S3Progress {
            upload_id: Some(String::from("an id")),
            part_bytes: PART,
            parts: vec![String::from("\"one\""), String::from("\"two\"")],
            tails: vec![Tail {
                name: String::from("tail-1"),
                bytes: 7,
                spent: vec![String::from("tail-0")],
            }],
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let offset = 2 * PART + 7;
        assert_eq!(
            S3Progress::decode(&some().encode(), offset, PART * 2),
            Ok(some())
        );
        assert_eq!(
            S3Progress::decode(&[], 0, PART),
            Ok(S3Progress::start(PART))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let whole = some().encode();
        for offset in [0, 7, 2 * PART, 2 * PART + 8] {
            S3Progress::decode(&whole, offset, PART).unwrap_err();
        }
        S3Progress::decode(&[1], 0, PART).unwrap_err();
        S3Progress::decode(&[], 1, PART).unwrap_err();
        S3Progress::decode(&[2, b'{', b'}'], 0, PART).unwrap_err();
        let parts_of_nothing = S3Progress {
            upload_id: None,
            ..some()
        };
        S3Progress::decode(&parts_of_nothing.encode(), 2 * PART + 7, PART).unwrap_err();
        let endless = S3Progress {
            tails: vec![
                Tail {
                    name: String::from("tail"),
                    bytes: u64::MAX,
                    spent: Vec::new(),
                };
                2
            ],
            ..some()
        };
        S3Progress::decode(&endless.encode(), 5, PART).unwrap_err();
    }
}
