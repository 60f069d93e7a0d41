//! One test binary: each layer against real databases, and the real program
//! over real files and sockets.

// What was measured is part of a test's answer.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod authority;
mod cluster;
mod fixture;
mod harness;
mod network;
mod pages;
mod process;
mod smtp;

mod alerts;
mod api;
mod apply;
mod beside;
mod called;
mod calls;
mod caught_up;
mod checks;
mod cli;
mod client;
mod console_doors;
mod console_export;
mod console_ids;
mod console_import;
mod console_lists;
mod console_names;
mod console_search;
mod console_verbs;
mod costs;
mod crash;
mod database_file;
mod dialect;
mod doctor;
mod door;
mod files;
mod follow;
mod hostile;
mod import;
mod index;
mod inventory;
mod jobs;
mod kill;
mod manage;
mod mcp;
mod migrate;
mod model;
mod nodes;
mod past;
mod people;
mod pooler;
mod postgres;
mod replica;
mod roles;
mod routing;
mod soak;
mod store;
mod sync;
mod systemd;
mod tls;
mod unreadable;
mod watching;
mod webhooks;
mod writers;
