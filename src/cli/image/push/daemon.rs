//! The push by a Docker daemon, which has the image and connects to the registry by itself.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::super::super::Context;
use super::super::super::docker::{Endpoint, Engine, EngineError, Image, Login, Message, Messages};
use super::super::super::output::{Output, plain};
use super::display::Display;
use super::{DEFAULT_TAG, Destination};

/// How often the progress is drawn.
const REDRAW_PAUSE: Duration = Duration::from_millis(100);

/// Names that are offered in place of one that is not there.
const NAMES_OFFERED: usize = 3;

/// How much a name must resemble the one that was typed, from 0 to 1.
const RESEMBLANCE: f64 = 0.6;

/// What a daemon says when it does not get through to a registry.
const OUT_OF_REACH: [&str; 8] = [
    "connection refused",
    "no such host",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "context deadline exceeded",
    "Client.Timeout",
    "connection reset by peer",
];

/// An image of a daemon.
pub(super) struct Source {
    runtime: Runtime,
    engine: Engine,
    image: Image,
}

impl Source {
    /// Finds the image that docker calls `name`.
    pub(super) fn find(context: &Context<'_>, name: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let engine = Engine::new(Endpoint::find(context)?)?;
        let Some(image) = runtime.block_on(engine.image(name))? else {
            let images = runtime.block_on(engine.images()).unwrap_or_default();
            anyhow::bail!("docker has no image {name:?}; {}", offer(name, &images));
        };
        Ok(Self {
            runtime,
            engine,
            image,
        })
    }

    /// Pushes it; the answer is the digest of its manifest.
    ///
    /// A daemon pushes by the name alone, so the image gets that of the destination for a while.
    pub(super) fn push(
        &self,
        destination: &Destination,
        output: &mut Output<'_>,
    ) -> anyhow::Result<String> {
        self.runtime.block_on(async {
            let (repository, tag, _) = destination.parts();
            // Listened for before the name is given, so that it is taken back whatever happens.
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let before = self.engine.image(&destination.push_image).await?;
            self.engine.tag(&self.image.id, repository, tag).await?;
            let pushed = tokio::select! {
                pushed = self.send(destination, output) => pushed,
                _ = interrupt.recv() => Err(interrupted(destination)),
                _ = terminate.recv() => Err(interrupted(destination)),
            };
            output.end_block();
            if let Err(error) = self.take_back(destination, before, output).await {
                output.note(&format!(
                    "note: docker still calls the image {} too: {error}",
                    destination.push_image
                ))?;
            }
            pushed
        })
    }

    async fn send(
        &self,
        destination: &Destination,
        output: &mut Output<'_>,
    ) -> anyhow::Result<String> {
        let (repository, tag, host) = destination.parts();
        let login = Login {
            registry: host,
            username: &destination.username,
            password: &destination.password,
        };
        let mut messages = self.engine.push(repository, tag, &login).await?;
        let mut display = Display::default();
        let digest = follow(&mut messages, &mut display, output).await;
        display.end(output)?;
        match digest? {
            Ok(Some(digest)) => Ok(digest),
            Ok(None) => anyhow::bail!(
                "the Docker daemon at {} did not say what it pushed: look with `berth image ls`",
                self.engine.address()
            ),
            Err(refusal) => {
                anyhow::bail!("{}", explained(&refusal, host, self.engine.address()))
            }
        }
    }

    /// Leaves docker's names as they were. The only name of an image cannot be taken: the image would go with it.
    async fn take_back(
        &self,
        destination: &Destination,
        before: Option<Image>,
        output: &mut Output<'_>,
    ) -> Result<(), EngineError> {
        let (repository, tag, _) = destination.parts();
        match before {
            Some(before) if before.id == self.image.id => Ok(()),
            Some(before) => self.engine.tag(&before.id, repository, tag).await,
            None if names(&self.image).next().is_some() => {
                self.engine.untag(&destination.push_image).await
            }
            None => {
                // A note that nobody can read is none.
                let _ = output.note(&format!(
                    "note: the image had no name; docker calls it {} now",
                    destination.push_image
                ));
                Ok(())
            }
        }
    }
}

/// Shows what the daemon says to the end. The answer is the digest, or why the push has failed.
async fn follow(
    messages: &mut Messages<'_>,
    display: &mut Display,
    output: &mut Output<'_>,
) -> anyhow::Result<Result<Option<String>, String>> {
    let mut digest = None;
    let mut redraw = interval(REDRAW_PAUSE);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = messages.next() => message?,
            _ = redraw.tick() => {
                display.draw(output)?;
                continue;
            }
        };
        let Some(message) = message else {
            return Ok(Ok(digest));
        };
        if let Some(error) = message.error {
            return Ok(Err(error));
        }
        digest = digest_in(&message).or(digest);
        if let (Some(id), Some(status)) = (&message.id, &message.status) {
            let progress = message.progress_detail.unwrap_or_default();
            let progress = progress
                .current
                .map(|done| (done, progress.total.unwrap_or(0)));
            display.update(id, status, progress, output)?;
        }
    }
}

/// The digest, where a message has it: in a field of its own, or in a sentence such as `v1: digest: sha256:… size: 528`.
fn digest_in(message: &Message) -> Option<String> {
    let field = message.aux.as_ref().and_then(|aux| aux.digest.clone());
    let sentence = || {
        let status = message.status.as_deref()?;
        let (_, rest) = status.split_once("digest: ")?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    field.or_else(sentence)
}

fn interrupted(destination: &Destination) -> anyhow::Error {
    anyhow::anyhow!(
        "interrupted: {} is not pushed; layers that are there already are not sent again",
        destination.push_image
    )
}

/// The names of an image.
fn names(image: &Image) -> impl Iterator<Item = &str> {
    let names = image.repo_tags.iter().flatten().map(String::as_str);
    names.filter(|name| !name.starts_with("<none>"))
}

/// What to say of an image that is not there: names that resemble it, or where to look.
fn offer(name: &str, images: &[Image]) -> String {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let typed = match name[last..].contains(':') {
        true => name.to_owned(),
        false => format!("{name}:{DEFAULT_TAG}"),
    };
    let mut near: Vec<(f64, &str)> = images
        .iter()
        .flat_map(names)
        .map(|own| (strsim::normalized_damerau_levenshtein(&typed, own), own))
        .filter(|(resemblance, _)| *resemblance >= RESEMBLANCE)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    let near: Vec<&str> = near
        .into_iter()
        .take(NAMES_OFFERED)
        .map(|(_, own)| own)
        .collect();
    if near.is_empty() {
        String::from("`docker images` lists those it has")
    } else {
        format!("did you mean {}?", near.join(" or "))
    }
}

/// Why a push failed, and what to do where that is not the registry's own sentence.
fn explained(refusal: &str, host: &str, daemon: &str) -> String {
    let refusal = plain(refusal);
    if refusal.contains("HTTP response to HTTPS client") {
        return format!(
            "the Docker daemon at {daemon} wants HTTPS of {host}: {refusal}; give the registry a certificate, or name \
             {host} under insecure-registries in the daemon.json of that daemon"
        );
    }
    if refusal.contains("x509:") {
        return format!(
            "the Docker daemon at {daemon} does not trust the certificate of {host}: {refusal}; put its authority \
             into /etc/docker/certs.d/{host}/ca.crt where that daemon runs"
        );
    }
    if OUT_OF_REACH.iter().any(|words| refusal.contains(words)) {
        return format!(
            "the Docker daemon at {daemon} cannot reach {host}: {refusal}; the daemon resolves the name and connects \
             by itself, from where it runs: there {host} must be reachable"
        );
    }
    format!("docker could not push: {refusal}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(names: &[&str]) -> Image {
        Image {
            id: String::from("sha256:1"),
            repo_tags: Some(names.iter().map(|name| String::from(*name)).collect()),
        }
    }

    #[test]
    fn names_that_resemble_are_offered_the_nearest_first() {
        let images = [
            image(&["my-app:v2", "<none>:<none>"]),
            image(&["my-app:v1"]),
            image(&["postgres:16", "your-app:latest", "my-apps:v1"]),
        ];
        let offer = |name| offer(name, &images);
        assert_eq!(
            offer("my-ap:v1"),
            "did you mean my-app:v1 or my-apps:v1 or my-app:v2?"
        );
        assert_eq!(offer("your-app"), "did you mean your-app:latest?");
        assert_eq!(offer("redis"), "`docker images` lists those it has");
    }

    #[test]
    fn the_digest_is_taken_from_its_field_or_from_the_sentence() {
        let parse = |text| digest_in(&serde_json::from_str(text).unwrap());
        assert_eq!(
            parse(r#"{"progressDetail":{},"aux":{"Tag":"v1","Digest":"sha256:a","Size":528}}"#)
                .as_deref(),
            Some("sha256:a")
        );
        assert_eq!(
            parse(r#"{"status":"v1: digest: sha256:b size: 528"}"#).as_deref(),
            Some("sha256:b")
        );
        assert_eq!(parse(r#"{"status":"Pushed","id":"c"}"#), None);
    }

    #[test]
    fn what_keeps_a_daemon_from_the_registry_is_explained() {
        let explained = |refusal| explained(refusal, "r.example:5000", "unix:///d.sock");
        for (refusal, words) in [
            (
                "Get \"http://r.example:5000/v2/\": dial tcp 10.0.0.1:5000: connect: connection refused",
                "connects by itself",
            ),
            (
                "Get \"https://r.example:5000/v2/\": dial tcp: lookup r.example: no such host",
                "resolves the name",
            ),
            (
                "http: server gave HTTP response to HTTPS client",
                "insecure-registries",
            ),
            (
                "x509: certificate signed by unknown authority",
                "/etc/docker/certs.d/r.example:5000/ca.crt",
            ),
            (
                "denied: the tag v1 is immutable",
                "docker could not push: denied: the tag v1",
            ),
        ] {
            let text = explained(refusal);
            assert!(text.contains(words) && text.contains(refusal), "{text}");
        }
    }
}
