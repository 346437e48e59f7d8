//! skopeo copies images in, out and across, looks at them, and deletes them.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::client::Scene;
use crate::fact;
use crate::images::Layout;
use crate::skopeo::Skopeo;
use crate::team::Team;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "skopeo::every_kind_of_archive_is_copied_in",
            every_kind_of_archive_is_copied_in,
        ),
        fact(
            "skopeo::what_was_copied_in_is_copied_out",
            what_was_copied_in_is_copied_out,
        ),
        fact(
            "skopeo::images_are_copied_between_repositories",
            images_are_copied_between_repositories,
        ),
        fact("skopeo::all_platforms_are_copied", all_platforms_are_copied),
        fact(
            "skopeo::inspect_and_list_tags_tell_what_is_there",
            inspect_and_list_tags_tell_what_is_there,
        ),
        fact(
            "skopeo::delete_takes_the_right_to_delete",
            delete_takes_the_right_to_delete,
        ),
    ]
}

/// `image` of `team` as skopeo names it.
fn remote(team: &Team, image: &str) -> String {
    format!("docker://{}", team.reference(image))
}

/// The digest that `image` has in the registry.
#[track_caller]
fn digest_of(skopeo: &Skopeo, image: &str) -> String {
    let digest = skopeo
        .inspect(&["--format", "{{.Digest}}"], image)
        .succeeded()
        .stdout;
    String::from(digest.trim())
}

fn every_kind_of_archive_is_copied_in() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let layout = Layout::image("in every form");
    let folder = tempfile::tempdir().expect("a folder is made");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sources = [
        ("oci", layout.source()),
        ("oci-archive", format!("oci-archive:{}", path("oci.tar"))),
        (
            "docker-archive",
            format!("docker-archive:{}:app:v1", path("docker.tar")),
        ),
        ("dir", format!("dir:{}", path("dir"))),
    ];
    for (form, source) in &sources {
        if *form != "oci" {
            skopeo.copy(&[], &layout.source(), source).succeeded();
        }
        let image = remote(team, &format!("app:{form}"));
        skopeo.copy(&[], source, &image).succeeded();
        skopeo
            .inspect(&["--config"], &image)
            .succeeded()
            .said("amd64");
    }
    assert_eq!(digest_of(skopeo, &remote(team, "app:oci")), layout.digest);
}

fn what_was_copied_in_is_copied_out() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let layout = Layout::image("there and back");
    let image = remote(team, "app:v1");
    skopeo.copy(&[], &layout.source(), &image).succeeded();

    let folder = tempfile::tempdir().expect("a folder is made");
    skopeo
        .copy(
            &[],
            &image,
            &format!("oci:{}:back", folder.path().display()),
        )
        .succeeded();
    let index =
        std::fs::read_to_string(folder.path().join("index.json")).expect("a layout has an index");
    assert!(
        index.contains(&layout.digest),
        "{} is not in {index}",
        layout.digest
    );
}

fn images_are_copied_between_repositories() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let layout = Layout::image("from one to the other");
    let (first, second) = (remote(team, "first:v1"), remote(team, "second:v2"));
    skopeo.copy(&[], &layout.source(), &first).succeeded();
    skopeo.copy(&[], &first, &second).succeeded();
    assert_eq!(digest_of(skopeo, &second), layout.digest);
    let arrivals = scene.server.arrivals("t-blue/second");
    assert!(
        arrivals.mounted >= 2,
        "its layers are mounted: {arrivals:?}"
    );
    assert_eq!(team.catalogue(), ["t-blue/first", "t-blue/second"]);
}

fn all_platforms_are_copied() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let layout = Layout::two_platforms("everywhere");
    let (first, second) = (remote(team, "app:v1"), remote(team, "copy:v1"));
    skopeo
        .copy(&["--all"], &layout.source(), &first)
        .succeeded();
    skopeo.copy(&["--all"], &first, &second).succeeded();
    for architecture in ["amd64", "arm64"] {
        let choice = [
            "--override-arch",
            architecture,
            "inspect",
            "--tls-verify=false",
            "--config",
            &second,
        ];
        let config: Value = serde_json::from_str(&skopeo.run(&choice).succeeded().stdout)
            .expect("a configuration is JSON");
        assert_eq!(config["architecture"], architecture);
    }
    for image in ["app", "copy"] {
        team.stored(image, &layout.digest);
    }
}

fn inspect_and_list_tags_tell_what_is_there() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let layout = Layout::image("looked at");
    for tag in ["v1", "v10", "v2"] {
        skopeo
            .copy(&[], &layout.source(), &remote(team, &format!("app:{tag}")))
            .succeeded();
    }
    let listed = skopeo
        .run(&["list-tags", "--tls-verify=false", &remote(team, "app")])
        .succeeded()
        .stdout;
    let listed: Value = serde_json::from_str(&listed).expect("skopeo prints JSON");
    assert_eq!(listed["Tags"], json!(["v1", "v10", "v2"]));

    let seen = skopeo
        .inspect(&[], &remote(team, "app:v2"))
        .succeeded()
        .stdout;
    let seen: Value = serde_json::from_str(&seen).expect("skopeo prints JSON");
    assert_eq!(seen["Digest"], json!(layout.digest));
    assert_eq!(seen["RepoTags"], listed["Tags"]);

    skopeo
        .inspect(&[], &remote(team, "app:v3"))
        .refused_with(&["manifest unknown"]);
}

fn delete_takes_the_right_to_delete() {
    let scene = Scene::<Skopeo>::start();
    let (team, skopeo) = (&scene.team, &scene.client);
    let image = remote(team, "app:v1");
    let layout = Layout::image("not for long");
    skopeo.copy(&[], &layout.source(), &image).succeeded();
    let delete = ["delete", "--tls-verify=false", &image];
    skopeo
        .run(&delete)
        .refused_with(&["this credential is limited to pull,push: it may not delete"]);
    team.stored("app", "v1");

    scene.enter(&team.credential(&json!({"actions": ["pull", "push", "delete"]})));
    skopeo.run(&delete).succeeded();
    skopeo.inspect(&[], &image).refused_with(&["unknown"]);
    team.has_not("app", &layout.digest);
}
