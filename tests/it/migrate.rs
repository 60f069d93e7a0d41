//! From one machine's database to that of several: all of it, once, however
//! often it is cut off.

use std::process::Stdio;
use std::time::Duration;

use super::cluster::{self, Cluster};
use super::harness::{Database, Ran, run};

/// `rollcall migrate` from a database to an address.
fn migrate(database: &Database, address: &str) -> Ran {
    let from = format!("sqlite:{}", database.path().display());
    database.run(&["migrate", "--from", &from, "--to", address, "--json"])
}

/// A command on the copy.
fn on(database: &Database, address: &str, args: &[&str]) -> Ran {
    let mut command = database.command(args);
    command.env("ROLLCALL_DATABASE", address);
    run(command, "")
}

/// Everything of a database that commands tell: inventories, histories, keys,
/// people.
fn told(database: &Database, address: &str) -> Vec<String> {
    let mut all = Vec::new();
    for partner in ["PA_ONE", "PA_TWO", "PA_SEED"] {
        for what in [
            &["export", "--partner", partner][..],
            &["changes", "--partner", partner, "--json"],
            &["key", "list", "--partner", partner, "--json"],
            &["account", "list", "--partner", partner, "--json"],
        ] {
            all.push(on(database, address, what).done().stdout);
        }
    }
    all.push(on(database, address, &["user", "list", "--json"]).done().stdout);
    all
}

#[test]
fn everything_arrives_and_goes_on() {
    let Some(cluster) = Cluster::shared() else { return };
    let (database, address) = (Database::sample(), cluster.database());
    database.run(&["user", "create", "--partner", "PA_ONE", "--email", "a@example.com", "--role", "owner"]).done();
    let from = format!("sqlite:{}", database.path().display());
    let report = migrate(&database, &address).done().json();
    assert_eq!(report["differences"].as_array().map(Vec::len), Some(0), "{report}");
    assert_eq!(report["partners"], 3);
    assert_eq!(told(&database, &address), told(&database, &from));
    // Once more does nothing but compare.
    assert_eq!(migrate(&database, &address).done().json()["rows"], 0);
    // Keys of rows go on where they were.
    on(&database, &address, &["partner", "create", "--auth-id", "PA_NEW", "--name", "New"]).done();
    on(&database, &address, &["verify"]).done();
    // What has something else in it is left alone.
    let again = migrate(&database, &address).check(1);
    assert!(again.stderr.contains("has another inventory"), "{}", again.stderr);
    cluster.forget(cluster::database_name(&address));
}

#[test]
fn what_was_cut_off_goes_on_and_nobody_uses_it_meanwhile() {
    let Some(cluster) = Cluster::shared() else { return };
    let (database, address) = (Database::sample(), cluster.database());
    // Enough that it takes a moment.
    let rows: String = (0..100_000).map(|at| format!("+{},local,US\n", 15_550_000_000_u64 + 2 * at)).collect();
    database.import("PA_ONE", &format!("number,number_type,country\n{rows}"));
    let from = format!("sqlite:{}", database.path().display());
    let mut cuts = 0;
    // The long ones for a machine that is busy with other tests.
    for wait_ms in [300, 150, 250, 200, 400, 1_000, 2_000, 3_000] {
        let mut command = database.command(&["migrate", "--from", &from, "--to", &address]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().expect("our own child");
        let whole = child.wait().expect("it ends").success();
        if whole || cluster.psql(cluster::database_name(&address), "SELECT to_regclass('rollcall_copy')").is_empty() {
            continue;
        }
        cuts += 1;
        let refused = on(&database, &address, &["partner", "list"]).check(1);
        assert!(refused.stderr.contains("go on with `rollcall migrate`"), "{}", refused.stderr);
    }
    eprintln!("cut off in the middle {cuts} times");
    assert!(cuts > 0, "it was never cut off in the middle");
    let report = migrate(&database, &address).done().json();
    assert_eq!(report["numbers"], 100_000 + 12 + 4 + 147, "{report}");
    assert_eq!(told(&database, &address), told(&database, &from));
    cluster.forget(cluster::database_name(&address));
}

#[test]
fn a_copy_of_another_moment_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let (database, address) = (Database::sample(), cluster.database());
    let name = cluster::database_name(&address).to_owned();
    // Begun, and then left.
    on(&database, &address, &["partner", "list"]).check(1);
    let mut command = database.command(&["migrate", "--from", "sqlite:nowhere.db", "--to", &address]);
    assert!(!command.output().expect("it runs").status.success());
    migrate(&database, &address).done();
    cluster
        .psql(&name, "DELETE FROM audit; CREATE TABLE rollcall_copy (name TEXT PRIMARY KEY, rows BIGINT, heads TEXT)");
    cluster.psql(&name, "INSERT INTO rollcall_copy VALUES ('', 0, '1:1:AA')");
    let refused = migrate(&database, &address).check(1);
    assert!(refused.stderr.contains("the source has changed"), "{}", refused.stderr);
    let usage = database.run(&["migrate", "--from", &address, "--to", "sqlite:x.db"]).check(2);
    assert!(!usage.stderr.is_empty());
    cluster.forget(&name);
}
