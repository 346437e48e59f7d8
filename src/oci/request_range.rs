//! The `Range` of a request for a blob, by RFC 9110 section 14.
//!
//! Owns which bytes are meant. Status codes and headers are for `http` to know.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRange {
    /// Everything: there is no header, or one that a server is to ignore, or may.
    Ignored,
    /// From the first byte to the last, both included, or to the end if there is no last.
    Bytes {
        /// Where to begin.
        first: u64,
        /// Where to end.
        last: Option<u64>,
    },
    /// The last so many bytes.
    Suffix {
        /// How many.
        length: u64,
    },
}

/// What to send of content whose size is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// All of it: 200.
    Full,
    /// These bytes, at least one: 206.
    Partial(Range<u64>),
    /// Nothing, as the content ends before the range begins: 416.
    Unsatisfiable,
}

impl RequestRange {
    /// Reads a `Range` header's value.
    ///
    /// Only one range is served: several, other units and malformed values are ignored, as RFC 9110 section 14.2
    /// allows and, for the latter two, demands. It cannot fail.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        Self::parse_single(value).unwrap_or(Self::Ignored)
    }

    fn parse_single(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
        if first.is_empty() {
            return Some(Self::Suffix {
                length: number(last)?,
            });
        }
        let first = number(first)?;
        let last = if last.is_empty() {
            None
        } else {
            Some(number(last)?)
        };
        // A range that ends before it begins is invalid (section 14.1.1), not unsatisfiable.
        last.is_none_or(|last| first <= last)
            .then_some(Self::Bytes { first, last })
    }

    /// Which bytes this is of content of `size` bytes.
    ///
    /// A range must begin before the end, so none begins in empty content; a suffix of length 0 has no byte either
    /// (section 14.1.2). The last bytes of empty content are all of it, which no `Content-Range` can describe.
    #[must_use]
    pub fn resolve(self, size: u64) -> Resolved {
        match self {
            Self::Ignored => Resolved::Full,
            Self::Suffix { length: 0 } => Resolved::Unsatisfiable,
            Self::Suffix { .. } if size == 0 => Resolved::Full,
            Self::Suffix { length } => Resolved::Partial(size.saturating_sub(length)..size),
            Self::Bytes { first, .. } if first >= size => Resolved::Unsatisfiable,
            Self::Bytes { first, last } => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                Resolved::Partial(first..end)
            }
        }
    }
}

/// Digits as a number. One beyond 64 bits is beyond the end of any content, and so is the largest number.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{near, whole};

    /// RFC 9110 sections 14.1.1 and 14.2: `bytes=` and one `int-range` or `suffix-range`. Blanks around them are let
    /// pass, as other servers do. Letters are spelled out: a regular expression that ignores case takes `ſ` for `s`.
    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| {
        whole(
            r"[ \t]*[Bb][Yy][Tt][Ee][Ss][ \t]*=[ \t]*(?:(?<first>[0-9]+)-(?<last>[0-9]*)|-(?<length>[0-9]+))[ \t]*",
        )
    });

    /// What the value asks for by the specification.
    fn expected(value: &str) -> Option<RequestRange> {
        let parts = SPECIFICATION.captures(value)?;
        let number = |name: &str| match parts.name(name)?.as_str() {
            "" => None,
            digits => Some(digits.parse().unwrap_or(u64::MAX)),
        };
        if let Some(length) = number("length") {
            return Some(RequestRange::Suffix { length });
        }
        let (first, last) = (number("first")?, number("last"));
        last.is_none_or(|last| first <= last)
            .then_some(RequestRange::Bytes { first, last })
    }

    fn resolved(value: &str, size: u64) -> Resolved {
        RequestRange::parse(value).resolve(size)
    }

    #[test]
    fn a_single_range_is_honoured() {
        assert_eq!(resolved("bytes=0-0", 10), Resolved::Partial(0..1));
        assert_eq!(resolved("bytes=2-4", 10), Resolved::Partial(2..5));
        assert_eq!(resolved("bytes=2-", 10), Resolved::Partial(2..10));
        assert_eq!(resolved("bytes=0-9", 10), Resolved::Partial(0..10));
        assert_eq!(resolved("BYTES= 9-9 ", 10), Resolved::Partial(9..10));
    }

    #[test]
    fn a_range_beyond_the_end_is_cut() {
        assert_eq!(resolved("bytes=2-10", 10), Resolved::Partial(2..10));
        assert_eq!(
            resolved("bytes=2-18446744073709551615", 10),
            Resolved::Partial(2..10)
        );
        assert_eq!(
            resolved("bytes=2-99999999999999999999999", 10),
            Resolved::Partial(2..10)
        );
    }

    #[test]
    fn a_range_that_begins_at_or_after_the_end_is_unsatisfiable() {
        assert_eq!(resolved("bytes=9-", 10), Resolved::Partial(9..10));
        assert_eq!(resolved("bytes=10-", 10), Resolved::Unsatisfiable);
        assert_eq!(resolved("bytes=10-20", 10), Resolved::Unsatisfiable);
        assert_eq!(
            resolved("bytes=99999999999999999999999-", 10),
            Resolved::Unsatisfiable
        );
    }

    #[test]
    fn a_suffix_counts_from_the_end() {
        assert_eq!(resolved("bytes=-1", 10), Resolved::Partial(9..10));
        assert_eq!(resolved("bytes=-10", 10), Resolved::Partial(0..10));
    }

    #[test]
    fn a_suffix_longer_than_the_content_is_all_of_it() {
        assert_eq!(resolved("bytes=-11", 10), Resolved::Partial(0..10));
        assert_eq!(
            resolved("bytes=-99999999999999999999999", 10),
            Resolved::Partial(0..10)
        );
    }

    #[test]
    fn a_suffix_of_nothing_is_unsatisfiable() {
        assert_eq!(resolved("bytes=-0", 10), Resolved::Unsatisfiable);
        assert_eq!(resolved("bytes=-0", 0), Resolved::Unsatisfiable);
    }

    #[test]
    fn no_range_begins_in_empty_content() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=5-"] {
            assert_eq!(resolved(value, 0), Resolved::Unsatisfiable, "{value}");
        }
        assert_eq!(resolved("bytes=-5", 0), Resolved::Full);
    }

    #[test]
    fn several_ranges_other_units_and_malformed_values_are_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "items=0-1",
            "0-1",
            "bytes 0-1",
            "bytes=5-4",
            "bytes=+0-1",
            "bytes=0--1",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=1",
            "bytes==0-1",
        ] {
            assert_eq!(RequestRange::parse(value), RequestRange::Ignored, "{value}");
            assert_eq!(resolved(value, 10), Resolved::Full, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_partial_answer_is_never_empty_and_never_beyond_the_end(value in "bytes=[0-9]{0,3}-[0-9]{0,3}", size in 0..500_u64) {
            if let Resolved::Partial(range) = resolved(&value, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn the_parser_agrees_with_the_specification(
            value in near("[bB]ytes=([0-9]{1,3}-[0-9]{0,3}|-[0-9]{1,3}|[0-9]{18,22}-[0-9]{18,22})"),
        ) {
            let expected = expected(&value).unwrap_or(RequestRange::Ignored);
            prop_assert_eq!(RequestRange::parse(&value), expected, "{:?}", value);
        }

        #[test]
        fn no_value_panics(value in "\\PC*|bytes=[0-9, -]{0,50}", size in any::<u64>()) {
            let _ = resolved(&value, size);
        }
    }
}
