//! The envelope of the management API's successes: an annotation names what the handler answers with, `body = View`, or
//! `body = [View]` for a page of a list, or `body = inline(Choice)` for an untagged enum of both.

use utoipa::Modify;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{Array, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};

use super::super::{owns, token_exchange};
use super::{PATH, operations};

/// The type of what is in an envelope.
const JSON: &str = "application/json";

/// Puts the envelope around each success.
pub(super) struct Envelopes;

impl Modify for Envelopes {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if owns(path) && path != PATH && path != token_exchange::PATH {
                operations(item).for_each(wrap);
            }
        }
    }
}

fn wrap(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else {
            continue;
        };
        for (content_type, content) in &mut response.content {
            // What is for another program, such as a manifest in YAML, comes as that program takes it.
            if content_type == JSON
                && let RefOr::T(content) = content
            {
                content.schema = content.schema.take().map(success);
            }
        }
    }
}

fn success(data: RefOr<Schema>) -> RefOr<Schema> {
    let data = match data {
        RefOr::T(Schema::OneOf(mut choice)) => {
            choice.items = choice.items.into_iter().map(paged).collect();
            RefOr::T(Schema::OneOf(choice))
        }
        data => paged(data),
    };
    let success = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([true]));
    ObjectBuilder::new()
        .property("success", success)
        .property("data", data)
        .required("success")
        .required("data")
        .into()
}

fn paged(data: RefOr<Schema>) -> RefOr<Schema> {
    match data {
        RefOr::T(Schema::Array(items)) => page(items),
        data => data,
    }
}

fn page(items: Array) -> RefOr<Schema> {
    let next_cursor = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("The `cursor` of the next page; null on the last one."))
        .examples([serde_json::Value::Null]);
    ObjectBuilder::new()
        .property("items", Schema::Array(items))
        .property("nextCursor", next_cursor)
        .required("items")
        .required("nextCursor")
        .into()
}
