//! How the databases answer the statements of the hot path: by an index, never by reading a whole table.
//!
//! The statements are not copied here: sqlx says what it runs, and the layer is driven through its own doors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use sqlx::AssertSqlSafe;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use berth::metadata::{
    DeletionKind, Direction, LeaseFilter, LinkTimes, MetadataError, NewAuditEvent, NewDeletion,
    NewLease, NewShare, Repository, ShareStatus, Transaction,
};

use crate::contracts;
use crate::fixture::{
    ACTOR, Fixture, OTHER_WORKSPACE, Rows, START, TestManifest, WORKSPACE, new_blob, open_deletion,
    tag, tag_change,
};
use crate::tour_of_lists::lists;
use crate::uploads::taken;

contracts![no_hot_statement_reads_a_whole_table];

/// The collector's look at all sessions, made once and only when an object is past its time. An index for it would cost
/// every session.
const LOOK_AT_ALL_SESSIONS: &str =
    "UPDATE objects SET state = 'doomed', due_at = $1 WHERE state = 'writing'";

/// Statements, and how often each was run.
static RECORDED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Begins to write down what the databases are asked.
pub(crate) fn record() {
    tracing_subscriber::registry().with(Recorder).init();
}

struct Recorder;

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut Statement);
    }
}

struct Statement;

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        // The summary has the first words, the statement the whole text unless that is all there is.
        let value = value.trim();
        if field.name() == "db.statement" && !value.is_empty() {
            let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
            *recorded.entry(value.to_owned()).or_default() += 1;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// What the databases were asked since the last time.
pub(crate) fn recorded() -> BTreeMap<String, u32> {
    std::mem::take(&mut *RECORDED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What pulls, pushes, deletions and the collector do.
async fn tour(fixture: &Fixture) {
    let metadata = &fixture.metadata;
    let repository = fixture.repository("t-1111/app").await;
    let upload = taken(fixture).await;
    let blob = new_blob("layer");
    let latest = tag("latest");
    let saved = metadata
        .save_upload(upload.id, upload.epoch, &upload.progress, START)
        .await;
    assert!(saved.unwrap());
    let mut manifest = TestManifest::new("one").needing(&[blob.digest]);
    manifest.subject = Some((blob.digest, Some("a/b"), String::from("{}")));
    let index = TestManifest::new("index").index_of(&[manifest.digest()]);
    let put = tag_change(repository.id, &latest, START);
    let push = fixture.change(async |change| {
        let name = &repository.name;
        let repository = change.ensure_repository(WORKSPACE, name, START).await?.id;
        change.record_object(blob.object_key, None, START).await?;
        change.store_blob(&blob, None, START, START).await?;
        change.link(repository, &blob.digest, START).await?;
        change.has_link(repository, &blob.digest).await?;
        change
            .finish_upload(upload.id, upload.object_key, &blob.digest, START)
            .await?;
        change
            .lock_tags(repository, &BTreeSet::from([latest.clone()]))
            .await?;
        for manifest in [&manifest, &index] {
            let digest = manifest.put(change, repository, START).await?;
            change
                .present_manifests(repository, &manifest.children)
                .await?;
            change.put_tag(&put, &digest).await?;
        }
        change.tag(repository, &latest).await
    });
    push.await.unwrap();
    let digest = manifest.digest();
    metadata.repository(&repository.name).await.unwrap();
    metadata.tag(repository.id, &latest).await.unwrap();
    metadata.manifest(repository.id, &digest).await.unwrap();
    metadata.manifest_bytes(&digest).await.unwrap();
    metadata
        .linked_blob(repository.id, &blob.digest)
        .await
        .unwrap();
    metadata.stored_blob(&blob.digest).await.unwrap();
    metadata.tags(repository.id, "", 10).await.unwrap();
    metadata.image_names("t-1111", "", 10).await.unwrap();
    let referrers = metadata.referrers(repository.id, &blob.digest, Some("a/b"), "", 10, 10);
    referrers.await.unwrap();
    let mounts = metadata.repositories_with_blob(WORKSPACE, &blob.digest, 10);
    mounts.await.unwrap();
    rights(fixture).await;
    audit(fixture).await;
    share_and_lease(fixture, &manifest).await;
    undo_and_purge(fixture).await;
    lists(fixture, &repository, &digest).await;
    delete_and_collect(fixture, &manifest, &index).await;
}

async fn rights(fixture: &Fixture) {
    let metadata = &fixture.metadata;
    metadata.workspace(WORKSPACE).await.unwrap();
    metadata.workspace_by_name("one").await.unwrap();
    metadata.workspace_by_prefix("t-1111").await.unwrap();
    metadata.api_key("key").await.unwrap();
    metadata.api_key_by_hash("hash").await.unwrap();
    metadata.api_keys(WORKSPACE, "", 10).await.unwrap();
    metadata
        .is_credential_revoked(WORKSPACE, "id")
        .await
        .unwrap();
    let used = [(String::from("key"), START)];
    metadata.record_api_key_uses(&used).await.unwrap();
    metadata.pull_secret("secret").await.unwrap();
    metadata.pull_secret_by_hash("hash").await.unwrap();
    for workspace_id in [None, Some(WORKSPACE)] {
        let page = metadata.pull_secrets(workspace_id, "", 10);
        page.await.unwrap();
    }
    metadata.record_pull_secret_uses(&used).await.unwrap();
    fixture
        .change(async |change| {
            for workspace_id in [None, Some(WORKSPACE)] {
                change.count_pull_secrets(workspace_id).await?;
                change.forget_ended_pull_secret(workspace_id, START).await?;
            }
            change.use_token("token", START).await?;
            change.purge_used_tokens(START, 10).await?;
            change.purge_pull_secrets(START, 10).await?;
            change.purge_revocations(START, 10).await
        })
        .await
        .unwrap();
}

async fn audit(fixture: &Fixture) {
    let event = NewAuditEvent::new(START, Some(WORKSPACE), ACTOR, "thing.change", "a thing");
    let change = fixture.change(async |change| {
        change.audit(&event).await?;
        change.remove_audit_events(START, 10).await
    });
    change.await.unwrap();
    for workspace_id in [None, Some(WORKSPACE)] {
        let page = fixture.metadata.audit_events(workspace_id, Some(7), 10);
        page.await.unwrap();
    }
}

async fn share_and_lease(fixture: &Fixture, manifest: &TestManifest) {
    let metadata = &fixture.metadata;
    let repository = fixture.repository("t-1111/app").await.id;
    let (alias, digest) = ("t-2222/alias".parse().unwrap(), manifest.digest());
    let share = NewShare {
        id: "share",
        repository,
        source_workspace_id: WORKSPACE,
        target_workspace_id: OTHER_WORKSPACE,
        status: ShareStatus::Pending,
        alias: &"alias".parse().unwrap(),
        actor: ACTOR,
        now: START,
        expires_at: Some(START),
    };
    let lease = NewLease {
        workspace_id: OTHER_WORKSPACE,
        holder: "web",
        repository,
        name: &"t-1111/app".parse().unwrap(),
        digest: &digest,
        image: "alias:latest",
        actor: ACTOR,
        now: START,
        expires_at: START,
    };
    let filter = LeaseFilter {
        repository,
        digest: Some(&digest),
        workspace_id: Some(OTHER_WORKSPACE),
        but_not_of: Some(WORKSPACE),
    };
    let change = fixture.change(async |change| {
        change.count_shares_of(WORKSPACE, START).await?;
        change.insert_share(&share).await?;
        change.share("share").await?;
        change.share_to(repository, OTHER_WORKSPACE).await?;
        change.shares_of(repository, START, 10).await?;
        change.activate_share("share", share.alias).await?;
        change.claim_alias(&alias, repository, "share").await?;
        change.count_leases(OTHER_WORKSPACE, START).await?;
        change.lease(OTHER_WORKSPACE, "web", START).await?;
        change.put_lease(&lease).await?;
        change.lease_holders(&filter, START, 10).await?;
        change.is_rooted(repository, &digest, START, START).await?;
        change.end_lease(OTHER_WORKSPACE, "web", START).await?;
        change.forget_ended_leases(START, 10).await?;
        change.end_leases_of(OTHER_WORKSPACE).await?;
        change.end_shares_to(OTHER_WORKSPACE).await?;
        change.end_share("share").await?;
        change.forget_expired_shares(START, 10).await
    });
    change.await.unwrap();
    let shares = metadata.shares_of(repository, "", START, 10);
    shares.await.unwrap();
    for direction in [Direction::Incoming, Direction::Outgoing] {
        let pending = metadata.pending_shares(WORKSPACE, direction, "", START, 10);
        pending.await.unwrap();
    }
    metadata.leases(WORKSPACE, "", START, 10).await.unwrap();
    metadata.lease(WORKSPACE, "web", START).await.unwrap();
}

/// Of an image of its own: all of it goes in the end.
async fn undo_and_purge(fixture: &Fixture) {
    let metadata = &fixture.metadata;
    let repository = fixture.repository("t-1111/gone").await;
    let blob = fixture.blob(repository.id, "gone").await;
    let digest = fixture.manifest(repository.id, "gone", &[blob]).await;
    let id = fixture.delete_manifest(&repository, &digest, START).await;
    let change = fixture.change(async |change| {
        change.tags_of(repository.id, None, "", 10).await?;
        change.tags_of(repository.id, Some(&digest), "", 10).await?;
        change.counted_size(repository.id).await?;
        change.deletion_of_repository(repository.id).await?;
        change.tags_in_the_way(&id, 10).await?;
        change.restore_manifests(repository.id, &id, START).await?;
        change.restore_tags(repository.id, &id, START).await?;
        change.restore_links(repository.id, &id, START).await?;
        change.forget_deletion(&id).await?;
        for kind in [
            DeletionKind::Tag,
            DeletionKind::Blob,
            DeletionKind::Manifest,
            DeletionKind::Image,
        ] {
            purge(change, &repository, kind).await?;
        }
        change.forget_purged(START, 10).await
    });
    change.await.unwrap();
    metadata.deletions(WORKSPACE, None, 10).await.unwrap();
    metadata.due_deletions(START, 10).await.unwrap();
}

async fn purge(
    change: &mut Transaction,
    repository: &Repository,
    kind: DeletionKind,
) -> Result<(), MetadataError> {
    let id = change
        .open_deletion(&NewDeletion {
            workspace_id: WORKSPACE,
            repository: repository.id,
            name: &repository.name,
            kind,
            subject: "a test",
            tags: &[],
            digests: &[],
            bytes: 0,
            actor: ACTOR,
            now: START,
            restorable_until: START,
        })
        .await?;
    if kind == DeletionKind::Image {
        change
            .remove_repository(repository.id, &repository.name, &id)
            .await?;
        change
            .restore_repository(repository.id, WORKSPACE, &repository.name)
            .await?;
        change
            .remove_repository(repository.id, &repository.name, &id)
            .await?;
    }
    change.end_undo(&id, START).await?;
    let deletion = change.deletion(WORKSPACE, &id).await?.unwrap();
    change.leases_on_deletion(&deletion, START, 10).await?;
    assert!(change.purge(&deletion, START, START, 10).await?);
    Ok(())
}

async fn delete_and_collect(fixture: &Fixture, manifest: &TestManifest, index: &TestManifest) {
    let metadata = &fixture.metadata;
    let repository = fixture.repository("t-1111/app").await;
    let blob = manifest.blobs.first().copied().unwrap();
    let latest = tag("latest");
    let deletion = fixture.change(async |change| {
        let deletion = open_deletion(change, &repository, START).await?;
        let gone = tag_change(repository.id, &latest, START);
        change.remove_tag(&gone, &deletion).await?;
        change
            .indexes_of(repository.id, &manifest.digest(), 5)
            .await?;
        for digest in [index.digest(), manifest.digest()] {
            change
                .remove_manifest(repository.id, &digest, &deletion, START)
                .await?;
        }
        change
            .manifests_needing_blob(repository.id, &blob, 5)
            .await?;
        change.remove_link(repository.id, &blob, &deletion).await
    });
    deletion.await.unwrap();
    let upload = taken(fixture).await;
    metadata.may_open_upload(WORKSPACE, 0).await.unwrap();
    metadata.idle_uploads(START, START, 10).await.unwrap();
    metadata.unused_names(START, 10).await.unwrap();
    let unfinished = fixture.repository("t-1111/unfinished").await;
    let forgotten = fixture.change(async |change| {
        change
            .forget_unused_name(unfinished.id, &unfinished.name)
            .await
    });
    assert!(forgotten.await.unwrap());
    metadata.expire_upload(&upload, START).await.unwrap();
    metadata.close_upload(upload.id, None, START).await.unwrap();
    metadata.time().await.unwrap();
    let times = LinkTimes {
        now: START,
        waiting_since: START,
        object_due: START,
    };
    // The first time it is condemned, the second time it goes.
    fixture.blob(repository.id, "nobody's").await;
    for _ in 0..2 {
        let collected = fixture.change(async |change| change.collect_links(&times, 10).await);
        assert!(collected.await.unwrap().seen > 0);
    }
    fixture
        .change(async |change| {
            let doomed = change.take_doomed_objects(START, START, 10).await?;
            change.postpone_object(doomed[0].key, START).await?;
            change
                .take_due_deletions(START.plus(2_000), START, 10)
                .await?;
            change.doom_abandoned_objects(false, START).await?;
            change.forget_object(upload.object_key).await
        })
        .await
        .unwrap();
}

/// How a database would run a statement; `None` where it cannot say without knowing the types of the parameters.
pub(crate) async fn plan(rows: &mut Rows, statement: &str) -> Option<Vec<String>> {
    match rows {
        Rows::Sqlite(connection) => {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let steps: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(connection).await.unwrap();
            Some(steps.into_iter().map(|(_, _, _, step)| step).collect())
        }
        Rows::Postgres(connection) => {
            let parameters = (1..20)
                .filter(|n| statement.contains(&format!("${n}")))
                .count();
            // Numbers, where the server cannot tell by itself.
            let numbers = format!(" ({})", vec!["bigint"; parameters].join(", "));
            let prepare =
                |types: &str| AssertSqlSafe(format!("PREPARE statement{types} AS {statement}"));
            if sqlx::raw_sql(prepare(""))
                .execute(&mut *connection)
                .await
                .is_err()
            {
                let prepared = sqlx::raw_sql(prepare(&numbers))
                    .execute(&mut *connection)
                    .await;
                prepared.ok()?;
            }
            let nulls = vec!["NULL"; parameters].join(", ");
            let nulls = if nulls.is_empty() {
                nulls
            } else {
                format!("({nulls})")
            };
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE statement{nulls}"));
            let steps = sqlx::query_scalar(explain)
                .fetch_all(&mut *connection)
                .await;
            sqlx::raw_sql("DEALLOCATE statement")
                .execute(connection)
                .await
                .unwrap();
            Some(steps.unwrap())
        }
    }
}

/// Whether a plan reads a whole table. PostgreSQL is told not to, and then does so only where no index helps.
pub(crate) fn reads_everything(rows: &Rows, plan: &[String]) -> bool {
    match rows {
        Rows::Sqlite(_) => {
            // What a part of the statement itself came to is no table.
            let words = ["CO-ROUTINE ", "MATERIALIZE "];
            let is_part = |name: &str| {
                let mut steps = plan.iter();
                steps.any(|step| {
                    words
                        .iter()
                        .any(|word| step.strip_prefix(word) == Some(name))
                })
            };
            plan.iter().any(|step| {
                step.strip_prefix("SCAN ").is_some_and(|rest| {
                    !rest.contains("VIRTUAL TABLE")
                        && !rest.contains("CONSTANT ROW")
                        && !is_part(rest)
                })
            })
        }
        Rows::Postgres(_) => {
            let count = |word: &str| plan.iter().filter(|step| step.contains(word)).count();
            let by_index = count("Scan using") + count("Bitmap Index Scan");
            count("Seq Scan") > 0 || by_index > count("Index Cond")
        }
    }
}

/// So many rows that to read all of an index costs more than to look into the right place.
const CROWD: [&str; 4] = [
    "INSERT INTO workspaces (id, name, account_id, prefix, created_at) \
     SELECT 'id-' || n, 'name-' || n, 'account', 'prefix-' || n, 0 FROM generate_series(1, 2000) n",
    "INSERT INTO repositories (workspace_id, name, created_at, image_at) \
     SELECT 'id-' || n, 'prefix-' || n || '/app', 0, 0 FROM generate_series(1, 2000) n",
    "INSERT INTO names (name, repository_id) SELECT name, id FROM repositories WHERE workspace_id LIKE 'id-%'",
    "INSERT INTO deletions (id, workspace_id, repository, kind, subject, deleted_by, deleted_at, restorable_until) \
     SELECT 'id-' || n, 'id-' || n, 'prefix-' || n || '/app', 'tag', 'v1', 'key:one', 0, 0 \
     FROM generate_series(1, 2000) n",
];

/// PostgreSQL says what it would do for any parameters, and reads a whole table only where no index helps.
pub(crate) async fn prefer_indexes(rows: &mut Rows) {
    if matches!(rows, Rows::Postgres(_)) {
        for setting in [
            "plan_cache_mode = force_generic_plan",
            "enable_seqscan = off",
        ] {
            rows.execute(&format!("SET {setting}")).await.unwrap();
        }
    }
}

async fn no_hot_statement_reads_a_whole_table(fixture: Fixture) {
    recorded();
    tour(&fixture).await;
    let statements = recorded();
    let mut rows = fixture.rows().await;
    if !fixture.is_sqlite() {
        for statement in CROWD {
            rows.execute(statement).await.unwrap();
        }
        for table in ["workspaces", "repositories", "names", "deletions"] {
            let analyze = format!("ANALYZE {table}");
            rows.execute(&analyze).await.unwrap();
        }
    }
    prefer_indexes(&mut rows).await;
    let (mut seen, mut scans) = (0, Vec::new());
    for statement in statements.keys() {
        let verb = statement.split_whitespace().next().unwrap_or_default();
        if !["SELECT", "INSERT", "UPDATE", "DELETE"].contains(&verb) {
            continue;
        }
        let Some(plan) = plan(&mut rows, statement).await else {
            assert_eq!(
                verb, "INSERT",
                "only inserts keep their plan to themselves: {statement}"
            );
            continue;
        };
        seen += 1;
        if reads_everything(&rows, &plan) && !statement.starts_with(LOOK_AT_ALL_SESSIONS) {
            scans.push(format!("{statement}\n    {}", plan.join("\n    ")));
        }
    }
    assert!(seen > 40, "{seen} statements are not all: {statements:#?}");
    assert!(scans.is_empty(), "{}", scans.join("\n\n"));
}
