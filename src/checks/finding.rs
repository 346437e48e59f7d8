//! What a check can find.

use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
// The API has a body of another kind with this name.
#[schema(as = CheckProblem)]
pub enum Problem {
    /// A blob's object is not there.
    Missing,
    /// It has more bytes or fewer than the blob.
    WrongSize,
    /// Its bytes are not those of the digest.
    WrongContent,
    /// The storage fails when they are read, which may be its trouble and not theirs.
    Unreadable,
    /// It was found damaged by an earlier check, and is whole.
    Recovered,
    /// The storage has it, and no row knows it.
    Unknown,
    /// It is there, and no blob needs it.
    Unneeded,
}

/// An object that is not as it should be.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "object": "ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11", "problem": "wrong_size",
    "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "expectedBytes": 4096, "foundBytes": 0, "setAside": false, "repositories": ["t-shop/team/app"], "repaired": true
})))]
pub struct FindingView {
    /// Its key in the storage.
    pub object: String,
    /// What is wrong.
    pub problem: Problem,
    /// The blob whose bytes it holds.
    #[schema(required)]
    pub digest: Option<String>,
    /// How many bytes the blob has.
    #[schema(required)]
    pub expected_bytes: Option<u64>,
    /// How many are there; none when it is missing.
    #[schema(required)]
    pub found_bytes: Option<u64>,
    /// Whether the blob was set aside before: nobody can read it, and the next push brings it anew.
    #[serde(rename = "setAside")]
    pub is_set_aside: bool,
    /// Some of the repositories that the blob is a member of: ten at most.
    pub repositories: Vec<String>,
    /// Whether it was put right.
    pub repaired: bool,
}
