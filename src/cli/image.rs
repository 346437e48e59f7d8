//! `berth image`: what a workspace has, and what is done to it.

mod build;
mod change;
mod look;
pub(super) mod name;
pub(super) mod push;
mod remove;
mod share;

use clap::Subcommand;

use super::Context;

/// Build, push, see, tag, protect, share and delete the images of a workspace
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth image build . -t my-app:v1
  berth image push my-app:v1 -t my-app:v1
  berth image ls
  berth image tags team/app
  berth image tag team/app:v1 stable
  berth image share team/app --workspace other
  berth image rm team/app:v1

Images are named as their workspace speaks of them, without the registry and
without the prefix: team/app, team/app:v1, team/app@sha256:…
`berth template image` is the same command.")]
pub(super) enum Image {
    Build(build::Build),
    Push(push::Push),
    Ls(look::List),
    Show(look::Show),
    Tags(look::Tags),
    History(look::History),
    Resolve(look::Resolve),
    Tag(change::Tag),
    Set(change::Set),
    Rm(remove::Remove),
    Share(share::Share),
    Unshare(share::Unshare),
    Shares(share::Shares),
}

/// The images that templates name: the same as `berth image`
#[derive(Subcommand)]
pub(super) enum Template {
    #[command(subcommand)]
    Image(Image),
}

impl Image {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Build(command) => command.run(context),
            Self::Push(command) => command.run(context),
            Self::Ls(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Tags(command) => command.run(context),
            Self::History(command) => command.run(context),
            Self::Resolve(command) => command.run(context),
            Self::Tag(command) => command.run(context),
            Self::Set(command) => command.run(context),
            Self::Rm(command) => command.run(context),
            Self::Share(command) => command.run(context),
            Self::Unshare(command) => command.run(context),
            Self::Shares(command) => command.run(context),
        }
    }
}

impl Template {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Image(image) => image.run(context),
        }
    }
}
