//! What the API's document says of values that are plain text or a word: a type for each, which no value ever has.
//!
//! A field names the type with `#[schema(value_type = …)]`. Each type stands beside the check that it describes and is
//! made of the same constants; here is only what they are made with, and what belongs to nobody. It checks nothing.

use std::ops::RangeInclusive;

use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};

/// Gives a type its place in the API's document.
macro_rules! documented {
    ($name:ty, $schema:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $schema.into()
            }
        }
        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use documented;

/// Any text of so many characters.
pub(crate) fn text(
    description: &str,
    lengths: RangeInclusive<usize>,
    example: &str,
) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .min_length(Some(*lengths.start()))
        .max_length(Some(*lengths.end()))
        .examples([example])
}

/// The pattern of texts that as a whole are of a regular expression, which ECMA-262, Rust and Python read alike.
pub(crate) fn whole(expression: &str) -> Option<String> {
    Some(format!("^{expression}$"))
}

/// One of some words.
pub(crate) fn word(
    description: &str,
    words: impl IntoIterator<Item = &'static str>,
) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words))
}

fn formatted(description: &str, format: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .examples([example])
}

pub(crate) enum Time {}
documented!(
    Time,
    formatted(
        "A time as RFC 3339 has it; answers have it in UTC.",
        "date-time",
        "2026-01-01T00:00:00Z"
    )
);

pub(crate) enum End {}
documented!(
    End,
    formatted(
        "A time that is still to come, as RFC 3339 has it.",
        "date-time",
        "2099-01-01T00:00:00Z"
    )
);

pub(crate) enum Id {}
documented!(
    Id,
    formatted(
        "An id that Berth gave.",
        "uuid",
        "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e"
    )
);
