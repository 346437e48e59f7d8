//! Behind nginx, which ends TLS: with the directives of `config/nginx.conf`, on other ports.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use futures_util::stream;
use libtest_mimic::Trial;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::docker::Docker;
use crate::fact;
use crate::http::{self, Answer, Caller};
use crate::process::{self, Daemon};
use crate::server::Server;

/// What the documentation shows.
const DOCUMENTED: &str = include_str!("../../config/nginx.conf");

/// Where Debian puts it.
const NGINX: &str = "/usr/sbin/nginx";
/// The command line of Debian's engine.
const DOCKER: &str = "/usr/bin/docker";

/// A body that is refused: a server hears out so much in any weather.
const REFUSED_MIB: usize = 16;

const MIB: usize = 1 << 20;
/// One PATCH without a length.
const CHUNKED_MIB: usize = 200;
/// One PUT with a length.
const WHOLE_MIB: usize = 64;

/// A test that any way of buffering must pass.
type ProxyTest = fn(&Proxied);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![fact(
        "nginx::docker_pushes_and_pulls_through_it",
        docker_pushes_and_pulls_through_it,
    )];
    for buffering in ["off", "on"] {
        let facts: [(&str, ProxyTest); 5] = [
            ("names_and_scheme_are_the_proxys", names_are_the_proxys),
            ("large_bodies_go_through", large_bodies_go_through),
            ("a_refusal_is_heard", a_refusal_is_heard),
            ("paths_go_on_as_they_came", paths_go_on_as_they_came),
            ("claims_of_clients_are_replaced", claims_are_replaced),
        ];
        trials.extend(facts.into_iter().map(|(name, test)| {
            let name = format!("nginx::request_buffering_{buffering}::{name}");
            fact(&name, move || test(&Proxied::start(buffering)))
        }));
    }
    trials
}

/// A server behind nginx, and somebody who believes nginx's certificate.
struct Proxied {
    nginx: Daemon,
    server: Server,
    /// `host:port` of nginx.
    registry: String,
    client: Client,
    /// A key that may do everything in the first workspace.
    key: String,
    /// Where nginx has its files.
    folder: TempDir,
}

impl Drop for Proxied {
    fn drop(&mut self) {
        // By a signal, so that it ends its workers.
        self.nginx.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("error.log"));
            crate::tell(&format!("nginx says:\n{}", log.unwrap_or_default()));
        }
    }
}

impl Proxied {
    fn start(buffering: &str) -> Self {
        process::require(Path::new(NGINX), "nginx-light");
        let variables = [("BERTH_SERVER__TRUSTED_PROXIES", "127.0.0.1")];
        let server = Server::start_alone(&variables);
        let folder = tempfile::tempdir().expect("a folder is made");
        let certificate = write_certificate(folder.path());
        // nginx takes no port 0. It gets a socket that listens already, in the place of its standard input, as it
        // hands its sockets to its own successor.
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        socket.set_nonblocking(true).expect("a socket can be set");
        let address = socket.local_addr().expect("a bound socket has an address");
        let registry = address.to_string();
        write_configuration(folder.path(), &registry, &server.registry, buffering);
        let nginx = Daemon::start(Path::new(NGINX), |command| {
            let configuration = folder.path().join("nginx.conf");
            command.arg("-e").arg(folder.path().join("error.log"));
            command.arg("-p").arg(folder.path());
            command.arg("-c").arg(configuration);
            command
                .env("NGINX", "0;")
                .stdin(Stdio::from(OwnedFd::from(socket)));
        });
        let believed = reqwest::Certificate::from_pem(certificate.as_bytes());
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([believed.expect("the certificate is one")])
            .build()
            .expect("a client is built");
        Self {
            nginx,
            key: new_key(&server),
            server,
            registry,
            client,
            folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.registry)
    }

    /// A request to a path through nginx, or to a `Location` as it was given.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') {
            self.url(path)
        } else {
            String::from(path)
        };
        let request = self.client.request(method, url);
        request.basic_auth("anyone", Some(&self.key))
    }

    /// Begins an upload; gives its location.
    fn upload(&self) -> String {
        let upload = self.request(Method::POST, "/v2/t-main/app/blobs/uploads/");
        let upload = http::send(upload).expect(202);
        let location = upload.location.expect("an upload has a location");
        self.assert_leads_back(&location);
        location
    }

    /// Asserts that a client that follows `location` comes through nginx again.
    fn assert_leads_back(&self, location: &str) {
        let own = self.url("/");
        assert!(
            location.starts_with('/') || location.starts_with(&own),
            "{location} does not begin with {own}"
        );
    }
}

/// A new key for everything in the first workspace.
fn new_key(server: &Server) -> String {
    let url = server.url("/api/v1/workspaces/main/api-keys");
    let operator = Caller::Bearer(server.operator_key());
    let body = json!({"name": "proxied", "role": "admin"});
    let made = http::send(http::request(Method::POST, &url, &operator).json(&body));
    let made = made.expect(201).json();
    made["data"]["key"]
        .as_str()
        .map(String::from)
        .expect("a new key is shown")
}

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).expect("a small file is written");
}

/// A certificate for the loopback address, in the files that the configuration will name.
fn write_certificate(folder: &Path) -> String {
    let key = KeyPair::generate().expect("a key is made");
    let params = CertificateParams::new(vec![String::from("127.0.0.1")]);
    let certificate = params.and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate is made").pem();
    write(folder, "registry.pem", &certificate);
    write(folder, "registry.key", &key.serialize_pem());
    certificate
}

/// The documented directives with this test's addresses and files, in what every nginx needs around them.
fn write_configuration(folder: &Path, own: &str, registry: &str, buffering: &str) {
    let path = folder.display();
    let mut directives = String::from(DOCUMENTED);
    for (documented, here) in [
        ("listen 443 ssl;", format!("listen {own} ssl;")),
        ("/etc/ssl/", format!("{path}/")),
        ("http://127.0.0.1:5000;", format!("http://{registry};")),
        (
            "proxy_request_buffering off;",
            format!("proxy_request_buffering {buffering};"),
        ),
    ] {
        assert!(directives.contains(documented), "{documented} is missing");
        directives = directives.replace(documented, &here);
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {path}/{name};\n"))
        .collect();
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
         http {{\n  access_log off;\n{temporary}{directives}}}\n"
    );
    write(folder, "nginx.conf", &configuration);
}

fn names_are_the_proxys(proxied: &Proxied) {
    let challenge = http::send(proxied.client.get(proxied.url("/v2/"))).expect(401);
    let challenge = challenge.challenge.expect("a 401 comes with a challenge");
    let realm = format!("realm=\"{}\"", proxied.url("/token"));
    assert!(challenge.contains(&realm), "{challenge}");
    let token = proxied.request(Method::GET, "/token");
    let token = token.query(&[("scope", "repository:t-main/app:pull,push")]);
    let token = http::send(token).expect(200).json();
    let token = token["token"].as_str().expect("a token is a text");
    let base = proxied.client.get(proxied.url("/v2/")).bearer_auth(token);
    http::send(base).expect(200);
    let issued = proxied
        .client
        .post(proxied.url("/api/v1/registry/credentials"))
        .bearer_auth(&proxied.key)
        .json(&json!({}));
    let issued = http::send(issued).expect(200).json();
    let expected = format!("{}/t-main", proxied.registry);
    assert_eq!(issued["data"]["pushRegistry"], expected);
}

/// The `number`th MiB of a body; no two are equal.
fn mebibyte(number: usize) -> Bytes {
    let mut bytes = vec![number as u8; MIB];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn digest(mebibytes: usize) -> String {
    let mut hash = Sha256::new();
    for number in 0..mebibytes {
        hash.update(mebibyte(number));
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// A body of so many MiB, without a length.
fn body(mebibytes: usize) -> reqwest::Body {
    let chunks = (0..mebibytes).map(|number| Ok::<_, std::io::Error>(mebibyte(number)));
    reqwest::Body::wrap_stream(stream::iter(chunks))
}

fn large_bodies_go_through(proxied: &Proxied) {
    let location = proxied.upload();
    let patch = proxied.request(Method::PATCH, &location);
    let patch = patch.header("content-type", "application/octet-stream");
    let patched = http::send(patch.body(body(CHUNKED_MIB))).expect(202);
    let location = patched.location.expect("the upload goes on somewhere");
    proxied.assert_leads_back(&location);
    let last = finish(proxied, &location, CHUNKED_MIB);
    http::send(last.header("content-length", "0")).expect(201);

    let whole = finish(proxied, &proxied.upload(), WHOLE_MIB);
    let whole = whole
        .header("content-length", WHOLE_MIB * MIB)
        .header("content-type", "application/octet-stream");
    let stored = http::send(whole.body(body(WHOLE_MIB))).expect(201);
    proxied.assert_leads_back(&stored.location.expect("a blob has a location"));

    for mebibytes in [CHUNKED_MIB, WHOLE_MIB] {
        let digest = digest(mebibytes);
        let path = format!("/v2/t-main/app/blobs/{digest}");
        assert_eq!(digest_of(proxied.request(Method::GET, &path)), digest);
    }
}

/// The PUT that closes an upload.
fn finish(proxied: &Proxied, location: &str, mebibytes: usize) -> RequestBuilder {
    let put = proxied.request(Method::PUT, location);
    put.query(&[("digest", digest(mebibytes))])
}

/// The digest of what a request is answered with.
fn digest_of(request: RequestBuilder) -> String {
    http::wait(async {
        let mut response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let mut hash = Sha256::new();
        while let Some(chunk) = response.chunk().await.expect("the whole answer") {
            hash.update(&chunk);
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    })
}

/// A refusal that comes while the body is still on its way is no error of nginx.
fn a_refusal_is_heard(proxied: &Proxied) {
    let unknown = "/v2/t-main/app/blobs/uploads/6a0ab4c3-7a2e-4d0c-8a4b-6c1b1a9c2f00";
    let manifest = "/v2/t-main/app/manifests/v1";
    let foreign = "/v2/t-rival/app/blobs/uploads/";
    for (method, path, status) in [
        (Method::PATCH, unknown, 404),
        (Method::PUT, manifest, 413),
        (Method::POST, foreign, 403),
    ] {
        let request = proxied.request(method, path);
        let answer = http::send(request.body(body(REFUSED_MIB))).expect(status);
        assert!(answer.body.contains("\"errors\""), "{}", answer.body);
    }
    let nobody = proxied.client.patch(proxied.url(unknown));
    http::send(nobody.body(body(REFUSED_MIB))).expect(401);
}

/// Whatever is encoded in a path means the same through nginx as without it.
fn paths_go_on_as_they_came(proxied: &Proxied) {
    let digest = format!("sha256%3A{}", "0".repeat(64));
    let caller = Caller::Basic(String::from("anyone"), proxied.key.clone());
    for path in [
        "/v2/t-main%2Fapp/tags/list",
        "/v2/t-main%2fapp/tags/list",
        "/v2/t-main%252Fapp/tags/list",
        "/v2/t-main/app%2Ftags/list",
        "/v2/t-main/app/manifests/v1%2Fx",
        "/v2/t-main/app/manifests/a%20b",
        "/v2/t-main//app/tags/list",
        &format!("/v2/t-main/app/blobs/{digest}"),
        "/v2/t-main/app/tags/list?last=%2F",
    ] {
        let direct = http::get(&proxied.server.url(path), &caller);
        let through = http::send(proxied.request(Method::GET, path));
        let told = |answer: &Answer| (answer.status, answer.body.clone());
        assert_eq!(told(&through), told(&direct), "{path}");
    }
}

fn claims_are_replaced(proxied: &Proxied) {
    let claimed = proxied
        .client
        .get(proxied.url("/v2/"))
        .header("x-forwarded-host", "evil.example.com")
        .header("x-forwarded-proto", "http");
    let challenge = http::send(claimed).expect(401).challenge;
    let challenge = challenge.expect("a 401 comes with a challenge");
    let realm = format!("realm=\"{}\"", proxied.url("/token"));
    assert!(challenge.contains(&realm), "{challenge}");
}

fn docker_pushes_and_pulls_through_it() {
    let proxied = Proxied::start("off");
    let docker = Docker::with_program(Path::new(DOCKER));
    let login = ["login", "--username", "anyone", "--password", &proxied.key];
    docker
        .run(&[&login[..], &[&proxied.registry]].concat())
        .succeeded();
    let context = tempfile::tempdir().expect("a folder is made");
    write(context.path(), "greeting", "hello through nginx\n");
    write(
        context.path(),
        "Dockerfile",
        "FROM scratch\nCOPY greeting /\n",
    );
    let reference = format!("{}/t-main/greeting:v1", proxied.registry);
    let folder = context.path().to_string_lossy();
    let build = ["build", "--no-cache", "--network", "none", "--tag"];
    docker
        .run(&[&build[..], &[&reference, &folder]].concat())
        .succeeded();
    docker.run(&["push", &reference]).succeeded();
    docker.run(&["rmi", &reference]).succeeded();
    docker.run(&["pull", &reference]).succeeded();
    docker.run(&["rmi", &reference]).succeeded();
}
