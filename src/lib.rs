//! Rollcall: which customer has which phone number, where it routes, what it
//! costs and when it expires.
//!
//! The modules in reading order. Each knows only those before it in
//! `domain ← {inventory, store, intake, billing} ← checks ← service ← http ← console ← cli`,
//! `domain ← {inventory, billing} ← wire ← {alert, service, http, client}` and
//! `{checks, schedule, mail} ← alert ← service`, `outbound ← service`; `trace` knows nobody; ARCHITECTURE.md draws the picture.

pub mod domain;

pub mod inventory;

pub mod store;

pub mod intake;

pub mod billing;

pub mod wire;

pub mod client;

pub mod outbound;

pub mod checks;

pub mod schedule;

pub mod mail;

pub mod routing;

pub mod sip;

pub mod trace;

pub mod alert;

pub mod service;

pub mod config;

pub mod http;

pub mod face;

pub mod console;

pub mod demo;

pub mod cli;

/// The program's version and the commit it was built from.
pub const BUILD: &str = env!("ROLLCALL_BUILD");
