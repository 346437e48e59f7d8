//! `berth image push --from`: images in files, from the programs that write them, over a line that may break.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use serde_json::json;

use crate::berth::Berth;
use crate::client::Client;
use crate::containers::{Containers, Podman};
use crate::database::TestDatabase;
use crate::docker::Docker;
use crate::fact;
use crate::images::{Layout, REFERENCE};
use crate::meter::Meter;
use crate::process;
use crate::server::{self, Server};
use crate::skopeo::Skopeo;
use crate::team::Team;

const MIB: u64 = 1024 * 1024;

/// What requests have beside the bytes of layers, and what connections hold that nobody received when they break.
const SLACK_BYTES: u64 = 8 * MIB;

/// How often a line is broken, at most, to see a push go on.
const TRIES: usize = 5;

/// Layers that are sent at one time.
const SENT_AT_ONCE: u64 = 4;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "push_files::what_programs_write_is_pushed_and_pulled",
            what_programs_write_is_pushed_and_pulled,
        ),
        fact(
            "push_files::an_index_is_pushed_with_its_platforms",
            an_index_is_pushed_with_its_platforms,
        ),
        fact(
            "push_files::a_killed_push_sends_what_is_missing_the_next_time",
            a_killed_push_sends_what_is_missing_the_next_time,
        ),
        fact(
            "push_files::a_broken_line_is_taken_up_again",
            a_broken_line_is_taken_up_again,
        ),
        fact(
            "push_files::layers_of_other_images_are_not_sent",
            layers_of_other_images_are_not_sent,
        ),
        fact(
            "push_files::files_that_lie_are_refused",
            files_that_lie_are_refused,
        ),
        fact(
            "push_files::a_refusal_says_what_would_be_right",
            a_refusal_says_what_would_be_right,
        ),
    ]
}

/// A team, and somebody of it whose requests a meter carries.
struct Scene {
    server: Server,
    team: Team,
    meter: Meter,
    person: Berth,
}

impl Scene {
    fn start() -> Self {
        let server = Server::start();
        let team = Team::new(&server, "blue");
        let meter = Meter::before(&server.registry);
        let key = team.api_key("builder").key;
        let person = Berth::logged_in_at(&format!("http://{}", meter.address), &key);
        Self {
            server,
            team,
            meter,
            person,
        }
    }

    /// Pushes what lies at `from` as `image`.
    fn push(&self, from: &Path, image: &str) -> process::Outcome {
        let from = from.display().to_string();
        self.person
            .berth(&["image", "push", "--from", &from, "-t", image])
    }

    /// What a push makes the person send, in bytes.
    fn pushed(&self, from: &Path, image: &str) -> (process::Outcome, u64) {
        let before = self.meter.sent();
        let outcome = self.push(from, image).succeeded();
        (outcome, self.meter.sent() - before)
    }
}

fn what_programs_write_is_pushed_and_pulled() {
    let scene = Scene::start();
    let (docker, podman) = (Docker::new(), Containers::<Podman>::new());
    let own = "localhost/push-files:v1";
    docker.make(own, "saved by docker");
    podman.make(own, "saved by podman");
    let folder = process::folder("saved");
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    docker
        .run(&["image", "save", own, "-o", &text("docker.tar")])
        .succeeded();
    for (format, file) in [
        ("docker-archive", "podman.tar"),
        ("oci-archive", "oci.tar"),
        ("oci-dir", "oci"),
    ] {
        podman
            .run(&["image", "save", "--format", format, own, "-o", &text(file)])
            .succeeded();
    }
    docker.forget(own);
    docker
        .login(&scene.server.registry, &scene.team.key_login())
        .succeeded();
    for (file, greeting) in [
        ("docker.tar", "saved by docker"),
        ("podman.tar", "saved by podman"),
        ("oci.tar", "saved by podman"),
        ("oci", "saved by podman"),
    ] {
        let image = format!("{}:v1", file.replace('.', "-"));
        let pushed = scene.push(&path(file), &image).succeeded();
        let digest = scene.team.digest(image.trim_end_matches(":v1"), "v1");
        let host = &scene.meter.address;
        let reference = format!("{host}/t-blue/{image}");
        assert!(
            pushed.stdout.starts_with(&format!(
                "Digest: {digest}\nImage pushed successfully: {reference}\nTemplate image reference: "
            )),
            "{}",
            pushed.stdout
        );
        let reference = scene.team.reference(&image);
        docker.pull(&reference).succeeded();
        assert_eq!(docker.greeting(&reference), greeting, "{file}");
        docker.forget(&reference);
    }
}

fn an_index_is_pushed_with_its_platforms() {
    let scene = Scene::start();
    let layout = Layout::two_platforms("for two");
    for (from, image) in [
        (layout.path().to_path_buf(), "dir"),
        (layout.archive(), "tar"),
    ] {
        scene.push(&from, &format!("{image}:v1")).succeeded();
        assert_eq!(scene.team.digest(image, "v1"), layout.digest);
        for platform in ["amd64", "arm64"] {
            let skopeo = Skopeo::new();
            let login = scene.team.key_login();
            skopeo.login(&scene.server.registry, &login).succeeded();
            let target = process::folder("platform");
            let source = format!("docker://{}", scene.team.reference(&format!("{image}:v1")));
            let target = format!("oci:{}:v1", target.path().display());
            skopeo
                .copy(&["--override-arch", platform], &source, &target)
                .succeeded();
        }
    }
}

fn a_killed_push_sends_what_is_missing_the_next_time() {
    let scene = Scene::start();
    // 1 GiB where nothing but a disk is in between.
    let layer_bytes = match TestDatabase::chosen() {
        TestDatabase::Sqlite => 1024 * MIB / 20,
        TestDatabase::Postgres | TestDatabase::Replicas => 5 * MIB,
    };
    let unknown_bytes = unknown_elsewhere(SENT_AT_ONCE * layer_bytes);
    let layout = Layout::heavy(20, layer_bytes);
    let whole = 20 * layer_bytes;
    let before = scene.meter.sent();
    scene.meter.stop_after(whole / 2);
    let mut command = Command::new(server::binary());
    scene.person.prepare(&mut command);
    command
        .args(["image", "push", "-t", "heavy:v1", "--from"])
        .arg(layout.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut push = command.spawn().expect("it starts");
    scene.meter.wait_until_stopped();
    push.kill().expect("it still runs");
    push.wait().expect("it has ended");
    scene.meter.go_on();
    // A server that takes more than some seconds to settle what came tells less of it.
    scene.server.until_nothing_is_under_way();
    scene.team.has_not("heavy", "v1");

    let (_, second) = scene.pushed(layout.path(), "heavy:v1");
    let first = scene.meter.sent() - before - second;
    assert_eq!(scene.team.digest("heavy", "v1"), layout.digest);
    assert!(first >= whole / 2, "{first} of {whole} bytes");
    assert!(
        first + second <= whole + SLACK_BYTES + unknown_bytes,
        "{first} and {second} bytes for {whole}"
    );
    let (again, third) = scene.pushed(layout.path(), "heavy:v1");
    assert_eq!(again.stderr.matches(": Layer already exists\n").count(), 21);
    assert!(third < MIB, "{third} bytes");
}

fn a_broken_line_is_taken_up_again() {
    let scene = Scene::start();
    let enough = 32 * MIB + SLACK_BYTES + unknown_elsewhere(16 * MIB);
    // A server that takes more than some seconds to settle what came tells less of it, and is sent all of it.
    let is_taken_up = (0..TRIES).any(|number| {
        let layout = Layout::heavy(1, 32 * MIB);
        let name = format!("app{number}");
        scene.meter.break_after(16 * MIB);
        let (pushed, sent) = scene.pushed(layout.path(), &format!("{name}:v1"));
        assert!(pushed.stderr.contains(": Retrying: "), "{}", pushed.stderr);
        assert_eq!(scene.team.digest(&name, "v1"), layout.digest);
        sent <= enough
    });
    assert!(is_taken_up, "each time all of it was sent again");
}

/// What may be sent anew of the bytes that were under way, and what connections hold of a body that is refused: a
/// replica that did not take them does not know yet what the other one still writes.
fn unknown_elsewhere(under_way: u64) -> u64 {
    match TestDatabase::chosen() {
        TestDatabase::Sqlite | TestDatabase::Postgres => 0,
        TestDatabase::Replicas => under_way + 2 * SLACK_BYTES,
    }
}

fn layers_of_other_images_are_not_sent() {
    let scene = Scene::start();
    let layout = Layout::heavy(3, 4 * MIB);
    scene.push(layout.path(), "first:v1").succeeded();
    let (mounted, sent) = scene.pushed(layout.path(), "second:v1");
    assert_eq!(
        mounted
            .stderr
            .matches(": Mounted from another repository\n")
            .count(),
        4,
        "{}",
        mounted.stderr
    );
    assert!(sent < MIB, "{sent} bytes");
    assert_eq!(scene.team.digest("second", "v1"), layout.digest);
    let arrivals = scene.server.arrivals("t-blue/second");
    assert_eq!((arrivals.mounted, arrivals.sent), (4, 0));
}

/// Turns a bit in the middle of a file.
fn damage(path: &Path) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("it is there");
    let middle = file.metadata().expect("it is there").len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle))
        .expect("a file has a middle");
    file.read_exact(&mut byte).expect("a byte is read");
    file.seek(SeekFrom::Start(middle))
        .expect("a file has a middle");
    file.write_all(&[byte[0] ^ 1]).expect("a byte is written");
}

fn files_that_lie_are_refused() {
    let scene = Scene::start();
    let layer = |layout: &Layout, index: usize| {
        let manifest = layout.manifest();
        let digest = manifest["layers"][index]["digest"].as_str();
        String::from(digest.expect("a layer has a digest"))
    };
    let cut = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path);
        let file = file.expect("it is there");
        let length = file.metadata().expect("it is there").len();
        file.set_len(length / 2).expect("it is cut");
    };

    let layout = Layout::heavy(2, MIB);
    damage(&layout.blob(&layer(&layout, 1)));
    scene
        .push(layout.path(), "app:v1")
        .refused_with(&[&layer(&layout, 1), "damaged"]);

    let layout = Layout::heavy(2, MIB);
    damage(&layout.blob(&layout.digest));
    scene
        .push(layout.path(), "app:v1")
        .refused_with(&[&layout.digest, "damaged"]);

    let layout = Layout::heavy(2, MIB);
    cut(&layout.blob(&layer(&layout, 0)));
    scene
        .push(layout.path(), "app:v1")
        .refused_with(&["has 524288 bytes, and the image says 1048576"]);

    let layout = Layout::heavy(2, MIB);
    std::fs::remove_file(layout.blob(&layer(&layout, 0))).expect("it is there");
    scene
        .push(layout.path(), "app:v1")
        .refused_with(&["is missing, which the image needs"]);

    let layout = Layout::heavy(2, MIB);
    let archive = layout.archive();
    cut(&archive);
    scene.push(&archive, "app:v1").refused_with(&["is cut off"]);

    // A layer that the configuration does not mean.
    let podman = Containers::<Podman>::new();
    let own = "localhost/push-files-lying:v1";
    podman.make(own, "not what it says");
    let folder = process::folder("lying");
    let saved = folder.path().join("saved.tar");
    let text = saved.display().to_string();
    podman
        .run(&[
            "image",
            "save",
            "--format",
            "docker-archive",
            own,
            "-o",
            &text,
        ])
        .succeeded();
    let file = std::fs::File::open(&saved).expect("it is there");
    let mut archive = tar::Archive::new(file);
    archive.unpack(folder.path()).expect("it is unpacked");
    let list = std::fs::read(folder.path().join("manifest.json")).expect("it has a list");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("this is JSON");
    let layer = list[0]["Layers"][0].as_str().expect("it has layers");
    damage(&folder.path().join(layer));
    scene
        .push(folder.path(), "app:v1")
        .refused_with(&["its bytes are not those of", "damaged"]);
    scene.team.has_not("app", "v1");
}

fn a_refusal_says_what_would_be_right() {
    let scene = Scene::start();
    let layout = Layout::image("never stored");
    scene
        .push(layout.path(), "t-green/app:v1")
        .refused_with(&["\"t-green/\" is the prefix of another team; yours is \"t-blue/\""]);
    scene
        .push(Path::new("/nowhere"), "app:v1")
        .refused_with(&["cannot read /nowhere"]);
    let folder = process::folder("nothing");
    scene
        .push(folder.path(), "app:v1")
        .refused_with(&["is neither an OCI layout", "docker save"]);
    let packed = folder.path().join("packed.tar.gz");
    std::fs::write(&packed, [0x1f, 0x8b, 8, 0]).expect("a small file is written");
    scene
        .push(&packed, "app:v1")
        .refused_with(&["it is packed", "gunzip"]);
    let from = layout.path().display().to_string();
    let push = |name: &str| {
        let push = ["image", "push", "--from", &from, name, "-t", "app:v1"];
        scene.person.berth(&push)
    };
    push("other").refused_with(&["no image is called \"other\"", "name one of latest"]);
    let viewer = scene.team.api_key("viewer").key;
    let url = format!("http://{}", scene.meter.address);
    Berth::logged_in_at(&url, &viewer)
        .berth(&["image", "push", "--from", &from, "-t", "app:v1"])
        .refused_with(&["this key may not push", "(forbidden, request "]);
    assert_eq!(scene.team.catalogue(), [""; 0]);

    push(REFERENCE).succeeded();
    let immutable = json!({"immutableTags": true});
    scene
        .team
        .call(reqwest::Method::PATCH, "/images/app", Some(&immutable))
        .expect(200);
    let other = Layout::image("another one");
    scene
        .push(other.path(), "app:v1")
        .refused_with(&["is not pushed: denied: "]);
    assert_eq!(scene.team.digest("app", "v1"), layout.digest);
}
