//! The servers that are compared: each started on its own core with its data in a temporary folder, and ended by its
//! process id.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::reads::Readings;
use crate::registry::{Login, Registry};

/// How long a server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// The repository of all servers: under the prefix of the workspace that Berth's first start makes.
const REPOSITORY: &str = "t-main/bench";

/// A server under way. Dropping it ends it.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) registry: Registry,
    child: Child,
}

/// Where servers are started.
pub(crate) struct Place<'a> {
    /// A folder for data and logs.
    pub(crate) folder: &'a Path,
    /// The processor core that they get.
    pub(crate) core: usize,
}

impl Place<'_> {
    /// Berth, as it comes: with authentication, and with a registry credential as its clients use them.
    pub(crate) async fn berth(&self, program: &Path) -> anyhow::Result<Server> {
        let (server, ..) = self.berth_with_key(program).await?;
        Ok(server)
    }

    /// The same, its address, and the key of the workspace that it makes.
    pub(crate) async fn berth_with_key(
        &self,
        program: &Path,
    ) -> anyhow::Result<(Server, SocketAddr, String)> {
        let address = free_address()?;
        let data = self.folder.join("berth");
        let mut command = self.command(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BERTH_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--ops-listen", "127.0.0.1:0", "--listen"])
            .arg(address.to_string())
            .arg("--data-dir")
            .arg(&data);
        let child = self.start("berth", command, address)?;
        let key = std::fs::read_to_string(data.join("main.key"))?;
        let key = key.trim().to_owned();
        let login = credential(address, &key).await?;
        let name = version(program, "berth")?;
        let server = self.server(name, address, Some(login), child).await?;
        Ok((server, address, key))
    }

    /// Debian's docker-registry with the configuration it comes with, but for its login and its log.
    pub(crate) async fn docker_registry(&self) -> anyhow::Result<Server> {
        let address = free_address()?;
        let data = self.folder.join("docker-registry");
        let config = json!({
            "version": "0.1",
            "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": {
                "cache": { "blobdescriptor": "inmemory" },
                "filesystem": { "rootdirectory": data },
                "delete": { "enabled": true },
            },
            "http": { "addr": address },
            "health": { "storagedriver": { "enabled": true, "interval": "10s", "threshold": 3 } },
        });
        let file = self.folder.join("docker-registry.yml");
        // JSON is YAML.
        std::fs::write(&file, config.to_string())?;
        let program = Path::new("docker-registry");
        let mut command = self.command(program);
        command.arg("serve").arg(file);
        let child = self.start("docker-registry", command, address)?;
        let name = version(program, "docker-registry")?;
        self.server(name, address, None, child).await
    }

    /// nginx with the same content as files: what reading could cost at least.
    pub(crate) async fn nginx(&self, readings: &Readings) -> anyhow::Result<Server> {
        let address = free_address()?;
        let folder = self.folder.join("nginx");
        readings.write(&folder.join("v2").join(REPOSITORY))?;
        let folder_text = folder.display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {folder_text}/pid; error_log stderr;
             events {{ worker_connections 64; }}
             http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
                client_body_temp_path {folder_text}/body; proxy_temp_path {folder_text}/proxy;
                fastcgi_temp_path {folder_text}/fastcgi; uwsgi_temp_path {folder_text}/uwsgi;
                scgi_temp_path {folder_text}/scgi;
                server {{
                    listen {address};
                    root {folder_text};
                    location = /v2/ {{ return 200; }}
                }}
             }}"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = self.command(Path::new("nginx"));
        command.arg("-c").arg(file).args(["-e", "stderr"]);
        let child = self.start("nginx", command, address)?;
        self.server(String::from("nginx, static files"), address, None, child)
            .await
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(self.core.to_string()).arg(program);
        command
    }

    /// Starts a program and waits until it listens. `taskset` becomes the program: its process id is the server's.
    fn start(
        &self,
        name: &str,
        mut command: Command,
        address: SocketAddr,
    ) -> anyhow::Result<Child> {
        let log_path = self.folder.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        command
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let begun = Instant::now();
        loop {
            let ended = child.try_wait()?.is_some();
            if ended || begun.elapsed() > START_LIMIT {
                end(&mut child);
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!("{name} does not start:\n{log}");
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(child);
            }
            std::thread::sleep(POLL);
        }
    }

    async fn server(
        &self,
        name: String,
        address: SocketAddr,
        login: Option<Login>,
        child: Child,
    ) -> anyhow::Result<Server> {
        let url = format!("http://{address}");
        let registry = Registry::at(&url, REPOSITORY, login).await?;
        Ok(Server {
            name,
            registry,
            child,
        })
    }
}

impl Server {
    /// The most memory it has had so far.
    pub(crate) fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let kibibytes: u64 = peak.context("the system does not say it")?.parse()?;
        Ok(kibibytes * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; there is nobody left to tell.
    let _ = child.kill();
    let _ = child.wait();
}

/// nginx lives where a person's PATH may not look.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

/// An address that nobody listens on. The servers are given it, since not all of them can say which one the system
/// gave them; one that finds it taken after all ends, and its log says so.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// The first number with dots in what a program says about its version.
pub(crate) fn version(program: &Path, name: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    Ok(format!("{name} {}", version.unwrap_or_default()))
}

/// Asks Berth for a registry credential.
async fn credential(address: SocketAddr, key: &str) -> anyhow::Result<Login> {
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("http://{address}/api/v1/registry/credentials"))
        .bearer_auth(key)
        .json(&json!({}))
        .send()
        .await?
        .error_for_status()?;
    let answer: Value = answer.json().await?;
    let text = |field: &str| {
        let text = answer["data"][field].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("the answer has no {field}"))
    };
    Ok(Login {
        user: text("username")?,
        password: text("password")?,
    })
}
