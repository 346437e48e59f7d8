//! Where the next slice of a check begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_storage::{Hasher, ObjectKey};
use serde::{Deserialize, Serialize};

use crate::auth::RequestError;

/// The longest cursor that is read, in bytes.
const LIMIT_BYTES: usize = 1024;

/// The place that a check has reached.
#[derive(Default)]
pub(super) struct Cursor {
    /// The last object that was looked at to its end.
    pub(super) after: Option<ObjectKey>,
    /// The next one, if a part of it has been hashed.
    pub(super) hashing: Option<Hashing>,
}

/// An object that is hashed in several slices.
pub(super) struct Hashing {
    pub(super) key: ObjectKey,
    pub(super) hasher: Hasher,
}

impl Hashing {
    pub(super) fn fits(&self, key: ObjectKey) -> bool {
        self.key == key
    }
}

/// The text of a cursor, before it is encoded.
#[derive(Serialize, Deserialize)]
struct Written {
    after: Option<String>,
    key: Option<String>,
    hasher: Option<String>,
}

impl Cursor {
    /// # Errors
    /// `BadRequest` if the text is not what [`Cursor::text`] wrote.
    pub(super) fn read(text: Option<&str>) -> Result<Self, RequestError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        Self::decode(text).ok_or_else(|| {
            RequestError::BadRequest(String::from(
                "the cursor is not that of a check: send nextCursor of the slice before as it is, or none to begin",
            ))
        })
    }

    fn decode(text: &str) -> Option<Self> {
        if text.len() > LIMIT_BYTES {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let written: Written = serde_json::from_slice(&json).ok()?;
        let key = |text: Option<String>| {
            text.map(|text| text.parse().ok())
                .map_or(Some(None), |key| key.map(Some))
        };
        let hashing = match (key(written.key)?, written.hasher) {
            (Some(key), Some(hasher)) => Some(Hashing {
                key,
                hasher: Hasher::restore(&hex::decode(hasher).ok()?).ok()?,
            }),
            (None, None) => None,
            _ => return None,
        };
        Some(Self {
            after: key(written.after)?,
            hashing,
        })
    }

    pub(super) fn text(&self) -> String {
        let written = Written {
            after: self.after.map(|key| key.to_string()),
            key: self.hashing.as_ref().map(|hashing| hashing.key.to_string()),
            hasher: self
                .hashing
                .as_ref()
                .map(|hashing| hex::encode(hashing.hasher.save())),
        };
        // Serialising plain texts cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&written).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::DigestAlgorithm;

    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut hasher = Hasher::new(DigestAlgorithm::Sha512);
        hasher.update(b"half of it");
        let (after, key) = (ObjectKey::random(), ObjectKey::random());
        let cursor = Cursor {
            after: Some(after),
            hashing: Some(Hashing { key, hasher }),
        };
        let text = cursor.text();
        assert!(text.len() <= LIMIT_BYTES, "{}", text.len());
        let read = Cursor::read(Some(&text)).unwrap();
        assert_eq!(read.after, Some(after));
        let hashing = read.hashing.unwrap();
        assert!(hashing.fits(key));
        assert_eq!(hashing.hasher.length(), 10);
    }

    #[test]
    fn another_text_is_no_cursor() {
        let half = URL_SAFE_NO_PAD.encode(r#"{"after":null,"key":null,"hasher":"00"}"#);
        for text in ["", "x", &half, &"A".repeat(LIMIT_BYTES + 1)] {
            let read = Cursor::read(Some(text)).map(|_| ());
            assert!(matches!(read, Err(RequestError::BadRequest(_))), "{text}");
        }
    }
}
