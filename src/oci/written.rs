//! References as people write them, taken apart as every client does.

/// The parts of a reference, none of them checked. What follows an `@` is taken off before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenReference<'a> {
    /// Host and port, if one was given: a first component that could not be a plain word.
    pub host: Option<&'a str>,
    /// The name.
    pub name: &'a str,
    /// What follows the last colon of the last component.
    pub tag: Option<&'a str>,
}

impl<'a> WrittenReference<'a> {
    /// Takes a reference apart.
    #[must_use]
    pub fn split(text: &'a str) -> Self {
        let (host, path) = match text.split_once('/') {
            Some((host, path)) if is_host(host) => (Some(host), path),
            Some(_) | None => (None, text),
        };
        let last = path.rfind('/').map_or(0, |index| index + 1);
        let (name, tag) = match path[last..].find(':') {
            None => (path, None),
            Some(colon) => (&path[..last + colon], Some(&path[last + colon + 1..])),
        };
        Self { host, name, tag }
    }
}

fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}
