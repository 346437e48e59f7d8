//! Checks of the storage: what is damaged is found and set aside, and the next push heals it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Image, image};
use crate::support::process::files;

const REPOSITORY: &str = "t-main/app";

fn objects(registry: &TestRegistry) -> Vec<PathBuf> {
    files(&registry.data_dir().join("blobs/objects"))
}

/// The file that holds these bytes.
fn object_of(registry: &TestRegistry, content: &Content) -> PathBuf {
    let found = objects(registry)
        .into_iter()
        .find(|file| fs::read(file).unwrap() == content.bytes);
    found.unwrap()
}

/// What happens to the file of an object.
type Damage<'a> = &'a dyn Fn(&Path);

fn an_image() -> Image {
    image().layer("a layer").build()
}

#[tokio::test]
async fn an_installation_in_order_has_no_findings() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let docker = registry.with_key(&registry.main_key());
        docker.push_image(REPOSITORY, "v1", &an_image()).await;
        // An upload that is open has an object without bytes, which is in order.
        let location = docker.open_upload(REPOSITORY).await;
        docker.patch(&location, "some bytes").await.expect(202);
        assert_eq!(
            registry.operator().findings(true, true).await,
            Vec::<Value>::new()
        );
        let operator = registry.operator();
        let slice = operator.post("/checks", &json!({"hash": true})).await;
        let slice = slice.expect(200);
        assert!(slice["examined"].as_u64().unwrap() >= 2, "{slice}");
        assert!(slice["hashedBytes"].as_u64().unwrap() > 0, "{slice}");
    }
}

#[tokio::test]
async fn a_damaged_blob_is_set_aside_and_healed_by_the_next_push() {
    let gone = |object: &Path| fs::remove_file(object).unwrap();
    let cut_short = |object: &Path| {
        let object = File::options().write(true).open(object).unwrap();
        object.set_len(3).unwrap();
    };
    let changed = |object: &Path| fs::write(object, "a LAYER").unwrap();
    let damages: [(Damage<'_>, &str, Value); 3] = [
        (&gone, "missing", Value::Null),
        (&cut_short, "wrong_size", json!(3)),
        (&changed, "wrong_content", json!(7)),
    ];
    for database in [TestDatabase::one_server()] {
        for (damage, problem, found) in &damages {
            let registry = TestRegistry::start_on(database).await;
            let docker = registry.with_key(&registry.main_key());
            let image = an_image();
            docker.push_image(REPOSITORY, "v1", &image).await;
            let layer = &image.layers[0];
            let path = format!("/v2/{REPOSITORY}/blobs/{}", layer.digest);
            docker.head(&path).await.expect(200);
            damage(&object_of(&registry, layer));

            // Without a repair it is only told.
            let findings = registry.operator().findings(true, false).await;
            let [finding] = &findings[..] else {
                panic!("{problem}: {findings:?}");
            };
            assert_eq!(finding["problem"], **problem);
            assert_eq!(finding["digest"], *layer.digest);
            assert_eq!(finding["expectedBytes"], 7);
            assert_eq!(finding["foundBytes"], *found);
            assert_eq!(finding["repositories"], json!([REPOSITORY]));
            assert_eq!(finding["repaired"], false);
            docker.head(&path).await.expect(200);

            let findings = registry.operator().findings(true, true).await;
            assert_eq!(findings[0]["repaired"], true);
            docker.head(&path).await.expect(404);
            docker.get(&path).await.expect(404);
            let other = "/v2/t-main/other/blobs/uploads/";
            let mount = format!("{other}?mount={}&from={REPOSITORY}", layer.digest);
            let mount = docker.request(reqwest::Method::POST, &mount).send();
            assert_eq!(
                mount.await.unwrap().status(),
                202,
                "there is nothing to mount"
            );
            let manifest = docker.put_manifest(REPOSITORY, "v2", &image.manifest).await;
            assert_eq!(manifest.status, 400, "{}", manifest.text());

            // The next push of the same image brings the bytes anew, and the old manifest is whole again.
            docker.push_image(REPOSITORY, "v2", &image).await;
            assert_eq!(docker.get(&path).await.expect(200).body, layer.bytes);
            assert_eq!(
                registry.operator().findings(true, false).await,
                Vec::<Value>::new()
            );
        }
    }
}

#[tokio::test]
async fn a_blob_that_is_whole_again_is_taken_back() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let docker = registry.with_key(&registry.main_key());
    let image = an_image();
    docker.push_image(REPOSITORY, "v1", &image).await;
    let layer = &image.layers[0];
    let path = format!("/v2/{REPOSITORY}/blobs/{}", layer.digest);
    let object = object_of(&registry, layer);
    let aside = registry.data_dir().join("aside");
    fs::rename(&object, &aside).unwrap();
    registry.operator().findings(false, true).await;
    docker.head(&path).await.expect(404);
    // What is known to be damaged goes on being told.
    let findings = registry.operator().findings(false, true).await;
    assert_eq!(findings[0]["setAside"], true);
    assert_eq!(findings[0]["repaired"], false);

    // The size alone is not enough to be taken back.
    fs::write(&object, "a LAYER").unwrap();
    let findings = registry.operator().findings(false, true).await;
    assert_eq!(findings[0]["problem"], "wrong_content");
    fs::rename(&aside, &object).unwrap();
    let findings = registry.operator().findings(false, false).await;
    assert_eq!(findings[0]["problem"], "recovered");
    docker.head(&path).await.expect(404);
    registry.operator().findings(false, true).await;
    assert_eq!(docker.get(&path).await.expect(200).body, layer.bytes);
    assert_eq!(
        registry.operator().findings(false, true).await,
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn an_object_that_nothing_knows_is_deleted_by_a_repair() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let docker = registry.with_key(&registry.main_key());
    docker.push_image(REPOSITORY, "v1", &an_image()).await;
    let key = "ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11";
    let stray = registry.data_dir().join("blobs/objects/ab").join(key);
    fs::write(&stray, "nobody's").unwrap();
    let findings = registry.operator().findings(false, false).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["problem"], "unknown");
    assert_eq!(findings[0]["object"], key);
    assert_eq!(findings[0]["foundBytes"], 8);
    let findings = registry.operator().findings(false, true).await;
    assert_eq!(findings[0]["repaired"], true);
    assert!(stray.exists(), "collection deletes it, after its delay");
    assert_eq!(
        registry.operator().findings(false, false).await,
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn a_check_of_many_objects_comes_in_slices() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let folder = registry.data_dir().join("blobs/objects/00");
    for number in 0..1_500 {
        let key = format!("00000000-0000-4000-8000-{number:012}");
        fs::write(folder.join(key), "").unwrap();
    }
    let operator = registry.operator();
    let (mut cursor, mut keys) = (Value::Null, Vec::new());
    loop {
        let slice = operator.post("/checks", &json!({"cursor": cursor})).await;
        let slice = slice.expect(200);
        let findings = slice["findings"].as_array().unwrap();
        // So many end a slice; so does time, where a machine is slow.
        assert!(findings.len() <= 200, "{}", findings.len());
        let objects = findings.iter().map(|finding| finding["object"].as_str());
        keys.extend(objects.map(|object| object.unwrap().to_owned()));
        cursor = slice["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(keys.len(), 1_500);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 1_500, "each is told once");
}

#[tokio::test]
async fn only_operators_check_and_only_with_a_cursor_of_a_check() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let admin = registry.api(&registry.main_key());
    let refused = admin.post("/checks", &json!({})).await;
    refused.expect_error(403, "forbidden");
    let operator = registry.operator();
    for cursor in ["", "eA", "nonsense"] {
        let refused = operator.post("/checks", &json!({"cursor": cursor})).await;
        let message = refused.expect_error(400, "bad_request");
        assert!(message.contains("nextCursor"), "{message}");
    }
}

#[tokio::test]
async fn a_storage_that_is_not_there_damages_no_blob() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let docker = registry.with_key(&registry.main_key());
    let image = an_image();
    docker.push_image(REPOSITORY, "v1", &image).await;
    // As when a disk is not mounted, and the folder below it shows.
    let (blobs, aside) = (
        registry.data_dir().join("blobs"),
        registry.data_dir().join("aside"),
    );
    fs::rename(&blobs, &aside).unwrap();
    for folder in 0..=255 {
        fs::create_dir_all(blobs.join(format!("objects/{folder:02x}"))).unwrap();
    }
    let request = json!({"repair": true});
    let refused = registry.operator().post("/checks", &request).await;
    let message = refused.expect_error(409, "conflict");
    assert!(message.contains("mounted"), "{message}");
    fs::remove_dir_all(&blobs).unwrap();
    fs::rename(&aside, &blobs).unwrap();
    assert_eq!(
        registry.operator().findings(true, false).await,
        Vec::<Value>::new()
    );
}
