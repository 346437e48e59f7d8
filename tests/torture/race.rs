//! Pushes, pulls, deletions, restores, purges, shares, leases and several collectors, all at the same time, while the
//! clock runs through days. What each client may expect is asserted while it runs; what must be left over, at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::crowd::{LINK_GRACE_MS, Work, Worker, pushes_again};
use crate::setting;
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::image;
use crate::world::World;

const WORKERS: usize = 8;
const COLLECTORS: usize = 3;
/// The operations of the short form.
const OPERATIONS: u64 = 1_000;
const HOUR_MS: i64 = 3_600 * 1_000;
/// How long a deletion can be undone, in seconds.
const UNDO_WINDOW_SECONDS: u64 = 2 * 86_400;

/// What there may be none of when all windows are over, and how it is counted.
const LEFT_OVERS: [(&str, &str); 7] = [
    (
        "links that no manifest needs",
        "SELECT COUNT(*) FROM links WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs \
         WHERE manifest_blobs.repository_id = links.repository_id AND manifest_blobs.blob_digest = links.digest)",
    ),
    (
        "blobs without links",
        "SELECT COUNT(*) FROM blobs WHERE digest NOT IN (SELECT digest FROM links)",
    ),
    (
        "objects that are not live",
        "SELECT COUNT(*) FROM objects WHERE state <> 'live'",
    ),
    (
        "objects without blobs",
        "SELECT COUNT(*) FROM objects WHERE key NOT IN (SELECT object_key FROM blobs)",
    ),
    ("sessions", "SELECT COUNT(*) FROM uploads"),
    (
        "deleted manifests",
        "SELECT COUNT(*) FROM manifests WHERE deletion_id IS NOT NULL",
    ),
    (
        "contents without manifests",
        "SELECT COUNT(*) FROM manifest_contents WHERE digest NOT IN (SELECT digest FROM manifests)",
    ),
];

/// The clock runs: days pass while the crowd works, an hour at a time at most.
async fn run_the_clock(world: Arc<World>, work: Arc<Work>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = u64::MAX;
    loop {
        let left = work.left.load(Ordering::SeqCst);
        if left == 0 {
            return;
        }
        // Some minutes for each operation, whatever the machine.
        if seen.saturating_sub(left) >= 20 || seen == u64::MAX {
            world.clock.advance(random.random_range(0..HOUR_MS));
            seen = left;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn collect(world: &World) -> Value {
    let round = world
        .operator
        .post("/collection/run?force=true", &json!({}))
        .await;
    if round.status == 503 {
        return Value::Null;
    }
    round.expect(200)
}

async fn race(database: TestDatabase) {
    let operations = setting("BERTH_TORTURE_OPERATIONS", OPERATIONS);
    let seed = setting("BERTH_TORTURE_SEED", 1);
    println!("{database:?}: {operations} operations, BERTH_TORTURE_SEED={seed}");
    let registry = TestRegistry::start_with(database, |config| {
        config.collection.workers = 2;
        config.collection.undo_window_seconds = UNDO_WINDOW_SECONDS;
        config.collection.link_grace_seconds = u64::try_from(LINK_GRACE_MS / 1_000).unwrap();
        config.limits.open_uploads_per_workspace = 1_000_000;
    })
    .await;
    let world = World::make(&registry).await;
    let work = Arc::new(Work::new(operations));
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(tokio::spawn(Worker::new(number, seed, &world, &work).run()));
    }
    let clock = tokio::spawn(run_the_clock(Arc::clone(&world), Arc::clone(&work), seed));
    let collectors: Vec<_> = (0..COLLECTORS)
        .map(|_| {
            let (world, over) = (Arc::clone(&world), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    collect(&world).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    clock.await.unwrap();
    over.store(true, Ordering::SeqCst);
    for collector in collectors {
        collector.await.unwrap();
    }
    // The race was one: all of it happened.
    for (what, counter) in [
        ("pushes", &work.pushed),
        ("skipped blobs", &work.skipped),
        ("whole reads", &work.read),
        ("restores", &work.restored),
        ("leases", &work.leased),
        ("shares", &work.shared),
    ] {
        let number = counter.load(Ordering::SeqCst);
        println!("{database:?}: {number} {what}");
        assert!(number > 0, "{what}");
    }
    settle(&registry, &world).await;
}

/// When all windows are over, what is left is what is needed, and all of it is whole.
async fn settle(registry: &TestRegistry, world: &World) {
    // The undo window, a grace to be condemned, another to go, and the delay of the object; each round sees what the
    // one before has made due.
    for _ in 0..8 {
        world.clock.advance(25 * HOUR_MS);
        for _ in 0..6 {
            collect(world).await;
        }
    }
    for (what, statement) in LEFT_OVERS {
        assert_eq!(registry.number(statement).await, 0, "{what}");
    }
    let findings = world.operator.findings(true, false).await;
    assert!(findings.is_empty(), "{findings:?}");
    for place in &world.places {
        place.docker.pull_everything().await;
        pushes_again(place, &image().layer("afterwards").build()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_kept_too_long() {
    for database in TestDatabase::available() {
        race(database).await;
    }
}
