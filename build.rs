//! Notes which build this is, so that an entity tag of one build is never
//! taken for one of another.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/index");
    println!("cargo:rerun-if-changed=src");
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok();
    let commit = commit.filter(|output| output.status.success()).map(|output| output.stdout);
    let commit = commit.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let build = match commit.trim() {
        "" => version.to_owned(),
        commit => format!("{version}+{commit}"),
    };
    println!("cargo:rustc-env=ROLLCALL_BUILD={build}");
}
