//! podman and buildah push indexes and zstd layers; podman runs what it pulled, and searches.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::client::{Client, Scene, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Buildah, Containers, Podman, Program};

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    [
        both::<Podman>(),
        both::<Buildah>(),
        trials_of::<Containers<Podman>>(&[
            ("what_was_pulled_runs", what_was_pulled_runs),
            ("search_tells_images_and_tags", search_tells_images_and_tags),
        ]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn both<P: Program>() -> Vec<Trial> {
    trials_of::<Containers<P>>(&[
        (
            "an_index_of_two_platforms_is_pushed_and_pulled",
            index_of_two_platforms::<P>,
        ),
        ("zstd_layers_are_pushed_and_pulled", zstd_layers::<P>),
        (
            "docker_manifests_are_pushed_and_pulled",
            docker_manifests::<P>,
        ),
    ])
}

fn index_of_two_platforms<P: Program>() {
    let scene = Scene::<Containers<P>>::start();
    let client = &scene.client;
    let list = scene.team.reference("app:v1");
    client.run(&["manifest", "create", &list]).succeeded();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}");
        client.build(
            &["--platform", &platform, "--manifest", &list],
            &format!("for {architecture}"),
        );
    }
    let push = [
        "manifest",
        "push",
        "--all",
        "--tls-verify=false",
        &list,
        &format!("docker://{list}"),
    ];
    client.run(&push).succeeded();

    let stored = scene.team.stored("app", "v1");
    let platforms = stored["manifests"].as_array().expect("an index");
    let platforms: Vec<&Value> = platforms
        .iter()
        .map(|manifest| &manifest["platform"]["architecture"])
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);

    let puller: Containers<P> = scene.colleague();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}");
        puller
            .pull_with(&["--platform", &platform], &list)
            .succeeded();
        assert_eq!(puller.greeting(&list), format!("for {architecture}"));
        puller.forget(&list);
    }
}

fn zstd_layers<P: Program>() {
    let scene = Scene::<Containers<P>>::start();
    let reference = scene.team.reference("app:v1");
    let greeting = format!("made small by {}", P::NAME);
    // A layer that is known elsewhere in another form would be taken as it is: this one is new.
    scene.client.make(&reference, &greeting);
    scene
        .client
        .push_with(&["--compression-format", "zstd"], &reference)
        .succeeded();

    let stored = scene.team.stored("app", "v1");
    let layers = stored["layers"].as_array().expect("an image has layers");
    let types: BTreeSet<&str> = layers
        .iter()
        .filter_map(|layer| layer["mediaType"].as_str())
        .collect();
    assert!(
        types.contains("application/vnd.oci.image.layer.v1.tar+zstd"),
        "{types:?}"
    );

    scene.client.forget(&reference);
    scene.pulls(&reference, &greeting);
    let ctr: Ctr = scene.colleague();
    ctr.pull(&reference).succeeded();
    assert_eq!(ctr.greeting(&reference), greeting);
}

fn docker_manifests<P: Program>() {
    let scene = Scene::<Containers<P>>::start();
    let reference = scene.team.reference("app:v1");
    scene.client.make(&reference, "in Docker's words");
    scene
        .client
        .push_with(&["--format", "v2s2"], &reference)
        .succeeded();
    assert_eq!(
        scene.team.stored("app", "v1")["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
    scene.client.forget(&reference);
    scene.pulls(&reference, "in Docker's words");
}

fn what_was_pulled_runs() {
    let scene = Scene::<Containers<Podman>>::start();
    let reference = scene.team.reference("app:v1");
    scene.push("app:v1", "hello from blue");
    scene.client.forget(&reference);
    scene.client.pull(&reference).succeeded();
    // Its own limits may be more than this machine gives.
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
        &reference,
    ];
    scene.client.run(&run).succeeded().said("hello from blue");
}

fn search_tells_images_and_tags() {
    let scene = Scene::<Containers<Podman>>::start();
    for image in ["app:v1", "app:v2", "other:v1"] {
        scene.push(image, image);
    }
    let search = |options: &[&str], term: &str| -> Vec<Value> {
        let search = ["search", "--tls-verify=false", "--format=json"];
        let found = scene.client.run(&[&search, options, &[term]].concat());
        serde_json::from_str(&found.succeeded().stdout).expect("podman prints JSON")
    };
    let images: BTreeSet<String> = search(&[], &scene.team.reference(""))
        .iter()
        .filter_map(|image| image["Name"].as_str())
        .map(String::from)
        .collect();
    let expected = ["app", "other"].map(|image| scene.team.reference(image));
    assert_eq!(images, BTreeSet::from(expected));
    let tags = search(&["--list-tags"], &scene.team.reference("app"));
    assert_eq!(tags[0]["Tags"], json!(["v1", "v2"]));
}
