//! A way to the server that fails as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What goes wrong with bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Nothing goes through any more, and nobody is told.
    Silent,
    /// Connections are cut as soon as anything wants through.
    Cut,
    /// Answers are cut after so many bytes of each connection.
    CutsAnswersAfter(u64),
    /// Of what a client sends in large pieces, the last byte of each is another one.
    Corrupts,
    /// What a client sends in large pieces goes no further.
    HoldsLarge,
    /// The answer to a POST that completes a multipart upload never comes: its connection is cut instead.
    LosesCompletion,
    /// So many times, a PUT of what must not be there yet is refused because of another one at this moment.
    RefusesCreation {
        times: u64,
    },
}

/// The most that is handed on at once. No head is so large.
const PIECE_BYTES: usize = 16 * 1024;

/// What S3 says while another request with a condition on the same key is under way.
const CONFLICT: &[u8] =
    b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Type: application/xml\r\n\
    Content-Length: 54\r\n\r\n<Error><Code>ConditionalRequestConflict</Code></Error>";

pub(crate) struct Proxy {
    pub(crate) url: String,
    weather: watch::Sender<Weather>,
    /// How many connections or answers were harmed.
    harmed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        for connection in lock(&self.connections).drain(..) {
            connection.abort();
        }
    }
}

impl Proxy {
    pub(crate) async fn to(endpoint: &str) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let weather = watch::Sender::new(Weather::Fair);
        let harmed = Arc::new(AtomicU64::new(0));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (sky, count, handles) = (
            weather.clone(),
            Arc::clone(&harmed),
            Arc::clone(&connections),
        );
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection = Connection {
                    weather: sky.subscribe(),
                    harmed: Arc::clone(&count),
                };
                let target = target.clone();
                let handle = tokio::spawn(async move {
                    let server = TcpStream::connect(target).await.unwrap();
                    connection.run(client, server).await;
                });
                lock(&handles).push(handle);
            }
        });
        Self {
            url,
            weather,
            harmed,
            accepting,
            connections,
        }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(crate) fn harmed(&self) -> u64 {
        self.harmed.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    weather: watch::Receiver<Weather>,
    harmed: Arc<AtomicU64>,
}

impl Connection {
    fn weather(&self) -> Weather {
        *self.weather.borrow()
    }

    fn harm(&self) {
        self.harmed.fetch_add(1, Ordering::SeqCst);
    }

    async fn run(mut self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        let mut answered = 0_u64;
        let mut is_completing = false;
        loop {
            let (from_client, bytes) = tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(count @ 1..) => (true, &mut up[..count]),
                    Ok(0) | Err(_) => return,
                },
                read = server.read(&mut down) => match read {
                    Ok(count @ 1..) => (false, &mut down[..count]),
                    Ok(0) | Err(_) => return,
                },
            };
            match self.weather() {
                Weather::Fair | Weather::RefusesCreation { .. } => {}
                Weather::Silent => {
                    self.harm();
                    let cleared = self.weather.wait_for(|weather| *weather != Weather::Silent);
                    if cleared.await.is_err() {
                        return;
                    }
                }
                Weather::Cut => {
                    self.harm();
                    return;
                }
                Weather::CutsAnswersAfter(limit) => {
                    if !from_client && answered + bytes.len() as u64 > limit {
                        self.harm();
                        return;
                    }
                }
                Weather::Corrupts => {
                    if from_client && bytes.len() == PIECE_BYTES {
                        bytes[PIECE_BYTES - 1] ^= 1;
                        self.harm();
                    }
                }
                Weather::HoldsLarge => {
                    if from_client && bytes.len() == PIECE_BYTES {
                        self.harm();
                        let other = |weather: &Weather| *weather != Weather::HoldsLarge;
                        if self.weather.wait_for(other).await.is_err() {
                            return;
                        }
                    }
                }
                Weather::LosesCompletion => {
                    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
                    is_completing |=
                        from_client && head.starts_with("POST ") && head.contains("uploadId=");
                    // Garage sends blanks while it completes; the head alone says nothing yet.
                    if !from_client
                        && is_completing
                        && head.contains("CompleteMultipartUploadResult")
                    {
                        self.harm();
                        return;
                    }
                }
            }
            if let Weather::RefusesCreation { times } = self.weather() {
                let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
                let creates = from_client
                    && head.starts_with("PUT ")
                    && head.to_ascii_lowercase().contains("if-none-match");
                if creates && self.harmed.load(Ordering::SeqCst) < times {
                    self.harm();
                    if client.write_all(CONFLICT).await.is_ok() {
                        // What is still on its way is taken in, so that the answer is not lost.
                        while matches!(client.read(&mut up).await, Ok(1..)) {}
                    }
                    return;
                }
            }
            let written = if from_client {
                server.write_all(bytes).await
            } else {
                answered += bytes.len() as u64;
                client.write_all(bytes).await
            };
            if written.is_err() {
                return;
            }
        }
    }
}
