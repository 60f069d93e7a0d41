//! A node's memory kept up with a real file, and who may read it.

use std::net::IpAddr;
use std::sync::Arc;

use rollcall::domain::{Dialect, PartnerKey, Scope, Time, Verb};
use rollcall::service::replica::access::Denied;
use rollcall::service::replica::{self, Replica};
use rollcall::service::{NewKey, Service, Token};
use rollcall::store::{Load, Store};

use super::fixture::*;

fn replica(database: &Database) -> Replica {
    Replica::load(database.open()).expect("loads")
}

fn service(database: &Database) -> Service {
    Service::new(database.open(), entry(Verb::Import).actor)
}

/// The replica holds exactly what a fresh load finds.
#[track_caller]
pub fn check_fresh(replica: &Replica, store: &dyn Store) {
    let fresh = replica::load(store, Load { only: None, numbers: true }).expect("loads");
    let nodes = replica.nodes();
    assert_eq!(nodes.len(), fresh.len());
    for node in nodes {
        let (held, stored) = (node.snapshot(), &fresh[&node.key]);
        assert_eq!((held.version, held.head), (stored.version, stored.head));
        assert_eq!(held.len(), stored.len());
        assert_eq!(held.digest(), stored.digest());
        assert_eq!(held.epoch(time(NOW + 1_000_000)), stored.epoch(time(NOW + 1_000_000)));
    }
    assert!(replica.freshness().0);
}

#[test]
fn what_others_commit_appears() {
    let database = Database::new();
    let other = database.open();
    let key = new_partner(&*other, "PA_1");
    let replica = replica(&database);
    let node = replica.node("PA_1").expect("loaded");
    assert!(node.snapshot().is_empty());
    let before = node.snapshot();

    put(&*other, key, &[created(911_000_001, stock("a"))]);
    put_account(&*other, key, "MA_1");
    put(&*other, key, &[created(911_000_002, held("MA_1"))]);
    assert!(node.snapshot().is_empty(), "nothing appears unasked");
    replica.follow();
    let after = node.snapshot();
    assert_eq!((after.version, after.len()), (4, 2));
    assert_eq!(after.get(number(911_000_002), time(NOW)).expect("there").account(), Some(&account("MA_1")));
    assert_eq!((before.version, before.len()), (1, 0), "a reader's snapshot stays as it was");
    check_fresh(&replica, &*other);

    replica.follow();
    assert!(Arc::ptr_eq(&after, &node.snapshot()), "nothing new, nothing done");

    // Its own commits come by the same path, after others'.
    put(&*other, key, &[created(911_000_003, stock("a"))]);
    put(&**replica.store(), key, &[created(911_000_004, stock("a"))]);
    replica.follow();
    assert_eq!(node.snapshot().len(), 4);
    check_fresh(&replica, &*other);
}

#[test]
fn a_partner_created_later_appears() {
    let database = Database::new();
    let replica = replica(&database);
    assert!(replica.nodes().is_empty());
    let other = database.open();
    let first = new_partner(&*other, "PA_1");
    put(&*other, first, &[created(911_000_001, stock("a"))]);
    replica.follow();
    let second = new_partner(&*other, "PA_2");
    replica.follow();
    assert!(replica.node("PA_3").is_none());
    assert_eq!(replica.node("PA_2").expect("there").key, second);
    assert_eq!(replica.node("PA_1").expect("there").snapshot().len(), 1);
    check_fresh(&replica, &*other);
}

#[test]
fn a_long_log_is_followed_in_pages() {
    let database = Database::new();
    let other = database.open();
    let key = new_partner(&*other, "PA_1");
    let replica = replica(&database);
    for at in 0..600 {
        put(&*other, key, &[created(911_000_000 + at, stock("a"))]);
    }
    replica.follow();
    assert_eq!(replica.node("PA_1").expect("there").snapshot().version, 601);
    check_fresh(&replica, &*other);
}

/// Undoes a partner's last change, rows and log, as restoring an older file would.
fn roll_back(database: &Database, key: PartnerKey, to: i64, head: [u8; 32]) {
    let raw = database.raw();
    raw.execute("DELETE FROM change WHERE partner = ?1 AND version > ?2", (key.0, to)).expect("deleted");
    raw.execute("DELETE FROM change_part WHERE partner = ?1 AND version > ?2", (key.0, to)).expect("deleted");
    raw.execute("DELETE FROM number WHERE partner = ?1 AND version > ?2", (key.0, to)).expect("deleted");
    raw.execute("UPDATE partner SET version = ?2, head = ?3, row_digest = NULL WHERE partner = ?1", (key.0, to, head))
        .expect("set back");
}

#[test]
fn a_rolled_back_database_is_loaded_afresh() {
    let database = Database::new();
    let other = database.open();
    let key = new_partner(&*other, "PA_1");
    put(&*other, key, &[created(911_000_001, stock("a"))]);
    let head = other.log(key, 1, 1).expect("reads")[0].digest;
    put(&*other, key, &[created(911_000_002, stock("a"))]);
    let replica = replica(&database);
    let node = replica.node("PA_1").expect("there");

    // Shorter than what the replica has.
    roll_back(&database, key, 2, head);
    replica.follow();
    assert_eq!((node.snapshot().version, node.snapshot().len()), (2, 1));
    check_fresh(&replica, &*other);

    // As long, but another.
    put(&*other, key, &[created(911_000_003, stock("a"))]);
    replica.follow();
    roll_back(&database, key, 2, head);
    put(&*other, key, &[created(911_000_004, stock("a"))]);
    replica.follow();
    assert!(node.snapshot().get(number(911_000_003), time(NOW)).is_none());
    assert!(node.snapshot().get(number(911_000_004), time(NOW)).is_some());
    check_fresh(&replica, &*other);

    // Longer, and another.
    roll_back(&database, key, 2, head);
    for at in 5..9 {
        put(&*other, key, &[created(911_000_000 + at, stock("a"))]);
    }
    replica.follow();
    assert_eq!((node.snapshot().version, node.snapshot().len()), (6, 5));
    check_fresh(&replica, &*other);
    assert_eq!(differences(&*other), [] as [&str; 0]);
}

#[test]
fn followers_and_writers_beside_each_other_end_the_same() {
    let database = Database::new();
    let other = database.open();
    let keys = [new_partner(&*other, "PA_1"), new_partner(&*other, "PA_2")];
    let replica = replica(&database);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (other, keys) = (&other, &keys);
            scope.spawn(move || {
                for write in 0..25 {
                    put(
                        &**other,
                        keys[(write % 2) as usize],
                        &[created(911_000_000 + thread * 100 + write, stock("a"))],
                    );
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                for _ in 0..200 {
                    replica.follow();
                    let version = replica.node("PA_1").expect("there").snapshot().version;
                    assert!(version >= last, "went back from {last} to {version}");
                    last = version;
                }
            });
        }
    });
    replica.follow();
    check_fresh(&replica, &*other);
}

// Keys: section 3 of the contract.

const HERE: &str = "192.0.2.7";

fn new_key(scopes: &[Scope]) -> NewKey {
    NewKey {
        name: "key".into(),
        scopes: scopes.to_vec(),
        expires_at: None,
        networks: Vec::new(),
        dialect: Dialect::Data,
    }
}

struct Door {
    database: Database,
    service: Service,
    replica: Replica,
}

impl Door {
    fn new(partners: &[&str]) -> Door {
        let database = Database::new();
        let service = service(&database);
        for auth_id in partners {
            service.partner_create(auth_id.parse().expect("an id"), (*auth_id).into()).expect("created");
        }
        let replica = replica(&database);
        Door { database, service, replica }
    }

    fn key(&self, partner: &str, new: NewKey) -> (rollcall::domain::Key, Token) {
        let made = self.service.key_create(&partner.parse().expect("an id"), new).expect("created");
        self.replica.follow();
        made.value
    }

    /// Who is let in, or why nobody is.
    fn knock(&self, partner: &str, token: &str, from: &str, wanted: Scope, now: Time) -> Result<String, Denied> {
        let from: IpAddr = from.parse().expect("an address");
        let access = self.replica.authenticate(partner, token.as_bytes(), from, wanted, now)?;
        Ok(access.snapshot.partner.auth_id.to_string())
    }
}

#[test]
fn the_right_token_opens_its_partner_and_no_other() {
    let door = Door::new(&["PA_1", "PA_2", "PA_3"]);
    let (one, one_token) = door.key("PA_1", new_key(&[Scope::Read]));
    let (_, two_token) = door.key("PA_2", new_key(&[Scope::Read]));
    let now = Time::now();
    let check = |partner: &str, token: &str, expected: Result<&str, Denied>| {
        let got = door.knock(partner, token, HERE, Scope::Read, now);
        assert_eq!(got.as_deref(), expected.as_ref().copied(), "{partner:?} with {token:?}");
    };
    let (one_token, two_token) = (one_token.reveal(), two_token.reveal());
    check("PA_1", one_token, Ok("PA_1"));
    check("PA_2", two_token, Ok("PA_2"));
    for (partner, token) in [
        ("PA_1", two_token),
        ("PA_2", one_token),
        ("PA_3", one_token),
        ("PA_9", one_token),
        ("pa_1", one_token),
        ("PA_1 ", one_token),
        ("", one_token),
        ("PA_1", ""),
        ("PA_1", "wrong"),
        ("PA_1", &one_token[..one_token.len() - 1]),
        ("PA_1", &format!("{one_token} ")),
        ("PA_1", &one_token.to_uppercase()),
        ("PA_3", ""),
        ("PA_9", ""),
    ] {
        check(partner, token, Err(Denied::Credentials));
    }
    let hex: String = one.token_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    check("PA_1", &hex, Err(Denied::Credentials));
    let digest = door.replica.authenticate("PA_1", &one.token_sha256, HERE.parse().expect("ip"), Scope::Read, now);
    assert_eq!(digest.err(), Some(Denied::Credentials), "the stored digest opens nothing");
}

#[test]
fn a_token_is_not_kept() {
    let door = Door::new(&["PA_1"]);
    let (_, token) = door.key("PA_1", new_key(&[Scope::Read]));
    door.database.open().backup(&door.database.file("backup.db")).expect("a backup");
    let bytes = std::fs::read(door.database.file("backup.db")).expect("reads");
    let secret = token.reveal().as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
}

#[test]
fn an_expired_key_is_dead_at_the_second() {
    let door = Door::new(&["PA_1"]);
    let (_, token) = door.key("PA_1", NewKey { expires_at: Some(time(NOW)), ..new_key(&[Scope::Read]) });
    for (now, expected) in
        [(NOW - 1, Ok("PA_1".to_owned())), (NOW, Err(Denied::Credentials)), (NOW + 1, Err(Denied::Credentials))]
    {
        assert_eq!(door.knock("PA_1", token.reveal(), HERE, Scope::Read, time(now)), expected, "at {now}");
    }
}

#[test]
fn a_revoked_key_is_dead_and_its_sisters_live() {
    let door = Door::new(&["PA_1"]);
    let (first, first_token) = door.key("PA_1", new_key(&[Scope::Read]));
    let (_, second_token) = door.key("PA_1", new_key(&[Scope::Read]));
    let now = Time::now();
    let partner = "PA_1".parse().expect("an id");
    let knock = |token: &Token| door.knock("PA_1", token.reveal(), HERE, Scope::Read, now).is_ok();
    assert!(knock(&first_token) && knock(&second_token));
    let done = door.service.key_revoke(&partner, &first.id).expect("revoked");
    assert!(done.version.is_some());
    assert!(door.service.key_revoke(&partner, &first.id).expect("allowed").version.is_none());
    door.replica.follow();
    let denied = door.knock("PA_1", first_token.reveal(), HERE, Scope::Read, now);
    assert_eq!(denied, Err(Denied::Credentials));
    assert!(knock(&second_token));
}

#[test]
fn networks_are_kept_to() {
    let door = Door::new(&["PA_1"]);
    let limited = |networks: &[&str]| {
        let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
        door.key("PA_1", NewKey { networks, ..new_key(&[Scope::Read]) }).1
    };
    let v4 = limited(&["192.0.2.0/24"]);
    let v6 = limited(&["2001:db8::/32"]);
    let both = limited(&["198.51.100.7/32", "2001:db8:1::/48"]);
    let any = limited(&[]);
    let mapped = limited(&["::ffff:192.0.2.0/120"]);
    for (token, from, expected) in [
        (&v4, "192.0.2.0", true),
        (&v4, "192.0.2.255", true),
        (&v4, "192.0.3.0", false),
        (&v4, "::ffff:192.0.2.9", true),
        (&v4, "::ffff:192.0.3.9", false),
        (&v4, "2001:db8::1", false),
        (&v4, "::192.0.2.9", false),
        (&v6, "2001:db8::1", true),
        (&v6, "2001:db9::1", false),
        (&v6, "192.0.2.7", false),
        (&both, "198.51.100.7", true),
        (&both, "198.51.100.8", false),
        (&both, "2001:db8:1::1", true),
        (&both, "2001:db8:2::1", false),
        (&any, "203.0.113.1", true),
        (&any, "::1", true),
        (&mapped, "192.0.2.9", true),
        (&mapped, "::ffff:192.0.2.9", true),
        (&mapped, "192.0.3.9", false),
    ] {
        let expected = if expected { Ok("PA_1".to_owned()) } else { Err(Denied::Network) };
        assert_eq!(door.knock("PA_1", token.reveal(), from, Scope::Read, Time::now()), expected, "from {from}");
    }
    let elsewhere = door.knock("PA_1", "wrong", "203.0.113.1", Scope::Read, Time::now());
    assert_eq!(elsewhere, Err(Denied::Credentials), "a wrong token learns nothing of networks");
}

#[test]
fn manage_includes_read_and_not_the_reverse() {
    let door = Door::new(&["PA_1"]);
    for (scopes, wanted, expected) in [
        (&[Scope::Read][..], Scope::Read, true),
        (&[Scope::Read], Scope::Manage, false),
        (&[Scope::Manage], Scope::Read, true),
        (&[Scope::Manage], Scope::Manage, true),
        (&[Scope::Read, Scope::Manage], Scope::Manage, true),
        (&[], Scope::Read, false),
    ] {
        let (key, token) = door.key("PA_1", new_key(scopes));
        let from = HERE.parse().expect("an address");
        let access = door.replica.authenticate("PA_1", token.reveal().as_bytes(), from, wanted, Time::now());
        match (access, expected) {
            (Ok(access), true) => assert_eq!((access.key, &access.scopes[..]), (key.id, scopes)),
            (Err(Denied::Scope), false) => {}
            (other, _) => panic!("{scopes:?} wanting {wanted}: {:?}", other.err()),
        }
    }
}

#[test]
fn a_suspended_partner_is_told_so_only_with_the_right_key() {
    let door = Door::new(&["PA_1", "PA_2"]);
    let (_, token) = door.key("PA_1", new_key(&[Scope::Read]));
    let (_, other) = door.key("PA_2", new_key(&[Scope::Read]));
    let partner = "PA_1".parse().expect("an id");
    let knock = |partner: &str, token: &str| door.knock(partner, token, HERE, Scope::Read, Time::now());
    door.service.partner_suspend(&partner, true).expect("suspended");
    door.replica.follow();
    assert_eq!(knock("PA_1", token.reveal()), Err(Denied::Suspended));
    assert_eq!(knock("PA_1", "wrong"), Err(Denied::Credentials));
    assert_eq!(knock("PA_1", other.reveal()), Err(Denied::Credentials));
    assert_eq!(knock("PA_2", other.reveal()), Ok("PA_2".to_owned()));
    door.service.partner_suspend(&partner, false).expect("resumed");
    door.replica.follow();
    assert_eq!(knock("PA_1", token.reveal()), Ok("PA_1".to_owned()));
}

#[test]
fn the_last_use_of_a_key_is_written_down() {
    let door = Door::new(&["PA_1"]);
    let (key, token) = door.key("PA_1", new_key(&[Scope::Read]));
    let (unused, _) = door.key("PA_1", new_key(&[Scope::Read]));
    for seconds in [NOW, NOW + 9, NOW + 5] {
        door.knock("PA_1", token.reveal(), HERE, Scope::Read, time(seconds)).expect("let in");
    }
    door.knock("PA_1", token.reveal(), HERE, Scope::Manage, time(NOW + 99)).expect_err("no such scope");
    let uses = || door.database.open().key_uses().expect("reads");
    assert_eq!(uses(), []);
    door.replica.flush_key_uses().expect("written");
    let partner = door.replica.node("PA_1").expect("there").key;
    assert_eq!(uses(), [(partner, key.id.clone(), time(NOW + 9))]);
    assert!(uses().iter().all(|(_, id, _)| *id != unused.id));
}
