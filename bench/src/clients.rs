//! Programs that push images from files: `berth image push` beside skopeo, each with a registry of its own that has
//! nothing yet.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::compare::{note, settle_disk};
use crate::machine;
use crate::report::{Cell, Line, Report};
use crate::sample::{MIB, Unit};
use crate::servers::{Place, version};

const LAYERS: usize = 20;

/// Of a layer before it is packed, which makes noise no smaller.
const LAYER_BYTES: usize = 1024 * 1024 * 1024 / LAYERS;

/// The name of the image in the layout.
const NAME: &str = "v1";

/// Who pushes.
#[derive(Clone, Copy)]
enum Client {
    Berth,
    Skopeo,
}

/// What a client made of one registry, in seconds.
struct Times {
    /// With everything to send.
    first: f64,
    /// With nothing to send.
    again: f64,
}

/// Starts Berth for each push, and compares the clients.
pub(crate) async fn compare(
    berth: &Path,
    place: &Place<'_>,
    rounds: u32,
) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(place.folder)
        .with_context(|| format!("no folder can be made in {}", place.folder.display()))?;
    let folder = folder.path().canonicalize()?;
    let berth = berth
        .canonicalize()
        .with_context(|| format!("{} is not there: build it first", berth.display()))?;
    note("an image of 1 GiB is made");
    let layout = folder.join("layout");
    let bytes = make_layout(&layout)?;
    let clients = [Client::Berth, Client::Skopeo];
    let mut times: [Vec<Times>; 2] = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (client, times) in clients.into_iter().zip(&mut times) {
            note(&format!("round {round} of {rounds}: {}", client.program()));
            let data = tempfile::tempdir_in(&folder)?;
            let place = Place {
                folder: data.path(),
                core: place.core,
            };
            times.push(client.measure(&berth, &place, &layout).await?);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some GiB")]
    let mebibytes = bytes as f64 / MIB;
    let line = |title, unit, rate: &dyn Fn(&Times) -> f64| Line {
        title,
        unit,
        cells: times
            .iter()
            .map(|times| Some(Cell::of_rates(times.iter().map(rate).collect())))
            .collect(),
    };
    Ok(Report {
        servers: vec![
            version(&berth, "berth image push")?,
            version(Path::new("skopeo"), "skopeo copy")?,
        ],
        lines: vec![
            line("1 GiB in 20 layers", Unit::Throughput, &|times| {
                mebibytes / times.first
            }),
            line("the same again", Unit::Images, &|times| times.again.recip()),
        ],
        method: format!(
            "a new Berth for each push on one core, the client on another; medians of {rounds} rounds"
        ),
        machine: machine::description(&folder)?,
    })
}

impl Client {
    fn program(self) -> &'static str {
        match self {
            Self::Berth => "berth",
            Self::Skopeo => "skopeo",
        }
    }

    async fn measure(
        self,
        berth: &Path,
        place: &Place<'_>,
        layout: &Path,
    ) -> anyhow::Result<Times> {
        let (server, address, key) = place.berth_with_key(berth).await?;
        let command = || {
            let mut command = match self {
                Self::Berth => {
                    let mut command = Command::new(berth);
                    command
                        .args(["image", "push", "-t", "heavy:v1", "--from"])
                        .arg(layout)
                        .env("BERTH_URL", format!("http://{address}"))
                        .env("BERTH_API_KEY", &key);
                    command
                }
                Self::Skopeo => {
                    let mut command = Command::new("skopeo");
                    command
                        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
                        .arg(format!("--dest-creds=main:{key}"))
                        .arg(format!("oci:{}:{NAME}", layout.display()))
                        .arg(format!("docker://{address}/t-main/heavy:v1"));
                    command
                }
            };
            // What clients remember of other pushes is left out.
            command
                .env("HOME", place.folder)
                .env_remove("XDG_CACHE_HOME");
            command
        };
        settle_disk()?;
        let first = timed(command())?;
        let again = timed(command())?;
        drop(server);
        Ok(Times { first, again })
    }
}

/// How long a command takes, in seconds.
fn timed(mut command: Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("the client cannot be started")?;
    let elapsed = begun.elapsed();
    ensure!(
        output.status.success(),
        "the client failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(elapsed.as_secs_f64())
}

/// Writes an image whose layers are packed, so that no client packs them; the answer is its size in bytes.
fn make_layout(layout: &Path) -> anyhow::Result<u64> {
    std::fs::create_dir_all(layout.join("blobs/sha256"))?;
    let mut noise = File::open("/dev/urandom")?;
    let (mut layers, mut differences) = (Vec::new(), Vec::new());
    for _ in 0..LAYERS {
        let mut content = vec![0; LAYER_BYTES];
        noise.read_exact(&mut content)?;
        let mut header = tar::Header::new_ustar();
        header.set_size(LAYER_BYTES as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "noise", content.as_slice())?;
        let archive = archive.into_inner()?;
        differences.push(digest(&archive));
        let mut packed = GzEncoder::new(Vec::new(), Compression::none());
        packed.write_all(&archive)?;
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        layers.push(add(layout, kind, &packed.finish()?)?);
    }
    let size = |layer: &Value| layer["size"].as_u64().unwrap_or_default();
    let bytes = layers.iter().map(size).sum();
    let config = json!({
        "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": differences },
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let config = add(layout, kind, config.to_string().as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
    let mut manifest = add(layout, kind, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(bytes)
}

/// Writes a blob; the answer is its descriptor.
fn add(layout: &Path, kind: &str, content: &[u8]) -> anyhow::Result<Value> {
    let digest = digest(content);
    let path: PathBuf = layout.join("blobs").join(digest.replace(':', "/"));
    std::fs::write(path, content)?;
    Ok(json!({ "mediaType": kind, "digest": digest, "size": content.len() }))
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}
