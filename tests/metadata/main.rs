//! What the metadata layer promises, on every database that this machine has.
//!
//! Each contract is one function and runs as `sqlite::…` and `postgres::…`, on a database of its own. Times are given,
//! never waited for; the two exceptions say why. The plans of the hot statements are looked at last and alone, because
//! the statements are recorded for the whole process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a contract that cannot set itself up has failed"
)]

mod audit;
mod blobs;
mod collection;
mod counters;
mod deletions;
mod fixture;
mod images;
mod leases;
mod links;
mod manifests;
mod memory;
mod objects;
mod plans;
mod plans_of_pages;
mod referrers;
mod repositories;
mod schema;
mod shares;
#[path = "../support/mod.rs"]
mod support;
mod tags;
mod tour_of_lists;
mod transactions;
mod uploads;
mod uploads_idle;

use std::future::Future;
use std::pin::Pin;

use libtest_mimic::{Arguments, Trial};

use fixture::Fixture;
use support::database::TestDatabase;

/// Contracts mostly wait for their database to be made, so more of them run at once than there are cores.
const CONTRACTS_AT_ONCE: usize = 6;

/// A promise, as a function that panics where it is broken.
pub(crate) struct Contract {
    name: &'static str,
    hold: fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// The contracts of one module.
macro_rules! contracts {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn contracts() -> Vec<crate::Contract> {
            vec![$(crate::Contract {
                name: concat!(module_path!(), "::", stringify!($name)),
                hold: |fixture| Box::pin($name(fixture)),
            }),*]
        }
    };
}
pub(crate) use contracts;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(CONTRACTS_AT_ONCE);
    plans::record();
    let contracts = [
        repositories::contracts,
        tags::contracts,
        manifests::contracts,
        referrers::contracts,
        blobs::contracts,
        links::contracts,
        collection::contracts,
        objects::contracts,
        uploads::contracts,
        uploads_idle::contracts,
        transactions::contracts,
        memory::contracts,
        images::contracts,
        counters::contracts,
        audit::contracts,
        shares::contracts,
        leases::contracts,
        deletions::contracts,
        schema::contracts,
    ];
    let conclusion = libtest_mimic::run(&arguments, trials(&contracts));
    if conclusion.has_failed() {
        conclusion.exit();
    }
    arguments.test_threads = Some(1);
    libtest_mimic::run(
        &arguments,
        trials(&[plans::contracts, plans_of_pages::contracts]),
    )
    .exit();
}

fn trials(topics: &[fn() -> Vec<Contract>]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for database in TestDatabase::available() {
        for contract in topics.iter().flat_map(|contracts| contracts()) {
            trials.push(trial(database, &contract));
        }
    }
    trials
}

fn trial(database: TestDatabase, contract: &Contract) -> Trial {
    let topic = contract
        .name
        .trim_start_matches(concat!(env!("CARGO_CRATE_NAME"), "::"));
    let hold = contract.hold;
    Trial::test(format!("{}::{topic}", database.as_str()), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async move { hold(Fixture::open(database).await).await });
        Ok(())
    })
}
