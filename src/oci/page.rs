//! Pages of tag lists, referrers and the catalogue: how many items, and after which.
//!
//! Owns the `n` and `last` parameters of the distribution specification ("Listing Tags"). What is listed it must
//! not know.

/// Why the parameters name no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `n` is not made of digits.
    #[error("`n` is how many items are wanted: a number from 0, of which at most {max} are sent at a time", max = Page::MAX_SIZE)]
    Number,
    /// `last` is longer than any name.
    #[error("`last` has at most {max} characters", max = Page::MAX_LAST_LENGTH)]
    LastTooLong,
    /// `last` has characters that no name has and no database takes.
    #[error("`last` has a control character")]
    LastUnprintable,
}

/// Which part of a list is asked for.
///
/// An `n` above [`Page::MAX_SIZE`] means that many: the specification allows fewer items than asked for, with a
/// `Link` to the rest, and an allocation must never follow a number of the client's (CVE-2023-2253).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    n: Option<u32>,
    last: Option<String>,
}

impl Page {
    /// The most items in one answer.
    pub const MAX_SIZE: u32 = 1000;

    /// The longest `last`, in bytes: that of the longest repository name.
    pub const MAX_LAST_LENGTH: usize = super::RepositoryName::MAX_LENGTH;

    /// Reads the two parameters, after percent-decoding.
    ///
    /// # Errors
    ///
    /// [`PageError`] if `n` is anything but digits, or `last` could not be the name of anything.
    pub fn parse(n: Option<&str>, last: Option<&str>) -> Result<Self, PageError> {
        let n = n.map(parse_number).transpose()?;
        if last.is_some_and(|last| last.len() > Self::MAX_LAST_LENGTH) {
            return Err(PageError::LastTooLong);
        }
        if last.is_some_and(|last| last.contains(char::is_control)) {
            return Err(PageError::LastUnprintable);
        }
        Ok(Self {
            n,
            last: last.map(str::to_owned),
        })
    }

    /// How many items were asked for, at most [`Page::MAX_SIZE`]; 0 asks for an empty list.
    #[must_use]
    pub fn n(&self) -> Option<u32> {
        self.n
    }

    /// The item after which to begin; it need not exist.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// How many items to send at most.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.n.unwrap_or(Self::MAX_SIZE)
    }
}

fn parse_number(text: &str) -> Result<u32, PageError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PageError::Number);
    }
    // Digits fail to parse only when they are too many.
    Ok(text.parse().unwrap_or(Page::MAX_SIZE).min(Page::MAX_SIZE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn n(text: &str) -> Result<Option<u32>, PageError> {
        Page::parse(Some(text), None).map(|page| page.n())
    }

    #[test]
    fn without_parameters_the_page_is_the_first_and_as_long_as_may_be() {
        let page = Page::parse(None, None).expect("valid");
        assert_eq!(
            (page.n(), page.last(), page.limit()),
            (None, None, Page::MAX_SIZE)
        );
    }

    #[test]
    fn zero_asks_for_nothing() {
        assert_eq!(Page::parse(Some("0"), None).expect("valid").limit(), 0);
    }

    #[test]
    fn a_number_above_the_maximum_means_the_maximum() {
        assert_eq!(n("999"), Ok(Some(999)));
        assert_eq!(n("1000"), Ok(Some(1000)));
        assert_eq!(n("1001"), Ok(Some(1000)));
        assert_eq!(n("4294967296"), Ok(Some(1000)));
        assert_eq!(n(&"9".repeat(100)), Ok(Some(1000)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-1", "+1", "1.0", "0x1", "a", " 1", "1 ", "١"] {
            assert_eq!(n(text), Err(PageError::Number), "{text}");
        }
    }

    #[test]
    fn last_is_as_long_as_a_name_at_most() {
        let longest = "a".repeat(Page::MAX_LAST_LENGTH);
        assert_eq!(
            Page::parse(None, Some(&longest)).expect("valid").last(),
            Some(&*longest)
        );
        assert_eq!(
            Page::parse(None, Some(&format!("{longest}a"))),
            Err(PageError::LastTooLong)
        );
    }

    #[test]
    fn last_need_not_be_a_name_but_must_be_printable() {
        assert_eq!(Page::parse(None, Some("")).expect("valid").last(), Some(""));
        assert_eq!(
            Page::parse(None, Some("~ ä")).expect("valid").last(),
            Some("~ ä")
        );
        assert_eq!(
            Page::parse(None, Some("a\0")),
            Err(PageError::LastUnprintable)
        );
    }

    proptest! {
        #[test]
        fn no_parameters_panic(n in "\\PC*|[0-9]{0,40}", last in any::<String>()) {
            if let Ok(page) = Page::parse(Some(&n), Some(&last)) {
                prop_assert!(page.limit() <= Page::MAX_SIZE);
            }
        }
    }
}
