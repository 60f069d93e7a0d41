//! Hostile clients and greedy neighbours, each beside the same work alone.
//!
//! A test prints its figure and asserts ten times the limit, on a small load;
//! with `ROLLCALL_HOSTILE=whole` it runs the whole load and asserts the limit:
//! `ROLLCALL_HOSTILE=whole cargo test --release --test it hostile:: -- --nocapture --test-threads=1`

mod memory;
mod requests;

/// Whether the whole load runs, and the limits themselves count.
pub fn whole() -> bool {
    std::env::var_os("ROLLCALL_HOSTILE").is_some_and(|value| value == "whole")
}

/// What a figure may be.
pub fn limit(limit: f64) -> f64 {
    if whole() { limit } else { 10.0 * limit }
}
