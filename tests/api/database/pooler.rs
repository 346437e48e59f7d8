//! Behind PgBouncer, which lends its connections by transaction: two servers share two of them.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth::app;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::TestRegistry;
use crate::support::database::{TestDatabase, postgres_server};
use crate::support::distribution::image;

/// How long the pooler may take to start.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// How often it is tried to start it.
const TRIES: usize = 5;
/// Pushes through each server at one time: more than there are connections.
const PUSHES: usize = 8;

/// A running PgBouncer; it ends with this.
struct Pooler {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Pooler {
    /// None where there is no PostgreSQL, or no PgBouncer on a machine that need not have one.
    async fn start() -> Option<Self> {
        if !TestDatabase::available().contains(&TestDatabase::Postgres) {
            return None;
        }
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let Some(program) = program else {
            assert!(
                std::env::var_os("BERTH_TEST_CLIENTS").is_none(),
                "pgbouncer is missing: scripts/tools.sh installs it"
            );
            return None;
        };
        for _ in 0..TRIES {
            if let Some(pooler) = Self::start_once(program).await {
                return Some(pooler);
            }
        }
        panic!("pgbouncer ended, {TRIES} times");
    }

    /// None if it ended: another process may take its port before it does.
    async fn start_once(program: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // It refuses to run as root, and then reads its file as somebody else.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // It cannot be handed a socket, nor say which port it took.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let server = postgres_server().unwrap();
        let (login, rest) = server
            .trim_start_matches("postgres://")
            .rsplit_once('@')
            .unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let (host, _) = rest.split_once('/').unwrap();
        let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
        let mut file = String::new();
        writeln!(
            file,
            "[databases]\n* = host={host} port={port} user={user} password={password}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\nserver_idle_timeout = 1",
            address.port()
        )
        .unwrap();
        let path = folder.path().join("pgbouncer.ini");
        std::fs::write(&path, file).unwrap();
        let mut command = Command::new(program);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg("--quiet")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut pooler = Self {
            child,
            address,
            _folder: folder,
        };
        let since = Instant::now();
        loop {
            let listens = TcpStream::connect(address).await.is_ok();
            // If it ended, what listens is the one that was faster.
            if pooler.child.try_wait().unwrap().is_some() {
                return None;
            }
            if listens {
                return Some(pooler);
            }
            assert!(since.elapsed() < LIMIT, "pgbouncer does not listen");
            tokio::time::sleep(POLL).await;
        }
    }

    /// A registry whose every connection to the database goes through here.
    async fn registry(&self) -> TestRegistry {
        let server = postgres_server().unwrap();
        let (_, rest) = server.rsplit_once('@').unwrap();
        let (direct, _) = rest.split_once('/').unwrap();
        TestRegistry::start_with(TestDatabase::Postgres, |config| {
            let url = config.database.url.as_ref().unwrap().expose();
            let url = url.replace(direct, &self.address.to_string());
            config.database.url = Some(url.parse().unwrap());
            config.database.statement_cache = false;
        })
        .await
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_behind_a_pooler_of_transactions_push_pull_and_delete() {
    let Some(pooler) = Pooler::start().await else {
        return;
    };
    let first = pooler.registry().await;
    let second = first.replica().await;
    let key = first.main_key();
    let callers = [first.with_key(&key), second.with_key(&key)];
    let pushes = (0..2 * PUSHES).map(|number| {
        let docker = &callers[number % 2];
        let content = image().layer(format!("layer {number}")).build();
        async move {
            let tag = format!("v{number}");
            docker.push_image("t-main/app", &tag, &content).await;
            let path = format!("/v2/t-main/app/manifests/{tag}");
            docker.get(&path).await.expect(200);
            tag
        }
    });
    let tags = join_all(pushes).await;
    for (number, tag) in tags.iter().enumerate() {
        let path = format!("/v2/t-main/app/manifests/{tag}");
        callers[(number + 1) % 2].get(&path).await.expect(200);
        callers[number % 2].delete(&path).await.expect(202);
        callers[(number + 1) % 2].get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn a_pooler_that_takes_no_options_is_met_with_the_setting_that_helps() {
    let Some(pooler) = Pooler::start().await else {
        return;
    };
    let registry = pooler.registry().await;
    let mut config = registry.config().clone();
    let other = tempfile::tempdir().unwrap();
    config.server.data_dir = other.path().to_owned();
    config.database.statement_cache = true;
    let started = app::start(&config, registry.clock.clone()).await;
    let text = format!("{:#}", started.err().unwrap());
    assert!(text.contains("database.statement_cache = false"), "{text}");
    // The URL is named without its password.
    assert!(!text.contains("berth_test:berth_test"), "{text}");
}
