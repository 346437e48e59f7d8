//! Examples of whole bodies, made of those of their fields, so that none is missing and none has a field too many.

use serde_json::{Map, Value};
use utoipa::Modify;
use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{
    AllOf, Array, ArrayItems, Components, Object, OneOf, Schema, SchemaType, Type,
};
use utoipa::openapi::{Content, OpenApi, RefOr, Required};

use super::operations;

/// How deep a schema may refer to others.
const DEPTH_LIMIT: u8 = 16;
const SCHEMAS: &str = "#/components/schemas/";

/// Adds an example to each body that has none.
pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            complete(operation, components);
        }
    }
}

fn complete(operation: &mut Operation, components: &Components) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(required(body, components));
        for content in body.content.values_mut() {
            exemplify(content, components);
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            for content in response.content.values_mut() {
                exemplify(content, components);
            }
        }
    }
}

fn exemplify(content: &mut RefOr<Content>, components: &Components) {
    if let RefOr::T(content) = content
        && content.example.is_none()
        && let Some(schema) = &content.schema
    {
        content.example = example(schema, components, DEPTH_LIMIT);
    }
}

/// An empty body reads as `{}`, so that one must be there only if it must have something in it.
fn required(body: &RequestBody, components: &Components) -> Required {
    let is_empty_enough = |content: &RefOr<Content>| match content {
        RefOr::T(content) => content
            .schema
            .as_ref()
            .and_then(|schema| resolve(schema, components))
            .is_some_and(|schema| match schema {
                Schema::Object(object) => {
                    object.required.is_empty() && object.min_properties.is_none()
                }
                _ => false,
            }),
        RefOr::Ref(_) => false,
    };
    if body.content.values().all(is_empty_enough) {
        Required::False
    } else {
        Required::True
    }
}

/// What a reference refers to.
fn resolve<'a>(schema: &'a RefOr<Schema>, components: &'a Components) -> Option<&'a Schema> {
    let mut schema = schema;
    for _ in 0..DEPTH_LIMIT {
        match schema {
            RefOr::T(schema) => return Some(schema),
            RefOr::Ref(reference) => {
                let name = reference.ref_location.strip_prefix(SCHEMAS)?;
                schema = components.schemas.get(name)?;
            }
        }
    }
    None
}

fn example(schema: &RefOr<Schema>, components: &Components, depth: u8) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    match resolve(schema, components)? {
        Schema::Object(object) => of_object(object, components, depth),
        Schema::Array(array) => of_array(array, components, depth),
        Schema::OneOf(choice) => of_choice(choice, components, depth),
        Schema::AllOf(parts) => of_parts(parts, components, depth),
        _ => None,
    }
}

fn of_object(object: &Object, components: &Components, depth: u8) -> Option<Value> {
    let words = object.enum_values.as_ref();
    let own = object.examples.first();
    if let Some(own) = own.or_else(|| words?.first()) {
        return Some(own.clone());
    }
    match object.schema_type {
        SchemaType::Type(Type::Boolean) => return Some(Value::Bool(true)),
        SchemaType::Type(Type::Integer) => return Some(Value::from(1)),
        _ => {}
    }
    let fields = object.properties.iter().filter_map(|(name, schema)| {
        example(schema, components, depth).map(|value| (name.clone(), value))
    });
    let fields: Map<String, Value> = fields.collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn of_array(array: &Array, components: &Components, depth: u8) -> Option<Value> {
    if let Some(own) = array.examples.first() {
        return Some(own.clone());
    }
    match &array.items {
        ArrayItems::RefOrSchema(items) => {
            example(items, components, depth).map(|item| Value::Array(vec![item]))
        }
        ArrayItems::False => None,
    }
}

/// Of something or null: something.
fn of_choice(choice: &OneOf, components: &Components, depth: u8) -> Option<Value> {
    let own = choice.examples.first().cloned();
    own.or_else(|| {
        let mut items = choice.items.iter();
        items.find_map(|item| example(item, components, depth))
    })
}

fn of_parts(parts: &AllOf, components: &Components, depth: u8) -> Option<Value> {
    let mut whole = Map::new();
    for part in &parts.items {
        if let Some(Value::Object(fields)) = example(part, components, depth) {
            whole.extend(fields);
        }
    }
    (!whole.is_empty()).then_some(Value::Object(whole))
}
