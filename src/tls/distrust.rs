//! Why a client did not get to speak TLS, told from its errors.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// What was wrong with the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// No authority that is known here has signed it.
    UnknownAuthority,
    /// It is for other names; these, if they were told.
    OtherName(Vec<String>),
    /// It may sign others and is no server's own.
    NoServer,
    /// Something else about the certificate.
    Unusable(String),
    /// The other side does not speak TLS, or not so that it is understood.
    NoTls(String),
}

impl Distrust {
    /// What of TLS failed, if it was TLS that did.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        match cause(error)? {
            rustls::Error::InvalidCertificate(reason) => Some(judged(reason)),
            other => Some(Self::NoTls(other.to_string())),
        }
    }

    /// Whether a certificate was shown, so that the other side does speak TLS.
    #[must_use]
    pub fn is_of_certificate(&self) -> bool {
        !matches!(self, Self::NoTls(_))
    }
}

fn judged(reason: &CertificateError) -> Distrust {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Distrust::NotYetValid
        }
        // The signature of another authority of the same name is no good one of the one that is known.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Distrust::UnknownAuthority
        }
        CertificateError::NotValidForName => Distrust::OtherName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            Distrust::OtherName(presented.clone())
        }
        // The verifier's own words: rustls has no name for it.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            Distrust::NoServer
        }
        other => Distrust::Unusable(other.to_string()),
    }
}

/// The error of TLS at the bottom of another one. An I/O error does not name what it holds as its source.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}
