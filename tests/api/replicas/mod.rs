//! Several servers on one database: who may end what, and who learns of what.

mod content;
mod folders;
mod heartbeats;
mod pair;
mod restore;
mod uploads;
