//! Keys of objects, and the one place that says where a key's bytes lie.
//!
//! A key is random and knows nothing of the content: two pushes of one digest have two keys, so
//! that deleting the older object can never hurt the newer one.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Where finished objects lie, below the root of a store.
pub const OBJECTS: &str = "objects";
/// Where unfinished uploads lie, below the root of a store.
pub(crate) const STAGING: &str = "staging";

/// The name of one object in a store; written once and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Uuid);

impl ObjectKey {
    /// A new key, which no other object has.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// A key from a number that the caller knows to be unique, such as one drawn from its own
    /// randomness.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Where the finished object lies, relative to the root: `objects/ab/<uuid>`, `ab` being its
    /// first digits.
    ///
    /// One level of 256 folders: they all exist from the start, so publishing never waits for a new
    /// folder to be durable, and ten million objects make forty thousand entries in each, which the
    /// indexed folders of today's file systems hold.
    pub fn object_path(&self) -> String {
        format!("{OBJECTS}/{:02x}/{self}", self.fan_out())
    }

    /// Where the bytes lie while the upload runs, relative to the root: `staging/<uuid>`.
    pub fn staging_path(&self) -> String {
        format!("{STAGING}/{self}")
    }

    /// The number of the folder that the object lies in.
    pub(crate) fn fan_out(&self) -> u8 {
        let [first, ..] = *self.0.as_bytes();
        first
    }
}

/// The folders that [`ObjectKey::object_path`] can name, relative to the root.
pub(crate) fn object_folders() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|first| format!("{OBJECTS}/{first:02x}"))
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), formatter)
    }
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    /// Takes only the text that `Display` writes: a file named in another way is not ours to sweep.
    fn from_str(text: &str) -> Result<Self, ObjectKeyError> {
        let key = Self(Uuid::try_parse(text).map_err(|_| ObjectKeyError)?);
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(ObjectKeyError)
        }
    }
}

/// A text is not an object key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object key is a UUID in lower case with hyphens")]
pub struct ObjectKeyError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_text() {
        let key = ObjectKey::random();
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(
            text.to_uppercase().replace('-', "").parse::<ObjectKey>(),
            Err(ObjectKeyError)
        );
        assert_eq!(
            format!("{{{text}}}").parse::<ObjectKey>(),
            Err(ObjectKeyError)
        );
        assert_eq!("../../etc/passwd".parse::<ObjectKey>(), Err(ObjectKeyError));
    }

    #[test]
    fn paths_come_from_the_key_alone() {
        let key: ObjectKey = "ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11".parse().unwrap();
        assert_eq!(
            key.object_path(),
            "objects/ab/ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11"
        );
        assert_eq!(
            key.staging_path(),
            "staging/ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11"
        );
    }

    #[test]
    fn every_object_path_lies_in_a_known_folder() {
        let folders: Vec<String> = object_folders().collect();
        assert_eq!(folders.len(), 256);
        for _ in 0..100 {
            let path = ObjectKey::random().object_path();
            assert!(
                folders.iter().any(|folder| path.starts_with(folder)),
                "{path}"
            );
        }
    }
}
