//! Lists of referrers: order, filter, and pages by number and by bytes.

use berth::metadata::RepositoryId;
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{Fixture, START, TestManifest, digest_of};

contracts![
    referrers_come_in_the_order_of_their_digests_whatever_the_page,
    referrers_are_filtered_by_artifact_type,
    a_page_of_referrers_ends_before_its_bytes_are_too_many,
    one_referrer_is_sent_however_large_it_is,
    deleted_and_foreign_referrers_are_not_listed,
];

const NO_LIMIT: usize = usize::MAX;

/// A referrer of `subject`, whose descriptor is `length` bytes long.
async fn refer(
    fixture: &Fixture,
    repository: RepositoryId,
    subject: &Digest,
    content: &str,
    artifact_type: &'static str,
    length: usize,
) -> Digest {
    let mut manifest = TestManifest::new(content);
    manifest.subject = Some((*subject, Some(artifact_type), "d".repeat(length)));
    fixture
        .change(async |change| manifest.put(change, repository, START).await)
        .await
        .unwrap()
}

async fn referrers_come_in_the_order_of_their_digests_whatever_the_page(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let subject = digest_of("a subject that was never pushed");
    let mut expected = Vec::new();
    for i in 0..9 {
        let content = format!("referrer {i}");
        expected.push(refer(&fixture, repository.id, &subject, &content, "a/b", 10).await);
    }
    expected.sort_unstable();
    for page in [1_u32, 2, 3, 8, 9, 10] {
        let mut listed: Vec<Digest> = Vec::new();
        loop {
            let last = listed.last().map(ToString::to_string).unwrap_or_default();
            let (rows, more) = fixture
                .metadata
                .referrers(repository.id, &subject, None, &last, page, NO_LIMIT)
                .await
                .unwrap();
            assert!(rows.len() <= page as usize);
            listed.extend(rows.iter().map(|row| row.digest));
            assert_eq!(more, listed.len() < expected.len(), "pages of {page}");
            if !more {
                break;
            }
        }
        assert_eq!(listed, expected, "pages of {page}");
    }
}

async fn referrers_are_filtered_by_artifact_type(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let subject = fixture.manifest(repository.id, "subject", &[]).await;
    let signature = refer(&fixture, repository.id, &subject, "1", "a/signature", 10).await;
    refer(&fixture, repository.id, &subject, "2", "a/sbom", 10).await;
    for (artifact_type, expected) in [("a/signature", vec![signature]), ("a/SIGNATURE", vec![])] {
        let (rows, more) = fixture
            .metadata
            .referrers(
                repository.id,
                &subject,
                Some(artifact_type),
                "",
                10,
                NO_LIMIT,
            )
            .await
            .unwrap();
        let listed: Vec<_> = rows.iter().map(|row| row.digest).collect();
        assert_eq!((listed, more), (expected, false), "{artifact_type}");
    }
}

async fn a_page_of_referrers_ends_before_its_bytes_are_too_many(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let subject = digest_of("subject");
    for i in 0..5 {
        let content = format!("referrer {i}");
        refer(&fixture, repository.id, &subject, &content, "a/b", 100).await;
    }
    for (limit_bytes, expected) in [(299, 2), (300, 3), (301, 3), (499, 4), (500, 5)] {
        let (rows, more) = fixture
            .metadata
            .referrers(repository.id, &subject, None, "", 10, limit_bytes)
            .await
            .unwrap();
        assert_eq!(
            (rows.len(), more),
            (expected, expected < 5),
            "{limit_bytes}"
        );
    }
}

async fn one_referrer_is_sent_however_large_it_is(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let subject = digest_of("subject");
    refer(&fixture, repository.id, &subject, "large", "a/b", 1_000).await;
    let (rows, more) = fixture
        .metadata
        .referrers(repository.id, &subject, None, "", 10, 10)
        .await
        .unwrap();
    assert_eq!((rows.len(), more), (1, false));
    assert_eq!(rows[0].descriptor.len(), 1_000);
}

async fn deleted_and_foreign_referrers_are_not_listed(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let subject = digest_of("subject");
    let kept = refer(&fixture, repository.id, &subject, "kept", "a/b", 10).await;
    let deleted = refer(&fixture, repository.id, &subject, "deleted", "a/b", 10).await;
    refer(&fixture, other.id, &subject, "foreign", "a/b", 10).await;
    refer(
        &fixture,
        repository.id,
        &digest_of("another"),
        "else",
        "a/b",
        10,
    )
    .await;
    fixture.delete_manifest(&repository, &deleted, START).await;
    let (rows, more) = fixture
        .metadata
        .referrers(repository.id, &subject, None, "", 10, NO_LIMIT)
        .await
        .unwrap();
    let listed: Vec<_> = rows.iter().map(|row| row.digest).collect();
    assert_eq!((listed, more), (vec![kept], false));
}
