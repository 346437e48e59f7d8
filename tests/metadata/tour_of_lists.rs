//! The part of the tour of hot statements that is about lists, and what is counted and gathered for them.

use berth::metadata::{
    EgressRow, ImageFilter, ImageSettings, NamePage, PullRow, Repository, TagPage,
};
use berth::oci::ImmutableTags;
use berth_storage::Digest;

use crate::fixture::{Fixture, START, WORKSPACE, tag};

/// Everything once.
pub(crate) async fn lists(fixture: &Fixture, repository: &Repository, digest: &Digest) {
    let metadata = &fixture.metadata;
    let page = NamePage {
        start: "t-1111/",
        last: "",
        limit: 10,
    };
    for filter in [
        ImageFilter::Every,
        ImageFilter::SharedIn,
        ImageFilter::SharedOut,
        ImageFilter::NotShared,
    ] {
        let names = metadata.names_of(WORKSPACE, filter, &page, START);
        names.await.unwrap();
    }
    metadata.platform_names("t-2222", &page).await.unwrap();
    let names = [repository.name.clone()];
    metadata.image_rows(&names, WORKSPACE, START).await.unwrap();
    for page in [
        TagPage::Newest(None),
        TagPage::ByName(String::new()),
        TagPage::Only(tag("latest")),
    ] {
        let rows = metadata.tag_rows(repository.id, &page, Some(WORKSPACE), START, 10);
        rows.await.unwrap();
    }
    metadata
        .manifest_facts(repository.id, digest)
        .await
        .unwrap();
    let latest = tag("latest");
    metadata.tag_target(repository.id, &latest).await.unwrap();
    let history = metadata.tag_history(repository.id, &latest, None, 10);
    history.await.unwrap();
    metadata.usage(WORKSPACE).await.unwrap();
    metadata.usage_of_all("", 10).await.unwrap();
    let settings = ImageSettings {
        protected: false,
        immutable_tags: ImmutableTags::default(),
        is_platform: false,
    };
    fixture
        .change(async |change| change.set_image(repository, &settings).await)
        .await
        .unwrap();
    let count = metadata.count_image(repository.id).await.unwrap().unwrap();
    metadata.count_images_after(None, 10).await.unwrap();
    metadata.store_image_counts(&[count], START).await.unwrap();
    let count = metadata.count_workspace(WORKSPACE).await.unwrap();
    let store = metadata.store_workspace_count(WORKSPACE, &count, START);
    store.await.unwrap();
    metadata.workspace_of_prefix("t-1111").await.unwrap();
    metadata.workspace_ids_after("", 10).await.unwrap();
    let pull = PullRow {
        repository: repository.id,
        tag: Some(latest),
        at: START,
    };
    metadata.record_pulls(&[pull]).await.unwrap();
    let lost = metadata.forget_pulls_of_lost_tags(repository.id, 10);
    lost.await.unwrap();
    let egress = EgressRow {
        reader: String::from(WORKSPACE),
        owner: String::from(WORKSPACE),
        bytes: 1,
    };
    metadata.record_egress(&[egress]).await.unwrap();
}
