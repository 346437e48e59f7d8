//! The OCI distribution specification as black-box cases over HTTP.
//!
//! Owns the list of trials. Knows nothing of any server's insides: a target is an address, a user and a repository prefix. Every case works in a
//! repository of its own, so all of them may run at once against one server.
//!
//! `BERTH_CONFORMANCE_URL` points the suite at any other registry, with `BERTH_CONFORMANCE_USER`, `…_PASSWORD`, `…_PREFIX` (default `conformance`),
//! `…_NAME` (default `foreign`) and `…_IS_BERTH=true` to ask for Berth's own promises there too.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Builder, Handle};

use crate::case::{Case, Failure, Level};
use crate::client::Registry;
use crate::repository::Repository;

mod auth;
mod case;
mod client;
mod conditions;
mod content;
mod digests;
mod errors;
mod interruptions;
mod management;
mod manifests;
mod mounts;
mod names;
mod pull;
mod push;
mod ranges;
mod raw;
mod references;
mod referrers;
mod repository;
#[path = "../support/mod.rs"]
mod support;
mod tag_parameters;
mod tags;
mod target;
mod tokens;
mod uploads;

/// Cases mostly wait for the network, so more of them run at once than there are cores.
const DEFAULT_CASES_AT_ONCE: usize = 8;

/// A category's name and its cases.
type Category = (&'static str, fn() -> Vec<Case>);

const CATEGORIES: [Category; 17] = [
    ("auth", auth::cases),
    ("conditions", conditions::cases),
    ("digests", digests::cases),
    ("errors", errors::cases),
    ("interruptions", interruptions::cases),
    ("management", management::cases),
    ("manifests", manifests::cases),
    ("mounts", mounts::cases),
    ("names", names::cases),
    ("pull", pull::cases),
    ("push", push::cases),
    ("ranges", ranges::cases),
    ("references", references::cases),
    ("referrers", referrers::cases),
    ("tag_parameters", tag_parameters::cases),
    ("tags", tags::cases),
    ("uploads", uploads::cases),
];

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(DEFAULT_CASES_AT_ONCE));
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;

    let (targets, servers) = runtime.block_on(target::targets());
    let mut trials = Vec::new();
    for target in targets {
        let registry = Arc::new(runtime.block_on(Registry::connect(target))?);
        for (category, cases) in CATEGORIES {
            trials.extend(
                cases()
                    .into_iter()
                    .map(|case| trial(&registry, category, case, runtime.handle())),
            );
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _inside = runtime.enter();
    drop(servers);
    Ok(conclusion.exit_code())
}

fn trial(registry: &Arc<Registry>, category: &str, case: Case, runtime: &Handle) -> Trial {
    let is_berth = registry.target.is_berth;
    let name = format!("{}::{category}::{}", registry.target.name, case.name);
    let (registry, runtime) = (Arc::clone(registry), runtime.clone());
    Trial::ignorable_test(name, move || {
        let repository = Repository::fresh(registry, case.name);
        match runtime.block_on((case.run)(repository)) {
            Ok(()) => Ok(Completion::Completed),
            Err(Failure::NotOffered(reason)) if !is_berth => Ok(Completion::ignored_with(reason)),
            Err(Failure::NotOffered(reason) | Failure::Wrong(reason)) => Err(Failed::from(
                format!("{}: {}\n  {reason}", case.level, case.says),
            )),
        }
    })
    .with_ignored_flag(case.level == Level::Berth && !is_berth)
}
