//! PostgreSQL as it is in the field: it goes away, hangs, stands behind a pooler, and is upgraded by others.

mod line;
mod outages;
mod pooler;
mod versions;
