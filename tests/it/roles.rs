//! `packaging/roles.sql`: with the rights that it gives, a node can do all that
//! a node does, and cannot change what it did.

use std::path::Path;
use std::process::Command;

use rollcall::domain::{PartnerKey, Time};
use rollcall::store::people::Prune;
use rollcall::store::{self, Open, Over};

use crate::cluster::Cluster;
use crate::harness::run;

/// Gives the rights, and says which tables the file does not know of.
fn grant(cluster: &Cluster, database: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/roles.sql");
    let mut psql = cluster.client("psql");
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", file]);
    run(psql, "").done().stdout
}

#[test]
fn a_node_needs_no_more_rights_than_it_is_given() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let database = cluster.fresh("");
    grant(&cluster, &database);
    let address = |role: &str| format!("postgres://{role}@127.0.0.1:{}/{database}", cluster.port);
    let node = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(args).env("ROLLCALL_DATABASE", address("rollcall"));
        run(command, "")
    };

    // Tables are the owner's to make.
    let refused = node(&["partner", "create", "--auth-id", "PA_A", "--name", "A"]).check(1);
    assert!(refused.stderr.contains("permission denied"), "{}", refused.stderr);
    let owner = address("rollcall_owner").parse().expect("an address");
    drop(store::open(&owner, Open::Create).expect("the owner makes the tables"));
    assert_eq!(grant(&cluster, &database), "", "tables that roles.sql does not know of");

    for command in [
        "partner create --auth-id PA_A --name A",
        "key create --partner PA_A --name k",
        "account create --partner PA_A --auth-id MA_1 --name One",
        "number add +442079460100 --monthly-cost 1.00 --currency GBP --partner PA_A",
        "number assign +442079460100 --account MA_1 --partner PA_A",
        "job create --partner PA_A --verb suspend --filter assigned=true --yes",
        "number release +442079460100 --confirm-last --yes --partner PA_A",
        "schedule create --partner PA_A --name Weekly",
        "user create --platform-admin --email a@example.com",
        "verify",
    ] {
        node(&command.split(' ').collect::<Vec<_>>()).done();
    }
    // What a server does beside answering.
    let store = store::open(&address("rollcall").parse().expect("an address"), Open::Existing).expect("open");
    let (past, now) = (Time::new(1).expect("a time"), Time::now());
    let all =
        Prune { sessions_created: now, sessions_seen: now, sessions_due: now, links: now, sources: now, audit: now };
    store.people_prune(&all).expect("old sessions, links and entries may go");
    store.forget_answered(now).expect("old answers may go");
    let partner = PartnerKey(1);
    for over in [
        Over::Jobs { created_before: now.plus(60) },
        Over::Acknowledgements { ended_before: now },
        Over::Settings { partner, ids: vec!["webhook_none".to_owned()] },
    ] {
        store.delete_over(&over).unwrap_or_else(|error| panic!("{over:?}: {error}"));
    }
    assert!(store.lease("test", "me", 5).expect("a lease").held());
    store.end_lease("test", "me").expect("given back");
    assert_eq!(store.due("none", past, 1).expect("documents").len(), 0);
    // And pg_dump, as packaging/backup calls it.
    let mut dump = cluster.client("pg_dump");
    dump.args(["-U", "rollcall", "-d", &database]);
    run(dump, "").done();

    for forbidden in [
        "UPDATE change SET actor = 'nobody'",
        "DELETE FROM change",
        "UPDATE change_part SET body = ''",
        "TRUNCATE change_part",
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM partner",
        "UPDATE rollcall_schema SET version = 0",
        "CREATE TABLE mine (x int)",
        "DROP TABLE number_run",
    ] {
        let sql = format!("SET ROLE rollcall; {forbidden}");
        let error = cluster.try_psql(&database, &sql).expect_err(forbidden);
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{forbidden}: {error}");
    }
}

#[test]
fn copies_are_not_rotated_for_a_database_that_lost_its_changes() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let copies = tempfile::tempdir().expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_rollcall")).parent().expect("a folder");
    let tools = crate::cluster::programs().expect("PostgreSQL is installed");
    let path = format!("{}:{}:{}", tools.display(), program.display(), std::env::var("PATH").unwrap_or_default());
    let address = |database: &str| format!("postgres://postgres@127.0.0.1:{}/{database}", cluster.port);
    let rollcall = |database: &str, args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(args.split(' ')).env("ROLLCALL_DATABASE", address(database));
        run(command, "").done()
    };
    let backup = |database: &str| {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/backup"));
        script.arg(copies.path()).arg("1").env("PATH", &path).env("ROLLCALL_DATABASE", address(database));
        run(script, "")
    };
    let names = || {
        let entries = std::fs::read_dir(copies.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    };
    let (full, behind, empty) = (cluster.fresh(""), cluster.fresh(""), cluster.fresh(""));
    for database in [&full, &behind, &empty] {
        drop(store::open(&address(database).parse().expect("an address"), Open::Create).expect("tables"));
    }
    for database in [&full, &behind] {
        rollcall(database, "partner create --auth-id PA_A --name A");
    }
    rollcall(&full, "account create --partner PA_A --auth-id MA_1 --name One");
    backup(&full).done();
    // Its name is of a second.
    let old = copies.path().join("rollcall-20260101T000000Z.dump");
    std::fs::rename(copies.path().join(&names()[0]), &old).expect("renamed");
    for (database, changes) in [(&behind, 1), (&empty, 0)] {
        let ran = backup(database).check(4);
        assert!(ran.stderr.contains(&format!("has {changes} changes and the newest copy")), "{}", ran.stderr);
        assert!(old.exists() && names().iter().any(|name| name.ends_with(".dump.behind")), "{:?}", names());
        std::thread::sleep(std::time::Duration::from_millis(1_100));
    }
    backup(&full).done();
    assert!(!old.exists() && names().iter().filter(|name| name.ends_with(".dump")).count() == 1, "{:?}", names());
}
