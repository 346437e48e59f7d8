//! The counters of images and workspaces: counted again in the background about a second after something changed, so that
//! no push waits for them. What counting takes is a small part of the time, however much there is to count.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Images;
use crate::metadata::{Changed, ImageCount, MetadataError};

/// How long changes are gathered, to be counted together.
const GATHERING: Duration = Duration::from_secs(1);
/// How long counting rests, as a multiple of the time that it took.
const REST_FACTOR: u32 = 4;
/// The longest rest: counters are at most about a minute old.
const LONGEST_REST: Duration = Duration::from_secs(50);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Images or workspaces taken at once.
const PAGE: u32 = 100;
/// Rows of pulls that are forgotten at once.
const LOST_TAGS: u32 = 1_000;

impl Images {
    /// Counts everything once, and then what changes, until `stop` says so.
    pub async fn keep_counts(self, mut stop: watch::Receiver<bool>) {
        let counting = async {
            self.metadata.note_everything_changed();
            loop {
                self.metadata.something_changed().await;
                sleep(GATHERING).await;
                let started = Instant::now();
                if let Err(error) = self.count_now().await {
                    tracing::warn!(error = %error, "what images hold could not be counted");
                    sleep(AFTER_FAILURE).await;
                }
                rest(started).await;
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = counting => {}
        }
    }

    /// Counts what changed since the last time.
    pub async fn count_now(&self) -> Result<(), MetadataError> {
        // Whoever comes second finds everything counted that changed before.
        let _turn = self.counting.lock().await;
        let changed = self.metadata.take_changed();
        let counted = self.count(&changed).await;
        if counted.is_err() {
            self.metadata.give_changed_back(changed);
        }
        counted
    }

    async fn count(&self, changed: &Changed) -> Result<(), MetadataError> {
        if changed.everything {
            return self.count_everything().await;
        }
        let mut workspaces = BTreeSet::new();
        let mut counts = Vec::new();
        for repository in &changed.repositories {
            let Some(count) = self.metadata.count_image(*repository).await? else {
                continue;
            };
            workspaces.insert(count.workspace_id.clone());
            counts.push(count);
            if counts.len() >= PAGE as usize {
                self.store_counts(std::mem::take(&mut counts)).await?;
            }
        }
        self.store_counts(counts).await?;
        for prefix in &changed.prefixes {
            workspaces.extend(self.metadata.workspace_of_prefix(prefix).await?);
        }
        // One that cannot be counted must not keep the others from it.
        let mut counted = Ok(());
        for workspace in workspaces {
            counted = counted.and(self.count_workspace(&workspace).await);
        }
        counted
    }

    async fn count_everything(&self) -> Result<(), MetadataError> {
        let mut last = None;
        loop {
            let started = Instant::now();
            let counts = self.metadata.count_images_after(last, PAGE).await?;
            let is_last_page = counts.len() < PAGE as usize;
            last = counts.last().map(|count| count.repository);
            self.store_counts(counts).await?;
            if is_last_page {
                break;
            }
            rest(started).await;
        }
        let mut last = String::new();
        loop {
            let workspaces = self.metadata.workspace_ids_after(&last, PAGE).await?;
            let is_last_page = workspaces.len() < PAGE as usize;
            for workspace in workspaces {
                let started = Instant::now();
                // One that cannot be counted must not keep the others from it.
                if let Err(error) = self.count_workspace(&workspace).await {
                    tracing::warn!(workspace, error = %error, "a workspace could not be counted");
                }
                rest(started).await;
                last = workspace;
            }
            if is_last_page {
                return Ok(());
            }
        }
    }

    async fn store_counts(&self, mut counts: Vec<ImageCount>) -> Result<(), MetadataError> {
        counts.retain(|count| count.is_live_image);
        self.metadata
            .store_image_counts(&counts, self.clock.now())
            .await?;
        for count in counts.iter().filter(|count| count.pulls > count.tags + 1) {
            while self
                .metadata
                .forget_pulls_of_lost_tags(count.repository, LOST_TAGS)
                .await?
                == u64::from(LOST_TAGS)
            {}
        }
        Ok(())
    }

    async fn count_workspace(&self, id: &str) -> Result<(), MetadataError> {
        let count = self.metadata.count_workspace(id).await?;
        self.metadata
            .store_workspace_count(id, &count, self.clock.now())
            .await
    }
}

/// Leaves the database to others, for longer the longer it was taken.
async fn rest(since: Instant) {
    sleep((since.elapsed() * REST_FACTOR).min(LONGEST_REST)).await;
}
