//! The command line on images, from end to end: the real program against the real server.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::distribution::{Distribution, Login, image};
use crate::support::process::{Folder, Process};

/// A person with a key, at a shell.
struct Person<'a> {
    server: &'a Process,
    key: String,
    docker: Distribution,
}

impl<'a> Person<'a> {
    fn new(server: &'a Process, key: String) -> Self {
        let docker = server.docker().with(Login::key(&key));
        Self {
            server,
            key,
            docker,
        }
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(line.split(' '))
            .env_clear()
            .env("BERTH_URL", &self.server.url)
            .env("BERTH_API_KEY", &self.key)
            .output()
            .unwrap()
    }

    /// What a command prints that succeeds.
    #[track_caller]
    fn says(&self, line: &str) -> String {
        let output = self.run(line);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{line}: {notes}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for programs.
    #[track_caller]
    fn answers(&self, line: &str) -> Value {
        serde_json::from_str(&self.says(&format!("{line} -o json"))).unwrap()
    }

    /// What a command that fails says of it.
    #[track_caller]
    fn is_refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Pulls a manifest: the status, and its digest.
    async fn pulls(&self, repository: &str, reference: &str) -> (u16, String) {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let reply = self.docker.get(&path).await;
        (
            reply.status,
            reply.header("docker-content-digest").to_owned(),
        )
    }
}

/// The text of a field.
#[track_caller]
fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

/// The workspaces `shop` and `site` of one account, and `partner` of another.
fn three_teams(server: &Process) -> [Person<'_>; 3] {
    let operator = Person::new(server, server.folder().secret("operator.key"));
    for account in ["acme", "globex"] {
        operator.says(&format!("account create {account}"));
    }
    [("shop", "acme"), ("site", "acme"), ("partner", "globex")].map(|(name, account)| {
        let workspace = format!("workspace create {name} --account {account} --team-key {name}");
        operator.says(&workspace);
        let key = format!("api-key create admin --role admin --workspace {name}");
        Person::new(server, text(&operator.answers(&key), "key"))
    })
}

/// How often, and after which pause, it is looked whether numbers have followed a change.
const COUNT_TRIES: u32 = 1_200;
const COUNT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

#[tokio::test]
async fn an_image_is_shared_pulled_taken_back_deleted_and_restored_by_commands() {
    let server = Folder::new().start(&[]);
    let [shop, site, partner] = three_teams(&server);
    let (first, second) = (
        image().layer("first").build(),
        image().layer("second").build(),
    );
    let pushed = (200, first.manifest.digest.clone());
    shop.docker
        .push_image("t-shop/team/app", "v1", &first)
        .await;
    let names = shop.answers("image ls");
    assert_eq!(names[0]["name"], "team/app");
    let newest = shop.says("image show team/app --latest");
    assert!(newest.ends_with("/t-shop/team/app:v1\n"), "{newest}");

    let told = shop.says("image share team/app --workspace site");
    assert!(told.contains("called team/app"), "{told}");
    assert_eq!(site.pulls("t-site/team/app", "v1").await, pushed);
    let account = text(&partner.answers("whoami"), "accountId");
    let told = shop.says(&format!(
        "image share team/app --workspace partner --account {account}"
    ));
    let id = text(&partner.answers("share ls")[0], "id");
    assert!(told.contains(&format!("berth share accept {id}")), "{told}");
    assert_eq!(shop.answers("share ls --outgoing")[0]["id"], id.as_str());
    partner.says(&format!("share accept {id} --alias vendor/app"));
    assert_eq!(partner.pulls("t-partner/vendor/app", "v1").await, pushed);
    let again = partner.is_refused(&format!("share accept {id}"));
    assert!(again.starts_with("error: "), "{again}");

    shop.docker
        .push_image("t-shop/team/app", "v2", &second)
        .await;
    for (person, repository) in [
        (&site, "t-site/team/app"),
        (&partner, "t-partner/vendor/app"),
    ] {
        let (status, digest) = person.pulls(repository, "v2").await;
        assert_eq!(
            (status, digest.as_str()),
            (200, second.manifest.digest.as_str())
        );
    }
    shop.says("image tag team/app:v1 stable");
    assert_eq!(site.pulls("t-site/team/app", "stable").await, pushed);
    let moved = format!(
        "image tag team/app:v2 stable --if-match {}",
        second.manifest.digest
    );
    assert!(shop.is_refused(&moved).contains("precondition_failed"));

    let held = shop.is_refused("image rm team/app --yes");
    assert!(held.contains("site") && held.contains("partner"), "{held}");
    assert!(held.contains("hint: "), "{held}");
    site.says("lease set template/front team/app:v1 --expires-in 7d");
    let held = shop.is_refused("image unshare team/app --workspace site");
    assert!(held.contains("template/front"), "{held}");
    site.says("lease rm template/front");
    for other in ["site", "partner"] {
        shop.says(&format!("image unshare team/app --workspace {other}"));
    }
    // The server that ended a share knows it at once.
    assert_eq!(site.pulls("t-site/team/app", "v1").await.0, 404);
    assert_eq!(partner.pulls("t-partner/vendor/app", "v1").await.0, 404);

    let told = shop.says("image rm team/app --yes");
    assert_eq!(shop.pulls("t-shop/team/app", "v1").await.0, 404);
    let id = text(&shop.answers("deletions ls")[0], "id");
    assert!(
        told.contains(&format!("berth deletions restore {id}")),
        "{told}"
    );
    shop.says(&format!("deletions restore {id}"));
    assert_eq!(shop.pulls("t-shop/team/app", "v1").await, pushed);
    // Counted in the background, a moment after the change.
    let mut counted = shop.answers("usage");
    for _ in 0..COUNT_TRIES {
        if counted["images"] == 1 {
            break;
        }
        tokio::time::sleep(COUNT_PAUSE).await;
        counted = shop.answers("usage");
    }
    assert_eq!(counted["images"], 1);
    let events = shop.answers("audit --limit 5");
    assert_eq!(events.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn protected_images_and_unusable_references_are_told_by_exit_codes() {
    let server = Folder::new().start(&[]);
    let [shop, site, _] = three_teams(&server);
    let pushed = image().layer("x").build();
    shop.docker.push_image("t-shop/app", "v1", &pushed).await;
    shop.says("image set app --protected true --immutable-tags v*");
    let held = shop.is_refused("image rm app:v1");
    assert!(held.contains("hint: "), "{held}");
    shop.says("image set app --protected false --immutable-tags false");
    shop.says("image rm app:v1");
    let missing = shop.is_refused("image tags other");
    assert!(missing.contains("not_found"), "{missing}");

    shop.docker.push_image("t-shop/app", "v1", &pushed).await;
    let own = shop.answers("image resolve app:v1");
    assert_eq!(own["digest"], pushed.manifest.digest.as_str());
    let foreign = site.run("image resolve t-shop/app:v1");
    assert_eq!(foreign.status.code(), Some(1));
    let nothing = site.run("image resolve t-shop/nothing:v1");
    // Whether it exists is not told.
    let told = |output: Output, name: &str| {
        String::from_utf8(output.stdout)
            .unwrap()
            .replace(name, "<name>")
    };
    assert_eq!(told(foreign, "t-shop/app"), told(nothing, "t-shop/nothing"));
}

#[tokio::test]
async fn many_tags_are_listed_in_several_pages() {
    let server = Folder::new().start(&[]);
    let [shop, ..] = three_teams(&server);
    let pushed = image().layer("x").build();
    shop.docker
        .push_image("t-shop/app", "latest", &pushed)
        .await;
    // A page of the command line has a thousand, a request to push a hundred.
    for hundred in 0..11 {
        let tags = (0..100).map(|tag| format!("tag=t{}", hundred * 100 + tag));
        let tags: Vec<String> = tags.collect();
        let reference = format!("{}?{}", pushed.manifest.digest, tags.join("&"));
        let put = shop
            .docker
            .put_manifest("t-shop/app", &reference, &pushed.manifest);
        put.await.expect(201);
    }
    let tags = shop.answers("image tags app --sort name");
    let tags = tags.as_array().unwrap();
    assert_eq!(tags.len(), 1101);
    assert_eq!(tags[0]["name"], "latest");
    assert_eq!(shop.says("image tags app").lines().count(), 1102);
}
