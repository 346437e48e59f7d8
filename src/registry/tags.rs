//! Listing tags and repositories.

use super::{Registry, RegistryError};
use crate::auth::{Granted, GrantedCatalog, Pull};
use crate::oci::RepositoryName;
use crate::oci::Tag;

/// Images read at once for the catalogue.
const CATALOG_BATCH: u32 = 1000;

/// One page of a list, and whether more is left.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether the list goes on after them.
    pub more: bool,
}

/// One page of the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogPage {
    /// The images that the caller may pull.
    pub names: Vec<RepositoryName>,
    /// After which name the next page begins, if there is one.
    pub next: Option<RepositoryName>,
}

impl<T> Listing<T> {
    /// Of `limit + 1` items asked for, the last one only says that there are more.
    fn cut(mut items: Vec<T>, limit: u32) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Self { items, more }
    }
}

impl Registry {
    /// Tags in bytewise order, after `last`.
    pub async fn tags(
        &self,
        granted: &Granted<Pull>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listing<Tag>, RegistryError> {
        let repository = self.repository(granted.repository()).await?;
        if !repository.is_image {
            return Err(RegistryError::NameUnknown(granted.repository().clone()));
        }
        let tags = self
            .metadata
            .tags(repository.id, last.unwrap_or(""), limit + 1)
            .await?;
        Ok(Listing::cut(tags, limit))
    }

    /// Images that the caller may list, in bytewise order, after `last`.
    pub async fn catalog(
        &self,
        granted: &GrantedCatalog,
        last: Option<&str>,
        limit: u32,
    ) -> Result<CatalogPage, RegistryError> {
        let mut last = last.unwrap_or_default().to_owned();
        let mut visible = Vec::new();
        // A narrowed key sees less than the workspace has: what it may not see must not show in a page's end either.
        loop {
            let names = self
                .metadata
                .image_names(granted.prefix(), &last, CATALOG_BATCH)
                .await?;
            let is_last_batch = names.len() < CATALOG_BATCH as usize;
            if let Some(name) = names.last() {
                name.as_str().clone_into(&mut last);
            }
            visible.extend(names.into_iter().filter(|name| granted.shows(name)));
            if is_last_batch || visible.len() > limit as usize {
                break;
            }
        }
        let page = Listing::cut(visible, limit);
        let next = page.more.then(|| page.items.last().cloned()).flatten();
        Ok(CatalogPage {
            names: page.items,
            next,
        })
    }
}
