//! Hostile clients and noisy neighbours. Each test prints its figure next to
//! the same work alone in the same run, and asserts ten times the limit; with
//! `ROLLCALL_HOSTILE=whole` it has the whole size and asserts the limit itself:
//! `ROLLCALL_HOSTILE=whole cargo test --release --test it hostile:: -- --nocapture --test-threads=1`

mod calls;
mod cost;
mod damage;
mod leases;
mod locked;
mod machine;
mod memory;
mod neighbours;
mod requests;
mod search;

/// Whether the whole size is wanted.
pub fn whole() -> bool {
    std::env::var("ROLLCALL_HOSTILE").is_ok_and(|size| size == "whole")
}

/// A limit as this run asserts it.
pub fn limit(limit: f64) -> f64 {
    if whole() { limit } else { limit * 10.0 }
}
