//! The doors: the only module that names axum, headers and status codes.

pub mod fold;
