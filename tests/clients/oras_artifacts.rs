//! ORAS pushes artifacts: alone, attached to others, in the shape of a Helm chart, and in chunks.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::client::{Client, Scene, trials_of};
use crate::oras::{Artifact, Backend, Oras};
use crate::skopeo::Skopeo;

const CHART_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CHART_CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const BILL: &str = "application/spdx+json";

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    trials_of::<Oras>(&[
        (
            "what_is_attached_is_found_by_its_type",
            what_is_attached_is_found_by_its_type,
        ),
        (
            "an_artifact_like_a_helm_chart_goes_there_and_back",
            an_artifact_like_a_helm_chart,
        ),
        (
            "a_file_in_chunks_goes_there_and_back",
            a_file_in_chunks_goes_there_and_back,
        ),
        ("tokens_pull_and_list", tokens_pull_and_list),
        (
            "delete_takes_the_right_to_delete",
            delete_takes_the_right_to_delete,
        ),
    ])
}

/// `file` as an artifact with a configuration of the type `media_type` that says `config`.
fn artifact(oras: &Oras, file: String, media_type: &str, config: &Value) -> Artifact {
    let path = oras.file("config.json", config.to_string().as_bytes());
    Artifact {
        files: vec![file],
        options: vec![String::from("--config"), format!("{path}:{media_type}")],
    }
}

fn what_is_attached_is_found_by_its_type() {
    let scene = Scene::<Oras>::start();
    let pusher: Skopeo = scene.colleague();
    let image = scene.team.reference("app:v1");
    pusher.make(&image, "with a bill of materials");
    pusher.push(&image).succeeded();
    let subject = scene
        .team
        .manifest("app", "v1", &scene.team.key_login().caller());
    let (digest, size) = (scene.team.digest("app", "v1"), subject.body.len());

    let oras = &scene.client;
    let file = oras.file("bill.json", br#"{"spdxVersion": "SPDX-2.3"}"#);
    let mut bill = artifact(oras, format!("{file}:{BILL}"), BILL, &json!({}));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let subject = format!("{manifest},{digest},{size}");
    bill.options.extend([String::from("--subject"), subject]);
    let attached = oras.push_artifact(&scene.team.reference("app:bill"), &bill);
    let attached = attached.succeeded().stdout.trim().to_owned();

    let referrers = scene.team.referrers("app", &digest, BILL);
    assert_eq!(referrers.len(), 1, "{referrers:?}");
    assert_eq!(referrers[0]["digest"], json!(attached));
    assert_eq!(
        scene.team.referrers("app", &digest, "text/plain"),
        [json!(null); 0]
    );
    let by_digest = scene.team.reference(&format!("app@{attached}"));
    oras.pull(&by_digest).succeeded();
    assert_eq!(
        oras.pulled_file(&by_digest, "bill.json"),
        br#"{"spdxVersion": "SPDX-2.3"}"#
    );
}

/// An archive with one file, as `helm package` makes it.
fn chart() -> Vec<u8> {
    let description = "apiVersion: v2\nname: my-chart\nversion: 0.1.0\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(description.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(vec![]);
    archive
        .append_data(&mut header, "my-chart/Chart.yaml", description.as_bytes())
        .expect("a vector takes all bytes");
    let archive = archive.into_inner().expect("a vector takes all bytes");
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder
        .write_all(&archive)
        .expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

fn an_artifact_like_a_helm_chart() {
    let scene = Scene::<Oras>::start();
    let (oras, chart) = (&scene.client, chart());
    let file = oras.file("my-chart-0.1.0.tgz", &chart);
    let description = json!({"apiVersion": "v2", "name": "my-chart", "version": "0.1.0"});
    let packed = artifact(
        oras,
        format!("{file}:{CHART_CONTENT}"),
        CHART_CONFIG,
        &description,
    );
    let reference = scene.team.reference("charts/my-chart:0.1.0");
    oras.push_artifact(&reference, &packed).succeeded();

    let stored = scene.team.stored("charts/my-chart", "0.1.0");
    assert_eq!(stored["config"]["mediaType"], CHART_CONFIG);
    assert_eq!(stored["layers"][0]["mediaType"], CHART_CONTENT);
    oras.pull(&reference).succeeded();
    assert_eq!(oras.pulled_file(&reference, "my-chart-0.1.0.tgz"), chart);
}

fn a_file_in_chunks_goes_there_and_back() {
    let scene = Scene::<Oras>::start();
    let oras = &scene.client;
    // More than one of the client's chunks of 16 MiB.
    let content = b"sixteen bytes...".repeat((33 << 20) / 16);
    let large = Artifact {
        files: vec![oras.file("large", &content)],
        options: vec![String::from("--chunked")],
    };
    let reference = scene.team.reference("large:v1");
    oras.push_artifact(&reference, &large).succeeded();
    oras.pull(&reference).succeeded();
    assert!(
        oras.pulled_file(&reference, "large") == content,
        "it differs"
    );
}

fn tokens_pull_and_list() {
    let scene = Scene::<Oras>::start();
    for tag in ["v1", "v2"] {
        scene.push(&format!("app:{tag}"), tag);
    }
    let oras = &scene.client;
    let reference = scene.team.reference("app:v1");
    oras.pull_by(Backend::Token, &reference).succeeded();
    assert_eq!(oras.greeting(&reference), "v1");
    let tags = oras.run_by(Backend::Token, &["tags", &reference], None);
    assert_eq!(tags.succeeded().stdout.trim(), r#"["v1", "v2"]"#);
}

fn delete_takes_the_right_to_delete() {
    let scene = Scene::<Oras>::start();
    scene.push("app:v1", "not for long");
    let reference = scene.team.reference("app:v1");
    let delete = || scene.client.run(&["delete", &reference]);
    delete().refused_with(&["this credential is limited to pull,push: it may not delete"]);
    scene.team.stored("app", "v1");

    scene.enter(
        &scene
            .team
            .credential(&json!({"actions": ["pull", "push", "delete"]})),
    );
    delete().succeeded();
    scene.team.has_not("app", "v1");
    delete().refused_with(&["there is no such tag"]);
}
