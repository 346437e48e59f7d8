//! The small world of the race: few workspaces, images, tags and contents, so that everything meets everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth::clock::Clock;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::support::calls::Api;
use crate::support::distribution::{Content, Distribution, Image, image};
use crate::support::{Team, TestRegistry};

const IMAGES: usize = 3;
const TAGS: usize = 4;
const LAYERS: usize = 10;
const LABELS: usize = 6;

/// What is being done to one image now, so that two looks at it can be compared: a manifest may go between them only
/// if somebody takes it away.
#[derive(Default)]
pub(crate) struct Disturbance {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Disturbance {
    /// What was begun and ended so far; equal numbers say that it is quiet.
    pub(crate) fn now(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::SeqCst);
        (self.begun.load(Ordering::SeqCst), ended)
    }

    /// Whether nothing was under way at `before`, and nothing was begun since.
    pub(crate) fn quiet_since(&self, before: (u64, u64)) -> bool {
        before.0 == before.1 && self.begun.load(Ordering::SeqCst) == before.0
    }

    pub(crate) async fn during<T>(&self, change: impl Future<Output = T>) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let outcome = change.await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        outcome
    }
}

/// One workspace and who works in it.
pub(crate) struct Place {
    pub(crate) team: Team,
    pub(crate) account_id: String,
    pub(crate) api: Api,
    pub(crate) docker: Distribution,
    pub(crate) images: [Disturbance; IMAGES],
}

impl Place {
    pub(crate) fn image(&self, image: usize) -> String {
        format!("app{image}")
    }

    pub(crate) fn repository(&self, image: usize) -> String {
        format!("{}/app{image}", self.team.prefix)
    }
}

/// Everything that the workers share.
pub(crate) struct World {
    pub(crate) places: Vec<Place>,
    pub(crate) layers: Vec<Content>,
    pub(crate) clock: Clock,
    pub(crate) operator: Api,
}

impl World {
    /// Two workspaces of one account and one of another.
    pub(crate) async fn make(registry: &TestRegistry) -> Arc<Self> {
        let operator = registry.operator();
        let name = serde_json::json!({"name": "other"});
        operator.post("/accounts", &name).await.expect(201);
        let mut places = Vec::new();
        for (account, workspace) in [("main", "alpha"), ("main", "beta"), ("other", "gamma")] {
            let team = registry.team_in(account, workspace).await;
            let api = registry.api(&team.admin_key);
            let who = api.get("/whoami").await.expect(200);
            places.push(Place {
                account_id: who["accountId"].as_str().unwrap().to_owned(),
                docker: registry.with_key(&team.admin_key),
                api,
                team,
                images: Default::default(),
            });
        }
        let layers = (0..LAYERS).map(|layer| Content::new(format!("layer {layer}").repeat(50)));
        Arc::new(Self {
            places,
            layers: layers.collect(),
            clock: registry.clock.clone(),
            operator,
        })
    }

    pub(crate) fn any_place(&self, random: &mut StdRng) -> &Place {
        &self.places[random.random_range(0..self.places.len())]
    }

    pub(crate) fn any_layer(&self, random: &mut StdRng) -> &Content {
        &self.layers[random.random_range(0..self.layers.len())]
    }

    /// One of a few images, so that many of them are pushed again and again.
    pub(crate) fn any_image(&self, random: &mut StdRng) -> Image {
        let label = random.random_range(0..LABELS);
        let mut image = image().config(format!(r#"{{"label":{label}}}"#));
        for _ in 0..random.random_range(1..3) {
            image = image.layer(self.any_layer(random).bytes.clone());
        }
        image.build()
    }
}

pub(crate) fn any_image_name(random: &mut StdRng) -> usize {
    random.random_range(0..IMAGES)
}

pub(crate) fn any_tag(random: &mut StdRng) -> String {
    format!("v{}", random.random_range(0..TAGS))
}
