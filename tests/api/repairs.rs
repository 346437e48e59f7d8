//! A push of bytes that are here already: nothing changes, unless those that are here are damaged.

use std::path::{Path, PathBuf};

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::Content;
use crate::support::process::files;

const REPOSITORY: &str = "t-main/app";

fn objects(registry: &TestRegistry) -> Vec<PathBuf> {
    files(&registry.data_dir().join("blobs/objects"))
}

#[tokio::test]
async fn a_blob_whose_bytes_are_gone_or_cut_short_is_whole_after_the_next_push() {
    let gone = |object: &Path| std::fs::remove_file(object).unwrap();
    let cut_short = |object: &Path| {
        let object = std::fs::File::options().write(true).open(object).unwrap();
        object.set_len(3).unwrap();
    };
    for database in [TestDatabase::one_server()] {
        for damage in [&gone as &dyn Fn(&Path), &cut_short] {
            let registry = TestRegistry::start_on(database).await;
            let docker = registry.with_key(&registry.main_key());
            let blob = Content::new("some bytes");
            let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
            docker.push_blob(REPOSITORY, &blob).await.expect(201);
            docker.get(&path).await.expect(200);
            damage(&objects(&registry)[0]);
            docker.get(&path).await.expect(500);
            docker.push_blob(REPOSITORY, &blob).await.expect(201);
            assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
        }
    }
}

#[tokio::test]
async fn a_blob_that_is_pushed_again_stays_where_it_is() {
    for database in [TestDatabase::one_server()] {
        let registry = TestRegistry::start_on(database).await;
        let docker = registry.with_key(&registry.main_key());
        let blob = Content::new("some bytes");
        docker.push_blob(REPOSITORY, &blob).await.expect(201);
        let first = objects(&registry);
        docker.push_blob("t-main/other", &blob).await.expect(201);
        // What the second push brought is given up; the object that is read is still the first one.
        std::fs::remove_file(&first[0]).unwrap();
        for repository in [REPOSITORY, "t-main/other"] {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            docker.get(&path).await.expect(500);
        }
    }
}
