//! The room of the verbs: numbers, entities, imports, undo, acknowledgements,
//! bills and saved filters.
//!
//! Invariant: every write of numbers goes through `desk`, and `rules` says which
//! numbers an account, an application and a trunk may get.
//! Deliberately absent: background work (`background`).

pub mod billing;
pub mod checks;
pub(super) mod desk;
pub mod entities;
pub mod import;
pub mod numbers;
pub(super) mod rules;
pub mod undo;
pub mod views;
