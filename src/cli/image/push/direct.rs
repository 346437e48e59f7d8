//! The push without a daemon: what a repository lacks of an image in files is sent to it, several blobs at one time.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use berth::config::Secret;
use berth_storage::Digest;
use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::super::Context;
use super::super::super::output::Output;
use super::Destination;
use super::display::Display;
use super::layout::{Blob, Image};
use super::registry::{Begun, Registry, SendError};
use super::sessions::Sessions;

/// Blobs that are sent at one time.
const AT_ONCE: usize = 4;

/// How often the progress is drawn.
const REDRAW_PAUSE: Duration = Duration::from_millis(100);

/// Attempts in a row that bring nothing further, after which a push gives up.
const FUTILE_ATTEMPTS: u32 = 6;

/// The pause after the first of them; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Digits of a digest that stand for a layer, as docker has it.
const SHORT_DIGEST_CHARS: usize = 12;

/// An image in files.
pub(super) struct Source {
    image: Image,
    sessions: Sessions,
}

/// Who pushes.
#[derive(Deserialize)]
pub(super) struct Login {
    username: String,
    password: Secret,
}

/// How far a blob is.
enum Step {
    Waiting,
    There,
    Mounted,
    /// It is sent: so many bytes are.
    Sending(Arc<AtomicU64>),
    /// It broke off, for this reason, and is tried again.
    Again(String),
    Pushed,
}

/// What a blob says of itself on its way.
type Steps = mpsc::UnboundedSender<(usize, Step)>;

impl Source {
    /// Reads the image `name` of what lies at `from`.
    pub(super) fn find(
        context: &Context<'_>,
        from: &Path,
        name: Option<&str>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            image: Image::read(from, name)?,
            sessions: Sessions::find(context),
        })
    }

    /// Pushes it; the answer is the digest of its manifest. `api` is where the API is.
    pub(super) fn push(
        &self,
        destination: &Destination,
        login: Login,
        api: &Url,
        output: &mut Output<'_>,
    ) -> anyhow::Result<String> {
        let (reference, tag, host) = destination.parts();
        let repository = reference
            .strip_prefix(host)
            .and_then(|rest| rest.strip_prefix('/'))
            .context("the server's answer names no repository")?;
        let registry = Registry::new(host, repository, api, &login.username, login.password)?;
        // Reading and hashing is work for threads of its own; sending is not.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(AT_ONCE)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let upload = Upload {
            registry,
            repository: reference.to_owned(),
            sessions: self.sessions.clone(),
        };
        let pushed = runtime.block_on(async {
            self.blobs(&upload, output).await?;
            self.manifests(&upload.registry, tag).await
        });
        // What was read ahead for a blob that failed need not be waited for.
        runtime.shutdown_background();
        pushed.with_context(|| format!("{} is not pushed", destination.push_image))
    }

    /// Sends the blobs that are missing, and shows how that goes.
    async fn blobs(&self, upload: &Upload, output: &mut Output<'_>) -> anyhow::Result<()> {
        let (steps, mut told) = mpsc::unbounded_channel();
        let mut display = Board::new(&self.image.blobs);
        for index in 0..self.image.blobs.len() {
            display.step(index, Step::Waiting, output)?;
        }
        let mut blobs = stream::iter(self.image.blobs.iter().cloned().enumerate())
            .map(|(index, blob)| {
                let steps = steps.clone();
                async move { upload.blob(index, &blob, &steps).await }
            })
            .buffer_unordered(AT_ONCE);
        let mut redraw = interval(REDRAW_PAUSE);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                biased;
                Some((index, step)) = told.recv() => display.step(index, step, output)?,
                _ = redraw.tick() => display.draw(output)?,
                sent = blobs.next() => match sent {
                    None => break Ok(()),
                    Some(Ok(())) => {}
                    Some(Err(error)) => break Err(error.into()),
                },
            }
        };
        drop(blobs);
        while let Ok((index, step)) = told.try_recv() {
            display.step(index, step, output)?;
        }
        display.end(output)?;
        outcome
    }

    /// Puts the manifests, each after those that it names; the last one under the tag.
    async fn manifests(&self, registry: &Registry, tag: &str) -> anyhow::Result<String> {
        let (top, others) = self
            .image
            .manifests
            .split_last()
            .context("the image has no manifest")?;
        for (digest, manifest) in others {
            let reference = digest.to_string();
            again(async || registry.put(&reference, digest, manifest).await).await?;
        }
        let (digest, manifest) = top;
        again(async || registry.put(tag, digest, manifest).await).await?;
        Ok(digest.to_string())
    }
}

/// Tries something that costs little to repeat until it is answered.
async fn again<T>(attempt: impl AsyncFn() -> Result<T, SendError>) -> Result<T, SendError> {
    let mut futile = 0;
    loop {
        match attempt().await {
            Err(SendError::Broken(_)) if futile + 1 < FUTILE_ATTEMPTS => {
                sleep(FIRST_PAUSE * 2_u32.pow(futile)).await;
                futile += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Sends blobs to a repository.
struct Upload {
    registry: Registry,
    /// With its host: what sessions are kept under.
    repository: String,
    sessions: Sessions,
}

impl Upload {
    /// Sends one blob, unless it is there.
    async fn blob(&self, index: usize, blob: &Blob, steps: &Steps) -> Result<(), SendError> {
        // Nobody listens any more where another blob has failed.
        let tell = |step| {
            let _ = steps.send((index, step));
        };
        let digest = &blob.digest;
        if again(async || self.registry.has(digest).await).await? {
            self.sessions.forget(&self.repository, digest);
            tell(Step::There);
            return Ok(());
        }
        let (mut futile, mut furthest) = (0, 0);
        let mut was_elsewhere = false;
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let attempt = self.attempt(blob, &sent, &tell).await;
            let reason = match attempt {
                Ok(step) => {
                    self.sessions.forget(&self.repository, digest);
                    tell(step);
                    return Ok(());
                }
                Err(SendError::Broken(reason)) => {
                    was_elsewhere = false;
                    reason
                }
                // Asked once more, it may know better.
                Err(error @ SendError::Elsewhere) if !mem::replace(&mut was_elsewhere, true) => {
                    error.to_string()
                }
                Err(error @ (SendError::Gone | SendError::Elsewhere)) => {
                    was_elsewhere = false;
                    self.sessions.forget(&self.repository, digest);
                    error.to_string()
                }
                Err(error) => {
                    self.sessions.forget(&self.repository, digest);
                    return Err(error);
                }
            };
            let reached = sent.load(Ordering::Relaxed);
            if reached > furthest {
                (futile, furthest) = (0, reached);
            }
            futile += 1;
            if futile == FUTILE_ATTEMPTS {
                return Err(SendError::Broken(format!("{digest}: {reason}")));
            }
            tell(Step::Again(reason));
            sleep(FIRST_PAUSE * 2_u32.pow(futile - 1)).await;
        }
    }

    /// Goes on with the session that is kept, or begins one.
    async fn attempt(
        &self,
        blob: &Blob,
        sent: &Arc<AtomicU64>,
        tell: &impl Fn(Step),
    ) -> Result<Step, SendError> {
        let kept = self.sessions.of(&self.repository, &blob.digest);
        let (offset, session) = match kept.filter(|url| self.registry.is_own(url)) {
            Some(kept) => {
                let (received, session) = self.registry.status(&kept).await?;
                if received > blob.piece.size_bytes {
                    return Err(SendError::Gone);
                }
                (received, session)
            }
            None => match self.registry.begin(&blob.digest).await? {
                Begun::Mounted => return Ok(Step::Mounted),
                Begun::Session(session) => (0, session),
            },
        };
        self.sessions.keep(&self.repository, &blob.digest, &session);
        tell(Step::Sending(Arc::clone(sent)));
        self.registry.send(&session, blob, offset, sent).await?;
        Ok(Step::Pushed)
    }
}

/// Shows the blobs in the words of docker.
struct Board<'a> {
    blobs: &'a [Blob],
    names: Vec<String>,
    sending: Vec<Option<Arc<AtomicU64>>>,
    display: Display,
}

impl<'a> Board<'a> {
    fn new(blobs: &'a [Blob]) -> Self {
        Self {
            blobs,
            names: blobs.iter().map(|blob| short(&blob.digest)).collect(),
            sending: blobs.iter().map(|_| None).collect(),
            display: Display::default(),
        }
    }

    fn step(&mut self, index: usize, step: Step, output: &mut Output<'_>) -> std::io::Result<()> {
        let words = match step {
            Step::Waiting => "Waiting",
            Step::There => "Layer already exists",
            Step::Mounted => "Mounted from another repository",
            Step::Pushed => "Pushed",
            Step::Sending(sent) => {
                self.sending[index] = Some(sent);
                return self.show(index, output);
            }
            Step::Again(reason) => {
                self.sending[index] = None;
                let words = format!("Retrying: {reason}");
                return self
                    .display
                    .update(&self.names[index], &words, None, output);
            }
        };
        self.sending[index] = None;
        self.display.update(&self.names[index], words, None, output)
    }

    fn show(&mut self, index: usize, output: &mut Output<'_>) -> std::io::Result<()> {
        let Some(sent) = &self.sending[index] else {
            return Ok(());
        };
        let progress = (
            sent.load(Ordering::Relaxed),
            self.blobs[index].piece.size_bytes,
        );
        self.display
            .update(&self.names[index], "Pushing", Some(progress), output)
    }

    fn draw(&mut self, output: &mut Output<'_>) -> std::io::Result<()> {
        if output.screen().is_none() {
            return Ok(());
        }
        for index in 0..self.blobs.len() {
            self.show(index, output)?;
        }
        self.display.draw(output)
    }

    fn end(&mut self, output: &mut Output<'_>) -> std::io::Result<()> {
        self.display.end(output)
    }
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(SHORT_DIGEST_CHARS).collect()
}
