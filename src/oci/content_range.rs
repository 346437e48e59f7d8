//! The `Content-Range` of a chunk that is pushed.
//!
//! Owns the two forms in which clients write it. Whether a chunk follows on the one before is for the upload to know.

use std::fmt;
use std::str::FromStr;

/// The largest size of anything, in bytes: descriptors carry an `int64` (image-spec, "Descriptor").
const MAX_SIZE: u64 = i64::MAX as u64;

/// The text is no range of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Content-Range has the form `<first byte>-<last byte>`, both counted from 0 and included, such as `0-1023`"
)]
pub struct ContentRangeError;

/// Which bytes of a blob a chunk holds: first and last, both included.
///
/// The distribution specification ("Pushing a blob in chunks") wants `^[0-9]+-[0-9]+$`; some clients send the form
/// of RFC 9110 section 14.4, `bytes 0-9/10` or `bytes 0-9/*`, which is taken as well. Displayed in the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentRange {
    start: u64,
    end: u64,
}

impl ContentRange {
    /// Where the first byte belongs.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// Where the last byte belongs.
    #[must_use]
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes the chunk has: never none, and never more than 2^63-1.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a range with both ends included is never empty"
    )]
    pub fn len(self) -> u64 {
        self.end - self.start + 1
    }
}

fn number(text: &str) -> Result<u64, ContentRangeError> {
    // `u64::from_str` would take a plus sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ContentRangeError);
    }
    text.parse().map_err(|_| ContentRangeError)
}

/// Takes `bytes <range>/<total>` apart; the unit is in any case (RFC 9110 section 14.1).
fn split_rfc_form(text: &str) -> Result<(&str, Option<u64>), ContentRangeError> {
    let Some((unit, rest)) = text.split_once(' ') else {
        return Ok((text, None));
    };
    let (range, total) = rest.split_once('/').ok_or(ContentRangeError)?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return Err(ContentRangeError);
    }
    let total = if total == "*" {
        None
    } else {
        Some(number(total)?)
    };
    Ok((range, total))
}

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, ContentRangeError> {
        let (range, total) = split_rfc_form(text)?;
        let (start, end) = range.split_once('-').ok_or(ContentRangeError)?;
        let (start, end) = (number(start)?, number(end)?);
        if start > end || end >= total.unwrap_or(MAX_SIZE).min(MAX_SIZE) {
            return Err(ContentRangeError);
        }
        Ok(Self { start, end })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{near, whole};

    /// distribution-spec 1.1, "Pushing a blob in chunks": what `<range>` must match, with names for its parts.
    static SPECIFICATION: LazyLock<Regex> =
        LazyLock::new(|| whole("(?<start>[0-9]+)-(?<end>[0-9]+)"));

    /// RFC 9110 section 14.4: the form of HTTP.
    static OF_HTTP: LazyLock<Regex> = LazyLock::new(|| {
        whole(r"[Bb][Yy][Tt][Ee][Ss] (?<start>[0-9]+)-(?<end>[0-9]+)/(?<total>[0-9]+|\*)")
    });

    /// What the text says by the specifications, if it is a range that can be.
    fn expected(text: &str) -> Option<(u64, u64)> {
        let parts = SPECIFICATION
            .captures(text)
            .or_else(|| OF_HTTP.captures(text))?;
        let number = |name: &str| parts.name(name)?.as_str().parse::<u64>().ok();
        let (start, end) = (number("start")?, number("end")?);
        let total = match parts.name("total").map(|total| total.as_str()) {
            None | Some("*") => u64::MAX,
            Some(_) => number("total")?,
        };
        (start <= end && end < total && end < MAX_SIZE).then_some((start, end))
    }

    fn parsed(text: &str) -> Option<(u64, u64, u64)> {
        text.parse::<ContentRange>()
            .ok()
            .map(|range| (range.start(), range.end(), range.len()))
    }

    #[test]
    fn the_form_of_the_specification_is_taken() {
        assert_eq!(parsed("0-0"), Some((0, 0, 1)));
        assert_eq!(parsed("0-1023"), Some((0, 1023, 1024)));
        assert_eq!(parsed("007-8"), Some((7, 8, 2)));
    }

    #[test]
    fn the_form_of_rfc_9110_is_taken() {
        assert_eq!(parsed("bytes 0-9/10"), Some((0, 9, 10)));
        assert_eq!(parsed("bytes 0-9/*"), Some((0, 9, 10)));
        assert_eq!(parsed("Bytes 5-9/100"), Some((5, 9, 5)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "-",
            "0-",
            "-0",
            "0",
            "+0-1",
            "0-+1",
            "0--1",
            " 0-1",
            "0-1 ",
            "0 - 1",
            "a-b",
            "0-1-2",
            "0x0-0x1",
            "١-٢",
            "bytes=0-1",
            "bytes 0-9",
            "bytes 0-9/",
            "bytes 0-9/9",
            "bytes */10",
            "bits 0-9/10",
            "bytes  0-9/10",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_is_not_before_the_start() {
        assert_eq!(parsed("5-5"), Some((5, 5, 1)));
        assert_eq!(parsed("5-4"), None);
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!(
            parsed("0-9223372036854775806"),
            Some((0, i64::MAX as u64 - 1, i64::MAX as u64))
        );
        assert_eq!(parsed("0-9223372036854775807"), None);
        assert_eq!(parsed("0-18446744073709551615"), None);
        assert_eq!(parsed("0-18446744073709551616"), None);
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same(start in 0..1_u64 << 62, length in 1..1_u64 << 62) {
            let range: ContentRange = format!("{start}-{}", start + length - 1).parse().expect("valid");
            prop_assert_eq!(range.len(), length);
            prop_assert_eq!(range.to_string().parse::<ContentRange>(), Ok(range));
        }

        #[test]
        fn the_matcher_agrees_with_the_specifications(
            text in near("([bB]ytes )?[0-9]{1,3}-[0-9]{1,3}(/[0-9]{1,3}|/\\*)?|[0-9]{17,21}-[0-9]{17,21}"),
        ) {
            let range = text.parse::<ContentRange>().ok();
            prop_assert_eq!(range.map(|range| (range.start(), range.end())), expected(&text), "{:?}", text);
        }

        #[test]
        fn no_text_panics(text in "\\PC*|(bytes )?[0-9*/ -]{0,30}") {
            let _ = text.parse::<ContentRange>();
        }
    }
}
