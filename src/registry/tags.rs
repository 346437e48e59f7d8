//! Listing tags and repositories.

use super::{Registry, RegistryError};
use crate::auth::{Granted, GrantedCatalog, Pull};
use crate::oci::RepositoryName;
use crate::oci::Tag;

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
        let names = self
            .metadata
            .image_names(granted.workspace_id(), last.unwrap_or(""), limit + 1)
            .await?;
        let mut page = Listing::cut(names, limit);
        let next = page.more.then(|| page.items.last().cloned()).flatten();
        // A narrowed key sees less than a page may hold; the next page begins where this one was cut all the same.
        page.items.retain(|name| granted.shows(name));
        Ok(CatalogPage {
            names: page.items,
            next,
        })
    }
}
