//! `[storage.s3]`: a bucket in place of the folder of the blobs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::{Config, DoorName, Secret};

const MIB: u64 = 1024 * 1024;

/// A bucket for the blobs; none when `bucket` is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The bucket, which must exist.
    pub bucket: Option<String>,
    /// What the names of our objects in it start with.
    pub prefix: String,
    /// The URL of the service, without the bucket; that of AWS in the region when absent.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: String,
    /// The access key; when absent, the surroundings say who asks.
    pub access_key_id: Option<Secret>,
    /// A file that holds `access_key_id`. Read by [`Config::load`], which moves its content there.
    pub access_key_id_file: Option<PathBuf>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// A file that holds `secret_access_key`. Read by [`Config::load`], which moves its content there.
    pub secret_access_key_file: Option<PathBuf>,
    /// Whether the bucket is part of the host's name.
    pub virtual_hosted: bool,
    /// Whether addresses without TLS will do.
    pub allow_http: bool,
    /// The size of each part of a large object but the last, in bytes.
    pub part_bytes: u64,
    /// Parts held in memory at one time.
    pub parts_in_flight: usize,
    /// How long one request may take, and a download may be silent, in seconds.
    pub request_timeout_seconds: u64,
    /// How often a request that failed is tried again.
    pub retries: usize,
    /// The folder of the parts that are being filled; `spool` in the data folder when absent.
    pub spool: Option<PathBuf>,
    /// Doors that answer a GET of a blob with the address of the object in the bucket.
    pub redirect_doors: Vec<DoorName>,
    /// How clients reach the service, for redirects; `endpoint` when absent.
    pub redirect_endpoint: Option<String>,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: None,
            prefix: String::new(),
            endpoint: None,
            region: String::from("us-east-1"),
            access_key_id: None,
            access_key_id_file: None,
            secret_access_key: None,
            secret_access_key_file: None,
            virtual_hosted: false,
            allow_http: false,
            part_bytes: 16 * MIB,
            parts_in_flight: 4,
            request_timeout_seconds: 30,
            retries: 4,
            spool: None,
            redirect_doors: Vec::new(),
            redirect_endpoint: None,
        }
    }
}

impl Config {
    pub(super) fn check_s3(&self, findings: &mut Findings) {
        let s3 = &self.storage.s3;
        findings.range("storage.s3.part_bytes", s3.part_bytes, 5 * MIB..=512 * MIB);
        findings.range("storage.s3.parts_in_flight", s3.parts_in_flight, 1..=1024);
        findings.range(
            "storage.s3.request_timeout_seconds",
            s3.request_timeout_seconds,
            1..=600,
        );
        findings.range("storage.s3.retries", s3.retries, 0..=10);
        for (key, url) in [
            ("storage.s3.endpoint", &s3.endpoint),
            ("storage.s3.redirect_endpoint", &s3.redirect_endpoint),
        ] {
            if let Some(problem) = url
                .as_deref()
                .and_then(|url| url_problem(url, s3.allow_http))
            {
                findings.add(key, &problem);
            }
        }
        let is_plain = |part: &str| {
            !part.is_empty()
                && !matches!(part, "." | "..")
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let prefix = s3.prefix.strip_suffix('/').unwrap_or(&s3.prefix);
        if !prefix.is_empty() && !prefix.split('/').all(is_plain) {
            findings.add(
                "storage.s3.prefix",
                &format!(
                    "is {:?}, but must be letters, digits, dots, dashes and underscores, in parts separated by /, \
                     such as berth/production/",
                    s3.prefix
                ),
            );
        }
        match (&s3.access_key_id, &s3.secret_access_key) {
            (Some(_), None) => findings.add(
                "storage.s3.secret_access_key",
                "is not set, but storage.s3.access_key_id is; set both, or neither to use the machine's role",
            ),
            (None, Some(_)) => findings.add(
                "storage.s3.access_key_id",
                "is not set, but storage.s3.secret_access_key is; set both, or neither to use the machine's role",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let other = |door: &DoorName| !matches!(door, DoorName::Public | DoorName::Pull);
        if s3.redirect_doors.iter().any(other) {
            findings.add(
                "storage.s3.redirect_doors",
                "names a door that serves no blobs; name public, pull, or both",
            );
        }
        match &s3.bucket {
            Some(bucket) if bucket.is_empty() || bucket.contains(['/', ' ', '?', '#']) => findings.add(
                "storage.s3.bucket",
                &format!("is {bucket:?}, which is no name of a bucket; write the name alone"),
            ),
            Some(_) if self.storage.path.is_some() => findings.add(
                "storage.path",
                "and storage.s3.bucket are both set; the blobs have one place, so unset one of them",
            ),
            None if *s3 != S3::default() => findings.add(
                "storage.s3.bucket",
                "is not set, but other keys of storage.s3 are; name the bucket",
            ),
            Some(_) | None => {}
        }
    }
}

fn url_problem(url: &str, allow_http: bool) -> Option<String> {
    let right = "write one such as https://s3.example.com";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(format!("is {url:?}, which is no URL; {right}"));
    };
    match scheme {
        "https" => {}
        "http" if allow_http => {}
        "http" => {
            return Some(format!(
                "is {url:?}, which is without TLS; write https://, or set storage.s3.allow_http where the network is \
                 trusted"
            ));
        }
        _ => {
            return Some(format!(
                "is {url:?}, which is neither http nor https; {right}"
            ));
        }
    }
    // The text is not repeated: it may hold a password.
    if rest.contains('@') {
        return Some(format!(
            "holds a user name; {right}, and set storage.s3.access_key_id"
        ));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#', ' ']) {
        return Some(format!(
            "is {url:?}, but must be a host and a port without a path; {right}"
        ));
    }
    None
}
