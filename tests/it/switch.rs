//! A PostgreSQL database of the last release, which has one row for each number:
//! this release reads and writes it as it is, and `rollcall migrate-schema` brings it
//! to rows of neighbours, while nodes go on.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::{E164, NumberChange, PartnerKey, Record, Verb};
use rollcall::service::Replica;
use rollcall::store::postgres::Address;
use rollcall::store::postgres::switch::{SwitchError, switch};
use rollcall::store::{Ownership, Store, WriteTarget};
use serde_json::json;

use super::cluster::{self, Cluster};
use super::fixture::*;
use super::harness::{Database as Files, Key, Server};

/// A database that the last release filled with its commands: two partners with
/// numbers in one another's blocks, ids such as `NA`, `0` and `new`, doubtful
/// numbers, holders, reservations and quarantines.
pub const LAST_RELEASE: &[u8] = include_bytes!("../fixtures/postgres-schema-4.sql.gz");
const TOKEN: &str = "rollcall_k0mw21kfpdqrwg5t8q50az0s48dmwz94396nmjc";
const NUMBERS: u64 = 1_424;

/// All that is known about each number; `number` is a table in one form, and a view
/// in the other.
const ALL: &str = "SELECT string_agg(concat_ws('|', partner, number, version, assigned_at, expires_at, since, until, cost, state, \
                   account, application, trunk, number_type, country, region, currency, tags), E'\\n' \
                   ORDER BY partner, number) FROM number";
const COUNTS: &str =
    "SELECT string_agg(account_numbers::text, ' ' ORDER BY account_numbers::text) FROM account_numbers";
const FORM: &str = "SELECT runs, needs FROM rollcall_schema";

/// Makes an empty database what the last release left.
pub fn restored(database: &str) {
    Cluster::shared().expect("PostgreSQL is installed").restore(database, LAST_RELEASE);
}

/// As the last release left it; `None` where PostgreSQL is not installed.
fn last_release() -> Option<Database> {
    let database = Database::postgres()?;
    restored(cluster::database_name(&database.address()));
    Some(database)
}

/// A key of its partner `PA_ONE`.
pub fn key() -> Key {
    Key { auth_id: "PA_ONE".into(), auth_token: TOKEN.into(), key_id: String::new() }
}

fn address(database: &Database) -> Address {
    database.address().parse().expect("an address")
}

fn files(database: &Database) -> Files {
    Files::on(&database.address())
}

/// Switches, and returns how many rows there are.
fn switched(database: &Database) -> u64 {
    switch(address(database), false, &mut |_, _| {}, &|| false).expect("switched").rows
}

fn key_of(database: &Database, auth_id: &str) -> PartnerKey {
    let store = database.open();
    store.partner(&auth_id.parse().expect("an id")).expect("asked").expect("a partner")
}

/// Takes a number out of a partner's inventory, or puts one there.
fn change(store: &dyn Store, key: PartnerKey, digits: u64, after: Option<Record>) {
    let wanted = [number(digits)];
    let body = draft(|transaction| {
        let before = match transaction.numbers(&wanted)?.pop() {
            Some(Ownership::Ours { record, .. }) => Some(record),
            Some(Ownership::Free) => None,
            other => panic!("{digits}: {other:?}"),
        };
        Ok(transaction.put_numbers(&[NumberChange { number: wanted[0], before, after: after.clone() }])?)
    });
    store.write(WriteTarget::Partner(key), entry(Verb::Import), body).expect("written");
}

#[test]
fn a_database_of_the_last_release_is_used_as_it_is_and_then_switched() {
    let Some(database) = last_release() else { return };
    let store = database.open();
    assert_eq!(database.value(FORM), "0|1", "programs of the last release may open it");
    assert_eq!(differences(&*store), [] as [&str; 0]);
    let key = key_of(&database, "PA_ONE");
    assert!(put(&*store, key, &[created(911_000_001, stock("a")), created(911_000_002, stock("a"))]).is_some());
    change(&*store, key, 911_000_002, None);
    assert_eq!(database.value("SELECT count(*) FROM number"), (NUMBERS + 1).to_string());
    assert_eq!(database.value("SELECT count(*) FROM number_run"), "0");
    let (before, counts) = (database.value(ALL), database.value(COUNTS));

    let rehearsed = files(&database).run(&["migrate-schema", "--dry-run", "--json"]).done().json();
    assert_eq!((&rehearsed["switched"], &rehearsed["copied"]), (&json!(false), &json!(NUMBERS + 1)), "{rehearsed}");
    assert_eq!(database.value(FORM), "0|1");
    let done = files(&database).run(&["migrate-schema", "--json"]).done().json();
    assert_eq!((&done["switched"], &done["partners"]), (&json!(true), &json!(2)), "{done}");
    let rows = done["rows"].as_u64().expect("a count");
    assert!(rows < 120, "{rows} rows");
    assert_eq!((database.value(ALL), database.value(COUNTS)), (before, counts));
    assert_eq!(database.value(FORM), "1|5", "programs of the last release do not open it");
    assert_eq!(database.value("SELECT to_regclass('holder') IS NULL"), "t", "and find no table to write to");
    assert_eq!(differences(&*store), [] as [&str; 0]);
    // The handle from before goes on.
    change(&*store, key, 911_000_001, Some(stock("b")));
    assert_eq!(differences(&*store), [] as [&str; 0]);
    let replica = Replica::load(store.clone()).expect("loads");
    assert_eq!((replica.damaged_partners(), replica.progress().poisoned), (0, 0));
    let again = files(&database).run(&["migrate-schema"]).done();
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    files(&database).run(&["verify"]).done();
}

#[test]
fn unreadable_rows_are_copied_as_they_are() {
    let Some(database) = last_release() else { return };
    drop(database.open());
    for spoil in [
        "UPDATE number SET state = 'lost' WHERE number BETWEEN 912271264310 AND 912271264319",
        "UPDATE number SET number = -5 WHERE number = 912271264320",
        "UPDATE number SET tags = '{' WHERE number = 912271264330",
        "UPDATE number SET since = -999999999999999 WHERE number = 912271264340",
    ] {
        database.execute(spoil).expect("spoiled");
    }
    let (before, poisoned) = (database.value(ALL), Replica::load(database.open()).expect("loads").progress().poisoned);
    assert_eq!(poisoned, 13);
    switched(&database);
    assert_eq!(database.value(ALL), before);
    assert_eq!(database.value("SELECT last - first + 1 FROM number_run WHERE state = 'lost'"), "10");
    let replica = Replica::load(database.open()).expect("loads");
    assert_eq!(replica.progress().poisoned, 13, "each number counts");
    for (digits, left_out) in [(912_271_264_309, false), (912_271_264_310, true), (912_271_264_340, true)] {
        assert_eq!(replica.left_out(number(digits)), left_out, "{digits}");
    }
}

#[test]
fn a_copy_that_was_interrupted_goes_on_with_what_changed_since() {
    let Some(database) = last_release() else { return };
    let store = database.open();
    let (one, two) = (key_of(&database, "PA_ONE"), key_of(&database, "PA_TWO"));
    let block: Vec<NumberChange> = (0..70_000).map(|at| created(911_000_000_000 + at, stock("a"))).collect();
    put(&*store, one, &block);
    // Some steps at a time, and in between numbers go from one partner to the other
    // and back.
    let mut stopped = 0;
    for steps in 1..20 {
        let taken = AtomicU64::new(0);
        let stop = || taken.fetch_add(1, Ordering::SeqCst) >= steps;
        match switch(address(&database), false, &mut |_, _| {}, &stop) {
            Err(SwitchError::Stopped) => stopped += 1,
            Ok(_) => break,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(database.value(FORM), "0|1");
        let (from, to) = if steps % 2 == 1 { (one, two) } else { (two, one) };
        for digits in [911_000_000_005, 911_000_060_000] {
            change(&*store, from, digits, None);
            change(&*store, to, digits, Some(stock("moved")));
        }
        change(&*store, one, 911_000_000_100 + steps, Some(stock("changed")));
        let version = |key| store.version(key).expect("a version");
        assert!(version(one) > 0 && version(two) > 0);
    }
    assert!(stopped > 1, "it was stopped {stopped} times");
    assert_eq!(database.value(FORM), "1|5");
    assert_eq!(differences(&*store), [] as [&str; 0]);
    assert_eq!(database.value("SELECT sum(last - first + 1) FROM holder_run"), (NUMBERS + 70_000).to_string());
}

#[test]
fn a_node_of_an_earlier_release_keeps_the_database_as_it_is() {
    let Some(database) = last_release() else { return };
    let store = database.open();
    // As that release writes a lease.
    let lease = "INSERT INTO lease (name, holder, until) VALUES ('jobs', 'old-node-1', clock_timestamp() + interval '30 s') \
                 ON CONFLICT (name) DO UPDATE SET holder = 'old-node-1', until = clock_timestamp() + interval '30 s'";
    // Also in the place of a node of this release.
    assert!(store.lease("jobs", "new-node-1", 1).expect("a lease").held());
    for _ in 0..2 {
        database.execute(lease).expect("a lease");
        let refused = files(&database).run(&["migrate-schema"]).check(1);
        assert!(refused.stderr.contains("the lease of jobs (old-node-1)"), "{}", refused.stderr);
        let rehearsed = files(&database).run(&["migrate-schema", "--dry-run", "--json"]).done().json();
        assert_eq!(rehearsed["earlier_node"]["holder"], "old-node-1", "{rehearsed}");
        store.end_lease("jobs", "old-node-1").expect("ended");
        assert!(store.lease("jobs", "new-node-1", 30).expect("a lease").held());
    }
    assert_eq!(database.value(FORM), "0|1");
    switched(&database);
    assert_eq!(store.leaseholder("jobs").expect("asked").as_deref(), Some("new-node-1"));
}

/// A session of `psql` that stays open, under a role and a name.
struct OpenSession(std::process::Child);

impl OpenSession {
    fn begin(database: &Database, role: &str, application: &str) -> OpenSession {
        let name = cluster::database_name(&database.address()).to_owned();
        let mut psql = Cluster::shared().expect("PostgreSQL is installed").client("psql");
        psql.args(["-X", "-q", "-U", role, "-d", &name]).env("PGAPPNAME", application);
        let session = OpenSession(psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql"));
        session.until_there(database, role, application, true);
        session
    }

    /// Those of nodes come by TCP.
    fn until_there(&self, database: &Database, role: &str, application: &str, there: bool) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = '{role}' \
             AND application_name = '{application}' AND client_addr IS NULL AND pid <> pg_backend_pid()"
        );
        let wanted = if there { "1" } else { "0" };
        super::until::until(
            Duration::from_secs(30),
            || format!("the session of {role}: there {there}"),
            || database.value(&sql) == wanted,
        );
    }

    fn end(mut self, database: &Database, role: &str, application: &str) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
        self.until_there(database, role, application, false);
    }
}

#[test]
fn a_session_of_an_earlier_release_keeps_the_database_as_it_is() {
    let Some(database) = last_release() else { return };
    // A node of this release has no mark that an earlier one has not.
    let store = database.open();
    let role = format!("role_{}", cluster::database_name(&database.address()));
    let rights = format!("CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT ON number TO {role}");
    database.execute(&rights).expect("granted");
    // As an earlier release names its sessions, and as an operator may.
    for (role, application) in [("postgres", "rollcall"), (&*role, "node 7")] {
        let session = OpenSession::begin(&database, role, application);
        let refused = files(&database).run(&["migrate-schema"]).check(1);
        let named = format!("a session of the role {role} (application {application:?}, process ");
        assert!(refused.stderr.contains(&named), "{}", refused.stderr);
        let rehearsed = files(&database).run(&["migrate-schema", "--dry-run", "--json"]).done().json();
        assert_eq!(rehearsed["earlier_session"]["application"], application, "{rehearsed}");
        let rehearsed = files(&database).run(&["migrate-schema", "--dry-run"]).done();
        assert!(rehearsed.stdout.contains(&named), "{}", rehearsed.stdout);
        session.end(&database, role, application);
    }
    assert_eq!(database.value(FORM), "0|1");
    // An administrator who looks at the database is no node.
    let session = OpenSession::begin(&database, "postgres", "monitor");
    switched(&database);
    session.end(&database, "postgres", "monitor");
    assert_eq!(differences(&*store), [] as [&str; 0]);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).expect("dropped");
}

/// A node's session has no mark while it begins and while it ends, as those of `psql`
/// have none in their short lives.
#[test]
fn sessions_that_come_and_go_are_no_earlier_release() {
    let Some(database) = last_release() else { return };
    let store = database.open();
    let name = cluster::database_name(&database.address()).to_owned();
    let (done, lived) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let mut psql = Cluster::shared().expect("PostgreSQL is installed").client("psql");
                psql.args(["-X", "-q", "-d", &name, "-c", "SELECT pg_sleep(0.02)"]).env("PGAPPNAME", "rollcall");
                assert!(psql.stdout(Stdio::null()).status().expect("psql").success());
                lived.fetch_add(1, Ordering::SeqCst);
            }
        });
        let rehearsals: Vec<_> = (0..8).map(|_| switch(address(&database), true, &mut |_, _| {}, &|| false)).collect();
        done.store(true, Ordering::SeqCst);
        for report in rehearsals {
            assert!(report.expect("rehearsed").earlier_session.is_none());
        }
    });
    println!("{} sessions came and went", lived.into_inner());
    switched(&database);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

#[test]
fn holders_without_numbers_and_numbers_without_holders_stay_as_they_are() {
    let Some(database) = last_release() else { return };
    drop(database.open());
    for spoil in [
        // Within a block, beyond all, and of a partner that is not there.
        "DELETE FROM number WHERE number = 912271264310",
        "INSERT INTO holder (number, partner) VALUES (999000000001, 1), (999000000002, 77)",
        "DELETE FROM holder WHERE number = 912271264320",
    ] {
        database.execute(spoil).expect("spoiled");
    }
    let sound = differences(&*database.open());
    assert!(!sound.is_empty());
    let rehearsed = files(&database).run(&["migrate-schema", "--dry-run"]).done();
    assert!(
        rehearsed.stdout.contains("3 numbers, beginning with +912271264310, have a holder"),
        "{}",
        rehearsed.stdout
    );
    let done = files(&database).run(&["migrate-schema", "--json"]).done().json();
    assert_eq!((&done["switched"], &done["holders_without_number"]), (&json!(true), &json!(3)), "{done}");
    for (digits, holder, row) in [
        (912_271_264_310_u64, "1", "0"),
        (999_000_000_001, "1", "0"),
        (999_000_000_002, "77", "0"),
        (912_271_264_320, "", "1"),
        (912_271_264_311, "1", "1"),
    ] {
        let within = format!("WHERE {digits} BETWEEN first AND last");
        let held = format!("SELECT coalesce(string_agg(partner::text, ' '), '') FROM holder_run {within}");
        assert_eq!(database.value(&held), holder, "{digits}");
        assert_eq!(database.value(&format!("SELECT count(*) FROM number_run {within}")), row, "{digits}");
    }
    assert_eq!(database.value("SELECT to_regclass('holder_only_copy') IS NULL"), "t");
    let found = differences(&*database.open());
    assert!(found.iter().any(|line| line.contains("are not held by the partner that has them")), "{found:?}");
}

#[test]
fn a_server_and_the_doctor_name_the_switch_until_it_is_done() {
    let Some(database) = last_release() else { return };
    let told = |wanted: bool| {
        let mut server = Server::start(files(&database), &[]);
        assert_eq!(server.log().matches("rollcall migrate-schema").count(), usize::from(wanted), "{}", server.log());
        assert_eq!(server.stop(), Some(0));
        let answer = files(&database).run(&["doctor", "--json"]).done().json();
        let line = answer["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .find(|line| line["advice"].as_str().is_some_and(|advice| advice.contains("rollcall migrate-schema")));
        assert_eq!(
            line.map(|line| (&line["check"], &line["status"])),
            wanted.then_some((&json!("database"), &json!("warning")))
        );
        assert_eq!(files(&database).run(&["doctor"]).done().stdout.contains("rollcall migrate-schema"), wanted);
    };
    told(true);
    switched(&database);
    told(false);
}

#[test]
fn a_copy_that_differs_is_not_switched_to() {
    let Some(database) = last_release() else { return };
    drop(database.open());
    database
        .execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.partner = 2 THEN NEW.region := 'Elsewhere'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER spoil BEFORE INSERT ON number_run FOR EACH ROW EXECUTE FUNCTION spoil()",
        )
        .expect("made");
    let refused = files(&database).run(&["migrate-schema"]).check(1);
    assert!(refused.stderr.contains("the copied numbers of partner PA_TWO differ"), "{}", refused.stderr);
    assert_eq!(database.value(FORM), "0|1");
    database.execute("DROP TRIGGER spoil ON number_run").expect("dropped");
    switched(&database);
    assert_eq!(differences(&*database.open()), [] as [&str; 0]);
}

#[test]
fn sqlite_needs_no_switch() {
    let database = Database::new();
    drop(database.open());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.arg("migrate-schema").env("ROLLCALL_DATABASE", database.address());
    let refused = super::harness::run(command, "").check(2);
    assert!(refused.stderr.contains("needs no migrate-schema"), "{}", refused.stderr);
}

/// How long one write may wait for the switch, on a busy machine: the lock's wait, and
/// the last step.
const WRITE_MAX: Duration = Duration::from_secs(20);

#[test]
fn nodes_write_while_the_database_is_switched() {
    let Some(database) = last_release() else { return };
    drop(database.open());
    let shared = Arc::new(files(&database));
    let servers: Vec<Server> = (0..2).map(|_| Server::start(shared.clone(), &["--rate-limit", "0"])).collect();
    let key = key();
    let (done, written, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let slowest = AtomicU64::new(0);
    let report = std::thread::scope(|scope| {
        for at in 0..4_u64 {
            let server = &servers[at as usize % 2];
            let (key, done, written, refused, slowest) = (&key, &done, &written, &refused, &slowest);
            scope.spawn(move || {
                // Each thread has numbers of its own, within one block.
                let path = |turn: u64| {
                    let digits = 912_271_264_701 + at * 60 + turn % 50;
                    let verb = if (turn / 50).is_multiple_of(2) { "suspend" } else { "resume" };
                    format!("/api/v1/manage/numbers/%2B{digits}/{verb}")
                };
                for turn in 0.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let began = Instant::now();
                    let answer = server.request("POST", &path(turn)).auth(key).json(&json!({})).send();
                    slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::SeqCst);
                    match answer.status {
                        200 => written.fetch_add(1, Ordering::SeqCst),
                        status => {
                            eprintln!("{status}: {}", answer.text());
                            refused.fetch_add(1, Ordering::SeqCst)
                        }
                    };
                }
            });
        }
        let some = |more: u64| {
            let from = written.load(Ordering::SeqCst);
            super::until::until(
                Duration::from_secs(60),
                || "writes".to_owned(),
                || written.load(Ordering::SeqCst) >= from + more,
            );
        };
        some(100);
        let report = switch(address(&database), false, &mut |_, _| {}, &|| false);
        some(100);
        done.store(true, Ordering::SeqCst);
        report.expect("switched")
    });
    let (written, refused) = (written.into_inner(), refused.into_inner());
    let slowest = Duration::from_millis(slowest.into_inner());
    println!(
        "{written} writes by two nodes beside the switch, {refused} refused; the slowest took {slowest:?}, the lock {:?}",
        report.locked
    );
    assert_eq!(refused, 0);
    assert!(slowest < WRITE_MAX, "{slowest:?}");
    for server in &servers {
        server.database.verify(Some(&server.url()));
    }
    // Of each acknowledged write there is an entry.
    let entries = "SELECT count(*) FROM change WHERE verb IN ('suspend', 'resume') AND request_id IS NOT NULL";
    assert!(database.value(entries).parse::<u64>().expect("a count") >= written);
}

/// Puts numbers of a partner as one import, and returns how long it took.
fn imported(store: &dyn Store, key: PartnerKey, numbers: &[u64], record: impl Fn(u64) -> Record) -> Duration {
    let changes: Vec<NumberChange> = numbers.iter().map(|&digits| created(digits, record(digits))).collect();
    let wanted: Vec<E164> = numbers.iter().copied().map(number).collect();
    let began = Instant::now();
    let body = draft(|transaction| {
        for (wanted, changes) in wanted.chunks(5_000).zip(changes.chunks(5_000)) {
            assert!(transaction.numbers(wanted)?.iter().all(|held| *held == Ownership::Free));
            transaction.put_numbers(changes)?;
        }
        Ok(())
    });
    store.write(WriteTarget::Partner(key), entry(Verb::Import), body).expect("written");
    began.elapsed()
}

#[test]
fn blocks_take_a_tenth_of_the_room_and_scattered_numbers_no_more_than_before() {
    let count: u64 = if super::hostile::whole() { 300_000 } else { 30_000 };
    let blocks: Vec<u64> = (0..count).map(|at| 911_000_000_000 + at + at / 1_000 * 30).collect();
    let scattered: Vec<u64> = (0..count).map(|at| 911_000_000_000 + at * 833 + at * at % 800).collect();
    let size = "SELECT sum(pg_total_relation_size(name)) FROM \
                unnest(array[to_regclass('number'), to_regclass('holder'), to_regclass('number_run'), \
                to_regclass('holder_run')]) AS name";
    let mut sizes = Vec::new();
    for (what, numbers, dated) in
        [("in blocks", &blocks, false), ("scattered", &scattered, false), ("scattered, with dates", &scattered, true)]
    {
        let record = |digits: u64| match dated {
            true => Record { expires_at: Some(time(NOW + digits as i64 % 1_000_000)), ..held("MA_1") },
            false => stock("a"),
        };
        let (Some(each), Some(runs)) = (last_release(), Database::postgres()) else { return };
        let mut figures = Vec::new();
        for database in [&each, &runs] {
            let store = database.open();
            let key = new_partner(&*store, "PA_NEW");
            let before: f64 = database.value(size).parse().expect("a size");
            let took = imported(&*store, key, numbers, record);
            let after: f64 = database.value(size).parse().expect("a size");
            figures.push(((after - before) / count as f64, took.as_secs_f64()));
        }
        let [(each_bytes, each_time), (runs_bytes, runs_time)] = figures[..] else { unreachable!("two forms") };
        println!(
            "{count} numbers {what}: {each_bytes:.0} bytes and {:.1} µs each as rows, {runs_bytes:.0} bytes and {:.1} µs \
             as runs: {:.2} of the room, {:.2} of the time",
            each_time * 1e6 / count as f64,
            runs_time * 1e6 / count as f64,
            runs_bytes / each_bytes,
            runs_time / each_time
        );
        sizes.push(runs_bytes / each_bytes);
    }
    assert!(sizes[0] < 0.1, "{sizes:?}");
}

#[test]
fn two_partners_after_the_same_numbers_do_not_both_get_them() {
    let Some(database) = Database::postgres() else { return };
    let stores = [database.open(), database.open()];
    let keys = [new_partner(&*stores[0], "PA_1"), new_partner(&*stores[0], "PA_2")];
    for round in 0..20_u64 {
        let first = 911_000_000 + round * 1_000;
        // Overlapping blocks, each number of which is wanted.
        let wanted = [first, first + 50].map(|first| (first..first + 100).map(number).collect::<Vec<_>>());
        std::thread::scope(|scope| {
            for at in 0..2 {
                let (store, key, wanted) = (&stores[at], keys[at], &wanted[at]);
                scope.spawn(move || {
                    let body = draft(|transaction| {
                        let held = transaction.numbers(wanted)?;
                        let free = wanted.iter().zip(&held).filter(|(_, held)| **held == Ownership::Free);
                        let changes: Vec<NumberChange> =
                            free.map(|(number, _)| created(number.digits(), stock("a"))).collect();
                        Ok(transaction.put_numbers(&changes)?)
                    });
                    store.write(WriteTarget::Partner(key), entry(Verb::Import), body).expect("written");
                });
            }
        });
    }
    assert_eq!(database.value("SELECT sum(last - first + 1) FROM holder_run"), (20 * 150).to_string());
    assert_eq!(database.value("SELECT sum(last - first + 1) FROM number_run"), (20 * 150).to_string());
    assert_eq!(differences(&*stores[0]), [] as [&str; 0]);
    // Also for other statements than the program's.
    let grown =
        database.execute("UPDATE holder_run SET last = last + 1000 WHERE first = (SELECT min(first) FROM holder_run)");
    assert!(grown.expect_err("taken").contains("violate"));
    // The rule holds for any client.
    for row in ["(911000010, 911000010, 1)", "(911000000, 911900000, 2)", "(1, 911000000, 2)"] {
        let refused = database.execute(&format!("INSERT INTO holder_run (first, last, partner) VALUES {row}"));
        let refused = refused.expect_err(row);
        assert!(refused.contains("violate"), "{refused}");
    }
}

#[test]
fn a_write_reads_few_rows_however_small_its_table_was_before() {
    let Some(database) = Database::postgres() else { return };
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    // Nothing but the program discards plans.
    database.execute("ALTER TABLE number_run SET (autovacuum_enabled = false)").expect("set");
    let turn = |digits: u64, turn: u64| {
        let tag = |at: u64| stock(if at.is_multiple_of(2) { "a" } else { "b" });
        let change = NumberChange { number: number(digits), before: Some(tag(turn)), after: Some(tag(turn + 1)) };
        put(&*store, key, &[change]);
    };
    // A block, so that rows are split as well.
    put(&*store, key, &(0..100).map(|at| created(911_000_000_000 + at, stock("a"))).collect::<Vec<_>>());
    (0..20).for_each(|at| turn(911_000_000_000 + at * 5, 0));
    let rows = 20_000;
    put(&*store, key, &(1..=rows).map(|at| created(911_000_100_000 + at * 10, stock("a"))).collect::<Vec<_>>());
    let read = || {
        let sql = "SELECT idx_scan || ' ' || idx_tup_read FROM pg_stat_user_indexes WHERE relname = 'number_run'";
        let value = database.value(sql);
        let (scans, tuples) = value.split_once(' ').expect("two figures");
        (scans.parse::<u64>().expect("a count"), tuples.parse::<u64>().expect("a count"))
    };
    let (mut turns, mut before) = (0, read());
    super::until::until(
        Duration::from_secs(60),
        || format!("a write reads few of {rows} rows"),
        || {
            turn(911_000_100_010, turns);
            turns += 1;
            let now = read();
            let (scans, tuples) = (now.0 - before.0, now.1 - before.1);
            // The server counts now and then.
            if scans == 0 {
                return false;
            }
            before = now;
            tuples < rows / 100
        },
    );
}
