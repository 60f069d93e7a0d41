//! One test binary: the layers below HTTP, against real databases.

mod fixture;

mod import;
mod inventory;
mod replica;
mod store;
