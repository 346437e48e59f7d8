//! The registry credential that the checks go in with, asked for as every client asks for its own.

use berth::config::Secret;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::super::client::{Client, ClientError};
use super::artifact::{Artifact, TAG};
use super::report::{Finding, Trouble};

/// Where the images lie that are pushed, and deleted again.
pub(super) const IMAGES: &str = "berth-doctor";

/// A password, and where it counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Credential {
    push_registry: String,
    pull_registry: String,
    username: String,
    password: Secret,
    /// The image of this run.
    #[serde(skip)]
    pub(super) image: String,
    /// Why it may not push, if it may not.
    #[serde(skip)]
    pub(super) no_push: Option<String>,
}

impl Credential {
    /// One that may pull and push the image of the checks; else one that may pull what the workspace has.
    pub(super) fn ask(client: &Client, artifact: &Artifact) -> Result<Self, ClientError> {
        match Self::to(&["pull", "push"], client, artifact) {
            Err(ClientError::Refused(refusal)) if refusal.code == "forbidden" => {
                let body = json!({ "actions": ["pull"] });
                let answer = client.post(&["registry", "credentials"], &body)?;
                let mut credential = Self::read(client, answer, artifact)?;
                credential.no_push = Some(refusal.message);
                Ok(credential)
            }
            asked => asked,
        }
    }

    /// One that may pull the image of the checks and nothing else: for an address that has no business with pushes.
    pub(super) fn ask_to_pull(client: &Client, artifact: &Artifact) -> Result<Self, ClientError> {
        Self::to(&["pull"], client, artifact)
    }

    fn to(actions: &[&str], client: &Client, artifact: &Artifact) -> Result<Self, ClientError> {
        let target = format!("{}:{TAG}", artifact.image);
        let body = json!({ "targetImage": target, "actions": actions });
        let answer = client.post(&["registry", "credentials"], &body)?;
        Self::read(client, answer, artifact)
    }

    fn read(
        client: &Client,
        answer: serde_json::Value,
        artifact: &Artifact,
    ) -> Result<Self, ClientError> {
        let read = serde_json::from_value(answer);
        let mut credential: Self = read.map_err(|_| ClientError::Foreign {
            url: client.base().to_string(),
            status: StatusCode::OK,
        })?;
        credential.image.clone_from(&artifact.image);
        Ok(credential)
    }

    /// The request, with the password.
    pub(super) fn login(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.username, Some(self.password.expose()))
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// A copy for whoever pushes.
    pub(super) fn password(&self) -> Secret {
        Secret::new(self.password.expose().to_owned())
    }

    pub(super) fn push_host(&self) -> &str {
        host(&self.push_registry)
    }

    pub(super) fn pull_host(&self) -> &str {
        host(&self.pull_registry)
    }

    /// Whether pulls have an address of their own.
    pub(super) fn has_pull_address(&self) -> bool {
        self.pull_host() != self.push_host()
    }

    /// The full name of an image of the workspace.
    pub(super) fn repository(&self, image: &str) -> String {
        format!("{}/{image}", self.username)
    }

    /// What the rights are for.
    pub(super) fn actions(&self) -> &'static str {
        if self.no_push.is_some() {
            "pull"
        } else {
            "pull,push"
        }
    }

    /// What is told of it.
    pub(super) fn finding(&self) -> Finding {
        Finding::Ok(match &self.no_push {
            None => format!("to pull and push {}", self.repository(&self.image)),
            Some(why) => format!("to pull alone: {why}"),
        })
    }
}

fn host(registry: &str) -> &str {
    registry.split('/').next().unwrap_or_default()
}

/// What a failed request to the API means.
pub(super) fn trouble(error: &ClientError) -> Trouble {
    let remedy = match error {
        ClientError::Refused(refusal) => match refusal.code.as_str() {
            "unauthorized" => {
                "log in with a key that is valid: `berth login`, BERTH_API_KEY or --api-key"
            }
            "unavailable" | "internal_error" | "insufficient_storage" => {
                "see the server's log; on the server, `berth doctor --config FILE` looks at its database and storage"
            }
            _ => "do what the server says, or ask the workspace's admin for a key that may",
        },
        ClientError::Redirected { .. } => "write the address that it redirects to as the URL",
        ClientError::Foreign { .. }
        | ClientError::TooLarge { .. }
        | ClientError::TooManyPages { .. } => {
            "see that the URL is that of Berth, and that the proxy passes /api/v1 on"
        }
        ClientError::Key | ClientError::Workspace(_) | ClientError::Name(_) => {
            "correct what was typed or saved: `berth login`"
        }
        ClientError::SetUp(_) | ClientError::Unreachable { .. } => {
            "see the server's log, and that nothing on the way cuts the connection"
        }
    };
    Trouble::new(error.to_string(), remedy)
}
