pub mod domain;
pub mod inventory;
pub mod store;
