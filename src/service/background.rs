//! The room of background work: jobs, schedules with their emails, webhooks,
//! mirrors and uploaded files.
//!
//! `turns` has the one fair queue, `lease` says which process works, `workers`
//! has the state of each kind of work.
//! Invariant: another process can continue all work from the database alone.
//! Deliberately absent: rules about numbers (`verbs`).

pub mod jobs;
pub mod lease;
pub mod mirror;
pub mod net_changes;
pub mod retention;
pub mod schedules;
pub mod turns;
pub mod uploads;
pub mod webhooks;
pub mod workers;
