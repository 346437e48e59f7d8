//! What the server says about itself: logs, request ids and metrics.
//!
//! The one place that sets up `tracing` and the one that names metrics. Knows no HTTP and no database: callers hand
//! in words. Secrets never come here.

mod routes;
mod span_fields;

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

pub use routes::{Answer, RouteMetrics, known_method};

use crate::config::{Log, LogFormat};
use span_fields::SpanFields;

/// The longest request id that is taken over from a client, in bytes.
const REQUEST_ID_LIMIT_BYTES: usize = 64;

/// The MIME type of [`Metrics::render`].
pub const METRICS_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The route label of a request that matched no route.
pub const UNMATCHED_ROUTE: &str = "unmatched";

/// Buckets of request times: from a cached manifest to a large upload, in seconds.
const REQUEST_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    300.0,
];

/// Buckets of the database's and the storage's times: from a look in memory to a disk that hangs, in seconds.
const LATENCY_BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Logging or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is not a list of directives.
    #[error(
        "log.filter is {filter:?}, which is not a filter ({reason}); write a level such as \"info\", or directives \
         such as \"info,berth=debug\""
    )]
    Filter {
        /// The text.
        filter: String,
        /// What the parser says.
        reason: String,
    },
    /// Logging was set up before in this process.
    #[error("logging is set up already")]
    AlreadyInstalled,
    /// Two metrics share a name, or a name is not valid: a mistake in this file.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Sends what `tracing` collects to standard error, from now to the end of the process.
///
/// # Errors
///
/// [`TelemetryError::Filter`] for a filter that cannot be parsed, [`TelemetryError::AlreadyInstalled`] the second
/// time.
pub fn install_logging(log: &Log) -> Result<(), TelemetryError> {
    let filter = parse_filter(&log.filter)?;
    let as_text = match log.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let installed = if as_text {
        builder.with_ansi(stderr().is_terminal()).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            // A request has one span: the list of all would only repeat it.
            .with_span_list(false)
            .fmt_fields(SpanFields)
            .try_init()
    };
    installed.map_err(|_| TelemetryError::AlreadyInstalled)
}

/// Checks `log.filter` without installing anything.
///
/// # Errors
///
/// [`TelemetryError::Filter`] for a filter that cannot be parsed.
pub fn check_filter(log: &Log) -> Result<(), TelemetryError> {
    parse_filter(&log.filter).map(drop)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

/// The id of one request, in its answer and in every line it logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id: the process's own random number, and one that only this request of it has. No request waits for the
    /// system's randomness, and nobody sees how many requests there were.
    #[must_use]
    pub fn fresh() -> Self {
        static PROCESS: LazyLock<(u64, u64)> = LazyLock::new(|| Uuid::new_v4().as_u64_pair());
        static REQUESTS: AtomicU64 = AtomicU64::new(0);
        let (process, key) = *PROCESS;
        let request = scrambled(REQUESTS.fetch_add(1, Ordering::Relaxed) ^ key);
        let number = u128::from(process) << 64 | u128::from(request);
        let mut room = Uuid::encode_buffer();
        let text: &str = Uuid::from_u128(number).simple().encode_lower(&mut room);
        Self(text.into())
    }

    /// The id a client or proxy sent, if it is 1 to 64 of `[A-Za-z0-9._-]`; else a new one.
    #[must_use]
    pub fn accept(incoming: Option<&[u8]>) -> Self {
        incoming
            .filter(|bytes| (1..=REQUEST_ID_LIMIT_BYTES).contains(&bytes.len()))
            .filter(|bytes| {
                bytes
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
            })
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .map_or_else(Self::fresh, |text| Self(text.into()))
    }

    /// The id as a header carries it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Another number for each number (the finalizer of SplitMix64).
fn scrambled(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Every metric of the server, in a registry of its own.
///
/// Labels are bounded: doors, operations, caches and reasons are words of the code (`&'static str`), methods are
/// folded to the known ones, and a route is a template such as `/v2/{name}/blobs/{digest}`, never a path.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    received_bytes: IntCounterVec,
    sent_bytes: IntCounterVec,
    connections: IntGaugeVec,
    connections_cut: IntCounterVec,
    certificate_expires: IntGaugeVec,
    open_uploads: IntGauge,
    auth_failures: IntCounterVec,
    limits_reached: IntCounterVec,
    buffered_bytes: IntGaugeVec,
    open_transfers: IntGauge,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    writer_queue_length: IntGauge,
    database_seconds: HistogramVec,
    storage_seconds: HistogramVec,
    collection: CollectionMetrics,
}

/// What is told of the collector.
#[derive(Clone, Debug)]
struct CollectionMetrics {
    queue_length: IntGaugeVec,
    queue_bytes: IntGaugeVec,
    queue_overdue_seconds: IntGaugeVec,
    collected: IntCounterVec,
    freed_bytes: IntCounterVec,
    failures: IntCounterVec,
    last_round: IntGaugeVec,
    paused: IntGauge,
}

impl CollectionMetrics {
    fn new(registrar: &Registrar) -> Result<Self, TelemetryError> {
        Ok(Self {
            queue_length: registrar.gauges(
                "berth_collection_queue_length",
                "What waits for the collector, due or not.",
                &["queue"],
            )?,
            queue_bytes: registrar.gauges(
                "berth_collection_queue_bytes",
                "What that weighs, as far as it is known.",
                &["queue"],
            )?,
            queue_overdue_seconds: registrar.gauges(
                "berth_collection_queue_overdue_seconds",
                "For how long the oldest that is due has been so.",
                &["queue"],
            )?,
            collected: registrar.counters(
                "berth_collection_collected_total",
                "What the collector has done.",
                &["what"],
            )?,
            freed_bytes: registrar.counters(
                "berth_collection_freed_bytes_total",
                "Bytes that the collector has deleted from the storage, as far as they are known.",
                &[],
            )?,
            failures: registrar.counters(
                "berth_collection_failures_total",
                "What the collector could not do, and tries again later.",
                &["queue"],
            )?,
            // Families without a label: they have no value before the first round, rather than 1970.
            last_round: registrar.gauges(
                "berth_collection_last_round_seconds",
                "When the collector last did all that was due, as Unix time.",
                &[],
            )?,
            paused: registrar.gauge(
                "berth_collection_paused",
                "Whether the collector waits because the clock jumped.",
            )?,
        })
    }
}

/// How long one kind of work takes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Latency(Histogram);

impl Latency {
    /// Begins to measure; what it gives back ends it when it is dropped, however the work ended.
    #[must_use]
    pub fn start(&self) -> Timing {
        Timing {
            histogram: self.0.clone(),
            started: Instant::now(),
        }
    }

    /// A latency that nobody looks at, for tests that start no server.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the name and the buckets are constants")]
    pub fn unseen() -> Self {
        let options = HistogramOpts::new("unseen", "Looked at by nobody.");
        Self(Histogram::with_opts(options).expect("a histogram with a name is valid"))
    }
}

/// A measurement under way.
#[derive(Debug)]
pub struct Timing {
    histogram: Histogram,
    started: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.histogram.observe(self.started.elapsed().as_secs_f64());
    }
}

/// Where the database's time goes.
#[derive(Clone, Debug)]
pub struct DatabaseLatency {
    /// Waiting for a connection, or for the turn to change something.
    pub wait: Latency,
    /// Reading: holding a connection for the statements of one question.
    pub read: Latency,
    /// Changing: from the first statement of a transaction to its end, COMMIT included.
    pub change: Latency,
}

impl DatabaseLatency {
    /// For tests that start no server.
    #[must_use]
    pub fn unseen() -> Self {
        let latency = Latency::unseen();
        Self {
            wait: latency.clone(),
            read: latency.clone(),
            change: latency,
        }
    }
}

/// Where the storage's time goes.
#[derive(Clone, Debug)]
pub struct StorageLatency {
    /// Opening an object to read it.
    pub open: Latency,
    /// Making the last bytes of a request durable.
    pub sync: Latency,
    /// Making a whole object out of an upload, durably.
    pub publish: Latency,
}

/// Registers metrics one after the other.
struct Registrar(Registry);

impl Registrar {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, TelemetryError> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, TelemetryError> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, TelemetryError> {
        let metric = IntGauge::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, TelemetryError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let metric = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Metrics`] when a name is registered twice, which a test rules out.
    pub fn new() -> Result<Self, TelemetryError> {
        let registrar = Registrar(Registry::new());
        registrar
            .gauges("berth_build_info", "The running version.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Self {
            requests: registrar.counters(
                "berth_http_requests_total",
                "Requests answered.",
                &["door", "route", "method", "status"],
            )?,
            request_seconds: registrar.histograms(
                "berth_http_request_duration_seconds",
                "Time from the head of a request to the beginning of its answer.",
                &["door", "route"],
                &REQUEST_BUCKETS,
            )?,
            received_bytes: registrar.counters(
                "berth_http_received_bytes_total",
                "Bytes of request bodies.",
                &["door"],
            )?,
            sent_bytes: registrar.counters(
                "berth_http_sent_bytes_total",
                "Bytes of response bodies, as their heads announce them.",
                &["door"],
            )?,
            connections: registrar.gauges(
                "berth_http_connections",
                "Connections open now.",
                &["door"],
            )?,
            connections_cut: registrar.counters(
                "berth_connections_closed_total",
                "Connections, and streams of HTTP/2, that a limit of the listeners ended.",
                &["door", "reason"],
            )?,
            // Without a label, but a family: it has no value where there is no certificate, rather than 1970.
            certificate_expires: registrar.gauges(
                "berth_tls_certificate_expires_seconds",
                "When the served certificate expires, as Unix time.",
                &[],
            )?,
            open_uploads: registrar.gauge("berth_open_uploads", "Upload sessions open now.")?,
            auth_failures: registrar.counters(
                "berth_auth_failures_total",
                "Requests refused for their credentials or rights.",
                &["reason"],
            )?,
            limits_reached: registrar.counters(
                "berth_limits_reached_total",
                "Requests refused by a limit, by the name of its setting.",
                &["limit"],
            )?,
            buffered_bytes: registrar.gauges(
                "berth_buffered_bytes",
                "Bytes of request bodies held in memory now, as limits.buffered_bytes counts them.",
                &["of"],
            )?,
            open_transfers: registrar.gauge(
                "berth_open_transfers",
                "Blobs that are sent or received now.",
            )?,
            cache_hits: registrar.counters(
                "berth_cache_hits_total",
                "Look-ups answered from memory.",
                &["cache"],
            )?,
            cache_misses: registrar.counters(
                "berth_cache_misses_total",
                "Look-ups that memory could not answer.",
                &["cache"],
            )?,
            writer_queue_length: registrar.gauge(
                "berth_writer_queue_length",
                "Writes that wait for the database's writer.",
            )?,
            database_seconds: registrar.histograms(
                "berth_database_duration_seconds",
                "Time that requests spend with the database: waiting for it, reading, changing.",
                &["operation"],
                &LATENCY_BUCKETS,
            )?,
            storage_seconds: registrar.histograms(
                "berth_storage_duration_seconds",
                "Time that requests spend with the storage of blobs.",
                &["operation"],
                &LATENCY_BUCKETS,
            )?,
            collection: CollectionMetrics::new(&registrar)?,
            registry: registrar.0,
        })
    }

    /// What the database's times are measured with.
    #[must_use]
    pub fn database_latency(&self) -> DatabaseLatency {
        let of = |operation| Latency(self.database_seconds.with_label_values(&[operation]));
        DatabaseLatency {
            wait: of("wait"),
            read: of("read"),
            change: of("change"),
        }
    }

    /// What the storage's times are measured with.
    #[must_use]
    pub fn storage_latency(&self) -> StorageLatency {
        let of = |operation| Latency(self.storage_seconds.with_label_values(&[operation]));
        StorageLatency {
            open: of("open"),
            sync: of("sync"),
            publish: of("publish"),
        }
    }

    /// Notes that a connection was opened.
    pub fn connection_opened(&self, door: &'static str) {
        self.connections.with_label_values(&[door]).inc();
    }

    /// Notes that a connection was closed.
    pub fn connection_closed(&self, door: &'static str) {
        self.connections.with_label_values(&[door]).dec();
    }

    /// Counts a connection, or a stream of one, that was ended before its time.
    pub fn connection_cut(&self, door: &'static str, reason: &'static str) {
        self.connections_cut
            .with_label_values(&[door, reason])
            .inc();
    }

    /// Sets when the certificate that is served expires, in seconds of Unix time.
    pub fn set_certificate_expiry(&self, unix_seconds: i64) {
        self.certificate_expires
            .with_label_values::<&str>(&[])
            .set(unix_seconds);
    }

    /// Sets how many upload sessions are open.
    pub fn set_open_uploads(&self, uploads: i64) {
        self.open_uploads.set(uploads);
    }

    /// Counts a refusal.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Sets how many bytes of request bodies are held in memory.
    pub fn set_buffered_bytes(&self, of: &'static str, bytes: usize) {
        let gauge = self.buffered_bytes.with_label_values(&[of]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets how many blobs are sent or received.
    pub fn set_open_transfers(&self, transfers: usize) {
        self.open_transfers
            .set(i64::try_from(transfers).unwrap_or(i64::MAX));
    }

    /// Counts a refusal by a limit, named as its setting is.
    pub fn limit_reached(&self, limit: &'static str) {
        self.limits_reached.with_label_values(&[limit]).inc();
    }

    /// Sets how many look-ups in a cache memory has answered since the start, and how many it could not.
    pub fn set_cache_lookups(&self, cache: &'static str, hits: u64, misses: u64) {
        for (counters, total) in [(&self.cache_hits, hits), (&self.cache_misses, misses)] {
            let counter = counters.with_label_values(&[cache]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// Sets how many writes wait for the writer.
    pub fn set_writer_queue_length(&self, length: i64) {
        self.writer_queue_length.set(length);
    }

    /// Sets how much waits in a queue of the collector, and for how long the oldest of it has been due.
    pub fn set_collection_queue(
        &self,
        queue: &'static str,
        length: u64,
        bytes: u64,
        overdue_seconds: u64,
    ) {
        let metrics = &self.collection;
        for (gauges, value) in [
            (&metrics.queue_length, length),
            (&metrics.queue_bytes, bytes),
            (&metrics.queue_overdue_seconds, overdue_seconds),
        ] {
            let gauge = gauges.with_label_values(&[queue]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Counts what the collector has done.
    pub fn collected(&self, what: &'static str, count: u64) {
        self.collection
            .collected
            .with_label_values(&[what])
            .inc_by(count);
    }

    /// Counts bytes that the collector has deleted.
    pub fn collection_freed(&self, bytes: u64) {
        self.collection
            .freed_bytes
            .with_label_values::<&str>(&[])
            .inc_by(bytes);
    }

    /// Counts what the collector could not do.
    pub fn collection_failed(&self, queue: &'static str, count: u64) {
        self.collection
            .failures
            .with_label_values(&[queue])
            .inc_by(count);
    }

    /// Sets when the collector last did all that was due, in seconds of Unix time.
    pub fn collection_round_ended(&self, unix_seconds: i64) {
        self.collection
            .last_round
            .with_label_values::<&str>(&[])
            .set(unix_seconds);
    }

    /// Sets whether nothing is collected.
    pub fn set_collection_paused(&self, is_paused: bool) {
        self.collection.paused.set(i64::from(is_paused));
    }

    /// All metrics in Prometheus' text format, of type [`METRICS_CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Encoding fails only for families without a name or without values, which gather() does not return.
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written as text");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_metric_is_rendered_once_it_has_a_value() {
        let metrics = Metrics::new().unwrap();
        let answer = Answer {
            method: "GET",
            status: 206,
            duration: Duration::from_millis(3),
            received_bytes: 10,
            sent_bytes: 20,
        };
        metrics
            .route("public", "/v2/{name}/blobs/{digest}")
            .answered(&answer);
        metrics.route("pull", UNMATCHED_ROUTE).answered(&Answer {
            method: "BREW",
            status: 404,
            ..answer
        });
        metrics.connection_opened("ops");
        metrics.connection_opened("ops");
        metrics.connection_closed("ops");
        metrics.connection_cut("public", "stalled");
        metrics.set_certificate_expiry(1_798_761_600);
        metrics.set_open_uploads(2);
        metrics.auth_failure("expired");
        metrics.limit_reached("limits.json_body_bytes");
        metrics.set_buffered_bytes("json", 5);
        metrics.set_open_transfers(6);
        metrics.set_cache_lookups("tags", 1, 1);
        metrics.set_writer_queue_length(3);
        metrics.set_collection_queue("links", 4, 5_000, 6);
        metrics.collected("objects", 7);
        metrics.collection_freed(8_000);
        metrics.collection_failed("objects", 1);
        metrics.collection_round_ended(1_767_225_600);
        metrics.set_collection_paused(true);
        drop(metrics.database_latency().read.start());
        drop(metrics.storage_latency().open.start());
        let without_buckets: String = metrics
            .render()
            .lines()
            .filter(|line| !line.contains("_bucket{") && !line.contains("_sum{operation"))
            .map(|line| format!("{line}\n"))
            .collect();
        insta::assert_snapshot!(without_buckets);
    }

    #[test]
    fn two_sets_of_metrics_live_in_one_process() {
        let one = Metrics::new().unwrap();
        let other = Metrics::new().unwrap();
        one.auth_failure("expired");
        assert!(!other.render().contains("expired"));
    }

    #[test]
    fn sane_request_ids_are_kept_and_others_replaced() {
        let longest = "a".repeat(64);
        for kept in ["a", "4bf92f35-77b3.X_1", &longest] {
            assert_eq!(RequestId::accept(Some(kept.as_bytes())).as_str(), kept);
        }
        let too_long = "a".repeat(65);
        for replaced in ["", "a b", "a\nb", "a\"", "ä", &too_long] {
            let id = RequestId::accept(Some(replaced.as_bytes()));
            assert_ne!(id.as_str(), replaced);
            assert_eq!(id.as_str().len(), 32);
        }
        assert_ne!(RequestId::accept(None), RequestId::accept(None));
    }

    #[test]
    fn a_wrong_filter_is_refused_with_its_text() {
        let log = Log {
            filter: String::from("berth=loud"),
            ..Log::default()
        };
        let message = check_filter(&log).unwrap_err().to_string();
        assert!(message.starts_with("log.filter is \"berth=loud\""));
        check_filter(&Log::default()).unwrap();
    }
}
