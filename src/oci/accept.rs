//! Whether an `Accept` header admits a media type, by RFC 9110 section 12.5.1.

/// How closely an element of the header names the media type: the closest one decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Anything,
    Type,
    Exact,
}

/// Whether the values of the `Accept` headers admit `media_type`.
///
/// No header, or none with an element in it, admits everything. Of several elements that match, the closest
/// decides, so that `*/*, a/b;q=0` refuses `a/b`. Malformed elements count for nothing.
pub fn accepts<'a>(values: impl IntoIterator<Item = &'a str>, media_type: &str) -> bool {
    let mut is_absent = true;
    let mut decision: Option<(Closeness, bool)> = None;
    let elements = values.into_iter().flat_map(|value| value.split(','));
    for element in elements.map(trim).filter(|element| !element.is_empty()) {
        is_absent = false;
        let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
        let (Some(closeness), Some(admits)) =
            (closeness(trim(range), media_type), has_weight(parameters))
        else {
            continue;
        };
        decision = match decision {
            Some((closest, _)) if closest > closeness => decision,
            // The same range twice: one admission is enough.
            Some((closest, before)) if closest == closeness => Some((closest, before || admits)),
            Some(_) | None => Some((closeness, admits)),
        };
    }
    is_absent || decision.is_some_and(|(_, admits)| admits)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn closeness(range: &str, media_type: &str) -> Option<Closeness> {
    if range == "*/*" {
        return Some(Closeness::Anything);
    }
    if range.eq_ignore_ascii_case(media_type) {
        return Some(Closeness::Exact);
    }
    let wanted = range.strip_suffix("/*")?;
    let (kind, _) = media_type.split_once('/')?;
    wanted.eq_ignore_ascii_case(kind).then_some(Closeness::Type)
}

/// Whether the `q` among the parameters is above 0; none is 1, and a malformed one spoils its element.
fn has_weight(parameters: &str) -> Option<bool> {
    let weight = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| trim(name).eq_ignore_ascii_case("q"));
    let Some((_, value)) = weight else {
        return Some(true);
    };
    let (whole, fraction) = trim(value).split_once('.').unwrap_or((trim(value), ""));
    // qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), RFC 9110 section 12.4.2.
    let is_zero = fraction.bytes().all(|byte| byte == b'0');
    let is_short = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if is_short => Some(!is_zero),
        "1" if is_short && is_zero => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::MediaType;

    fn admits(values: &[&str]) -> bool {
        accepts(values.iter().copied(), MediaType::OCI_MANIFEST)
    }

    #[test]
    fn no_header_admits_everything() {
        assert!(admits(&[]));
        assert!(admits(&[""]));
        assert!(admits(&[" , "]));
    }

    #[test]
    fn the_type_itself_and_wildcards_admit() {
        for value in [
            MediaType::OCI_MANIFEST,
            "*/*",
            "application/*",
            "Application/VND.oci.image.manifest.v1+json",
            "text/html, application/vnd.oci.image.manifest.v1+json;q=0.5",
            "text/html,*/*;q=0.001",
            "application/vnd.oci.image.manifest.v1+json ; charset=utf-8 ; q=1.000",
        ] {
            assert!(admits(&[value]), "{value}");
        }
    }

    #[test]
    fn another_type_does_not_admit() {
        for value in [
            "application/json",
            "text/*",
            MediaType::OCI_INDEX,
            "application",
            "*",
            "/*",
        ] {
            assert!(!admits(&[value]), "{value}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        assert!(admits(&[
            "text/html",
            MediaType::OCI_INDEX,
            MediaType::OCI_MANIFEST
        ]));
        assert!(!admits(&["text/html", MediaType::OCI_INDEX]));
    }

    #[test]
    fn a_weight_of_zero_refuses() {
        for value in ["*/*;q=0", "*/*;q=0.0", "application/*; Q=0.000"] {
            assert!(!admits(&[value]), "{value}");
        }
    }

    #[test]
    fn the_closest_element_decides() {
        assert!(!admits(&["*/*", "application/*;q=0"]));
        assert!(!admits(&[
            "application/vnd.oci.image.manifest.v1+json;q=0, */*, application/*"
        ]));
        assert!(admits(&["application/*;q=0", MediaType::OCI_MANIFEST]));
    }

    #[test]
    fn a_malformed_weight_spoils_its_element_only() {
        for value in [
            "*/*;q=2",
            "*/*;q=",
            "*/*;q=-1",
            "*/*;q=1.001",
            "*/*;q=0.0001",
            "*/*;q=a",
        ] {
            assert!(!admits(&[value]), "{value}");
            assert!(admits(&[value, "application/*"]), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(values in proptest::collection::vec("\\PC*|[a/*;q=01., ]{0,20}", 0..4)) {
            let _ = accepts(values.iter().map(String::as_str), "a/a");
        }
    }
}
