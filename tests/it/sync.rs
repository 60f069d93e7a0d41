//! Mirroring another server's inventory, and checking one: the real program
//! against another Rollcall over a socket, and against servers that fail in
//! every way. Whatever upstream does, a mirror is as it was or as upstream is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rollcall::domain::{Change, PartnerKey, State, Verb};
use rollcall::inventory::Snapshot;
use rollcall::service::background::lease::Leases;
use rollcall::service::background::mirror::{MIRROR, mirror_of};
use rollcall::service::replica;
use rollcall::store::{Load, Open, Store};
use serde_json::{Value, json};

use crate::client::{Odd, answer, good, page, some};
use crate::fixture;
use crate::fixture::next_second;
use crate::harness::{ACCOUNTS, Database, GLOBAL, Key, ONE, Ran, Server};
use crate::until::until;

/// A database with an empty partner `PA_M`, to mirror into.
pub struct Mirror {
    database: Database,
    key: PartnerKey,
}

impl Mirror {
    pub fn new() -> Mirror {
        let database = Database::empty();
        database.partner("PA_M", "Mirror", &[]);
        let heads = fixture::open(database.path(), Open::Existing).heads(true).expect("heads").expect("asked for");
        Mirror { database, key: heads[0].key }
    }

    fn store(&self) -> Arc<dyn Store> {
        fixture::open(self.database.path(), Open::Existing)
    }

    fn arguments(&self, url: &str, key: &Key, flags: &[&str]) -> Vec<String> {
        let token = token_file(&self.database, key);
        let known = ["sync", "--from", url, "--auth-id", &key.auth_id, "--token-file", &token];
        let rest = ["--partner", "PA_M", "--attempts", "2"];
        [&known[..], &rest[..], flags].concat().into_iter().map(str::to_owned).collect()
    }

    fn sync(&self, url: &str, key: &Key, flags: &[&str]) -> Ran {
        let arguments = self.arguments(url, key, flags);
        self.database.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Begins a sync that goes on beside the test.
    pub fn begin(&self, url: &str, key: &Key, flags: &[&str]) -> Child {
        let arguments = self.arguments(url, key, flags);
        let mut command = self.database.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }

    /// A sync that has to end well; its report.
    #[track_caller]
    fn look(&self, url: &str, key: &Key, flags: &[&str]) -> Value {
        self.sync(url, key, &[&["--json"], flags].concat()).done().json()
    }

    fn version(&self) -> u64 {
        let heads = self.store().heads(true).expect("heads").expect("asked for");
        heads.iter().find(|head| head.key == self.key).expect("the partner").version
    }

    fn snapshot(&self) -> Snapshot {
        let load = Load { only: Some(self.key), numbers: true };
        replica::load(&*self.store(), load).expect("loads").remove(&self.key).expect("the partner")
    }

    /// The change that made a version.
    fn change(&self, version: u64) -> Change {
        self.store().log(self.key, version - 1, 1).expect("the log").pop().expect("the version").change
    }

    /// `check account number` of what the checks find.
    fn found(&self, flags: &[&str]) -> Vec<String> {
        let ran = self.database.run(&[&["check", "--partner", "PA_M", "--json"], flags].concat());
        findings(&ran.json())
    }

    /// Its wire rows.
    fn served(self) -> String {
        let key = self.database.key("PA_M", &[]);
        let server = Server::start(self.database, &[]);
        rows(&server, &key)
    }
}

fn token_file(database: &Database, key: &Key) -> String {
    database.write("token", &key.auth_token).to_str().expect("a path").to_owned()
}

fn findings(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows = report["data"].as_array().expect("a list");
    rows.iter()
        .map(|row| format!("{} {} {}", text(&row["check"]), text(&row["account_auth_id"]), text(&row["number"])))
        .collect()
}

/// All rows as the Partner API tells them.
fn rows(server: &Server, key: &Key) -> String {
    server.get(GLOBAL).auth(key).header("Accept", "text/csv").check(200).text().to_owned()
}

/// An upstream of its own with these rows.
fn upstream(rows: &str, flags: &[&str]) -> (Server, Key) {
    let database = Database::empty();
    database.partner("PA_UP", "Up", &[]);
    let key = database.key("PA_UP", &[]);
    assert_eq!(database.import("PA_UP", rows)["rejected"], 0);
    (Server::start(database, flags), key)
}

/// Changes upstream, and waits until its server shows it.
fn import(server: &Server, rows: &str) {
    assert_eq!(server.database.import("PA_UP", rows)["rejected"], 0);
    settle(server);
}

fn settle(server: &Server) {
    let store = fixture::open(server.database.path(), Open::Existing);
    let heads = store.heads(true).expect("heads").expect("asked for");
    let version = heads.iter().map(|head| head.version).max().expect("a partner");
    server.within(Duration::from_secs(10), |server| {
        let digests = server.get("/digest").check(200).json();
        digests["data"].as_array().expect("a list").iter().any(|one| one["version"] == version)
    });
}

const ROWS: &str = "\
number,account_auth_id,account_name,application_id,application_name,trunk_id,status,monthly_cost,currency,expires_at,tags
+912271264000-+912271264009,MA_1,First,app_1,Main IVR,trunk_1,active,500,INR,,vip
+912271264010-+912271264019,MA_2,Second,app_2,Queue,,suspended,1.25,EUR,2099-01-01T00:00:00Z,
+912271264020-+912271264029,,,,,,,,,,
";

// Against another Rollcall.

#[test]
fn a_hundred_thousand_numbers_are_mirrored_and_a_thousand_changes_are_a_thousand_changes() {
    let mut blocks =
        "number,account_auth_id,application_id,trunk_id,monthly_cost,currency,assigned_at,expires_at\n".to_owned();
    for block in 0..100 {
        let first = 912_200_000_000_u64 + block * 1_000;
        let ends = if block % 7 == 0 { "2099-01-01T00:00:00Z" } else { "" };
        match block {
            // In stock.
            99 => blocks.push_str(&format!("+{first}-+{},,,,,,,\n", first + 999)),
            _ => blocks.push_str(&format!(
                "+{first}-+{},MA_{},app_{},trunk_{},{}.50,INR,2026-01-{:02}T00:00:00Z,{ends}\n",
                first + 999,
                block % 10,
                block % 4,
                block % 3,
                block + 1,
                block % 28 + 1
            )),
        }
    }
    let (mut server, key) = upstream(&blocks, &[]);
    let mirror = Mirror::new();
    let started = Instant::now();
    let first = mirror.look(&server.url(), &key, &[]);
    println!("100,000 numbers mirrored in {:?}", started.elapsed());
    assert_eq!((&first["numbers"], &first["came"], &first["version"]), (&json!(100_000), &json!(100_000), &json!(2)));
    assert_eq!(mirror.change(2).verb, Verb::Sync);

    // 800 are different, 100 come, 100 go.
    let mut changed = "number,account_auth_id,application_id,monthly_cost,currency\n".to_owned();
    for at in 0..800 {
        let number = 912_200_000_003_u64 + at * 120;
        let account = (number - 912_200_000_000) / 1_000 % 10;
        changed.push_str(&format!("+{number},MA_{account},app_9,777,INR\n"));
    }
    for at in 0..100 {
        changed.push_str(&format!("+{},MA_3,,5,INR\n", 912_300_000_000_u64 + at * 13));
    }
    server.database.import("PA_UP", &changed);
    let retire = ["job", "create", "--partner", "PA_UP", "--verb", "retire", "--filter", "search=+9122000990", "--yes"];
    server.database.run(&retire).done();
    settle(&server);
    let second = mirror.look(&server.url(), &key, &[]);
    let counts = ["numbers", "came", "went", "changed", "refused"].map(|name| second[name].as_u64().expect("a count"));
    assert_eq!(counts, [100_000, 100, 100, 800, 0]);
    let change = mirror.change(3);
    assert_eq!((change.verb, change.numbers.len(), mirror.version()), (Verb::Sync, 1_000, 3));
    // The application, and what the setting says of who came and went.
    assert_eq!(change.entities.len(), 2);

    let third = mirror.look(&server.url(), &key, &[]);
    assert_eq!((&third["version"], third["changed"].as_u64()), (&Value::Null, Some(0)));
    assert_eq!(mirror.version(), 3, "nothing differs, so nothing is written");
    let told = mirror.store().document(mirror.key, MIRROR, MIRROR).expect("read").expect("beside the log");
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!((&told["looked_at"], &told["numbers"]), (&third["at"], &json!(100_000)));

    // Row by row, as the Partner API tells them: the first columns of an export.
    let wire = |export: &str| -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_reader(export.as_bytes());
        let cells = |row: csv::StringRecord| row.iter().take(14).map(str::to_owned).collect();
        reader.records().map(|row| cells(row.expect("a row"))).collect()
    };
    let (theirs, ours) = (wire(&server.database.export("PA_UP")), wire(&mirror.database.export("PA_M")));
    assert_eq!(theirs.iter().filter(|row| !row[0].is_empty()).count(), 100_000);
    assert!(ours == theirs, "the inventories are equal");
    // And one that is gone changes nothing of that.
    server.signal("KILL");
    server.wait();
    mirror.sync(&server.url(), &key, &[]).check(1);
    assert_eq!((mirror.version(), mirror.snapshot().len()), (3, 100_000));
}

#[test]
fn every_kind_of_row_is_mirrored_in_either_dialect() {
    let database = Database::sample();
    let items = database.key("PA_ONE", &["--dialect", "items"]);
    let server = Server::start(database, &[]);
    let theirs = rows(&server, &ONE);

    let mirror = Mirror::new();
    mirror.look(&server.url(), &ONE, &[]);
    let snapshot = mirror.snapshot();
    let state = |digits: u64| snapshot.get(fixture::number(digits), fixture::time(fixture::NOW)).map(|row| row.state());
    // An expired number is no paused one, though the wire calls both suspended.
    assert_eq!(state(912_271_265_110), Some(State::Active));
    assert_eq!(state(912_271_265_109), Some(State::Suspended));
    assert_eq!(state(442_079_460_107), Some(State::Available));
    assert_eq!(snapshot.accounts.get("MA_4").map(|account| &*account.name), Some("Primus Empty"));
    let theirs_of = server.get(ACCOUNTS).auth(&ONE).check(200).json();
    for account in theirs_of["data"].as_array().expect("a list") {
        let ours = snapshot.accounts.get(account["account_auth_id"].as_str().expect("an id")).expect("mirrored");
        assert_eq!(account["created_at"], ours.created_at.to_string());
    }
    // The other dialect tells less, and contradicts nothing; but it has tags.
    let report = mirror.look(&server.url(), &items, &[]);
    assert_eq!((&report["changed"], &report["came"], &report["entities"]), (&json!(3), &json!(0), &json!(0)));
    let tags = mirror.snapshot();
    let tags = tags.get(fixture::number(912_271_265_108), fixture::time(fixture::NOW)).expect("it").tags();
    assert_eq!(tags.iter().collect::<Vec<_>>(), ["night", "vip"]);
    // Which the first one does not tell, and so leaves.
    assert_eq!(mirror.look(&server.url(), &ONE, &[])["changed"], 0);
    assert_eq!(mirror.served(), theirs);

    // From nothing, with what the items have.
    let mirror = Mirror::new();
    assert_eq!(mirror.look(&server.url(), &items, &[])["came"], 12);
    assert_eq!(mirror.look(&server.url(), &items, &[])["version"], Value::Null);
    let ours = mirror.served();
    // Not told: the type, which is derived, names of applications, and expiries.
    let known = |rows: &str| -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_reader(rows.as_bytes());
        let cells = |row: csv::StringRecord| [0, 1, 2, 4, 5, 6, 7, 9, 10, 11].map(|at| row[at].to_owned()).to_vec();
        reader.records().map(|row| cells(row.expect("a row"))).collect()
    };
    assert_eq!(known(&ours), known(&theirs));
}

#[test]
fn what_upstream_says_of_an_account_holds() {
    let (server, key) = upstream(ROWS, &[]);
    // What upstream made is older than anything here.
    next_second();
    let mirror = Mirror::new();
    // One that was there before, and is as old as upstream says.
    mirror.database.run(&["account", "create", "--partner", "PA_M", "--auth-id", "MA_1", "--name", "Early"]).done();
    mirror.look(&server.url(), &key, &[]);
    let told = server.get(ACCOUNTS).auth(&key).check(200).json();
    let created = mirror.snapshot().accounts.get("MA_1").expect("it").created_at;
    assert_eq!(told["data"][0]["created_at"], created.to_string());
    // Changed here: put back. Archived there: archived.
    mirror.database.run(&["account", "rename", "--auth-id", "MA_1", "--partner", "PA_M", "--name", "Ours"]).done();
    mirror.database.import("PA_M", "number,account_auth_id,monthly_cost\n+912271264001,MA_1,9.99\n");
    mirror.database.import("PA_M", "account_auth_id,account_name,number,state\nMA_9,Local,,no_number\n");
    server.database.run(&["account", "archive", "--auth-id", "MA_2", "--partner", "PA_UP", "--yes"]).done();
    settle(&server);
    let report = mirror.look(&server.url(), &key, &[]);
    assert_eq!((&report["changed"], &report["went"]), (&json!(11), &json!(0)));
    let snapshot = mirror.snapshot();
    let account = |id: &str| snapshot.accounts.get(id).expect("it").clone();
    assert_eq!((&*account("MA_1").name, account("MA_1").archived_at), ("First", None));
    assert!(account("MA_2").archived_at.is_some() && account("MA_9").archived_at.is_some());
    assert_eq!(mirror.look(&server.url(), &key, &[])["version"], Value::Null);
    let theirs = rows(&server, &key);
    assert_eq!(mirror.served(), theirs);
}

/// An archived account or application gets no numbers. Upstream's word says
/// that they are not archived, so they are brought back with the numbers.
#[test]
fn what_is_archived_here_and_in_use_upstream_is_in_use() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    mirror.look(&server.url(), &key, &[]);
    let before = mirror.snapshot();
    let application = before.applications.sorted().next().expect("one").id.to_string();
    for args in [
        &["account", "archive", "--auth-id", "MA_1", "--partner", "PA_M", "--yes"][..],
        &["application", "archive", &application, "--partner", "PA_M"],
    ] {
        mirror.database.run(args).done();
    }
    let archived = mirror.snapshot();
    assert!(archived.accounts.get("MA_1").expect("it").archived_at.is_some());
    assert!(archived.applications.get(&application).expect("it").archived_at.is_some());
    let report = mirror.look(&server.url(), &key, &[]);
    assert_eq!(report["refused"], 0, "{report}");
    let after = mirror.snapshot();
    assert_eq!(after.accounts.get("MA_1").expect("it").archived_at, None);
    assert_eq!(after.applications.get(&application).expect("it").archived_at, None);
    assert_eq!(after.len(), before.len());
    let holders = |snapshot: &Snapshot| {
        let rows = snapshot.iter(fixture::time(fixture::NOW));
        rows.map(|row| row.account().map(|account| account.auth_id.clone())).collect::<Vec<_>>()
    };
    assert_eq!(holders(&after), holders(&before));
    assert_eq!(fixture::differences(&*mirror.store()), [] as [&str; 0]);
}

#[test]
fn what_vanished_and_what_appeared_is_found_until_somebody_has_seen_it() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    mirror.look(&server.url(), &key, &[]);
    let moved = ["--check", "vanished", "--check", "appeared"];
    assert_eq!(mirror.found(&moved), [""; 0], "a first look is against nothing");

    for number in ["+912271264020", "+912271264021"] {
        server.database.run(&["number", "retire", number, "--partner", "PA_UP", "--yes"]).done();
    }
    import(
        &server,
        "number,account_auth_id,monthly_cost,currency\n+912271264100-+912271264101,MA_1,5,INR\n+912271264200,,,\n",
    );
    mirror.look(&server.url(), &key, &[]);
    let expected = [
        "vanished - +912271264020",
        "vanished - +912271264021",
        "appeared - +912271264200",
        "appeared MA_1 +912271264100",
        "appeared MA_1 +912271264101",
    ];
    assert_eq!(mirror.found(&moved), expected);
    assert_eq!(mirror.found(&["--check", "appeared", "--account", "MA_1"]), expected[3..]);
    let snapshot = mirror.snapshot();
    assert_eq!(mirror_of(&snapshot).map(|mirror| mirror.moved.len()), Some(3));

    // Seen, and over; and what comes back is no longer gone.
    let report = mirror.database.run(&["check", "--partner", "PA_M", "--json", "--check", "appeared"]).check(3).json();
    assert_eq!(report["data"][0]["severity"], "info");
    let id = report["data"][0]["id"].as_str().expect("an id").to_owned();
    import(&server, "number\n+912271264021\n");
    mirror.look(&server.url(), &key, &[]);
    let expected = [
        "vanished - +912271264020",
        "appeared - +912271264021",
        "appeared - +912271264200",
        "appeared MA_1 +912271264100",
        "appeared MA_1 +912271264101",
    ];
    assert_eq!(mirror.found(&moved), expected);
    let manage = mirror.database.key("PA_M", &["--scope", "manage"]);
    let served = Server::start(mirror.database, &[]);
    let acknowledge = format!("/api/v1/manage/checks/{id}/acknowledge");
    served.request("POST", &acknowledge).auth(&manage).json(&json!({})).check(200);
    let summary = served.get("/api/v1/partner/checks/summary").auth(&manage).check(200).json();
    assert_eq!((&summary["data"]["vanished"], &summary["data"]["appeared"]), (&json!(1), &json!(3)));
    let list = served.get("/api/v1/partner/checks?check=vanished").auth(&manage).check(200).json();
    let row = &list["data"][0];
    assert_eq!((&row["severity"], &row["evidence"]["upstream"]), (&json!("critical"), &json!(server.url())));
}

#[test]
fn a_number_that_another_partner_holds_is_told_and_not_taken() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    mirror.database.partner("PA_OTHER", "Other", &[]);
    mirror.database.import("PA_OTHER", "number\n+912271264003\n+912271264021\n");
    let ran = mirror.sync(&server.url(), &key, &[]).check(3);
    assert!(ran.stderr.contains("+912271264003: another partner of this server has the number"), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("28 came, 0 went, 0 changed") && ran.stdout.contains("2 cannot be taken"),
        "{}",
        ran.stdout
    );
    let again = mirror.sync(&server.url(), &key, &["--json"]).check(3).json();
    assert_eq!((&again["refused"], &again["version"]), (&json!(2), &Value::Null));
    assert_eq!(mirror.snapshot().len(), 28);
    assert_eq!(mirror.database.export("PA_OTHER").lines().count(), 3);
    mirror.database.verify(None);
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    let ran = mirror.sync(&server.url(), &key, &["--dry-run"]).done();
    assert!(ran.stdout.contains("30 would come"), "{}", ran.stdout);
    assert_eq!((mirror.version(), mirror.snapshot().len()), (1, 0));
    assert_eq!(mirror.store().document(mirror.key, MIRROR, MIRROR).expect("read"), None);
}

#[test]
fn a_drop_is_believed_only_if_somebody_says_so() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    mirror.look(&server.url(), &key, &[]);
    for last in 0..4 {
        let number = format!("+91227126402{last}");
        server.database.run(&["number", "retire", &number, "--partner", "PA_UP", "--yes"]).done();
    }
    settle(&server);
    let ran = mirror.sync(&server.url(), &key, &[]).check(1);
    assert!(ran.stderr.contains("4 of the mirror's 30 numbers are not upstream any more"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--max-drop 10%") && ran.stderr.contains("--allow-drop"), "{}", ran.stderr);
    mirror.sync(&server.url(), &key, &["--dry-run"]).check(1);
    mirror.sync(&server.url(), &key, &["--max-drop", "13%"]).check(1);
    assert_eq!((mirror.version(), mirror.snapshot().len()), (2, 30));
    assert_eq!(mirror.look(&server.url(), &key, &["--max-drop", "14%"])["went"], 4);
    for last in 4..8 {
        let number = format!("+91227126402{last}");
        server.database.run(&["number", "retire", &number, "--partner", "PA_UP", "--yes"]).done();
    }
    settle(&server);
    mirror.sync(&server.url(), &key, &[]).check(1);
    assert_eq!(mirror.look(&server.url(), &key, &["--allow-drop"])["went"], 4);
    assert_eq!(mirror.snapshot().len(), 22);
}

#[test]
fn another_inventory_is_mirrored_only_if_somebody_says_so() {
    let (server, key) = upstream(ROWS, &[]);
    let (other, theirs) = upstream("number\n+4930100001\n", &[]);
    let mirror = Mirror::new();
    mirror.look(&server.url(), &key, &[]);
    let ran = mirror.sync(&other.url(), &theirs, &["--allow-drop"]).check(1);
    assert!(ran.stderr.contains(&format!("mirrors PA_UP at {}; give --switch", server.url())), "{}", ran.stderr);
    let ran = mirror.sync(&other.url(), &theirs, &["--switch"]).check(1);
    assert!(ran.stderr.contains("30 of the mirror's 30 numbers"), "{}", ran.stderr);
    let report = mirror.look(&other.url(), &theirs, &["--switch", "--allow-drop"]);
    assert_eq!((&report["first"], &report["went"], &report["came"]), (&json!(true), &json!(30), &json!(1)));
    assert_eq!(mirror.found(&["--check", "vanished", "--check", "appeared"]), [""; 0]);
    mirror.look(&format!("{}/", other.url()), &theirs, &[]);

    let nobody = mirror.sync(&other.url(), &Key { auth_id: "PA_X".to_owned(), ..theirs.clone() }, &[]).check(1);
    assert!(nobody.stderr.contains("--switch"), "{}", nobody.stderr);
    let token = token_file(&mirror.database, &theirs);
    let url = other.url();
    let missing = ["sync", "--from", &url, "--auth-id", "PA_UP", "--token-file", &token, "--partner", "PA_NONE"];
    let ran = mirror.database.run(&missing).check(1);
    assert!(ran.stderr.contains("rollcall partner create --auth-id PA_NONE"), "{}", ran.stderr);
}

#[test]
fn a_writer_beside_it_loses_nothing() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    mirror.look(&server.url(), &key, &[]);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for at in 0..12 {
                let rows = format!("number,monthly_cost\n+91227126400{},{at}.01\n", at % 10);
                mirror.database.import("PA_M", &rows);
            }
        });
        for at in 0..4 {
            import(&server, &format!("number,monthly_cost\n+91227126400{at},600\n"));
            mirror.look(&server.url(), &key, &[]);
        }
        writing.join().expect("written");
    });
    mirror.look(&server.url(), &key, &[]);
    assert_eq!(mirror.look(&server.url(), &key, &[])["version"], Value::Null);
    let theirs = rows(&server, &key);
    assert_eq!(mirror.served(), theirs);
}

/// Holds the database as a long import does, for `held`, once it has it; what
/// is done meanwhile is handed out.
fn beside_a_writer<T>(mirror: &Mirror, held: Duration, work: impl FnOnce() -> T) -> T {
    let writer = rusqlite::Connection::open(mirror.database.path()).expect("the database");
    writer.busy_timeout(Duration::from_secs(30)).expect("set");
    writer.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
    std::thread::scope(|scope| {
        let holding = scope.spawn(move || {
            std::thread::sleep(held);
            writer.execute_batch("COMMIT").expect("committed");
        });
        let done = work();
        holding.join().expect("it holds");
        done
    })
}

#[test]
fn a_lease_waits_for_a_writer_as_writers_do() {
    const HELD: Duration = Duration::from_secs(3);
    let good = Odd::new(|_, target| plain(&some(200), target));
    let mirror = Mirror::new();
    // Claimed: the run waits.
    let report = beside_a_writer(&mirror, HELD, || mirror.look(&good.url(), &odd_key(), &[]));
    assert_eq!(report["came"], 200);
    // Renewed and given back: nobody else is refused after it.
    let store = mirror.store();
    let leases = Leases::named(store.clone(), "node", Duration::from_secs(2));
    let lease = leases.claim("sync:PA_M").expect("asked").expect("free");
    let term = lease.term();
    beside_a_writer(&mirror, HELD, || assert_eq!(lease.confirm().expect("asked"), term, "it was lost"));
    beside_a_writer(&mirror, HELD, move || drop(lease));
    assert_eq!(store.leaseholder("sync:PA_M").expect("asked"), None);
    assert_eq!(mirror.look(&good.url(), &odd_key(), &[])["version"], Value::Null);
}

#[test]
fn long_imports_beside_it_refuse_no_run() {
    let (server, key) = upstream(ROWS, &[]);
    let mirror = Mirror::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for cost in 1..=4 {
                let rows = format!("number,monthly_cost,currency\n+33145000000-+33145007999,{cost},EUR\n");
                mirror.database.import("PA_M", &rows);
            }
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            mirror.look(&server.url(), &key, &["--allow-drop"]);
        }
    });
    mirror.look(&server.url(), &key, &["--allow-drop"]);
    let theirs = rows(&server, &key);
    assert_eq!(mirror.served(), theirs);
}

// Upstream fails.

pub fn odd_key() -> Key {
    Key { auth_id: "PA_ODD".to_owned(), auth_token: "secret".to_owned(), key_id: String::new() }
}

/// A server of numbers in stock that has no list of accounts.
pub fn plain(numbers: &[u64], target: &str) -> String {
    if target.starts_with(ACCOUNTS) { answer("404 Not Found", "", "{}") } else { good(numbers, target) }
}

#[test]
fn whatever_upstream_does_the_mirror_is_as_it_was() {
    type Answers = fn(&str) -> String;
    let cases: [(&str, Answers, &str); 13] = [
        ("a failure", |_| answer("500 Internal Server Error", "", "oops"), "the server answers 500"),
        (
            "numbers fail",
            |target| match target.starts_with(ACCOUNTS) {
                true => answer("404 Not Found", "", "{}"),
                false => answer("503 Service Unavailable", "", ""),
            },
            "page 1 of /api/v1/partner/numbers: the server answers 503",
        ),
        (
            "accounts fail",
            |target| match target.starts_with(ACCOUNTS) {
                true => answer("502 Bad Gateway", "", ""),
                false => plain(&some(300), target),
            },
            "page 1 of /api/v1/partner/accounts: the server answers 502",
        ),
        (
            "accounts are a page of HTML",
            |target| match target.starts_with(ACCOUNTS) {
                true => answer("200 OK", "", "<html></html>"),
                false => plain(&some(300), target),
            },
            "not a list in JSON",
        ),
        ("who are you", |_| answer("401 Unauthorized", "", "{}"), "check the auth id and the token"),
        (
            "nothing there",
            |target| plain(&[], target),
            "upstream says that it has no numbers at all, and the mirror has 300",
        ),
        (
            "no JSON",
            |target| match target.starts_with(ACCOUNTS) {
                true => answer("404 Not Found", "", "{}"),
                false => answer("200 OK", "", "{\"data\":[{\"number\""),
            },
            "not a list in JSON",
        ),
        (
            "a login page",
            |target| match target.starts_with(ACCOUNTS) {
                true => answer("404 Not Found", "", "{}"),
                false => answer("200 OK", "", "<html><body>Please log in</body></html>"),
            },
            "not a list in JSON",
        ),
        (
            "cut off in a body",
            |target| {
                let whole = plain(&some(300), target);
                if target.contains("page=2&") { whole[..whole.len() / 2].to_owned() } else { whole }
            },
            "page 2 of /api/v1/partner/numbers: no answer in 2 attempts",
        ),
        (
            "gone after two pages",
            |target| match target.contains("page=3&") {
                true => String::new(),
                false => plain(&some(300), target),
            },
            "page 3 of /api/v1/partner/numbers: no answer in 2 attempts",
        ),
        (
            "an empty page",
            |target| match target.contains("page=2&") {
                true => answer("200 OK", "", &page(&[], target, 300)),
                false => plain(&some(300), target),
            },
            "the list changed during each of 3 walks",
        ),
        ("half of it", |target| plain(&some(150), target), "150 of the mirror's 300 numbers"),
        ("elsewhere", |_| answer("302 Found", "Location: https://example.com/\r\n", ""), "a redirect"),
    ];
    let turn = Arc::new(AtomicUsize::new(usize::MAX));
    let (answers, now) = (cases.map(|(_, answers, _)| answers), turn.clone());
    let odd = Odd::new(move |_, target| match answers.get(now.load(Ordering::SeqCst)) {
        Some(answers) => answers(target),
        None => plain(&some(300), target),
    });
    let mirror = Mirror::new();
    assert_eq!(mirror.look(&odd.url(), &odd_key(), &[])["came"], 300);
    let before = mirror.snapshot().digest();
    for (at, (name, _, expected)) in cases.iter().enumerate() {
        turn.store(at, Ordering::SeqCst);
        let ran = mirror.sync(&odd.url(), &odd_key(), &[]).check(1);
        assert!(ran.stderr.contains(expected) && ran.stdout.is_empty(), "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains("secret"), "{name}: {}", ran.stderr);
        assert_eq!((mirror.version(), mirror.snapshot().digest()), (2, before), "{name}");
    }
    turn.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(mirror.look(&odd.url(), &odd_key(), &[])["version"], Value::Null);
}

#[test]
fn an_upstream_that_is_killed_half_way_changes_nothing() {
    let rows = "number,account_auth_id,monthly_cost,currency\n+912271200000-+912271219999,MA_1,5,INR\n";
    // 200 pages at 5 a second take longer than it lives, and a busy machine asks faster than that too.
    let (mut server, key) = upstream(rows, &["--rate-limit", "5"]);
    let mirror = Mirror::new();
    let child = mirror.begin(&server.url(), &key, &[]);
    // Once it has been told to wait, it is on its way and far from the end.
    server.within(Duration::from_secs(20), |server| {
        let metrics = server.get("/metrics").check(200);
        metrics
            .text()
            .lines()
            .any(|line| line.starts_with("rollcall_http_requests_total{status=\"4xx\"}") && !line.ends_with(" 0"))
    });
    server.signal("KILL");
    server.wait();
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("of /api/v1/partner/numbers: no answer in 2 attempts"), "{said}");
    assert_eq!((mirror.version(), mirror.snapshot().len()), (1, 0));
}

#[test]
fn an_interrupted_look_writes_nothing() {
    let odd = Odd::new(|_, target| match target.contains("page=2&") {
        true => answer("429 Too Many Requests", "Retry-After: 50\r\n", ""),
        false => plain(&some(300), target),
    });
    let mirror = Mirror::new();
    let mut child = mirror.begin(&odd.url(), &odd_key(), &[]);
    wait_for(|| odd.asked().iter().any(|asked| asked.contains("page=2&")));
    crate::process::signal(&child, "INT");
    // Long before the server's 50 seconds.
    assert_eq!(crate::process::ended(&mut child, Duration::from_secs(20)), Some(1));
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("interrupted; nothing was written"), "{said}");
    assert_eq!((mirror.version(), mirror.snapshot().len()), (1, 0));
}

#[test]
fn one_process_at_a_time_mirrors_into_a_partner() {
    let odd = Odd::new(|_, target| match target.contains("page=2&") {
        true => answer("429 Too Many Requests", "Retry-After: 50\r\n", ""),
        false => plain(&some(300), target),
    });
    let good = Odd::new(|_, target| plain(&some(200), target));
    let mirror = Mirror::new();
    let mut child = mirror.begin(&odd.url(), &odd_key(), &[]);
    wait_for(|| odd.asked().iter().any(|asked| asked.contains("page=2&")));
    let second = mirror.sync(&good.url(), &odd_key(), &[]).check(1);
    assert!(second.stderr.contains("is mirroring into partner PA_M already"), "{}", second.stderr);
    assert!(good.asked().is_empty(), "it did not even ask");
    crate::process::signal(&child, "INT");
    assert_eq!(crate::process::ended(&mut child, Duration::from_secs(20)), Some(1));
    // One that ended, however it did, is in nobody's way.
    assert_eq!(mirror.look(&good.url(), &odd_key(), &[])["came"], 200);
    // One that was killed is for as long as its lease lasts.
    assert!(mirror.store().lease("sync:PA_M", "the-dead-one", 2).expect("a lease").held());
    let refused = mirror.sync(&good.url(), &odd_key(), &[]).check(1);
    assert!(refused.stderr.contains("the-dead-one"), "{}", refused.stderr);
    wait_for(|| mirror.sync(&good.url(), &odd_key(), &[]).code == 0);
}

#[test]
fn of_two_that_mirror_again_and_again_the_second_takes_over() {
    let (one, two) = (Odd::new(|_, target| plain(&some(300), target)), Odd::new(|_, target| plain(&some(300), target)));
    let mirror = Mirror::new();
    let switch = ["--every", "1s", "--switch", "--json"];
    let mut first = mirror.begin(&one.url(), &odd_key(), &switch);
    wait_for(|| one.asked().len() >= 6);
    let mut second = mirror.begin(&two.url(), &odd_key(), &switch);
    let asked = one.asked().len();
    wait_for(|| one.asked().len() >= asked + 9);
    assert!(two.asked().is_empty(), "it stands by");
    crate::process::signal(&first, "KILL");
    first.wait().expect("it ended");
    until(Duration::from_secs(30), || "nobody takes over".to_owned(), || !two.asked().is_empty());
    crate::process::signal(&second, "TERM");
    assert_eq!(crate::process::ended(&mut second, Duration::from_secs(20)), Some(0));
}

#[track_caller]
fn wait_for(wanted: impl Fn() -> bool) {
    until(Duration::from_secs(20), || "it does not come".to_owned(), wanted);
}

#[test]
fn looks_that_repeat_outlive_upstream_and_end_when_told_to() {
    let down = Arc::new(Mutex::new((false, 300)));
    let now = down.clone();
    let odd = Odd::new(move |_, target| match *now.lock().expect("the state") {
        (true, _) => answer("500 Internal Server Error", "", ""),
        (false, numbers) => plain(&some(numbers), target),
    });
    let mirror = Mirror::new();
    let mut child = mirror.begin(&odd.url(), &odd_key(), &["--every", "1s", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON") };
    assert_eq!(next()["came"], 300);
    *down.lock().expect("the state") = (true, 0);
    wait_line(&mut next, |line| line["failed"].as_str().is_some_and(|text| text.contains("answers 500")));
    *down.lock().expect("the state") = (false, 305);
    wait_line(&mut next, |line| line["came"] == 5);
    wait_line(&mut next, |line| line["version"].is_null());
    crate::process::signal(&child, "TERM");
    assert_eq!(crate::process::ended(&mut child, Duration::from_secs(20)), Some(0));
    assert_eq!((mirror.version(), mirror.snapshot().len()), (3, 305));
}

#[track_caller]
fn wait_line(next: &mut impl FnMut() -> Value, wanted: impl Fn(&Value) -> bool) {
    assert!((0..20).any(|_| wanted(&next())), "no such line");
}

#[test]
fn numbers_without_a_cost_need_one() {
    let odd = Odd::new(|_, target| {
        let row = r#"{"number":"+912271264000","status":"active","account_auth_id":"MA_1"}"#;
        match target.starts_with(ACCOUNTS) {
            true => answer("405 Method Not Allowed", "", ""),
            false => answer(
                "200 OK",
                "",
                &format!("{{\"data\":[{row}],\"meta\":{{\"total\":1,\"page\":1,\"per_page\":100}}}}"),
            ),
        }
    });
    let mirror = Mirror::new();
    let ran = mirror.sync(&odd.url(), &odd_key(), &[]).check(3);
    assert!(ran.stderr.contains("+912271264000: an assigned number needs a cost"), "{}", ran.stderr);
    let report = mirror.look(&odd.url(), &odd_key(), &["--monthly-cost", "0", "--currency", "INR"]);
    assert_eq!((&report["came"], &report["lists_accounts"]), (&json!(1), &json!(false)));
    // Then it has one.
    assert_eq!(mirror.look(&odd.url(), &odd_key(), &[])["version"], Value::Null);
}

/// The Partner API says the same of a free number, a reservation and a
/// quarantine, so the last two are decided here.
#[test]
fn reservations_and_quarantines_made_here_stay() {
    let odd = Odd::new(|_, target| plain(&some(300), target));
    let mirror = Mirror::new();
    mirror.look(&odd.url(), &odd_key(), &[]);
    mirror.database.run(&["account", "create", "--partner", "PA_M", "--auth-id", "MA_1", "--name", "Ours"]).done();
    let numbers: Vec<String> =
        mirror.snapshot().iter(fixture::time(fixture::NOW)).map(|row| row.number().to_string()).collect();
    mirror
        .database
        .run(&[
            "number",
            "reserve",
            "--partner",
            "PA_M",
            &numbers[0],
            "--account",
            "MA_1",
            "--until",
            "2036-01-01T00:00:00Z",
        ])
        .done();
    let before = mirror.snapshot().digest();
    let report = mirror.look(&odd.url(), &odd_key(), &[]);
    assert_eq!((&report["changed"], &report["version"]), (&json!(0), &Value::Null), "{report}");
    assert_eq!(mirror.snapshot().digest(), before);
}

#[test]
fn a_listed_customer_whose_id_cannot_be_is_reported() {
    let listed =
        r#"{"auth_id":"MA_1","name":"Good"},{"auth_id":"..","name":"Dots"},{"auth_id":"NULL","name":"Nothing"}"#;
    let odd = Odd::new(move |_, target| match target.starts_with(ACCOUNTS) {
        true => answer("200 OK", "", &format!("{{\"accounts\":[{listed}],\"total\":3,\"page\":1}}")),
        false => good(&some(3), target),
    });
    let mirror = Mirror::new();
    let ran = mirror.sync(&odd.url(), &odd_key(), &[]).check(3);
    assert!(ran.stderr.contains("account \"..\": cannot be an id"), "{}", ran.stderr);
    assert!(ran.stderr.contains("account \"NULL\""), "{}", ran.stderr);
    assert!(ran.stdout.contains("2 accounts, applications and trunks cannot be taken"), "{}", ran.stdout);
    let report = mirror.sync(&odd.url(), &odd_key(), &["--json"]).check(3).json();
    assert_eq!((&report["refused"], &report["refused_entities"]), (&json!(0), &json!(2)), "{report}");
    assert_eq!(report["entity_errors"][0]["kind"], "account", "{report}");
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.accounts.iter().map(|account| account.auth_id.as_str()).collect::<Vec<_>>(), ["MA_1"]);
}

// Through something that leaves out the accounts.

/// A server before the real one that has no list of accounts.
fn without_accounts(to: SocketAddr, key: &Key) -> Odd {
    let key = key.clone();
    Odd::new(move |_, target| {
        if target.starts_with(ACCOUNTS) {
            return answer("404 Not Found", "", "{}");
        }
        let mut stream = TcpStream::connect(to).expect("the server");
        let (id, token) = (&key.auth_id, &key.auth_token);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Auth-ID: {id}\r\nX-Auth-Token: {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("an answer");
        all
    })
}

#[test]
fn without_a_list_of_accounts_customers_are_those_of_the_numbers() {
    let (server, key) = upstream(ROWS, &[]);
    server.database.run(&["account", "create", "--partner", "PA_UP", "--auth-id", "MA_3", "--name", "Empty"]).done();
    settle(&server);
    let odd = without_accounts(server.address(), &key);
    let mirror = Mirror::new();
    let ran = mirror.sync(&odd.url(), &odd_key(), &[]).done();
    assert!(ran.stderr.contains("customers without numbers cannot be seen"), "{}", ran.stderr);
    let snapshot = mirror.snapshot();
    let names: Vec<_> = snapshot.accounts.iter().map(|account| (account.auth_id.as_str(), &*account.name)).collect();
    assert_eq!(names, [("MA_1", "First"), ("MA_2", "Second")]);
    let theirs = rows(&server, &key);
    assert_eq!(mirror.served(), theirs);
}

// Checks of another server's inventory.

fn check_url(database: &Database, url: &str, key: &Key, flags: &[&str]) -> Ran {
    let token: PathBuf = token_file(database, key).into();
    let token = token.to_str().expect("a path");
    let known = ["check", "--url", url, "--auth-id", &key.auth_id, "--token-file", token, "--attempts", "2"];
    database.run(&[&known[..], flags].concat())
}

#[test]
fn another_servers_inventory_has_the_findings_that_it_has_there() {
    let server = Server::sample();
    let elsewhere = Database::empty();
    for flags in [&[][..], &["--within", "30d"], &["--account", "MA_1"], &["--check", "unrouted"]] {
        let there = server.database.run(&[&["check", "--partner", "PA_ONE", "--json"], flags].concat()).check(3).json();
        let here = check_url(&elsewhere, &server.url(), &ONE, &[&["--json"], flags].concat()).check(3).json();
        assert_eq!(here["data"], there["data"], "to the letter, with ids and evidence");
        assert_eq!((&here["meta"]["total"], &here["meta"]["remark"]), (&there["meta"]["total"], &Value::Null));
    }
    assert!(!elsewhere.path().exists(), "no database is made");
    let suspended =
        check_url(&elsewhere, &server.url(), &ONE, &["--json", "--check", "suspended", "--suspended-for", "0s"]);
    assert_eq!(findings(&suspended.check(3).json()), ["suspended MA_1 +912271265109"]);
    check_url(&elsewhere, &server.url(), &ONE, &["--check", "suspended"]).check(2);
    check_url(&elsewhere, &server.url(), &ONE, &["--check", "expiring"]).check(0);
    let table = check_url(&elsewhere, &server.url(), &ONE, &[]).check(3);
    assert!(table.stdout.contains("unrouted (2)") && table.stderr.contains("not looked for"), "{table:?}");
    let csv = check_url(&elsewhere, &server.url(), &ONE, &["--format", "csv"]).check(3).stdout;
    assert_eq!(csv.lines().count(), 5, "{csv}");

    // Without the list of accounts, and saying so.
    let odd = without_accounts(server.address(), &ONE);
    let report = check_url(&elsewhere, &odd.url(), &odd_key(), &["--json"]).check(3).json();
    let expected = ["expired MA_1 +912271265110", "unrouted MA_1 +6837101", "unrouted MA_2 +80012345103"];
    assert_eq!(findings(&report), expected);
    let remark = report["meta"]["remark"].as_str().expect("a remark");
    assert!(remark.contains("customers without numbers cannot be seen"), "{remark}");
    let table = check_url(&elsewhere, &odd.url(), &odd_key(), &[]).check(3);
    assert!(table.stderr.contains("customers without numbers cannot be seen"), "{}", table.stderr);

    let wrong = Key { auth_token: "rollcall_wrong".to_owned(), ..ONE.clone() };
    let ran = check_url(&elsewhere, &server.url(), &wrong, &[]).check(1);
    assert!(ran.stderr.contains("401"), "{}", ran.stderr);
    for flags in
        [&["check"][..], &["check", "--partner", "PA_ONE", "--url", "http://a"], &["check", "--url", "http://a"]]
    {
        elsewhere.run(flags).check(2);
    }
}

#[test]
fn a_list_of_accounts_that_fails_is_no_server_without_one() {
    for status in ["500 Internal Server Error", "401 Unauthorized", "503 Service Unavailable"] {
        let odd = Odd::new(move |_, target| match target.starts_with(ACCOUNTS) {
            true => answer(status, "", ""),
            false => good(&some(3), target),
        });
        let ran = check_url(&Database::empty(), &odd.url(), &odd_key(), &[]).check(1);
        assert!(ran.stderr.contains(&status[..3]), "{status}: {}", ran.stderr);
    }
    for status in ["403 Forbidden", "404 Not Found", "405 Method Not Allowed"] {
        let odd = Odd::new(move |_, target| match target.starts_with(ACCOUNTS) {
            true => answer(status, "", ""),
            false => good(&some(3), target),
        });
        let ran = check_url(&Database::empty(), &odd.url(), &odd_key(), &["--json"]).check(0);
        assert!(ran.json()["meta"]["remark"].is_string(), "{status}: {}", ran.stdout);
    }
}
