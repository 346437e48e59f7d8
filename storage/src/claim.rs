//! Whose store it is.
//!
//! Owns the marker at the root of a store. Two installations on one store would each take the other's objects for
//! leftovers, so a start claims its store before it looks at anything in it.

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::StoreError;
use crate::listing::under;

/// The marker's name, below the root of a store.
pub(crate) const MARKER: &str = "installation";
/// How much of a marker is read; the id of an installation is far shorter.
pub(crate) const MAX_MARKER_BYTES: u64 = 256;

/// How often a store may refuse to make a marker that is not there.
const MAX_REFUSALS: u32 = 4;

/// Says that a store that names another installation is not ours.
pub(crate) fn compare(found: &[u8], installation_id: &str) -> Result<(), StoreError> {
    if found == installation_id.as_bytes() {
        return Ok(());
    }
    Err(StoreError::OtherInstallation {
        found: String::from_utf8_lossy(found).trim().to_owned(),
        expected: installation_id.to_owned(),
    })
}

/// Claims a store that can make an object only if there is none. `Ok(Err(_))` is another installation's store.
pub(crate) async fn claim(
    store: &dyn ObjectStore,
    root: &Path,
    installation_id: &str,
) -> Result<Result<(), StoreError>, Error> {
    let marker = under(root, MARKER);
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let content = PutPayload::from(installation_id.to_owned());
    let mut refusals = 0;
    loop {
        let put = store.put_opts(&marker, content.clone(), create.clone());
        let refused = match put.await {
            Ok(_) => return Ok(Ok(())),
            Err(refused @ Error::AlreadyExists { .. }) => refused,
            Err(error) => return Err(error),
        };
        refusals += 1;
        match read_and_compare(store, &marker, installation_id).await {
            // A store also refuses while another process makes it at this moment.
            Err(Error::NotFound { .. }) if refusals < MAX_REFUSALS => {}
            Err(Error::NotFound { .. }) => return Err(refused),
            compared => return compared,
        }
    }
}

/// The same where a store cannot refuse to write over an object: of two that claim it in the same moment, the last one
/// to write has it, and the other one learns it at its next start.
pub(crate) async fn claim_plainly(
    store: &dyn ObjectStore,
    root: &Path,
    installation_id: &str,
) -> Result<Result<(), StoreError>, Error> {
    let marker = under(root, MARKER);
    match read_and_compare(store, &marker, installation_id).await {
        Err(Error::NotFound { .. }) => {
            let content = PutPayload::from(installation_id.to_owned());
            store.put(&marker, content).await?;
            read_and_compare(store, &marker, installation_id).await
        }
        compared => compared,
    }
}

/// Whether the marker names this installation; `Ok(Ok(false))` where there is none.
pub(crate) async fn is_claimed(
    store: &dyn ObjectStore,
    root: &Path,
    installation_id: &str,
) -> Result<Result<bool, StoreError>, Error> {
    match read_and_compare(store, &under(root, MARKER), installation_id).await {
        Ok(compared) => Ok(compared.map(|()| true)),
        Err(Error::NotFound { .. }) => Ok(Ok(false)),
        Err(error) => Err(error),
    }
}

async fn read_and_compare(
    store: &dyn ObjectStore,
    marker: &Path,
    installation_id: &str,
) -> Result<Result<(), StoreError>, Error> {
    let found = store.get(marker).await?;
    let found = if found.meta.size > MAX_MARKER_BYTES {
        Vec::new()
    } else {
        found.bytes().await?.to_vec()
    };
    Ok(compare(&found, installation_id))
}
