//! JSON as strictly as content that is addressed by its bytes needs it.
//!
//! Two parsers that disagree about a document disagree about what was pushed. So an object with the same key twice
//! is refused, wherever it is, and depth and number of values have limits. What the values mean is for `manifest`
//! and `descriptor` to know; the readers here give their errors the path of a value, such as `layers[2].digest`.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::manifest::ManifestError;

/// How deep objects and arrays may nest in a manifest. The specifications need four levels.
pub const MAX_JSON_DEPTH: usize = 32;

/// How many values and keys a manifest may have: 10,000 descriptors with a dozen fields and annotations each.
///
/// A parsed value takes far more memory than the two bytes that are enough to write one.
pub const MAX_JSON_VALUES: usize = 250_000;

/// Parses a document in which no object has a key twice.
pub(crate) fn strict_json(text: &str) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MAX_JSON_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let strict = Strict {
        left: &left,
        depth: MAX_JSON_DEPTH,
    };
    let value = strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Parses an object.
pub(super) fn parse_object(text: &str) -> Result<Map<String, Value>, ManifestError> {
    let value = strict_json(text).map_err(|error| ManifestError::Json(error.to_string()))?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ManifestError::Field {
                path: String::new(),
                problem: "a manifest is a JSON object".to_owned(),
            })
        }
    }
}

/// Deserializes one value, with what is left of the limits.
#[derive(Clone, Copy)]
struct Strict<'a> {
    left: &'a Cell<usize>,
    depth: usize,
}

impl Strict<'_> {
    fn spend_one<E: de::Error>(self) -> Result<(), E> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(E::custom(format_args!(
                "more than {MAX_JSON_VALUES} values"
            )));
        };
        self.left.set(left);
        Ok(())
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format_args!(
                "nested deeper than {MAX_JSON_DEPTH} levels"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend_one()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            inner.spend_one()?;
            if object.contains_key(&key) {
                let key = clip(&key);
                return Err(de::Error::custom(format_args!(
                    "the key `{key}` stands twice in one object"
                )));
            }
            object.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

/// An object together with where it is in the document.
///
/// A field that is `null` counts as absent: Go programs write an empty list or map so.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { object, path }
    }

    /// The path of one of the fields.
    pub(super) fn path_of(self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// An error about one of the fields.
    pub(super) fn error(self, key: &str, problem: impl Into<String>) -> ManifestError {
        ManifestError::Field {
            path: self.path_of(key),
            problem: problem.into(),
        }
    }

    /// Whether the field is there at all, `null` or not.
    pub(super) fn has_key(self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn string(self, key: &str) -> Result<Option<&'a str>, ManifestError> {
        let text = |value: &'a Value| {
            value
                .as_str()
                .ok_or_else(|| self.error(key, "must be a string"))
        };
        self.get(key).map(text).transpose()
    }

    pub(super) fn array(self, key: &str) -> Result<Option<&'a [Value]>, ManifestError> {
        let array = |value: &'a Value| {
            value
                .as_array()
                .ok_or_else(|| self.error(key, "must be an array"))
        };
        Ok(self.get(key).map(array).transpose()?.map(Vec::as_slice))
    }

    pub(super) fn object(self, key: &str) -> Result<Option<&'a Map<String, Value>>, ManifestError> {
        let object = |value: &'a Value| {
            value
                .as_object()
                .ok_or_else(|| self.error(key, "must be an object"))
        };
        self.get(key).map(object).transpose()
    }

    /// An array of strings; empty if it is absent.
    pub(super) fn strings(self, key: &str) -> Result<Vec<String>, ManifestError> {
        let text = |(index, value): (usize, &Value)| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| self.error(&format!("{key}[{index}]"), "must be a string"))
        };
        self.array(key)?
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(text)
            .collect()
    }

    /// A value that is written as a string.
    pub(super) fn parsed<T>(self, key: &str) -> Result<Option<T>, ManifestError>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error: T::Err| self.error(key, format!("`{}`: {error}", clip(text))))
        };
        self.string(key)?.map(parse).transpose()
    }
}

/// The longest piece of a client's text that is repeated in a message, in characters.
const MAX_QUOTE_LENGTH: usize = 160;

/// The beginning of a text, for a message.
pub(super) fn clip(text: &str) -> String {
    let clipped: String = text.chars().take(MAX_QUOTE_LENGTH).collect();
    if clipped.len() < text.len() {
        clipped + "…"
    } else {
        clipped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        parse_object(text).expect_err(&clip(text)).to_string()
    }

    #[test]
    fn an_object_is_taken_as_serde_json_reads_it() {
        let text = r#" {"a":[1,-2,3.5,null,true,"xé"],"b":{"c":{}}} "#;
        let object = parse_object(text).expect("valid");
        assert_eq!(
            Value::Object(object),
            serde_json::from_str::<Value>(text).expect("valid")
        );
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for text in [
            "",
            "null",
            "1",
            "\"a\"",
            "[]",
            "{",
            "{} {}",
            "{}x",
            "{'a':1}",
            "{\"a\":1,}",
            "\u{FEFF}{}",
        ] {
            assert!(parse_object(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"c":2,"a":1}]}"#,
            r#"{"a":1,"\u0061":1}"#,
        ] {
            assert!(problem(text).contains("the key `a` stands twice"), "{text}");
        }
        assert!(parse_object(r#"{"a":{"a":{"a":1}},"A":1}"#).is_ok());
    }

    #[test]
    fn the_deepest_document_is_taken_and_one_deeper_is_refused() {
        let nested = |depth: usize| format!("{}0{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(parse_object(&nested(MAX_JSON_DEPTH)).is_ok());
        assert!(problem(&nested(MAX_JSON_DEPTH + 1)).contains("nested deeper than 32 levels"));
        assert!(parse_object(&"{\"a\":[".repeat(100_000)).is_err());
    }

    #[test]
    fn the_largest_document_is_taken_and_one_value_more_is_refused() {
        // The object, the key and the array are three values.
        let of = |values: usize| format!("{{\"a\":[{}]}}", vec!["0"; values].join(","));
        assert!(parse_object(&of(MAX_JSON_VALUES - 3)).is_ok());
        assert!(problem(&of(MAX_JSON_VALUES - 2)).contains("more than 250000 values"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[{}\\[\\]\",:a0-9. -]{0,40}") {
            let _ = parse_object(&text);
        }
    }
}
