//! What the command line knows of Docker: where its login file is, where its daemon listens, and how to speak to it.

mod endpoint;
mod engine;

use std::path::PathBuf;

pub(super) use endpoint::Endpoint;
pub(super) use engine::{Engine, EngineError, Image, Login, Message, Messages};

use super::Context;

/// Where docker keeps config.json; nothing when no home folder is known.
pub(super) fn config_folder(context: &Context<'_>) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(context.variable("HOME")?).join(".docker"));
    context
        .variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(home)
}
