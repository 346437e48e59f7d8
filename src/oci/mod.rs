//! The vocabulary of the OCI specifications, parsed once at the edge and never checked again.
//!
//! Owns what a repository name, tag, reference, media type, manifest, range and page are. Pure: it must know
//! nothing of HTTP frameworks, SQL, files, or who is calling.

mod content_range;
mod descriptor;
mod error_code;
mod immutable_tags;
mod json;
mod manifest;
mod manifest_type;
mod media_type;
mod page;
mod precondition;
mod reference;
mod repository_name;
mod request_range;
mod tag;
#[cfg(test)]
pub(crate) mod testing;
mod upload_id;
mod written;

pub use content_range::{ContentRange, ContentRangeError};
pub use descriptor::{Annotations, Descriptor, Platform, ReferrerDescriptor};
pub use error_code::ErrorCode;
pub use immutable_tags::{ImmutableTags, NoTagPattern};
pub(crate) use json::strict_json;
pub use json::{MAX_JSON_DEPTH, MAX_JSON_VALUES};
pub use manifest::{MAX_DESCRIPTORS, Manifest, ManifestError};
pub use manifest_type::{ManifestKind, ManifestType};
pub use media_type::{MediaType, MediaTypeError};
pub use page::{Page, PageError};
pub use precondition::{Precondition, PreconditionFailed};
pub use reference::{Reference, ReferenceError};
pub use repository_name::{ImageName, NameError, RepositoryName};
pub use request_range::{RequestRange, Resolved};
pub use tag::{Tag, TagError};
pub use upload_id::{UploadId, UploadIdError};
pub use written::WrittenReference;
