//! The push of the artifact, and its deletion.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use tokio::time::timeout;

use super::super::client::{Client, ClientError};
use super::super::image::push::layout::Blob;
use super::super::image::push::registry::{Begun, Registry, SendError};
use super::artifact::{Artifact, TAG};
use super::challenge::PROXY_REMEDY;
use super::credential::{Credential, trouble};
use super::reach::Prober;
use super::report::{Finding, Report, Trouble};

/// How long a blob may be on its way.
const BLOB_LIMIT: Duration = Duration::from_secs(60);

pub(super) const UPLOAD_ADDRESS: &str = "registry: upload address";
pub(super) const PUSH: &str = "registry: push";
pub(super) const CLEAN_UP: &str = "clean-up";

/// Pushes; whether it is all there now, and whether any of it may be.
pub(super) struct Pushed {
    pub(super) is_whole: bool,
    pub(super) may_be_there: bool,
}

/// Pushes the artifact, as `berth image push --from` does it.
pub(super) fn push(
    artifact: &Artifact,
    credential: &Credential,
    api: &Url,
    prober: &Prober,
    report: &mut Report<'_, '_>,
) -> anyhow::Result<Pushed> {
    let mut pushed = Pushed {
        is_whole: false,
        may_be_there: false,
    };
    let registry = Registry::new(
        credential.push_host(),
        &credential.repository(&artifact.image),
        api,
        credential.username(),
        credential.password(),
    )?;
    report.begin(UPLOAD_ADDRESS)?;
    let begun = prober.run(registry.begin(&artifact.layer.digest));
    let session = match begun {
        Ok(Begun::Session(session)) => Some(session),
        Ok(Begun::Mounted) => None,
        Err(error) => {
            report.tell(UPLOAD_ADDRESS, Finding::Failed(sending(&error)))?;
            report.skip(&[PUSH], "the upload could not begin")?;
            return Ok(pushed);
        }
    };
    let detail = "uploads go on at the address where they began";
    report.tell(UPLOAD_ADDRESS, Finding::Ok(String::from(detail)))?;
    report.begin(PUSH)?;
    let sent = prober.run(async {
        if let Some(session) = session {
            send(&registry, &session, &artifact.layer).await?;
        }
        if let Begun::Session(session) = registry.begin(&artifact.config.digest).await? {
            send(&registry, &session, &artifact.config).await?;
        }
        // From here on it may have arrived, whatever is answered.
        pushed.may_be_there = true;
        registry
            .put(TAG, &artifact.digest, &artifact.manifest)
            .await
    });
    let told = sent
        .map(|()| format!("{}:{TAG} ({})", artifact.image, artifact.digest))
        .map_err(|error| sending(&error));
    pushed.is_whole = report.tell(PUSH, told)?;
    Ok(pushed)
}

/// Sends a blob, or leaves no session behind.
async fn send(registry: &Registry, session: &Url, blob: &Blob) -> Result<(), SendError> {
    let sent = Arc::default();
    let sending = registry.send(session, blob, 0, &sent);
    let sent = timeout(BLOB_LIMIT, sending).await.unwrap_or_else(|_| {
        let seconds = BLOB_LIMIT.as_secs();
        let bytes = blob.piece.size_bytes;
        let late = format!("{bytes} bytes were not taken within {seconds} seconds");
        Err(SendError::Broken(late))
    });
    if sent.is_err() {
        // What is left ends by itself, when nothing has come for a day.
        let _ = registry.cancel(session).await;
    }
    sent
}

fn sending(error: &SendError) -> Trouble {
    let remedy = match error {
        SendError::Astray { .. } => PROXY_REMEDY,
        SendError::Refused {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..
        } => {
            "a proxy limits the size of bodies: lift that, in nginx by client_max_body_size 0 and \
             proxy_request_buffering off"
        }
        SendError::Refused {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..
        } => {
            "this is a pull door, or a proxy lets only reads through: server.public_url has to lead to the public door"
        }
        SendError::Refused { .. } => "do what the registry says; its log has the request",
        SendError::Broken(_) | SendError::Gone | SendError::Elsewhere => {
            "see the logs of the server and of the proxy before it: its limits on time and on bodies, and whether it \
             sends all requests of an upload to one installation"
        }
        SendError::Local(_) => "see that the folder for temporary files has space",
    };
    Trouble::new(error.to_string(), remedy)
}

/// Deletes what was pushed: the image of this run.
pub(super) fn clean_up(
    client: &Client,
    artifact: &Artifact,
    report: &mut Report<'_, '_>,
) -> anyhow::Result<()> {
    report.begin(CLEAN_UP)?;
    let image = &artifact.image;
    let segments: Vec<&str> = iter::once("images").chain(image.split('/')).collect();
    let finding = match client.delete(&segments, &[]) {
        Ok(_) => Finding::Ok(format!("the image {image} is deleted")),
        Err(ClientError::Refused(refusal)) if refusal.code == "not_found" => {
            Finding::Ok(String::from("nothing has arrived"))
        }
        Err(ClientError::Refused(refusal))
            if matches!(refusal.code.as_str(), "forbidden" | "conflict") =>
        {
            Finding::Warning(Trouble::new(
                format!("{image} stays: {}", refusal.message),
                format!("have it deleted by a key that may: `berth image rm {image}`"),
            ))
        }
        Err(error) => {
            let Trouble { what, remedy } = trouble(&error);
            Finding::Failed(Trouble::new(
                format!("{image} stays: {what}"),
                format!("{remedy}; then `berth image rm {image}`"),
            ))
        }
    };
    report.tell(CLEAN_UP, finding)?;
    Ok(())
}
