//! The packaging, tried with the program as it is built for the tests: what is in
//! the package, that it works, and what the program needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn have(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}

/// Debian 12's C library.
const GLIBC_MAX: (u32, u32) = (2, 36);

#[test]
fn the_program_needs_no_newer_c_library_than_debian_12_has() {
    if !have("readelf") {
        eprintln!("skipped: there is no readelf");
        return;
    }
    let text = done(Command::new(root().join("scripts/glibc")).arg(env!("CARGO_BIN_EXE_rollcall")));
    let (major, minor) = text.trim().split_once('.').expect("a version");
    let needs: (u32, u32) = (major.parse().expect("a number"), minor.parse().expect("a number"));
    assert!(needs > (2, 0) && needs <= GLIBC_MAX, "it needs {text}");
}

#[test]
fn the_package_has_what_an_operator_needs_and_works() {
    if !(have("dpkg-deb") && have("readelf") && have("python3")) {
        eprintln!("skipped: dpkg-deb, readelf or python3 is missing");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("dist");
    let binary = env!("CARGO_BIN_EXE_rollcall");
    done(Command::new(root().join("scripts/release")).arg(&out).env("ROLLCALL_BINARY", binary));
    let version = env!("CARGO_PKG_VERSION");
    let package = out.join(format!("rollcall_{version}_amd64.deb"));
    done(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out));
    let sums = std::fs::read_to_string(out.join("SHA256SUMS")).expect("sums");
    assert_eq!(sums.lines().count(), 3, "{sums}");

    // The contents.
    let listed = done(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for file in [
        "./usr/bin/rollcall",
        "./usr/lib/systemd/system/rollcall.service",
        "./usr/lib/sysusers.d/rollcall.conf",
        "./etc/rollcall/rollcall.toml",
        "./usr/share/man/man1/rollcall.1.gz",
        "./usr/share/man/man1/rollcall-serve.1.gz",
        "./usr/share/man/man1/rollcall-number-assign.1.gz",
        "./usr/share/bash-completion/completions/rollcall",
        "./usr/share/zsh/vendor-completions/_rollcall",
        "./usr/share/fish/vendor_completions.d/rollcall.fish",
        "./usr/share/doc/rollcall/copyright",
        "./usr/share/doc/rollcall/changelog.gz",
        "./usr/share/doc/rollcall/docs/operations.md",
        "./usr/share/doc/rollcall/examples/grafana/rollcall.json",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(&format!(" {file}"))), "no {file}: {listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let control = done(Command::new("dpkg-deb").args(["--field"]).arg(&package));
    assert!(
        control.contains(&format!("Version: {version}\n")) && control.contains("Depends: libc6 (>= 2."),
        "{control}"
    );

    // It works where it is unpacked.
    let place: PathBuf = folder.path().join("place");
    done(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&place));
    let program = place.join("usr/bin/rollcall");
    assert!(done(Command::new(&program).arg("--version")).starts_with("rollcall "));
    let settings = place.join("etc/rollcall/rollcall.toml");
    done(Command::new(&program).args(["config", "check", "--config"]).arg(&settings));
    let unit = std::fs::read_to_string(place.join("usr/lib/systemd/system/rollcall.service")).expect("a unit");
    assert!(unit.contains("ExecStart=/usr/bin/rollcall serve --config /etc/rollcall/rollcall.toml"), "{unit}");
    assert!(!unit.lines().any(|line| line.contains("=/usr/local/")), "{unit}");

    // The bill of materials has every crate with a licence and a checksum.
    let bill = std::fs::read_to_string(out.join(format!("rollcall-{version}.cdx.json"))).expect("a bill");
    let bill: serde_json::Value = serde_json::from_str(&bill).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().expect("components");
    assert!(components.len() > 150, "{}", components.len());
    for one in components {
        assert!(one["licenses"][0]["expression"].is_string() && one["hashes"][0]["content"].is_string(), "{one}");
    }
    let names: Vec<&str> = components.iter().filter_map(|one| one["name"].as_str()).collect();
    for name in ["axum", "rusqlite", "rustls", "tokio"] {
        assert!(names.contains(&name), "no {name}");
    }
    for name in ["proptest", "rcgen", "weak-disk"] {
        assert!(!names.contains(&name), "{name} is part of the tests only");
    }
}

#[test]
fn the_container_compiles_dependencies_in_a_layer_of_their_own() {
    let text = std::fs::read_to_string(root().join("packaging/Containerfile")).expect("text");
    let before_source = text.split("COPY . .").next().expect("a beginning");
    assert!(before_source.contains("cargo build --locked --profile packaged --bin rollcall"));
    // It has flags for dependencies, and with others they would be compiled again.
    assert!(before_source.contains("COPY .cargo .cargo\n"));
    let cargo = std::fs::read_to_string(root().join("Cargo.toml")).expect("text");
    let benches = cargo.split("[[bench]]").skip(1).filter_map(|part| part.split("name = \"").nth(1)?.split('"').next());
    let list = before_source.split("for bench in ").nth(1).and_then(|rest| rest.split(';').next()).expect("a list");
    assert_eq!(benches.collect::<Vec<_>>(), list.split(' ').collect::<Vec<_>>());
}
