//! Pages of tag lists, referrers and the catalogue: how many items, and after which.
//!
//! Owns the `n` and `last` parameters of the distribution specification ("Listing Tags"). What is listed it must
//! not know.

/// Why the parameters name no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `n` is not made of digits.
    #[error(
        "`n` is how many items are wanted: a number from 0, of which at most {0} are sent at a time"
    )]
    Number(u32),
    /// `last` is longer than any name.
    #[error("`last` has at most {max} characters", max = Page::MAX_LAST_LENGTH)]
    LastTooLong,
    /// `last` has characters that no name has and no database takes.
    #[error("`last` has a control character")]
    LastUnprintable,
}

/// Which part of a list is asked for.
///
/// An `n` above the registry's own limit means that limit: the specification allows fewer items than asked for, with
/// a `Link` to the rest, and an allocation must never follow a number of the client's (CVE-2023-2253).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    last: Option<String>,
}

impl Page {
    /// The longest `last`, in bytes: that of the longest repository name.
    pub const MAX_LAST_LENGTH: usize = super::RepositoryName::MAX_LENGTH;

    /// Reads the two parameters, after percent-decoding. At most `max` items are sent at a time.
    ///
    /// # Errors
    ///
    /// [`PageError`] if `n` is anything but digits, or `last` could not be the name of anything.
    pub fn parse(n: Option<&str>, last: Option<&str>, max: u32) -> Result<Self, PageError> {
        let limit = match n {
            None => max,
            Some(text) => parse_number(text, max)?,
        };
        if last.is_some_and(|last| last.len() > Self::MAX_LAST_LENGTH) {
            return Err(PageError::LastTooLong);
        }
        if last.is_some_and(|last| last.contains(char::is_control)) {
            return Err(PageError::LastUnprintable);
        }
        Ok(Self {
            limit,
            last: last.map(str::to_owned),
        })
    }

    /// The item after which to begin; it need not exist.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// How many items to send at most; 0 asks for an empty list.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

fn parse_number(text: &str, max: u32) -> Result<u32, PageError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PageError::Number(max));
    }
    // Digits fail to parse only when they are too many.
    Ok(text.parse().unwrap_or(max).min(max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: u32 = 1000;

    fn parse(n: Option<&str>, last: Option<&str>) -> Result<Page, PageError> {
        Page::parse(n, last, MAX)
    }

    fn limit(n: &str) -> Result<u32, PageError> {
        parse(Some(n), None).map(|page| page.limit())
    }

    #[test]
    fn without_parameters_the_page_is_the_first_and_as_long_as_may_be() {
        let page = parse(None, None).expect("valid");
        assert_eq!((page.last(), page.limit()), (None, MAX));
    }

    #[test]
    fn zero_asks_for_nothing() {
        assert_eq!(limit("0"), Ok(0));
    }

    #[test]
    fn a_number_above_the_maximum_means_the_maximum() {
        assert_eq!(limit("999"), Ok(999));
        assert_eq!(limit("1000"), Ok(MAX));
        assert_eq!(limit("1001"), Ok(MAX));
        assert_eq!(limit("4294967296"), Ok(MAX));
        assert_eq!(limit(&"9".repeat(100)), Ok(MAX));
    }

    #[test]
    fn what_is_no_number_is_refused_with_the_maximum_of_this_registry() {
        for text in ["", "-1", "+1", "1.0", "0x1", "a", " 1", "1 ", "١"] {
            assert_eq!(limit(text), Err(PageError::Number(MAX)), "{text}");
        }
        let error = Page::parse(Some("x"), None, 7).expect_err("no number");
        assert!(error.to_string().contains("at most 7 are sent"), "{error}");
    }

    #[test]
    fn last_is_as_long_as_a_name_at_most() {
        let longest = "a".repeat(Page::MAX_LAST_LENGTH);
        let page = parse(None, Some(&longest)).expect("valid");
        assert_eq!(page.last(), Some(&*longest));
        assert_eq!(
            parse(None, Some(&format!("{longest}a"))),
            Err(PageError::LastTooLong)
        );
    }

    #[test]
    fn last_need_not_be_a_name_but_must_be_printable() {
        for last in ["", "~ ä"] {
            assert_eq!(parse(None, Some(last)).expect("valid").last(), Some(last));
        }
        assert_eq!(parse(None, Some("a\0")), Err(PageError::LastUnprintable));
    }

    proptest! {
        /// `n` is an integer (distribution-spec, "Listing Tags"): digits and nothing else, whatever their number.
        #[test]
        fn n_is_taken_exactly_when_it_is_digits(
            n in "[0-9]{1,40}|[0-9a-f+. -]{0,6}|\\PC{0,6}",
            max in 1..10_000_u32,
        ) {
            let digits = !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit());
            match Page::parse(Some(&n), None, max) {
                Ok(page) => {
                    prop_assert!(digits);
                    let wanted = match n.trim_start_matches('0') {
                        "" => 0,
                        few if few.len() < 19 => few.parse().expect("digits"),
                        _ => u64::MAX,
                    };
                    prop_assert_eq!(u64::from(page.limit()), wanted.min(u64::from(max)), "{}", n);
                }
                Err(error) => {
                    prop_assert!(!digits);
                    prop_assert_eq!(error, PageError::Number(max));
                }
            }
        }

        #[test]
        fn last_is_taken_exactly_when_it_is_short_and_printable(last in "[a-z/]{250,260}|\\PC{0,80}|.{0,4}", control in 0..32_u8) {
            let short = last.len() <= Page::MAX_LAST_LENGTH;
            let printable = !last.contains(char::is_control);
            prop_assert_eq!(parse(None, Some(&last)).is_ok(), short && printable);
            let control = format!("{last}{}", char::from(control));
            prop_assert!(parse(None, Some(&control)).is_err());
        }
    }
}
