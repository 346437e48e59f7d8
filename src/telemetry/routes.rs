//! The metrics of answered requests, one set for each route of each door. Their names are in `telemetry`.

use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::Metrics;

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its method.
    pub method: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// From the head of the request to the beginning of the answer.
    pub duration: Duration,
    /// Bytes of its body.
    pub received_bytes: u64,
    /// Bytes of the answer's body.
    pub sent_bytes: u64,
}

/// The metrics of one route at one door. They are looked up by their labels when they first have a value, and kept:
/// looking them up would be a good part of what a request from memory costs.
#[derive(Debug)]
pub struct RouteMetrics {
    metrics: Metrics,
    door: &'static str,
    route: &'static str,
    totals: OnceLock<RouteTotals>,
    /// By method and status; as many as the route answers with.
    requests: RwLock<Vec<(&'static str, u16, IntCounter)>>,
}

#[derive(Debug)]
struct RouteTotals {
    seconds: Histogram,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
}

impl RouteMetrics {
    /// Counts one answered request.
    pub fn answered(&self, answer: &Answer<'_>) {
        self.count(known_method(answer.method), answer.status);
        let totals = self.totals.get_or_init(|| {
            let (metrics, door) = (&self.metrics, self.door);
            RouteTotals {
                seconds: metrics
                    .request_seconds
                    .with_label_values(&[door, self.route]),
                received_bytes: metrics.received_bytes.with_label_values(&[door]),
                sent_bytes: metrics.sent_bytes.with_label_values(&[door]),
            }
        });
        totals.seconds.observe(answer.duration.as_secs_f64());
        totals.received_bytes.inc_by(answer.received_bytes);
        totals.sent_bytes.inc_by(answer.sent_bytes);
    }

    fn count(&self, method: &'static str, status: u16) {
        // No change of the list can panic half way through.
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        let kept = known
            .iter()
            .find(|kept| kept.0 == method && kept.1 == status);
        if let Some((.., counter)) = kept {
            counter.inc();
            return;
        }
        drop(known);
        let mut digits = [b'0'; 3];
        let counter = self.metrics.requests.with_label_values(&[
            self.door,
            self.route,
            method,
            status_digits(status, &mut digits),
        ]);
        counter.inc();
        let mut known = self
            .requests
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Another request may have been the first at the same time; both have the same counter.
        if !known
            .iter()
            .any(|kept| kept.0 == method && kept.1 == status)
        {
            known.push((method, status, counter));
        }
    }
}

impl Metrics {
    /// The metrics of one route: a template, or [`UNMATCHED_ROUTE`](super::UNMATCHED_ROUTE).
    #[must_use]
    pub fn route(&self, door: &'static str, route: &'static str) -> RouteMetrics {
        RouteMetrics {
            metrics: self.clone(),
            door,
            route,
            totals: OnceLock::new(),
            requests: RwLock::default(),
        }
    }
}

/// The three digits of a status, without an allocation for each request.
fn status_digits(status: u16, digits: &mut [u8; 3]) -> &str {
    let mut rest = status.min(999);
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[usize::from(rest % 10)];
        rest /= 10;
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

/// A method as a label: a client may invent any number of others.
#[must_use]
pub fn known_method(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_labels_have_three_digits() {
        for (status, text) in [(200, "200"), (99, "099"), (0, "000"), (1000, "999")] {
            assert_eq!(status_digits(status, &mut [0; 3]), text);
        }
    }

    #[test]
    fn the_same_answers_are_counted_together() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("public", "/v2/");
        for (method, status) in [("GET", 200), ("GET", 200), ("GET", 401), ("HEAD", 200)] {
            route.answered(&Answer {
                method,
                status,
                duration: Duration::ZERO,
                received_bytes: 1,
                sent_bytes: 2,
            });
        }
        let text = metrics.render();
        for line in [
            "berth_http_requests_total{door=\"public\",method=\"GET\",route=\"/v2/\",status=\"200\"} 2",
            "berth_http_requests_total{door=\"public\",method=\"GET\",route=\"/v2/\",status=\"401\"} 1",
            "berth_http_requests_total{door=\"public\",method=\"HEAD\",route=\"/v2/\",status=\"200\"} 1",
            "berth_http_received_bytes_total{door=\"public\"} 4",
            "berth_http_sent_bytes_total{door=\"public\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
