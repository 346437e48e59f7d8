//! `berth image build`: the docker command, which reads its own login files and helpers.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::super::Context;

/// Build an image with docker
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image build . -t my-app:v1
  berth image build . -t my-app:v1 -f docker/Dockerfile --platform linux/amd64
  berth image build . -t my-app:v1 -- --build-arg VERSION=1 --target release

Runs `docker build` in place of itself, with what follows -- as it is. DOCKER
names another program than docker, such as podman. Push the image with
`berth image push`.")]
pub(in crate::cli) struct Build {
    /// The folder with what the image is built from
    context: OsString,
    /// What docker shall call it, such as my-app:v1; may be given again
    #[arg(short = 't', long = "tag", value_name = "NAME", required = true)]
    tags: Vec<OsString>,
    /// The Dockerfile [default: Dockerfile in the folder]
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<OsString>,
    /// The platform it is for, such as linux/amd64
    #[arg(long)]
    platform: Option<OsString>,
    /// Use nothing of earlier builds
    #[arg(long)]
    no_cache: bool,
    /// Look for newer versions of the images it builds on
    #[arg(long)]
    pull: bool,
    /// More options of docker build
    #[arg(last = true, value_name = "DOCKER_OPTIONS")]
    options: Vec<OsString>,
}

impl Build {
    /// Becomes docker, so that its exit code, its terminal and the signals are docker's own; returns only when docker
    /// cannot be run.
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let program = context.variable("DOCKER").unwrap_or("docker").to_owned();
        let error = Command::new(&program).args(self.arguments()).exec();
        match error.kind() {
            io::ErrorKind::NotFound => anyhow::bail!(
                "cannot find {program}: install docker, or name another program by DOCKER, such as DOCKER=podman"
            ),
            _ => anyhow::bail!("cannot run {program}: {error}"),
        }
    }

    fn arguments(self) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("build")];
        let mut option = |name: &str, value: &OsStr| {
            arguments.extend([OsString::from(name), value.to_owned()]);
        };
        for tag in &self.tags {
            option("--tag", tag);
        }
        if let Some(file) = &self.file {
            option("--file", file);
        }
        if let Some(platform) = &self.platform {
            option("--platform", platform);
        }
        if self.no_cache {
            arguments.push(OsString::from("--no-cache"));
        }
        if self.pull {
            arguments.push(OsString::from("--pull"));
        }
        arguments.extend(self.options);
        arguments.push(self.context);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        build: Build,
    }

    #[test]
    fn docker_gets_what_was_asked_for_and_the_folder_last() {
        let words = |line: &str| {
            let typed = ["build"].into_iter().chain(line.split(' '));
            let arguments = Command::parse_from(typed).build.arguments();
            let words = arguments.iter().map(|word| word.to_str().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(". -t app:v1"), "build --tag app:v1 .");
        assert_eq!(
            words("-t app:v1 -t app:latest -f D --platform linux/arm64 --no-cache --pull src"),
            "build --tag app:v1 --tag app:latest --file D --platform linux/arm64 --no-cache --pull src"
        );
        assert_eq!(
            words(". -t app:v1 -- --build-arg A=-t"),
            "build --tag app:v1 --build-arg A=-t ."
        );
    }
}
