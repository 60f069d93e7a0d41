//! The store of several nodes: a PostgreSQL database.

mod address;

pub use address::Address;
