//! What a store holds, page by page.
//!
//! Owns the order, which is that of the keys in every backend, so that a comparison with rows that come in the same
//! order needs no memory and can go on after a break.

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use crate::key::{OBJECTS, ObjectKey};

/// The most objects that one page gives.
pub const LIST_LIMIT: usize = 10_000;

/// An object as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// One page of a store with paths that are listed in their order. What is not named as an object is passed over.
pub(crate) async fn list_page(
    store: &dyn ObjectStore,
    root: &Path,
    after: Option<ObjectKey>,
    limit: usize,
) -> Result<Vec<ListedObject>, Error> {
    let folder = under(root, OBJECTS);
    let mut listing = match after {
        Some(after) => store.list_with_offset(Some(&folder), &under(root, &after.object_path())),
        None => store.list(Some(&folder)),
    };
    let mut objects = Vec::new();
    while objects.len() < limit.min(LIST_LIMIT) {
        let Some(object) = listing.try_next().await? else {
            break;
        };
        let key = object
            .location
            .filename()
            .and_then(|name| name.parse().ok());
        let key = key.filter(|key: &ObjectKey| object.location == under(root, &key.object_path()));
        objects.extend(key.map(|key| ListedObject {
            key,
            size_bytes: object.size,
        }));
    }
    Ok(objects)
}

/// The path of something in a store that lies below `root`.
pub(crate) fn under(root: &Path, path: &str) -> Path {
    root.parts().chain(Path::from(path).parts()).collect()
}
