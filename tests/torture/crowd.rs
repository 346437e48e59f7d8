//! Those who push, pull, delete, restore, share and lease at the same time, and what each of them may expect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::distribution::{Content, Image, Reply};
use crate::world::{Place, World, any_image_name, any_tag};

/// How long a client that was told that a blob is there has to push its manifest, in milliseconds.
pub(crate) const LINK_GRACE_MS: i64 = 24 * 3_600 * 1_000;

/// The ops that are still to be done, and what was done.
pub(crate) struct Work {
    pub(crate) left: AtomicU64,
    pub(crate) pushed: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) restored: AtomicU64,
    pub(crate) leased: AtomicU64,
    pub(crate) shared: AtomicU64,
    pub(crate) read: AtomicU64,
}

impl Work {
    pub(crate) fn new(operations: u64) -> Self {
        Self {
            left: AtomicU64::new(operations),
            pushed: AtomicU64::default(),
            skipped: AtomicU64::default(),
            restored: AtomicU64::default(),
            leased: AtomicU64::default(),
            shared: AtomicU64::default(),
            read: AtomicU64::default(),
        }
    }

    pub(crate) fn takes_another(&self) -> bool {
        let left = |left: u64| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        taken.is_ok()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Somebody who does one thing after the other.
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) world: Arc<World>,
    pub(crate) work: Arc<Work>,
    pub(crate) random: StdRng,
}

/// A 5xx is an answer that nobody should get, but for 503: "try again".
#[track_caller]
fn usable(reply: Reply) -> Reply {
    assert!(
        reply.status < 500 || reply.status == 503,
        "{}: {}",
        reply.status,
        reply.text()
    );
    reply
}

impl Worker {
    pub(crate) fn new(number: usize, seed: u64, world: &Arc<World>, work: &Arc<Work>) -> Self {
        Self {
            number,
            world: Arc::clone(world),
            work: Arc::clone(work),
            random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
        }
    }

    pub(crate) async fn run(mut self) {
        while self.work.takes_another() {
            match self.random.random_range(0..100) {
                0..34 => self.push().await,
                34..52 => self.pull().await,
                52..58 => self.mount().await,
                58..66 => self.delete_manifest().await,
                66..70 => self.delete_tag().await,
                70..73 => self.delete_image().await,
                73..82 => self.restore().await,
                82..85 => self.purge().await,
                85..89 => self.lease().await,
                89..93 => self.share().await,
                93..96 => self.unshare().await,
                _ => self.leave_an_upload().await,
            }
        }
    }

    /// A push as docker does it: what HEAD says is there is not sent.
    async fn push(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let (repository, disturbance) = (place.repository(number), &place.images[number]);
        let image = world.any_image(&mut self.random);
        let (began, before) = (world.clock.now(), disturbance.now());
        for blob in std::iter::once(&image.config).chain(&image.layers) {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            if usable(place.docker.head(&path).await).status == 200 {
                count(&self.work.skipped);
                continue;
            }
            let pushed = usable(place.docker.push_blob(&repository, blob).await);
            if pushed.status != 201 {
                // An alias has this name, or a change got in the way too often.
                assert!(matches!(pushed.status, 403 | 503), "{}", pushed.text());
                return;
            }
        }
        let tag = any_tag(&mut self.random);
        let put = place
            .docker
            .put_manifest(&repository, &tag, &image.manifest);
        let put = usable(put.await);
        match put.status {
            201 => count(&self.work.pushed),
            400 => {
                let waited = world.clock.now().0 - began.0;
                assert!(
                    waited >= LINK_GRACE_MS || !disturbance.quiet_since(before),
                    "after {waited} ms in a quiet image, what HEAD had found was missing: {}",
                    put.text()
                );
                return;
            }
            403 | 503 => return,
            status => panic!("{status}: {}", put.text()),
        }
        self.is_whole(place, number, &repository, &image.manifest.digest)
            .await;
    }

    /// Whoever gets a manifest gets its blobs, unless somebody takes the manifest away meanwhile.
    async fn is_whole(&self, place: &Place, number: usize, repository: &str, reference: &str) {
        let disturbance = &place.images[number];
        let before = disturbance.now();
        let manifest_path = format!("/v2/{repository}/manifests/{reference}");
        let manifest = usable(place.docker.get(&manifest_path).await);
        if manifest.status != 200 {
            return;
        }
        let manifest: Value = manifest.json();
        let layers = manifest["layers"].as_array().unwrap();
        for descriptor in layers.iter().chain([&manifest["config"]]) {
            let digest = descriptor["digest"].as_str().unwrap();
            let path = format!("/v2/{repository}/blobs/{digest}");
            let blob = usable(place.docker.get(&path).await);
            if blob.status == 200 {
                assert_eq!(Content::new(blob.body).digest, digest);
                continue;
            }
            if blob.status == 503 {
                return;
            }
            assert!(
                !disturbance.quiet_since(before),
                "{repository} has {reference} and not its {digest}: {}",
                blob.text()
            );
        }
        count(&self.work.read);
    }

    async fn pull(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let tag = any_tag(&mut self.random);
        self.is_whole(place, number, &place.repository(number), &tag)
            .await;
    }

    async fn mount(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let (from, into) = (
            any_image_name(&mut self.random),
            any_image_name(&mut self.random),
        );
        let layer = world.any_layer(&mut self.random);
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={}",
            place.repository(into),
            layer.digest,
            place.repository(from)
        );
        let mount = Reply::of(place.docker.request(reqwest::Method::POST, &path));
        let status = usable(mount.await).status;
        assert!(matches!(status, 201 | 202 | 403 | 429 | 503), "{status}");
    }

    /// The digest of a tag, if there is one.
    async fn digest(&mut self, place: &Place, number: usize) -> Option<String> {
        let tag = any_tag(&mut self.random);
        let path = format!("/v2/{}/manifests/{tag}", place.repository(number));
        let head = usable(place.docker.head(&path).await);
        (head.status == 200).then(|| head.header("docker-content-digest").to_owned())
    }

    async fn delete(&mut self, number: usize, place: &Place, path: &str) {
        let delete = place.api.delete(path);
        let answer = place.images[number].during(delete).await;
        let status = answer.status.as_u16();
        assert!(
            matches!(status, 200 | 403 | 404 | 409 | 503),
            "{:#}",
            answer.body
        );
    }

    async fn delete_manifest(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let Some(digest) = self.digest(place, number).await else {
            return;
        };
        let path = format!("/images/{}/-/manifests/{digest}", place.image(number));
        self.delete(number, place, &path).await;
    }

    async fn delete_tag(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let tag = any_tag(&mut self.random);
        let path = format!("/images/{}/-/tags/{tag}", place.image(number));
        self.delete(number, place, &path).await;
    }

    async fn delete_image(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let path = format!("/images/{}", place.image(number));
        self.delete(number, place, &path).await;
    }

    /// One of the deletions of a place: its id and the number of its image.
    async fn deletion(&mut self, place: &Place) -> Option<(String, usize)> {
        let list = place.api.get("/deletions?limit=20").await;
        if list.status == 503 {
            return None;
        }
        let list = list.expect(200);
        let items = list["items"].as_array().unwrap();
        if items.is_empty() {
            return None;
        }
        let item = &items[self.random.random_range(0..items.len())];
        let image = item["image"].as_str().unwrap();
        let number = image.strip_prefix("app")?.parse().ok()?;
        Some((item["id"].as_str().unwrap().to_owned(), number))
    }

    async fn restore(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let Some((id, number)) = self.deletion(place).await else {
            return;
        };
        let path = format!("/deletions/{id}/restore");
        let body = json!({});
        let restore = place.api.post(&path, &body);
        let answer = place.images[number].during(restore).await;
        match answer.status.as_u16() {
            200 => count(&self.work.restored),
            404 | 409 | 410 | 503 => return,
            _ => panic!("{:#}", answer.body),
        }
        let digests = answer.body["data"]["digests"].as_array().unwrap();
        for digest in digests.iter().take(3) {
            let digest = digest.as_str().unwrap();
            self.is_whole(place, number, &place.repository(number), digest)
                .await;
        }
    }

    async fn purge(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let Some((id, number)) = self.deletion(place).await else {
            return;
        };
        let path = format!("/deletions/{id}/purge");
        let body = json!({});
        let purge = place.api.post(&path, &body);
        let answer = place.images[number].during(purge).await;
        let status = answer.status.as_u16();
        assert!(matches!(status, 200 | 404 | 409 | 503), "{:#}", answer.body);
    }

    /// What is leased stays, whoever deletes.
    async fn lease(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let (image, tag) = (place.image(number), any_tag(&mut self.random));
        let holder = format!("/leases/worker/{}", self.number);
        let request = json!({"image": format!("{image}:{tag}")});
        let lease = place.api.put(&holder, &request).await;
        match lease.status.as_u16() {
            200 => count(&self.work.leased),
            403 | 404 | 409 | 503 => return,
            _ => panic!("{:#}", lease.body),
        }
        let lease = lease.expect(200);
        let digest = lease["digest"].as_str().unwrap();
        for _ in 0..self.random.random_range(1..5) {
            self.still_leased(place, number, digest).await;
        }
        let ended = place.api.delete(&holder).await;
        assert!(
            matches!(ended.status.as_u16(), 204 | 503),
            "{:#}",
            ended.body
        );
        if ended.status == 503 {
            place.api.delete(&holder).await;
        }
    }

    async fn still_leased(&self, place: &Place, number: usize, digest: &str) {
        let repository = place.repository(number);
        let path = format!("/v2/{repository}/manifests/{digest}");
        let manifest = usable(place.docker.get(&path).await);
        if manifest.status == 503 {
            return;
        }
        assert_eq!(manifest.status, 200, "{digest} of {repository} is leased");
        let manifest = manifest.json();
        let layers = manifest["layers"].as_array().unwrap();
        for descriptor in layers.iter().chain([&manifest["config"]]) {
            let blob = descriptor["digest"].as_str().unwrap();
            let path = format!("/v2/{repository}/blobs/{blob}");
            let status = usable(place.docker.head(&path).await).status;
            assert!(matches!(status, 200 | 503), "{blob} of the leased {digest}");
        }
    }

    /// Shares an image with another workspace, which reads it under a name of its own.
    async fn share(&mut self) {
        let world = Arc::clone(&self.world);
        let source = self.random.random_range(0..world.places.len());
        let target = (source + 1) % world.places.len();
        let (source, target) = (&world.places[source], &world.places[target]);
        let number = any_image_name(&mut self.random);
        let alias = format!("from-{}-{number}", source.team.workspace);
        let mut request = json!({"targetWorkspace": target.team.workspace, "alias": alias});
        if source.account_id != target.account_id {
            request["targetAccountId"] = json!(target.account_id);
        }
        let path = format!("/images/{}/-/share", source.image(number));
        let share = source.api.post(&path, &request).await;
        match share.status.as_u16() {
            200 => {}
            202 => {
                let id = share.expect(202)["pendingShareId"]
                    .as_str()
                    .map(str::to_owned);
                if let Some(id) = id {
                    let path = format!("/pending-image-shares/{id}/accept");
                    let accept = target.api.post(&path, &json!({})).await;
                    let status = accept.status.as_u16();
                    assert!(matches!(status, 200 | 404 | 409 | 503), "{:#}", accept.body);
                }
            }
            403 | 404 | 409 | 503 => return,
            _ => panic!("{:#}", share.body),
        }
        count(&self.work.shared);
        let repository = format!("{}/{alias}", target.team.prefix);
        let tag = any_tag(&mut self.random);
        // Who reads by the alias is disturbed by what happens to the source.
        let before = source.images[number].now();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let manifest = usable(target.docker.get(&path).await);
        if manifest.status != 200 {
            return;
        }
        let manifest = manifest.json();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let blob = usable(
            target
                .docker
                .get(&format!("/v2/{repository}/blobs/{layer}"))
                .await,
        );
        let is_fine = matches!(blob.status, 200 | 503);
        assert!(
            is_fine || !source.images[number].quiet_since(before),
            "{repository}: {}",
            blob.text()
        );
    }

    async fn unshare(&mut self) {
        let world = Arc::clone(&self.world);
        let source = self.random.random_range(0..world.places.len());
        let target = (source + 1) % world.places.len();
        let (source, target) = (&world.places[source], &world.places[target]);
        let number = any_image_name(&mut self.random);
        let (image, target) = (source.image(number), &target.team.workspace);
        let path = format!("/images/{image}/-/share/{target}?force=true");
        let ended = source.images[number].during(source.api.delete(&path)).await;
        let status = ended.status.as_u16();
        assert!(
            matches!(status, 200 | 403 | 404 | 409 | 503),
            "{:#}",
            ended.body
        );
    }

    /// An upload that nobody completes.
    async fn leave_an_upload(&mut self) {
        let world = Arc::clone(&self.world);
        let place = world.any_place(&mut self.random);
        let number = any_image_name(&mut self.random);
        let path = format!("/v2/{}/blobs/uploads/", place.repository(number));
        let open = Reply::of(place.docker.request(reqwest::Method::POST, &path));
        let open = usable(open.await);
        if open.status != 202 {
            return;
        }
        let location = open.header("location").to_owned();
        let patch = usable(place.docker.patch(&location, "half of it").await);
        if self.random.random_bool(0.3) && patch.status == 202 {
            usable(place.docker.delete(&location).await);
        }
    }
}

/// An image that a test pushes to see that everything works again.
pub(crate) async fn pushes_again(place: &Place, image: &Image) {
    let repository = format!("{}/afterwards", place.team.prefix);
    place.docker.push_image(&repository, "v1", image).await;
}
