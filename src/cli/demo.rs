//! `rollcall demo`: everything at once, with nothing to set up.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{CliError, Global, Outcome};

#[derive(clap::Args)]
pub struct Demo {
    /// The address and port to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// How many numbers to make
    #[arg(long, value_name = "N", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    numbers: u64,
    /// The folder to keep the demo in
    #[arg(long, value_name = "PATH", default_value = "rollcall-demo")]
    dir: PathBuf,
    /// Throw away what an earlier demo left, and begin again
    #[arg(long)]
    fresh: bool,
}

impl Demo {
    pub fn run(self, _global: &Global) -> Result<Outcome, CliError> {
        todo!()
    }
}
