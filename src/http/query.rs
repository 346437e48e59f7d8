//! Query strings and forms as ordered pairs: parameters may repeat, and a wrong one gets our error body.

use axum::http::request::Parts;

/// Parameters in one query or form at most.
const LIMIT: usize = 256;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

/// A query or form that is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum PairsError {
    #[error("the parameters are not UTF-8 in percent-encoding")]
    Malformed,
    #[error("there are more than {LIMIT} parameters")]
    TooMany,
    #[error("the parameter {0} is given more than once, and may be given once")]
    Repeated(&'static str),
}

impl Pairs {
    pub(super) fn of_query(parts: &Parts) -> Result<Self, PairsError> {
        parts
            .uri
            .query()
            .map_or(Ok(Self::default()), |query| Self::parse(query.as_bytes()))
    }

    pub(super) fn parse(encoded: &[u8]) -> Result<Self, PairsError> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_bytes(encoded).map_err(|_| PairsError::Malformed)?;
        // The parser puts this character where bytes are no text; two different requests must not become one.
        let lost = |text: &String| text.contains(char::REPLACEMENT_CHARACTER);
        if pairs.iter().any(|(name, value)| lost(name) || lost(value)) {
            return Err(PairsError::Malformed);
        }
        if pairs.len() > LIMIT {
            Err(PairsError::TooMany)
        } else {
            Ok(Self(pairs))
        }
    }

    /// A parameter that may be given once.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, PairsError> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            Err(PairsError::Repeated(name))
        } else {
            Ok(value)
        }
    }

    /// A parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}
