//! The machine: disk space, file descriptors, permissions of secret files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::Decode;

use super::Diagnosis;
use crate::cli::serve::descriptors;
use crate::config::Config;
use crate::domain::Time;
use crate::store::Location;

pub fn check(config: &Config) -> Vec<Diagnosis> {
    let mut findings = disks(config);
    findings.push(files(config));
    findings
}

/// Below these, a disk is an error or a warning.
const FREE_MIN: u64 = 100 << 20;
const FREE_LOW: u64 = 1 << 30;
/// The share that should be free, in hundredths, unless this much is free.
const SHARE_LOW: u64 = 15;
const FREE_ENOUGH: u64 = 10 << 30;

fn disks(config: &Config) -> Vec<Diagnosis> {
    let mut folders: Vec<(&str, PathBuf)> = Vec::new();
    if let Location::Sqlite(path) = &config.database {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        folders.push(("database", folder.unwrap_or(Path::new(".")).to_owned()));
    }
    let imports = config.imports();
    // The folder itself is created at start.
    let imports = imports.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new(".")).to_owned();
    folders.push(("imports", imports));
    folders.push(("temporary files", std::env::temp_dir()));
    folders.into_iter().map(|(what, folder)| disk(what, &folder)).collect()
}

fn disk(what: &str, folder: &Path) -> Diagnosis {
    const CHECK: &str = "disk";
    let shown = folder.display();
    let found = match statvfs(folder) {
        Ok(found) => found,
        Err(error) => {
            let advice = "create the folder, and let this user read it";
            return Diagnosis::error(CHECK, format!("{what}: cannot look at {shown}: {error}"), advice);
        }
    };
    let block = found.fragment_size().max(1);
    let (free, all) = (found.blocks_available() * block, found.blocks() * block);
    let share = (free * 100).checked_div(all).unwrap_or(100);
    let text = format!("{what}: {} MB free in {shown} ({share}%)", free >> 20);
    let advice = "free space or enlarge the disk: a full disk refuses writes with 507";
    match () {
        () if found.files() > 0 && found.files_available() < 1_000 => {
            Diagnosis::error(CHECK, format!("{what}: {shown} has no free inodes"), "delete files that are not needed")
        }
        () if free < FREE_MIN => Diagnosis::error(CHECK, text, advice),
        () if free < FREE_LOW || (share < SHARE_LOW && free < FREE_ENOUGH) => Diagnosis::warning(CHECK, text, advice),
        () => Diagnosis::ok(CHECK, text),
    }
}

fn files(config: &Config) -> Diagnosis {
    const CHECK: &str = "descriptors";
    let wanted: usize = config.http.connections_max.into();
    let Some((soft, hard)) = descriptors::limits() else {
        return Diagnosis::warning(CHECK, "the limit of open files cannot be read", "check `ulimit -n`");
    };
    let fit = descriptors::fit(wanted, hard);
    let text = format!("this user may open {soft} files, and {hard} once the server raises the limit");
    match fit < wanted {
        true => Diagnosis::warning(
            CHECK,
            format!("{text}: {fit} of http.connections_max = {wanted} connections fit"),
            "raise the hard limit (LimitNOFILE in the unit, `ulimit -Hn`), or lower http.connections_max",
        ),
        false => Diagnosis::ok(CHECK, format!("{text}; http.connections_max = {wanted} fits")),
    }
}

/// A finding if other users of the machine can read a file with a secret.
pub fn readable_by_others(name: &str, path: &Path) -> Option<Diagnosis> {
    const CHECK: &str = "settings";
    if path.as_os_str().is_empty() {
        return None;
    }
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => Some(Diagnosis::error(
            CHECK,
            format!("{name}: cannot read {shown}: {error}"),
            "create the file, readable by the server's user alone",
        )),
        Ok(file) if file.permissions().mode() & 0o007 != 0 => {
            let mode = file.permissions().mode() & 0o777;
            let advice = format!("chmod o= {shown}");
            Some(Diagnosis::warning(CHECK, format!("{name}: every user can read {shown} (mode {mode:o})"), advice))
        }
        Ok(_) => None,
    }
}

/// The earliest end of the certificates in a PEM file.
pub fn certificate_ends(path: &Path) -> Result<Time, String> {
    let mut first: Option<Time> = None;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let read = x509_cert::Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        let seconds = read.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
        let ends = i64::try_from(seconds).ok().and_then(Time::new).ok_or("its end is no date")?;
        first = Some(first.map_or(ends, |first| first.min(ends)));
    }
    first.ok_or_else(|| "it has no certificate".to_owned())
}
