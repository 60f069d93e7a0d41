//! Everything that needs the real program: its binary, real files, real sockets.

// What was measured is part of a test's answer.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod beside;
mod crash;
mod process;
