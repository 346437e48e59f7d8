//! Whole numbers in requests. One that is out of its range is refused with the range, wherever it stands.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeNumber<const LEAST: u64, const MOST: u64>(u64);

impl<const LEAST: u64, const MOST: u64> WholeNumber<LEAST, MOST> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number, if it is in the range.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (LEAST..=MOST).contains(&number).then_some(Self(number))
    }
}

impl<const LEAST: u64, const MOST: u64> Serialize for WholeNumber<LEAST, MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for WholeNumber<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Reader)
    }
}

impl<const LEAST: u64, const MOST: u64> PartialSchema for WholeNumber<LEAST, MOST> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(usize::try_from(LEAST).ok())
            .maximum(usize::try_from(MOST).ok())
            .into()
    }
}

impl<const LEAST: u64, const MOST: u64> ToSchema for WholeNumber<LEAST, MOST> {}

struct Reader<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Visitor<'_> for Reader<LEAST, MOST> {
    type Value = WholeNumber<LEAST, MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        if (LEAST..=MOST).contains(&number) {
            Ok(WholeNumber(number))
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Small = WholeNumber<1, 100>;

    fn read(json: &str) -> Result<u64, String> {
        let read = serde_json::from_str::<Small>(json);
        read.map(Small::get).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_is_no_number_of_the_range_is_refused_with_the_range() {
        assert_eq!((read("1"), read("100")), (Ok(1), Ok(100)));
        for json in [
            "0",
            "101",
            "-1",
            "-0",
            "1.0",
            "1e1",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "\"1\"",
            "true",
            "null",
            "[1]",
            "{}",
        ] {
            let error = read(json).unwrap_err();
            let range = "expected a whole number from 1 to 100";
            assert!(error.contains(range), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_taken_exactly_when_it_is_in_the_range(number in any::<i64>(), near in -5..110_i64) {
            for number in [number, near] {
                let expected = u64::try_from(number).ok().filter(|number| (1..=100).contains(number));
                prop_assert_eq!(read(&number.to_string()).ok(), expected);
            }
        }
    }
}
