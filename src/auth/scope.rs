//! What a token is asked for: the scopes of the distribution project's token specification
//! (`repository:<name>:<actions>`), read generously and limited in number and length.
//!
//! A scope that means nothing here is no error: it is granted nothing, as the specification wants it.

use super::action::{Action, ActionSet};
use crate::oci::RepositoryName;

/// Scopes in one request at most. A push that mounts from other repositories asks for a handful.
pub const MAX_SCOPES: usize = 32;
/// Bytes of all scopes of one request at most.
pub const MAX_SCOPES_BYTES: usize = 8 * 1024;

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Actions on one repository.
    Repository {
        /// Its name.
        name: RepositoryName,
        /// The actions asked for; unknown ones left out.
        actions: ActionSet,
    },
    /// `registry:catalog:*`.
    Catalog,
    /// Something that is not given here: another type, a bad name.
    Unknown,
}

/// Too much was asked for at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// More than [`MAX_SCOPES`].
    #[error("a token is given for at most {MAX_SCOPES} scopes")]
    TooMany,
    /// More than [`MAX_SCOPES_BYTES`].
    #[error("the scopes of a token may have at most {MAX_SCOPES_BYTES} bytes")]
    TooLong,
}

/// Reads the `scope` parameters of a request, each of which may hold several scopes with spaces between.
///
/// Repositories that are named twice are joined.
pub fn parse_scopes<'a>(
    parameters: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Scope>, ScopeError> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut length = 0;
    let mut count = 0;
    for parameter in parameters {
        length += parameter.len();
        if length > MAX_SCOPES_BYTES {
            return Err(ScopeError::TooLong);
        }
        for text in parameter.split(' ').filter(|text| !text.is_empty()) {
            count += 1;
            if count > MAX_SCOPES {
                return Err(ScopeError::TooMany);
            }
            add(&mut scopes, parse(text));
        }
    }
    Ok(scopes)
}

fn add(scopes: &mut Vec<Scope>, scope: Scope) {
    if let Scope::Repository { name, actions } = &scope {
        for known in scopes.iter_mut() {
            if let Scope::Repository {
                name: known_name,
                actions: known_actions,
            } = known
                && known_name == name
            {
                *known_actions = known_actions.union(*actions);
                return;
            }
        }
    }
    if scope != Scope::Catalog || !scopes.contains(&scope) {
        scopes.push(scope);
    }
}

/// The type ends at the first colon and the actions begin at the last one: a name may hold a colon, before a port.
fn parse(text: &str) -> Scope {
    let Some((kind, rest)) = text.split_once(':') else {
        return Scope::Unknown;
    };
    let Some((name, actions)) = rest.rsplit_once(':') else {
        return Scope::Unknown;
    };
    // `repository(plugin)`: the class is deprecated and means nothing.
    let kind = match kind.split_once('(') {
        Some((kind, class)) if class.ends_with(')') => kind,
        Some(_) => return Scope::Unknown,
        None => kind,
    };
    match kind {
        "repository" => match name.parse() {
            Ok(name) => Scope::Repository {
                name,
                actions: parse_actions(actions),
            },
            Err(_) => Scope::Unknown,
        },
        "registry" if name == "catalog" && actions.split(',').any(|action| action == "*") => {
            Scope::Catalog
        }
        _ => Scope::Unknown,
    }
}

fn parse_actions(text: &str) -> ActionSet {
    if text.split(',').any(|action| action == "*") {
        return ActionSet::ALL;
    }
    text.split(',')
        .filter_map(|action| action.parse::<Action>().ok())
        .collect()
}

/// The scope that a repository and its actions are asked for with.
#[must_use]
pub fn repository_scope(name: &RepositoryName, actions: ActionSet) -> String {
    format!("repository:{}:{actions}", name.as_str())
}

/// The scope that the catalogue is asked for with.
pub const CATALOG_SCOPE: &str = "registry:catalog:*";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(name: &str, actions: &[Action]) -> Scope {
        Scope::Repository {
            name: name.parse().unwrap(),
            actions: ActionSet::of(actions),
        }
    }

    #[test]
    fn what_real_clients_ask_for_is_understood() {
        let cases = [
            (
                "repository:t-a/b:push,pull",
                repository("t-a/b", &[Action::Pull, Action::Push]),
            ),
            (
                "repository:t-a/b:pull",
                repository("t-a/b", &[Action::Pull]),
            ),
            ("repository:t-a/b:*", repository("t-a/b", &Action::ALL)),
            (
                "repository:t-a/b:delete",
                repository("t-a/b", &[Action::Delete]),
            ),
            (
                "repository(plugin):t-a/b:pull",
                repository("t-a/b", &[Action::Pull]),
            ),
            (
                "repository:t-a/b:pull,frobnicate",
                repository("t-a/b", &[Action::Pull]),
            ),
            ("repository:t-a/b:", repository("t-a/b", &[])),
            ("registry:catalog:*", Scope::Catalog),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_scopes([text]), Ok(vec![expected]), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_granted_nothing() {
        for text in [
            "repository",
            "repository:",
            "repository:a",
            "repository::pull",
            "repository:A/B:pull",
            "repository:../x:pull",
            "repository:host:5000/a/b:pull",
            "repository(x:a:pull",
            "registry:catalog:pull",
            "registry:other:*",
            "pull-request:a:pull",
            ":::",
            "repository:a//b:pull",
        ] {
            assert_eq!(parse_scopes([text]), Ok(vec![Scope::Unknown]), "{text}");
        }
    }

    #[test]
    fn several_scopes_come_in_one_parameter_or_in_many() {
        let expected = Ok(vec![
            repository("a/b", &[Action::Pull, Action::Push]),
            repository("c", &[Action::Pull]),
        ]);
        assert_eq!(
            parse_scopes([
                "repository:a/b:pull  repository:c:pull",
                "repository:a/b:push"
            ]),
            expected
        );
        assert_eq!(parse_scopes([""]), Ok(vec![]));
        assert_eq!(parse_scopes([]), Ok(vec![]));
    }

    #[test]
    fn number_and_length_are_limited() {
        let many = "repository:a/b:pull ".repeat(MAX_SCOPES);
        assert!(parse_scopes([many.as_str()]).is_ok());
        assert_eq!(parse_scopes([many.as_str(), "x"]), Err(ScopeError::TooMany));
        let long = "x".repeat(MAX_SCOPES_BYTES);
        assert!(parse_scopes([long.as_str()]).is_ok());
        assert_eq!(parse_scopes([long.as_str(), "x"]), Err(ScopeError::TooLong));
    }

    proptest! {
        #[test]
        fn junk_never_panics(text in "\\PC{0,300}") {
            let _ = parse_scopes([text.as_str()]);
        }

        #[test]
        fn near_misses_never_panic(text in "(repository|registry|r)?[:()* ,/a-zA-Z0-9._-]{0,60}") {
            let _ = parse_scopes([text.as_str()]);
        }

        #[test]
        fn what_we_write_we_read(name in "[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,3}", bits in 0_usize..8) {
            let name: RepositoryName = name.parse().unwrap();
            let actions: ActionSet = Action::ALL.into_iter().enumerate()
                .filter(|(index, _)| bits & (1 << index) != 0).map(|(_, action)| action).collect();
            let text = repository_scope(&name, actions);
            prop_assert_eq!(parse_scopes([text.as_str()]), Ok(vec![Scope::Repository { name, actions }]));
        }
    }
}
