//! `packaging/roles.sql`: with the rights that it gives, a node can do all that
//! a node does, and cannot change what it did.

use std::process::Command;

use rollcall::domain::Time;
use rollcall::store::people::Prune;
use rollcall::store::{self, Open};

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
