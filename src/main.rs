//! The program: parse, dispatch, and turn the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall::cli::run().into()
}
