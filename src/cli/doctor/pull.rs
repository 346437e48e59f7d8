//! Pulls: what is asked for has to come back byte for byte, from the registry, from the pull address, and from where
//! they send for blobs.

use berth::oci::{Manifest, ManifestType};
use berth_storage::Digest;
use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::super::client::{Client, ClientError, connecting_to};
use super::artifact::{Artifact, TAG};
use super::challenge::origin;
use super::credential::Credential;
use super::reach::{BODY_LIMIT_BYTES, Prober, Reply, Silence};
use super::report::{Finding, Report, Trouble};

/// Images that are looked at for one that has a tag.
const IMAGES_LOOKED_AT: usize = 20;

const DAMAGED_REMEDY: &str = "see that no proxy on the way changes, packs or cuts what it passes on; on the server, `berth check --hash` \
     reads the storage";
const LOST_REMEDY: &str = "see the logs of the server and of the proxy before it; and that both addresses are of one installation";

/// What is pulled.
pub(super) struct Subject {
    image: String,
    tag: String,
    digest: Digest,
}

impl Subject {
    pub(super) fn of(artifact: &Artifact) -> Self {
        Self {
            image: artifact.image.clone(),
            tag: TAG.to_owned(),
            digest: artifact.digest,
        }
    }

    /// Something that the workspace has already, for a key that may not push.
    pub(super) fn existing(client: &Client) -> Result<Option<Self>, ClientError> {
        let pages = client.pages(&["images"], &[])?.at_most(IMAGES_LOOKED_AT);
        for image in pages.collect::<Result<Vec<_>, _>>()?.concat() {
            let Some(name) = image["name"].as_str() else {
                continue;
            };
            if !image["sourceWorkspace"].is_null() {
                continue;
            }
            let mut segments = vec!["images"];
            segments.extend(name.split('/'));
            segments.extend(["-", "tags"]);
            let tags = client.pages(&segments, &[])?.at_most(1);
            for row in tags.collect::<Result<Vec<_>, _>>()?.concat() {
                let digest = row["digest"].as_str().and_then(|text| text.parse().ok());
                if let (Some(tag), Some(digest)) = (row["name"].as_str(), digest) {
                    return Ok(Some(Self {
                        image: name.to_owned(),
                        tag: tag.to_owned(),
                        digest,
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// An address that is pulled from.
pub(super) struct Source<'a> {
    pub(super) who: &'a str,
    pub(super) base: &'a Url,
    pub(super) credential: &'a Credential,
    pub(super) prober: &'a Prober,
}

/// What came for a blob.
enum Sent {
    Here,
    /// The client is sent there.
    Away(Url),
}

impl Source<'_> {
    /// Pulls the subject, and follows where it is sent for a blob.
    pub(super) fn pull(
        &self,
        subject: &Subject,
        report: &mut Report<'_, '_>,
    ) -> anyhow::Result<()> {
        let [pull, redirect] = ["pull", "redirect"].map(|check| format!("{}: {check}", self.who));
        report.begin(&pull)?;
        let pulled = self.all(subject);
        let (told, sent) = match pulled {
            Ok((detail, sent)) => (Ok(detail), sent),
            Err(trouble) => (Err(trouble), None),
        };
        report.tell(&pull, told)?;
        let Some((blob, Sent::Away(url))) = sent else {
            return Ok(());
        };
        let Some(reply) = self.prober.reach(&redirect, &url, report)? else {
            return Ok(());
        };
        report.tell(
            &format!("{redirect}: bytes"),
            redirected(&url, &blob, &reply),
        )?;
        Ok(())
    }

    /// By tag, by digest, and the largest blob that is read whole; where the blob came from.
    fn all(&self, subject: &Subject) -> Result<(String, Option<(Digest, Sent)>), Trouble> {
        let Subject { image, tag, digest } = subject;
        let manifest = self.manifest(image, tag, digest)?;
        self.manifest(image, &digest.to_string(), digest)?;
        let detail = format!("{image}:{tag} by its tag and its digest");
        let parsed = Manifest::parse(manifest.body, None).ok();
        let blobs = parsed.as_ref().map(Manifest::required_blobs);
        let largest = blobs
            .into_iter()
            .flatten()
            .filter(|blob| blob.size_bytes <= BODY_LIMIT_BYTES as u64)
            .max_by_key(|blob| blob.size_bytes);
        let Some(blob) = largest else {
            return Ok((detail, None));
        };
        let sent = self.blob(image, &blob.digest)?;
        let detail = match &sent {
            Sent::Here => format!("{detail}, and a blob of {} bytes", blob.size_bytes),
            Sent::Away(url) => format!("{detail}; for blobs, clients are sent to {}", origin(url)),
        };
        Ok((detail, Some((blob.digest, sent))))
    }

    fn manifest(&self, image: &str, reference: &str, digest: &Digest) -> Result<Reply, Trouble> {
        let what = format!("the manifest {reference}");
        let reply = self.get(image, &format!("manifests/{reference}"), &what)?;
        if reply.status != StatusCode::OK {
            return Err(Trouble::new(
                format!("{what} is answered with {}", reply.status),
                LOST_REMEDY,
            ));
        }
        same(&what, &reply, digest)?;
        Ok(reply)
    }

    fn blob(&self, image: &str, digest: &Digest) -> Result<Sent, Trouble> {
        let what = format!("the blob {digest}");
        let reply = self.get(image, &format!("blobs/{digest}"), &what)?;
        if reply.status == StatusCode::OK {
            same(&what, &reply, digest)?;
            return Ok(Sent::Here);
        }
        let location = reply
            .headers
            .get(LOCATION)
            .filter(|_| reply.status.is_redirection());
        let url = location
            .and_then(|value| value.to_str().ok())
            .and_then(|text| self.base.join(text).ok());
        url.map(Sent::Away).ok_or_else(|| {
            Trouble::new(
                format!("{what} is answered with {}", reply.status),
                LOST_REMEDY,
            )
        })
    }

    fn get(&self, image: &str, rest: &str, what: &str) -> Result<Reply, Trouble> {
        let request = connecting_to(self.base).build().map(|client| {
            let kinds = ManifestType::ALL.map(ManifestType::as_str).join(", ");
            self.credential
                .login(client.get(self.url(image, rest)))
                .header(ACCEPT, format!("{kinds}, */*"))
        });
        let reply = request
            .map_err(Silence::Broken)
            .and_then(|request| self.prober.ask(request));
        reply.map_err(|silence| Trouble::new(format!("{what}: {silence}"), LOST_REMEDY))
    }

    fn url(&self, image: &str, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.credential.repository(image)));
        url
    }

    /// Whether this address takes no pushes.
    pub(super) fn refuses_writes(&self) -> Finding {
        let url = self.url(&self.credential.image, "blobs/uploads/");
        let request = connecting_to(self.base)
            .build()
            .map(|client| self.credential.login(client.request(Method::POST, url)));
        let reply = request
            .map_err(Silence::Broken)
            .and_then(|request| self.prober.ask(request));
        match reply {
            Ok(reply) if reply.status == StatusCode::METHOD_NOT_ALLOWED => {
                Finding::Ok(String::from("a push is answered with 405"))
            }
            Ok(reply) => Finding::Warning(Trouble::new(
                format!("a push is answered with {}, and not with 405", reply.status),
                "let server.pull_url lead to the pull door (server.pull_listen), which reads and does nothing else",
            )),
            Err(silence) => Finding::Failed(Trouble::new(silence.to_string(), LOST_REMEDY)),
        }
    }
}

/// Whether an answer is what was asked for.
fn same(what: &str, reply: &Reply, digest: &Digest) -> Result<(), Trouble> {
    let told = reply.header("docker-content-digest");
    if !told.is_empty() && told != digest.to_string() {
        return Err(Trouble::new(
            format!("{what} is said to be {told}, and it is {digest}"),
            LOST_REMEDY,
        ));
    }
    if Digest::of(digest.algorithm(), &reply.body) == *digest {
        return Ok(());
    }
    Err(Trouble::new(
        format!(
            "{what} comes with other bytes than it has: {} of them",
            reply.body.len()
        ),
        DAMAGED_REMEDY,
    ))
}

/// Whether the store gave the blob that a client was sent for.
fn redirected(url: &Url, digest: &Digest, reply: &Reply) -> Result<String, Trouble> {
    let host = origin(url);
    if reply.status != StatusCode::OK {
        return Err(Trouble::new(
            format!("{host} answers {} to the signed address", reply.status),
            "see that the proxy before the store passes on Host and the query as they are (both are signed), that \
             storage.s3.redirect_endpoint is how clients reach it, and that the clocks of server and store agree",
        ));
    }
    same("the blob", reply, digest)?;
    Ok(String::from("the blob, byte for byte"))
}
