//! The database as a file: one server on it, none beside it under another
//! name, none without it; and the commands that copy and put back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{PARTNER, Place, Ran, command, run};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

fn at(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

#[track_caller]
fn refused(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    parts.iter().for_each(|part| assert!(ran.err.contains(part), "{part:?} is not in: {}", ran.err));
}

/// Every file of a folder, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut all: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(&path).expect("readable")))
        .collect();
    all.sort();
    all
}

#[test]
fn a_file_has_one_server_however_it_is_named() {
    let place = Place::new();
    let server = place.serve();
    let folder = tempfile::tempdir_in(place.path("")).expect("a folder");
    let hard = folder.path().join("hard.db");
    std::fs::hard_link(&place.database, &hard).expect("linked");
    let soft = folder.path().join("soft.db");
    std::os::unix::fs::symlink(&place.database, &soft).expect("linked");
    let bound = folder.path().join("bound.db");
    std::fs::write(&bound, "").expect("a file to mount on");
    let mut mount = Command::new("mount");
    mount.arg("--bind").args([&place.database, &bound]).stderr(Stdio::null());
    let mounted = mount.status().is_ok_and(|status| status.success());
    if !mounted {
        crate::cluster::skipped("mounting is not permitted here");
    }
    for other in [&hard, &soft].into_iter().chain(mounted.then_some(&bound)) {
        refused(&run(command(&at(other), &SERVE)), 1, &["another server is using"]);
    }
    // The engine follows symbolic links alone: through any other name a command
    // would miss what the server wrote, and damage the file.
    let backup = folder.path().join("backup.db");
    let backup = backup.to_str().expect("UTF-8");
    let commands: [&[&str]; 5] = [
        &["verify"],
        &["backup", backup],
        &["number", "list", "--partner", PARTNER],
        &["key", "create", "--partner", PARTNER, "--name", "k"],
        &["partner", "create", "--auth-id", "PA_two", "--name", "Two"],
    ];
    for other in [&hard].into_iter().chain(mounted.then_some(&bound)) {
        for command_line in commands {
            refused(&run(command(&at(other), command_line)), 1, &["another server is using", "by another name"]);
        }
    }
    for command_line in commands {
        let ran = run(command(&at(&soft), command_line));
        assert_eq!(ran.code, Some(0), "{command_line:?}: {ran:?}");
    }
    assert!(std::fs::read_dir(folder.path()).expect("a folder").all(|file| {
        let name = file.expect("a file").file_name().into_string().expect("UTF-8");
        !name.ends_with("-wal") && !name.ends_with("-shm")
    }));
    if mounted {
        assert!(Command::new("umount").arg("-l").arg(&bound).status().is_ok_and(|status| status.success()));
    }
    std::fs::remove_file(&hard).expect("removed");
    server.kill();
    place.verify(Some(&place.serve()));
}

#[test]
fn a_server_whose_file_is_moved_or_replaced_takes_no_more_writes() {
    for replaced in [false, true] {
        let place = Place::new();
        let copy = place.path("copy.db");
        place.must(&["backup", copy.to_str().expect("UTF-8")]);
        let key = place.must(&["key", "create", "--partner", PARTNER, "--name", "m", "--scope", "manage", "--json"]);
        let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
        let token = key["auth_token"].as_str().expect("a token");
        let server = place.serve();
        let aside = place.path("aside.db");
        std::fs::rename(&place.database, &aside).expect("moved");
        if replaced {
            std::fs::rename(&copy, &place.database).expect("replaced");
        }
        let body = format!("{{\"account_auth_id\":\"MA_{replaced}\",\"name\":\"New\"}}");
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut ready = String::new();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(20) && !ready.contains("\"writable\":false") {
            ready = match agent.get(server.url("/readyz")).call() {
                Ok(mut answer) => answer.body_mut().read_to_string().expect("text"),
                Err(_) => break,
            };
        }
        assert!(ready.contains("\"writable\":false"), "{ready}");
        let answer = agent
            .post(server.url("/api/v1/manage/accounts"))
            .header("X-Auth-ID", PARTNER)
            .header("X-Auth-Token", token)
            .header("Content-Type", "application/json")
            .send(&body);
        assert_eq!(answer.expect("an answer").status().as_u16(), 503);
        let (_, code) = server.stop();
        assert!(code.is_some());
        // What the server had is whole, and so is what took its place.
        assert_eq!(run(command(&at(&aside), &["verify"])).code, Some(0));
        if replaced {
            place.verify(None);
        } else {
            assert!(!place.database.exists(), "nothing was made in its place");
        }
    }
}

#[test]
fn where_there_is_no_database_none_is_made_or_taken_for_one() {
    let place = Place::new();
    let database = place.path("none.db");
    let name = database.to_str().expect("UTF-8");
    let copy = place.path("copy.db");
    let all = [&SERVE[..], &["verify"], &["backup", copy.to_str().expect("UTF-8")], &["partner", "list"]];
    for arguments in all {
        refused(&run(command(&at(&database), arguments)), 1, &[name, "there is no database"]);
        assert!(!database.exists() && !copy.exists(), "{arguments:?}");
    }
    std::fs::write(&database, "").expect("an empty file");
    for arguments in all {
        refused(&run(command(&at(&database), arguments)), 1, &[name, "is empty and no database"]);
        assert_eq!(std::fs::metadata(&database).expect("there").len(), 0, "{arguments:?}");
    }
    std::fs::remove_file(&database).expect("removed");
    // Made, and so a server's, but without anything to copy or to agree.
    let arguments = ["serve", "--create", "--listen", "192.0.2.1:1"];
    refused(&run(command(&at(&database), &arguments)), 1, &["192.0.2.1:1"]);
    assert!(database.exists());
    for arguments in &all[1..3] {
        refused(&run(command(&at(&database), arguments)), 1, &[name, "no partners and no people"]);
    }
    refused(&run(command(&at(&database), &["serve", "--listen", "192.0.2.1:1"])), 1, &["192.0.2.1:1"]);
}

#[test]
fn verify_changes_no_byte() {
    let place = Place::new();
    place.must(&["import", &place.blocks("blocks.csv", 33_100_000_000, 3, 1), "--partner", PARTNER]);
    let folder = place.database.parent().expect("a folder");
    let before = contents(folder);
    place.verify(None);
    assert!(contents(folder) == before, "something was written");
    // With a log that a killed server left, too.
    let server = place.serve();
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_last", "--name", "Last"]);
    place.verify(Some(&server));
    server.kill();
    let database = std::fs::read(&place.database).expect("readable");
    let log = std::fs::read(place.path("rollcall.db-wal")).expect("a log");
    place.verify(None);
    assert!(std::fs::read(&place.database).expect("readable") == database);
    assert!(std::fs::read(place.path("rollcall.db-wal")).expect("a log") == log);
}

#[test]
fn another_user_is_refused_before_anything_is_written() {
    let place = Place::new();
    if std::os::unix::fs::chown(&place.database, Some(65_534), None).is_err() {
        crate::cluster::skipped("this user may not give files away");
        return;
    }
    let owner = std::fs::metadata(&place.database).expect("there").uid();
    let folder = place.database.parent().expect("a folder");
    let before = contents(folder);
    let backup = place.path("copy.db");
    for arguments in [
        &["key", "list", "--partner", PARTNER][..],
        &["partner", "create", "--auth-id", "PA_B", "--name", "B"],
        &SERVE,
        &["backup", backup.to_str().expect("UTF-8")],
    ] {
        refused(&place.run(arguments), 1, &["belongs to the user", "sudo -u"]);
        assert!(contents(folder) == before, "{arguments:?} wrote something");
    }
    assert_eq!(owner, 65_534);
    place.verify(None);
    assert!(contents(folder) == before, "verify wrote something");
}

#[test]
fn the_log_of_another_database_is_named_and_left() {
    let (place, other) = (Place::new(), Place::new());
    place.must(&["import", &place.blocks("blocks.csv", 33_100_000_000, 20, 1), "--partner", PARTNER]);
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_more", "--name", "More"]);
    let server = other.serve();
    other.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_other", "--name", "Other"]);
    server.kill();
    let log = place.path("rollcall.db-wal");
    std::fs::copy(other.path("rollcall.db-wal"), &log).expect("copied");
    let database = std::fs::read(&place.database).expect("readable");
    let name = log.to_str().expect("UTF-8");
    for arguments in [&["partner", "list"][..], &SERVE] {
        refused(&place.run(arguments), 1, &[name, "belongs to another database"]);
        assert!(std::fs::read(&place.database).expect("readable") == database, "{arguments:?}");
    }
    std::fs::remove_file(&log).expect("removed");
    let _ = std::fs::remove_file(place.path("rollcall.db-shm"));
    place.verify(None);
}

#[test]
fn a_log_that_was_removed_is_missed_if_its_index_is_there() {
    let place = Place::new();
    let warns = |place: &Place| place.run(&["partner", "list"]).err.contains("was removed while it had");
    assert!(!warns(&place), "after a regular end nothing is missed");
    let server = place.serve();
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_later", "--name", "Later"]);
    server.kill();
    let (log, aside) = (place.path("rollcall.db-wal"), place.path("aside"));
    std::fs::rename(&log, &aside).expect("moved");
    assert!(warns(&place), "the newest change is lost");
    // The command has made a log of its own.
    assert!(!warns(&place));
}

#[test]
fn a_backup_is_put_in_the_place_of_the_database() {
    let place = Place::new();
    let backup = place.path("copy.db");
    let copy = backup.to_str().expect("UTF-8");
    place.must(&["backup", copy]);
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_later", "--name", "Later"]);
    let later = |place: &Place| place.snapshot().accounts.get("MA_later").is_some();
    assert!(later(&place));

    let server = place.serve();
    refused(&place.run(&["restore", copy]), 1, &["a server is using", "stop it first"]);
    server.kill();
    let broken = place.path("broken.db");
    let mut bytes = std::fs::read(&backup).expect("readable");
    let half = bytes.len() / 2;
    bytes[8_192..half].fill(0x5a);
    std::fs::write(&broken, bytes).expect("written");
    let ran = place.run(&["restore", broken.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(later(&place), "a backup that is not whole replaces nothing");

    // With a log beside it, which belongs to what is replaced.
    let server = place.serve();
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_last", "--name", "Last"]);
    server.kill();
    assert!(place.path("rollcall.db-wal").exists());
    let said = place.must(&["restore", copy, "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let kept = PathBuf::from(said["kept"].as_str().expect("a name"));
    assert!(!later(&place));
    place.verify(None);
    let listed = run(command(&at(&kept), &["account", "list", "--partner", PARTNER]));
    assert!(listed.out.contains("MA_later") && listed.out.contains("MA_last"), "{listed:?}");
    let mode = std::fs::metadata(&place.database).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = contents(place.database.parent().expect("a folder"));
    assert!(!left.iter().any(|(path, _)| path.ends_with("rollcall.db-wal")));

    // Where nothing is, there is nothing to keep.
    let nowhere = place.path("new.db");
    let ran = run(command(&at(&nowhere), &["restore", copy]));
    assert!(ran.code == Some(0) && !ran.out.contains("is kept as"), "{ran:?}");
    assert_eq!(run(command(&at(&nowhere), &["verify"])).code, Some(0));
}

#[test]
fn only_a_demo_is_thrown_away_for_a_fresh_one() {
    let place = Place::new();
    let folder = place.database.parent().expect("a folder").to_str().expect("UTF-8");
    let before = std::fs::read(&place.database).expect("readable");
    let ran = place.run(&["demo", "--dir", folder, "--fresh", "--listen", "192.0.2.1:1"]);
    refused(&ran, 1, &["is no demo", PARTNER]);
    assert!(std::fs::read(&place.database).expect("readable") == before);
}

#[test]
fn copies_are_not_rotated_for_a_database_that_lost_its_changes() {
    let place = Place::new();
    let program = Path::new(env!("CARGO_BIN_EXE_rollcall")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let copies = tempfile::tempdir().expect("a folder");
    let backup = || {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/backup"));
        script.arg(copies.path()).arg("1").env("PATH", &path).env("ROLLCALL_DATABASE", at(&place.database));
        script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(script)
    };
    let names = |ending: &str| {
        let entries = std::fs::read_dir(copies.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.ends_with(ending)).collect::<Vec<_>>()
    };
    assert_eq!(backup().code, Some(0));
    let [good] = &names(".db")[..] else { panic!("one copy") };
    // Its names are of seconds.
    let old = copies.path().join("rollcall-20260101T000000Z.db");
    std::fs::rename(copies.path().join(good), &old).expect("renamed");
    // Files of other names are nobody's to rotate.
    let others =
        ["rollcall-before-upgradeZ.db", "rollcall-20250101T000000Z.dump.txt", "rollcall-20250101T000000Z.dbx", "x.db"];
    others.iter().for_each(|name| std::fs::write(copies.path().join(name), "mine").expect("written"));
    assert_eq!(backup().code, Some(0));
    assert!(others.iter().all(|name| copies.path().join(name).exists()) && !old.exists());
    let copied = std::fs::read_dir(copies.path()).expect("a folder").flatten().map(|entry| entry.path());
    let newest = copied.filter(|path| !others.iter().any(|name| path.ends_with(name))).max().expect("a copy");
    std::fs::rename(newest, &old).expect("renamed");
    std::fs::remove_file(copies.path().join("x.db")).expect("removed");
    std::fs::remove_file(copies.path().join(others[0])).expect("removed");
    std::fs::remove_file(&place.database).expect("removed");
    let created = run(command(&at(&place.database), &["partner", "create", "--auth-id", "PA_NEW", "--name", "New"]));
    assert_eq!(created.code, Some(0));
    let ran = backup();
    refused(&ran, 4, &["has 1 changes", "no copy was removed"]);
    assert!(old.exists() && names(".behind").len() == 1);
    std::fs::write(&place.database, "").expect("emptied");
    assert_eq!(backup().code, Some(1));
    assert!(old.exists() && names(".db").len() == 1 && names(".part").is_empty());
}
