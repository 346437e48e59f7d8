//! What a case is: a named fact about registries, how binding it is, and how it can end.

use std::fmt;
use std::pin::Pin;

use crate::repository::Repository;

/// How binding the sentence behind a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The specification demands it.
    Must,
    /// The specification recommends it.
    Should,
    /// The specification allows it; the word names the feature.
    Optional(&'static str),
    /// Only Berth promises it: other registries are not asked.
    Berth,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Must => formatter.write_str("MUST"),
            Self::Should => formatter.write_str("SHOULD"),
            Self::Optional(feature) => write!(formatter, "MAY ({feature})"),
            Self::Berth => formatter.write_str("BERTH"),
        }
    }
}

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The registry did something else than the case says.
    Wrong(String),
    /// The registry declined a feature in a way that the specification allows.
    NotOffered(String),
}

/// What a case ends with.
pub(crate) type Outcome = Result<(), Failure>;

/// The future of one running case.
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One fact about registries, with the code that looks whether it holds.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The name of the function, which reads as the fact.
    pub(crate) name: &'static str,
    /// How binding it is.
    pub(crate) level: Level,
    /// The sentence of the specification in a few words of our own.
    pub(crate) says: &'static str,
    /// Runs it in a repository of its own.
    pub(crate) run: fn(Repository) -> Running,
}

/// Fails with `message` unless `holds`.
pub(crate) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Failure::Wrong(message()))
    }
}

/// Fails, naming `what`, unless both are equal.
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    ensure(found == expected, || {
        format!("{what}: expected {expected:?}, found {found:?}")
    })
}

/// A [`Case`] from its level, its sentence and the function that is its name.
macro_rules! case {
    ($level:expr, $says:literal, $run:ident) => {
        $crate::case::Case {
            name: stringify!($run),
            level: $level,
            says: $says,
            run: |repository| Box::pin($run(repository)),
        }
    };
}
pub(crate) use case;
