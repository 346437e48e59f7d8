//! What lists say of images and tags: which, in which order, and to whom.

use berth::metadata::{
    ImageFilter, ImageRow, ImageSettings, NamePage, NewLease, NewShare, Repository, ShareStatus,
    TagPage, TagRow,
};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    ACTOR, Fixture, OTHER_WORKSPACE, START, TestManifest, WORKSPACE, tag, tag_change,
};

contracts![
    names_are_filtered_by_whom_they_are_shared_with,
    names_that_begin_so_are_listed_after_the_last_one,
    images_of_everybody_are_listed_but_for_the_own,
    an_image_says_more_to_its_owner,
    settings_are_seen_under_every_name,
    manifests_weigh_what_they_need,
    an_index_weighs_what_is_there_of_it,
    platforms_stay_known,
    tags_come_newest_first_or_by_name,
    a_tag_knows_where_it_pointed,
];

async fn image(fixture: &Fixture, workspace: &str, name: &str) -> Repository {
    let repository = fixture.repository_of(workspace, name).await;
    fixture
        .change(async |change| change.become_image(&repository, START).await)
        .await
        .unwrap();
    fixture.repository_of(workspace, name).await
}

/// Shares an image of the first workspace with the second one.
async fn share(fixture: &Fixture, repository: &Repository, alias: &str, status: ShareStatus) {
    let id = format!("share of {alias}");
    let share = NewShare {
        id: &id,
        repository: repository.id,
        source_workspace_id: WORKSPACE,
        target_workspace_id: OTHER_WORKSPACE,
        status,
        alias: &alias.parse().unwrap(),
        actor: ACTOR,
        now: START,
        expires_at: (status == ShareStatus::Pending).then(|| START.plus(10)),
    };
    let name = format!("t-2222/{alias}").parse().unwrap();
    fixture
        .change(async |change| {
            change.insert_share(&share).await?;
            if status == ShareStatus::Active {
                change.claim_alias(&name, repository.id, &id).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
}

async fn names(fixture: &Fixture, workspace: &str, filter: ImageFilter, at: i64) -> Vec<String> {
    let start = if workspace == WORKSPACE {
        "t-1111/"
    } else {
        "t-2222/"
    };
    let page = NamePage {
        start,
        last: "",
        limit: 100,
    };
    let names = fixture
        .metadata
        .names_of(workspace, filter, &page, START.plus(at));
    names
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

async fn names_are_filtered_by_whom_they_are_shared_with(fixture: Fixture) {
    for name in ["t-1111/active", "t-1111/alone", "t-1111/pending"] {
        image(&fixture, WORKSPACE, name).await;
    }
    fixture.repository("t-1111/no-image-yet").await;
    image(&fixture, OTHER_WORKSPACE, "t-2222/own").await;
    for (name, status) in [
        ("pending", ShareStatus::Pending),
        ("active", ShareStatus::Active),
    ] {
        let repository = fixture.repository(&format!("t-1111/{name}")).await;
        share(&fixture, &repository, &format!("from/{name}"), status).await;
    }
    use ImageFilter::{Every, NotShared, SharedIn, SharedOut};
    let of_one = [
        (
            Every,
            0,
            vec!["t-1111/active", "t-1111/alone", "t-1111/pending"],
        ),
        (SharedIn, 0, vec![]),
        (SharedOut, 0, vec!["t-1111/active", "t-1111/pending"]),
        (SharedOut, 10, vec!["t-1111/active"]),
        (NotShared, 0, vec!["t-1111/alone"]),
        (NotShared, 10, vec!["t-1111/alone", "t-1111/pending"]),
    ];
    for (filter, at, expected) in of_one {
        assert_eq!(
            names(&fixture, WORKSPACE, filter, at).await,
            expected,
            "{filter:?}"
        );
    }
    let of_two = [
        (Every, vec!["t-2222/from/active", "t-2222/own"]),
        (SharedIn, vec!["t-2222/from/active"]),
        (SharedOut, vec![]),
        (NotShared, vec!["t-2222/own"]),
    ];
    for (filter, expected) in of_two {
        assert_eq!(
            names(&fixture, OTHER_WORKSPACE, filter, 0).await,
            expected,
            "{filter:?}"
        );
    }
}

async fn names_that_begin_so_are_listed_after_the_last_one(fixture: Fixture) {
    for name in ["a", "ab", "ab/c", "ab0", "abz", "ac", "b"] {
        image(&fixture, WORKSPACE, &format!("t-1111/{name}")).await;
    }
    let listed = async |start: &str, last: &str, limit| -> Vec<String> {
        let start = format!("t-1111/{start}");
        let page = NamePage {
            start: &start,
            last,
            limit,
        };
        let names = fixture
            .metadata
            .names_of(WORKSPACE, ImageFilter::Every, &page, START);
        let names = names.await.unwrap();
        names
            .iter()
            .map(|name| name.image().unwrap().to_string())
            .collect()
    };
    assert_eq!(listed("ab", "", 9).await, ["ab", "ab/c", "ab0", "abz"]);
    assert_eq!(listed("ab", "t-1111/ab/c", 1).await, ["ab0"]);
    assert_eq!(listed("", "t-1111/abz", 9).await, ["ac", "b"]);
    assert_eq!(listed("c", "", 9).await, Vec::<String>::new());
    // A cursor from before the start does not widen what is asked for.
    assert_eq!(listed("b", "t-1111/a", 9).await, ["b"]);
}

fn everybodys() -> ImageSettings {
    ImageSettings {
        protected: true,
        immutable_tags: "v*".parse().unwrap(),
        is_platform: true,
    }
}

async fn set(fixture: &Fixture, repository: &Repository) {
    fixture
        .change(async |change| change.set_image(repository, &everybodys()).await)
        .await
        .unwrap();
}

async fn images_of_everybody_are_listed_but_for_the_own(fixture: Fixture) {
    for (workspace, name) in [
        (WORKSPACE, "t-1111/base"),
        (WORKSPACE, "t-1111/tools"),
        (OTHER_WORKSPACE, "t-2222/base"),
    ] {
        set(&fixture, &image(&fixture, workspace, name).await).await;
    }
    image(&fixture, WORKSPACE, "t-1111/private").await;
    let listed = async |own: &str, start: &str, last: &str| -> Vec<String> {
        let page = NamePage {
            start,
            last,
            limit: 10,
        };
        let names = fixture.metadata.platform_names(own, &page).await.unwrap();
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(listed("t-1111", "", "").await, ["t-2222/base"]);
    assert_eq!(
        listed("t-2222", "", "").await,
        ["t-1111/base", "t-1111/tools"]
    );
    assert_eq!(listed("t-2222", "t-1111/t", "").await, ["t-1111/tools"]);
    assert_eq!(listed("t-2222", "", "t-1111/base").await, ["t-1111/tools"]);
}

async fn row(fixture: &Fixture, workspace: &str, name: &str) -> Option<ImageRow> {
    let names = [name.parse().unwrap(), "t-1111/nothing".parse().unwrap()];
    let rows = fixture.metadata.image_rows(&names, workspace, START);
    rows.await.unwrap().pop()
}

async fn an_image_says_more_to_its_owner(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let digest = fixture.manifest(repository.id, "one", &[]).await;
    let fresh = row(&fixture, WORKSPACE, "t-1111/app").await.unwrap();
    // What was never counted is counted here.
    assert_eq!(
        (fresh.tags, fresh.size_bytes, fresh.pushed_at),
        (0, 3, None)
    );
    assert_eq!(fresh.created_at, START);
    share(&fixture, &repository, "theirs", ShareStatus::Active).await;
    for (workspace, holder, end) in [
        (WORKSPACE, "ours", 10),
        (WORKSPACE, "ended", 0),
        (OTHER_WORKSPACE, "theirs", 10),
    ] {
        let lease = NewLease {
            workspace_id: workspace,
            holder,
            repository: repository.id,
            name: &"t-1111/app".parse().unwrap(),
            digest: &digest,
            image: "app",
            actor: ACTOR,
            now: START,
            expires_at: START.plus(end),
        };
        fixture
            .change(async |change| change.put_lease(&lease).await)
            .await
            .unwrap();
    }
    let count = fixture.metadata.count_image(repository.id).await.unwrap();
    let counts = [count.unwrap()];
    fixture
        .metadata
        .store_image_counts(&counts, START)
        .await
        .unwrap();
    let ours = row(&fixture, WORKSPACE, "t-1111/app").await.unwrap();
    assert_eq!((ours.shares, ours.leases, ours.size_bytes), (1, 2, 3));
    assert_eq!(
        (ours.owner.as_str(), ours.owner_account_id.as_str()),
        ("one", "account")
    );
    assert_eq!(ours.pushed_at, Some(START));
    let theirs = row(&fixture, OTHER_WORKSPACE, "t-2222/theirs")
        .await
        .unwrap();
    assert_eq!((theirs.shares, theirs.leases, theirs.size_bytes), (0, 1, 3));
    assert_eq!(theirs.owner_id, WORKSPACE);
    assert_eq!(theirs.repository, repository.id);
}

async fn settings_are_seen_under_every_name(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    share(&fixture, &repository, "theirs", ShareStatus::Active).await;
    let names = ["t-1111/app", "t-2222/theirs"];
    for (is_set, settings) in [(false, None), (true, Some(everybodys()))] {
        if let Some(settings) = settings {
            fixture
                .change(async |change| change.set_image(&repository, &settings).await)
                .await
                .unwrap();
        }
        for name in names {
            let found = fixture.metadata.repository(&name.parse().unwrap()).await;
            let found = found.unwrap().unwrap();
            assert_eq!((found.protected, found.is_platform), (is_set, is_set));
            assert_eq!(found.immutable_tags.hold(&tag("v1")), is_set);
            let row = row(&fixture, OTHER_WORKSPACE, name).await.unwrap();
            assert_eq!((row.protected, row.is_platform), (is_set, is_set));
        }
    }
}

async fn rows(fixture: &Fixture, repository: &Repository, page: TagPage) -> Vec<TagRow> {
    let rows = fixture
        .metadata
        .tag_rows(repository.id, &page, None, START, 100);
    rows.await.unwrap()
}

async fn size(fixture: &Fixture, repository: &Repository, digest: &Digest) -> u64 {
    let facts = fixture.metadata.manifest_facts(repository.id, digest);
    facts.await.unwrap().unwrap().size_bytes
}

async fn manifests_weigh_what_they_need(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let blobs = [
        fixture.blob(repository.id, "0123456789").await,
        fixture.blob(repository.id, "01234").await,
    ];
    let digest = fixture.manifest(repository.id, "one", &blobs).await;
    assert_eq!(size(&fixture, &repository, &digest).await, 18);
    // From before the column was there.
    let forget = "UPDATE manifests SET total_bytes = NULL, platforms = NULL";
    fixture.execute(forget).await.unwrap();
    assert_eq!(size(&fixture, &repository, &digest).await, 3);
    let other = image(&fixture, WORKSPACE, "t-1111/other").await;
    let facts = fixture.metadata.manifest_facts(other.id, &digest).await;
    assert!(facts.unwrap().is_none(), "another repository's");
}

async fn an_index_weighs_what_is_there_of_it(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let blob = fixture.blob(repository.id, "0123456789").await;
    let here = fixture.manifest(repository.id, "here", &[blob]).await;
    let later = TestManifest::new("later!").needing(&[blob]);
    let index = TestManifest::new("index").index_of(&[here, later.digest()]);
    let digest = fixture
        .change(async |change| index.put(change, repository.id, START).await)
        .await
        .unwrap();
    assert_eq!(size(&fixture, &repository, &digest).await, 5 + 14);
    fixture.manifest(repository.id, "later!", &[blob]).await;
    assert_eq!(size(&fixture, &repository, &digest).await, 5 + 14 + 16);
}

async fn platforms_stay_known(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let mut manifest = TestManifest::new("one");
    let digest = manifest.digest();
    let linux = vec![String::from("linux/amd64")];
    for (platforms, known) in [
        (None, vec![]),
        (Some(linux.clone()), linux.clone()),
        // The configuration could not be read this time.
        (None, linux),
        (Some(vec![]), vec![]),
    ] {
        manifest.platforms = platforms;
        fixture
            .change(async |change| manifest.put(change, repository.id, START).await)
            .await
            .unwrap();
        let facts = fixture.metadata.manifest_facts(repository.id, &digest);
        assert_eq!(facts.await.unwrap().unwrap().platforms, known);
    }
}

async fn tags_come_newest_first_or_by_name(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let digest = fixture.manifest(repository.id, "one", &[]).await;
    // Two of one millisecond, of which the name decides.
    for (name, at) in [("b", 1), ("z", 2), ("a", 2), ("c", 3)] {
        let name = tag(name);
        let put = tag_change(repository.id, &name, START.plus(at));
        fixture
            .change(async |change| change.put_tag(&put, &digest).await)
            .await
            .unwrap();
    }
    let listed = async |page: TagPage| -> Vec<String> {
        let rows = rows(&fixture, &repository, page).await;
        rows.iter().map(|row| row.name.to_string()).collect()
    };
    let after = |at, name: &str| TagPage::Newest(Some((START.plus(at), name.to_owned())));
    assert_eq!(listed(TagPage::Newest(None)).await, ["c", "z", "a", "b"]);
    assert_eq!(listed(after(2, "z")).await, ["a", "b"]);
    assert_eq!(listed(after(2, "a")).await, ["b"]);
    assert_eq!(listed(after(1, "b")).await, Vec::<String>::new());
    let by_name = |last: &str| TagPage::ByName(last.to_owned());
    assert_eq!(listed(by_name("")).await, ["a", "b", "c", "z"]);
    assert_eq!(listed(by_name("b")).await, ["c", "z"]);
    assert_eq!(listed(TagPage::Only(tag("a"))).await, ["a"]);
    assert_eq!(listed(TagPage::Only(tag("x"))).await, Vec::<String>::new());
    let row = rows(&fixture, &repository, TagPage::Only(tag("a")))
        .await
        .remove(0);
    assert_eq!(row.manifest.digest, digest);
    assert_eq!(
        (row.created_at, row.updated_at),
        (START.plus(2), START.plus(2))
    );
    assert_eq!(row.last_pulled_at, None);
}

async fn a_tag_knows_where_it_pointed(fixture: Fixture) {
    let repository = image(&fixture, WORKSPACE, "t-1111/app").await;
    let name = tag("latest");
    let mut digests = Vec::new();
    for at in 0..3 {
        let digest = fixture.manifest(repository.id, &format!("{at}"), &[]).await;
        let put = tag_change(repository.id, &name, START.plus(at));
        fixture
            .change(async |change| change.put_tag(&put, &digest).await)
            .await
            .unwrap();
        digests.push(digest);
    }
    let (metadata, id) = (&fixture.metadata, repository.id);
    let present = metadata.tag_target(id, &name).await.unwrap().unwrap();
    assert_eq!(
        (present.digest, present.set_at),
        (digests[2], START.plus(2))
    );
    assert_eq!(
        (present.id, present.ended_by, present.ended_at),
        (None, None, None)
    );
    let history = metadata.tag_history(id, &name, None, 10).await.unwrap();
    let past: Vec<_> = history
        .iter()
        .map(|target| (target.digest, target.set_at, target.ended_at.unwrap()))
        .collect();
    let expected = [
        (digests[1], START.plus(1), START.plus(2)),
        (digests[0], START, START.plus(1)),
    ];
    assert_eq!(past, expected);
    assert_eq!(history[0].ended_by.as_deref(), Some(ACTOR));
    let rest = metadata.tag_history(id, &name, history[0].id, 10).await;
    assert_eq!(rest.unwrap().len(), 1);
    let other = metadata.tag_target(id, &tag("other")).await.unwrap();
    assert!(other.is_none());
}
