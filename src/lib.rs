pub mod domain;
pub mod inventory;
pub mod service;
pub mod store;
