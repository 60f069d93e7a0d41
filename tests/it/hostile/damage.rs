//! Bytes of a stopped database that a disk or a memory changed: afterwards the
//! server serves what was written, or reports that it is missing.

use std::collections::HashMap;
use std::time::Duration;

use rollcall::domain::change::Edit;
use rollcall::domain::{EntityChange, PartnerId, Time, Verb};
use rollcall::service::replica::{self, Replica};
use rollcall::store::{Load, Open, Store, StoreError, WriteTarget};

use super::whole;
use crate::calls;
use crate::console_import::Browser;
use crate::fixture::{
    self, Database, account, application, created, draft, entry, held, new_partner, put, stock, trunk,
};
use crate::harness;

/// How many bytes are changed, one at a time.
fn flips() -> u64 {
    if whole() { 500 } else { 40 }
}

fn furnished(store: &dyn Store) {
    for at in 1..=3_u64 {
        let key = new_partner(store, &format!("PA_{at}"));
        let entities = [
            EntityChange::Account(Edit::created(account("MA_1"))),
            EntityChange::Application(Edit::created(application("app_1", None))),
            EntityChange::Trunk(Edit::created(trunk("trunk_1", None))),
        ];
        let put_all = draft(|transaction| {
            entities.iter().try_for_each(|entity| transaction.put_entity(entity.clone()))?;
            Ok(())
        });
        store.write(WriteTarget::Partner(key), entry(Verb::AccountCreate), put_all).expect("written");
        let numbers = (0..400).map(|number| {
            let digits = 911_000_000 + at * 10_000 + number * 3;
            created(digits, if number % 2 == 0 { stock(&format!("tag{}", number % 7)) } else { held("MA_1") })
        });
        put(store, key, &numbers.collect::<Vec<_>>());
    }
}

/// What a changed database came to.
#[derive(Default, Debug)]
struct Outcomes {
    the_same: u64,
    not_loaded: u64,
    damaged: u64,
    left_out: u64,
    silent: Vec<String>,
}

#[test]
fn a_changed_byte_serves_no_wrong_row_without_a_word() {
    let database = Database::new();
    let store = database.open();
    furnished(&*store);
    let whole_file = database.file("whole.db");
    store.backup(&whole_file).expect("a backup");
    let loaded = replica::load(&*store, Load { only: None, numbers: true }).expect("loads");
    let truth: HashMap<PartnerId, [u8; 32]> =
        loaded.into_values().map(|snapshot| (snapshot.partner.auth_id.clone(), snapshot.digest())).collect();
    let bytes = std::fs::read(&whole_file).expect("read");

    let mut outcomes = Outcomes::default();
    // The same bytes in each run; from a fixed seed by xorshift.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..flips() {
        let at = (next() % bytes.len() as u64) as usize;
        let bit = 1_u8 << (next() % 8);
        let place = Database::new();
        let mut changed = bytes.clone();
        changed[at] ^= bit;
        std::fs::write(place.path(), &changed).expect("written");
        look(&place, &truth, &format!("byte {at}, bit {bit}"), &mut outcomes);
    }
    println!("{} changed bytes: {outcomes:?}", flips());
    assert!(outcomes.silent.is_empty(), "{outcomes:?}");
    assert!(outcomes.damaged > 0, "nothing was found by a digest: {outcomes:?}");
}

/// Loads a database as a server does, and compares what would be served.
fn look(place: &Database, truth: &HashMap<PartnerId, [u8; 32]>, what: &str, outcomes: &mut Outcomes) {
    let opened = rollcall::store::open(&place.location(), Open::Existing);
    let Ok(replica) = opened.and_then(Replica::load) else {
        outcomes.not_loaded += 1;
        return;
    };
    let served: HashMap<PartnerId, [u8; 32]> = replica
        .nodes()
        .iter()
        .map(|node| (node.snapshot().partner.auth_id.clone(), node.snapshot().digest()))
        .collect();
    match (served == *truth, replica.damaged_partners(), replica.progress().poisoned) {
        (true, 0, 0) => outcomes.the_same += 1,
        (_, 1.., _) => outcomes.damaged += 1,
        (_, 0, 1..) => outcomes.left_out += 1,
        (false, 0, 0) => outcomes.silent.push(what.to_owned()),
    }
    // Beside a damaged partner the others are as they were.
    if replica.damaged_partners() > 0 {
        let wrong = served.iter().filter(|(partner, digest)| truth.get(*partner) != Some(*digest)).count();
        let told = replica.progress().poisoned > replica.damaged_partners() as u64;
        if wrong > 0 && !told {
            outcomes.silent.push(format!("{what}, beside a damaged partner"));
        }
    }
}

#[test]
fn a_damaged_partner_is_refused_and_the_others_are_not() {
    let database = Database::chosen();
    furnished(&*database.open());
    let (_copy, store) = database.tampered("UPDATE number SET cost = cost + 1 WHERE number = 911010000");
    let replica = Replica::load(store.clone()).expect("loads");
    assert_eq!(replica.damaged_partners(), 1);
    let keys: Vec<_> = replica.all_nodes().iter().map(|node| node.key).collect();
    let write = |at: usize| {
        let digits = 933_000_000 + at as u64;
        let add = draft(move |transaction| Ok(transaction.put_numbers(&[created(digits, stock("new"))])?));
        store.write(WriteTarget::Partner(keys[at]), entry(Verb::Import), add)
    };
    let refused = write(0);
    assert!(
        matches!(&refused, Err(rollcall::store::Abort::Store(StoreError::Damaged { partner })) if &**partner == "PA_1"),
        "{refused:?}"
    );
    assert!(write(1).is_ok());
    assert!(replica.snapshot(keys[0]).is_none() && replica.snapshot(keys[1]).is_some());
    let loaded = replica::load(&*store, Load { only: Some(keys[0]), numbers: true });
    assert!(matches!(loaded, Err(StoreError::Damaged { .. })));
    let differences = fixture::differences(&*store);
    assert!(differences.iter().any(|line| line.contains("PA_1") && line.contains("digest")), "{differences:?}");
    // A release before this one kept none: it is made, and kept from then on.
    let (_copy, store) = database.tampered("UPDATE partner SET row_digest = NULL WHERE auth_id = 'PA_2'");
    let replica = Replica::load(store.clone()).expect("loads");
    assert_eq!((replica.damaged_partners(), replica.nodes().len()), (0, 3));
    assert_eq!(_copy.value("SELECT count(*) FROM partner WHERE row_digest IS NULL"), "0");
    let now = Time::now();
    assert!(replica.nodes()[1].snapshot().get(fixture::number(911_020_000), now).is_some());
}

#[test]
fn a_damaged_partner_is_answered_503_and_its_neighbour_as_ever() {
    if harness::no_file() {
        return;
    }
    let database = harness::Database::sample();
    let path = database.path().to_owned();
    let add = |seconds: i64| {
        let raw = rusqlite::Connection::open(&path).expect("the database opens");
        let one = "(SELECT min(number) FROM number JOIN partner USING (partner) WHERE auth_id = 'PA_ONE')";
        raw.execute(&format!("UPDATE number SET since = since + {seconds} WHERE number = {one}"), []).expect("changed");
        assert!(raw.total_changes() > 0, "nothing was changed");
    };
    let of = |partner: &str| {
        let raw = rusqlite::Connection::open(&path).expect("the database opens");
        let sql = "SELECT min(number) FROM number JOIN partner USING (partner) WHERE auth_id = ?1";
        raw.query_row(sql, [partner], |row| row.get::<_, i64>(0)).expect("a number")
    };
    let (damaged, whole) = (of("PA_ONE"), of("PA_TWO"));
    add(1);
    let config = database.write("rollcall.toml", "[routing]\nsip = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n");
    let server = harness::Server::start(database, &["--config", config.to_str().expect("UTF-8")]);
    let list = "/api/v1/partner/numbers";
    // On its pages and to proxies as well.
    let person = Browser::sign_up(&server, "PA_ONE", "manager");
    let page = |path: &str| person.get(&server, &format!("/console/p/PA_ONE{path}"));
    for path in ["", "/numbers", "/changes", "/checks", "/customers", "/costs", "/jobs", "/settings"] {
        assert!(page(path).check(503).text().contains("The data of this partner is damaged"), "{path}");
    }
    let (_, face) = calls::faces_of(|| server.log());
    let cause = |number: i64| calls::get(face, &format!("/route/+{number}"))["cause"].clone();
    assert_eq!(cause(damaged), "not_ready");
    assert_ne!(cause(whole), "not_ready");
    assert_eq!(server.get(list).auth(&harness::ONE).check(503).code(), "UNAVAILABLE");
    server.get(list).header("X-Auth-ID", "PA_ONE").header("X-Auth-Token", "wrong").check(401);
    server.get(list).auth(&harness::TWO).check(200);
    assert_eq!(server.get("/readyz").check(200).json()["unreadable"]["row_digest"], 1);
    let ran = server.database.run(&["verify"]).check(3);
    let said = ran.stdout.lines().find(|line| line.contains("the rows of partner PA_ONE do not agree with the digest"));
    let said = said.unwrap_or_else(|| panic!("{}", ran.stdout));
    // Both digests are named, and the number whose row was changed.
    let sums: Vec<&str> = said.split([' ', ',']).filter(|word| word.len() == 32).collect();
    assert!(sums.len() == 2 && sums[0] != sums[1], "{said}");
    assert!(ran.stdout.contains(&format!("number +{damaged} of partner PA_ONE")), "{}", ran.stdout);
    // Put back by hand, it is served again.
    add(-1);
    server.within(Duration::from_secs(20), |server| server.get(list).auth(&harness::ONE).send().status == 200);
    page("/numbers").check(200);
    assert_ne!(cause(damaged), "not_ready");
}
