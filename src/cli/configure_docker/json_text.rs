//! Changes one member of a JSON object in its text, so that everything else stays as somebody wrote it: order,
//! indentation, numbers and all.
//!
//! It knows JSON and nothing of docker.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How docker indents its own file.
const DEFAULT_INDENTATION: &str = "\t";

/// The members of an object in their order; the values are slices of the text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A member in the text of its object.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// Where its name begins and its value ends.
    whole: Range<usize>,
    value: Range<usize>,
}

/// An object's text, which begins with `{` and ends with `}`.
#[derive(Clone, Debug)]
pub(super) struct ObjectText {
    text: String,
    members: Vec<Member>,
}

/// How an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// What stands before each member of the outermost object; nothing where all is on one line.
    line: Option<String>,
    /// What stands between a name and its value.
    colon: String,
}

impl ObjectText {
    /// An object without members.
    pub(super) fn empty() -> Self {
        Self {
            text: String::from("{}"),
            members: Vec::new(),
        }
    }

    /// Reads an object; the error says where the text is something else.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let Members(parsed) = serde_json::from_str(text)?;
        let text = text.trim();
        let mut members = Vec::with_capacity(parsed.len());
        let mut end = 1;
        for (name, value) in parsed {
            // Each value is a slice of the text, so that the distance of their first bytes is its place.
            let begin = value.get().as_ptr() as usize - text.as_ptr() as usize;
            let value = begin..begin + value.get().len();
            // Between two members there are white space and one comma.
            let start = text[end..value.start]
                .find('"')
                .map_or(end, |quote| end + quote);
            end = value.end;
            members.push(Member {
                name,
                whole: start..end,
                value,
            });
        }
        Ok(Self {
            text: text.to_owned(),
            members,
        })
    }

    /// The text as it is now.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The names and the texts of the values, in their order.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|member| (member.name.as_str(), &self.text[member.value.clone()]))
    }

    /// The text of the value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.members()
            .find_map(|(own, value)| (own == name).then_some(value))
    }

    /// How the object is written; as docker would, where it has no members to tell.
    pub(super) fn layout(&self) -> Layout {
        let Some(first) = self.members.first() else {
            return Layout {
                line: Some(format!("\n{DEFAULT_INDENTATION}")),
                colon: String::from(": "),
            };
        };
        let before = &self.text[1..first.whole.start];
        let named = &self.text[first.whole.start..first.value.start];
        let colon = named.rfind('"').map_or(":", |quote| &named[quote + 1..]);
        Layout {
            line: before.contains('\n').then(|| before.to_owned()),
            colon: colon.to_owned(),
        }
    }

    /// The same with another value of `name`; a new one comes last, written like the first. Where there is none,
    /// `layout` says how to write it, and `depth` how deep: 1 in the outermost object.
    pub(super) fn with(
        &self,
        name: &str,
        value: &str,
        layout: &Layout,
        depth: usize,
    ) -> Result<Self, serde_json::Error> {
        let mut text = self.text.clone();
        let own = self.members.iter().find(|member| member.name == name);
        match (own, &*self.members) {
            (Some(own), _) => text.replace_range(own.value.clone(), value),
            (None, [first, ..]) => {
                let before = &self.text[1..first.whole.start];
                let member = member(name, &self.layout().colon, value)?;
                let end = self.members.last().unwrap_or(first).whole.end;
                text.insert_str(end, &format!(",{before}{member}"));
            }
            (None, []) => {
                let member = member(name, &layout.colon, value)?;
                let (before, after) = (layout.before(depth), layout.before(depth - 1));
                text = format!("{{{before}{member}{after}}}");
            }
        }
        Self::parse(&text)
    }

    /// The same without `name`.
    pub(super) fn without(&self, name: &str) -> Result<Self, serde_json::Error> {
        let Some(index) = self.members.iter().position(|member| member.name == name) else {
            return Ok(self.clone());
        };
        let member = &self.members[index];
        // With its comma: the one behind it, or that before the last.
        let range = match (index.checked_sub(1), self.members.get(index + 1)) {
            (_, Some(next)) => member.whole.start..next.whole.start,
            (Some(previous), None) => self.members[previous].whole.end..member.whole.end,
            (None, None) => 1..self.text.len() - 1,
        };
        let mut text = self.text.clone();
        text.replace_range(range, "");
        Self::parse(&text)
    }
}

fn member(name: &str, colon: &str, value: &str) -> Result<String, serde_json::Error> {
    Ok(format!("{}{colon}{value}", serde_json::to_string(name)?))
}

impl Layout {
    /// What stands before a member at `depth`, or at 0 before the last brace.
    fn before(&self, depth: usize) -> String {
        let Some(line) = &self.line else {
            return String::new();
        };
        let (end, indentation) = line.split_at(line.rfind('\n').map_or(0, |index| index + 1));
        format!("{end}{}", indentation.repeat(depth))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    const TABS: &str =
        "{\n\t\"auths\": {\"a\": {}},\n\t\"big\": 1e400,\n\t\"b\\u0061r\": [1,  2]\n}\n";

    fn changed(text: &str) -> String {
        let object = ObjectText::parse(text).unwrap();
        let layout = object.layout();
        let inner = ObjectText::parse("{}").unwrap();
        let inner = inner.with("h:1", "\"berth\"", &layout, 2).unwrap();
        let object = object.with("new", inner.text(), &layout, 1).unwrap();
        object.text().to_owned()
    }

    #[test]
    fn a_member_is_added_in_the_way_of_the_others() {
        insta::assert_snapshot!(changed(TABS), @r#"
        {
        	"auths": {"a": {}},
        	"big": 1e400,
        	"b\u0061r": [1,  2],
        	"new": {
        		"h:1": "berth"
        	}
        }
        "#);
        assert_eq!(
            changed("{}"),
            "{\n\t\"new\": {\n\t\t\"h:1\": \"berth\"\n\t}\n}"
        );
        assert_eq!(changed(r#"{"a":1}"#), r#"{"a":1,"new":{"h:1":"berth"}}"#);
        assert_eq!(
            changed(r#"{ "a" : 1 }"#),
            r#"{ "a" : 1, "new" : {"h:1" : "berth"} }"#
        );
        assert_eq!(
            changed("{\r\n  \"a\": 1\r\n}"),
            "{\r\n  \"a\": 1,\r\n  \"new\": {\r\n    \"h:1\": \"berth\"\r\n  }\r\n}"
        );
    }

    #[test]
    fn a_value_is_replaced_in_its_place() {
        let object = ObjectText::parse(TABS).unwrap();
        let object = object.with("bar", "true", &object.layout(), 1).unwrap();
        assert_eq!(object.text(), TABS.trim().replace("[1,  2]", "true"));
        assert_eq!(object.get("bar"), Some("true"));
    }

    #[test]
    fn members_go_from_the_front_the_middle_and_the_end() {
        let without = |name: &str| {
            let object = ObjectText::parse(TABS).unwrap();
            object.without(name).unwrap().text().to_owned()
        };
        assert_eq!(
            without("auths"),
            "{\n\t\"big\": 1e400,\n\t\"b\\u0061r\": [1,  2]\n}"
        );
        assert_eq!(
            without("big"),
            "{\n\t\"auths\": {\"a\": {}},\n\t\"b\\u0061r\": [1,  2]\n}"
        );
        assert_eq!(
            without("bar"),
            "{\n\t\"auths\": {\"a\": {}},\n\t\"big\": 1e400\n}"
        );
        assert_eq!(without("nobody"), TABS.trim());
        let only = ObjectText::parse("{ \"a\": 1 }").unwrap();
        assert_eq!(only.without("a").unwrap().text(), "{}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            "{\"a\":}",
            "{\"a\":1} x",
            "{\"a\":1,}",
            "{'a':1}",
        ] {
            assert!(ObjectText::parse(text).is_err(), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{}:, ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                object(inner).prop_map(Value::Object),
            ]
        })
    }

    fn object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[a-z\"\\\\{}:, ]{0,6}", values, 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_added_is_there_and_nothing_else_has_changed(
            members in object(json()), pretty: bool, value in json(),
        ) {
            let before = Value::Object(members.clone());
            let text = if pretty { format!("{before:#}") } else { before.to_string() };
            let object = ObjectText::parse(&text).unwrap();
            let added = object.with("NEW", &value.to_string(), &object.layout(), 1).unwrap();
            let mut after = members;
            after.insert(String::from("NEW"), value);
            prop_assert_eq!(serde_json::from_str::<Value>(added.text()).unwrap(), Value::Object(after));
            if before != serde_json::json!({}) {
                let removed = added.without("NEW").unwrap();
                prop_assert_eq!(removed.text(), text);
            }
        }
    }
}
