//! The management API, authorisation and the house plan, from outside.

mod layers;
#[path = "../support/mod.rs"]
mod support;
