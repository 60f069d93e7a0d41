//! What every store must do, written once and run on each engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rollcall::domain::change::{Edit, GENESIS};
use rollcall::domain::{
    AccountId, Acknowledgement, Choice, EntityChange, Logged, NumberChange, PartnerKey, Record, Role, Setting, State,
    User, UserId, Verb, setting::Webhook,
};
use rollcall::service::replica::verify;
use rollcall::service::{Replica, replica};
use rollcall::store::people::{
    AuditEntry, PeopleReads, PeopleWrites, Prune, StoredLink, StoredSession, StoredUser, Totp,
};
use rollcall::store::{
    Abort, Answered, Document, DocumentWalk, Draft, Leased, Load, Loaded, Location, LogEntry, LogPiece, Open, Over,
    Ownership, Past, Store, StoreError, StoredJob, Transaction, WriteTarget,
};

use super::fixture::*;
use super::until::until;

/// Each test gets a database of its own, which it can open as often as it likes.
macro_rules! store_suite {
    ($engine:ident($database:expr): $($test:ident),+ $(,)?) => {
        mod $engine {
            $(#[test]
            fn $test() {
                if let Some(database) = $database {
                    super::$test(database);
                }
            })+
        }
    };
}

/// What every engine does alike.
macro_rules! every_engine {
    ($($test:ident),+ $(,)?) => {
        store_suite!(sqlite(Some(super::Database::new())): $($test),+);
        store_suite!(postgres(super::Database::postgres()): $($test),+);
    };
}

store_suite!(sqlite_alone(Some(super::Database::new())):
    a_backup_is_whole_while_others_write,
    one_server_at_a_time,
);

every_engine!(
    a_write_is_there_after_it_returns_and_after_reopening,
    versions_have_no_gaps,
    a_partner_is_created_once,
    a_refused_draft_writes_nothing,
    a_panic_harms_nothing,
    a_number_is_one_partners,
    the_log_is_what_was_put,
    a_large_change_is_logged_whole,
    a_number_put_twice_is_one_change,
    heads_tell_of_commits_and_of_nothing_else,
    load_returns_everything_in_order,
    an_untouched_database_verifies,
    a_tampered_log_is_found,
    tampered_rows_are_found,
    writers_beside_each_other,
    writers_in_two_processes,
    a_refusal_in_a_group_hurts_nobody,
    key_uses_only_move_forward,
    many_may_create_it_at_once,
    times_in_the_log_never_go_back,
    an_answer_alone_is_kept,
    a_refused_draft_keeps_no_answer_and_no_job,
    an_answer_is_found_until_it_is_old,
    what_is_over_is_deleted_and_nothing_else,
    a_number_is_in_one_piece_of_an_entry,
    who_read_an_answer_waits_until_it_is_durable,
    an_accounts_active_numbers_are_counted,
    an_accounts_numbers,
    a_numbers_history_is_what_the_log_says_of_it,
    changes_are_listed_in_pieces,
    the_version_of_a_moment,
    jobs_are_listed_newest_first,
    a_jobs_batches_are_read_from_one_on,
    documents_are_kept_beside_the_log,
    a_lease_has_one_holder,
    an_accounts_last_loss_is_remembered,
    people_are_as_they_were_put,
    secrets_of_people_are_used_up_once,
    people_are_written_whole_or_not_at_all,
    a_write_to_people_is_alone,
    the_audit_trail_is_read_backwards,
    what_is_over_is_forgotten,
);

fn log(store: &dyn Store, key: PartnerKey) -> Vec<Logged> {
    store.log(key, 0, 100_000).expect("the log reads")
}

/// The stored rows of a partner.
fn rows(store: &dyn Store, key: PartnerKey) -> Vec<(u64, u64, Record)> {
    let mut rows = Vec::new();
    store
        .load(Load { only: Some(key), numbers: true }, &mut |loaded| {
            if let Loaded::Numbers(batch) = loaded {
                for (of, number, version, record) in batch.records() {
                    assert_eq!(of, key);
                    rows.push((number.digits(), version, record));
                }
            }
            Ok(())
        })
        .expect("loads");
    rows
}

/// A holding of the asking partner's, in stock.
fn ours(tag: &str, version: u64) -> Ownership {
    Ownership::Ours { record: stock(tag), version }
}

/// Runs a draft that must be accepted.
fn write(store: &dyn Store, key: PartnerKey, entry: LogEntry, body: Draft<'_>) -> Option<u64> {
    store.write(WriteTarget::Partner(key), entry, body).expect("written")
}

/// What a draft sees that then puts nothing.
fn look<T: Send>(
    store: &dyn Store,
    key: PartnerKey,
    mut body: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError> + Send,
) -> T {
    let mut seen = None;
    let looking = draft(|transaction| {
        seen = Some(body(transaction)?);
        Ok(())
    });
    assert_eq!(write(store, key, entry(Verb::Import), looking), None);
    seen.expect("the draft ran")
}

fn head(store: &dyn Store, key: PartnerKey) -> u64 {
    let heads = store.heads(true).expect("heads").expect("asked for always");
    heads.iter().find(|head| head.key == key).expect("the partner").version
}

fn a_write_is_there_after_it_returns_and_after_reopening(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    assert_eq!(put(&*store, key, &[created(911_000_000, stock("a"))]), Some(2));
    let expected = vec![(911_000_000, 2, stock("a"))];
    assert_eq!(rows(&*store, key), expected);
    assert_eq!(rows(&*database.open(), key), expected, "another process");
    drop(store);
    let store = database.open();
    assert_eq!(rows(&*store, key), expected, "after reopening");
    assert_eq!(log(&*store, key).len(), 2);
}

fn versions_have_no_gaps(database: Database) {
    let store = database.open();
    let one = new_partner(&*store, "PA_1");
    let two = new_partner(&*store, "PA_2");
    for at in 0..10 {
        assert_eq!(put(&*store, one, &[created(911_000_000 + at, stock("a"))]), Some(at + 2));
        let nothing = store.write(WriteTarget::Partner(one), entry(Verb::Import), draft(|_| Ok(())));
        assert_eq!(nothing.expect("allowed"), None, "what changes nothing takes no version");
        let refused = store.write(WriteTarget::Partner(one), entry(Verb::Import), draft(|_| Err(Abort::Refused)));
        assert!(matches!(refused, Err(Abort::Refused)));
    }
    assert_eq!(put_account(&*store, two, "MA_1"), Some(2), "each partner counts for itself");
    let versions: Vec<u64> = log(&*store, one).iter().map(|logged| logged.change.version).collect();
    assert_eq!(versions, (1..=11).collect::<Vec<_>>());
    assert_eq!(store.log(one, 4, 3).expect("reads").iter().map(|l| l.change.version).collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(store.log(one, 11, 3).expect("reads"), []);
}

fn a_partner_is_created_once(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let again = store.write(
        WriteTarget::New("PA_1".parse().expect("an id")),
        entry(Verb::PartnerCreate),
        draft(|_| panic!("a draft for a partner that exists does not run")),
    );
    assert!(matches!(again, Err(Abort::Refused)));
    assert_eq!(head(&*store, key), 1);
    let unknown = store.write(
        WriteTarget::Partner(PartnerKey(99)),
        entry(Verb::Import),
        draft(|_| panic!("there is no partner 99")),
    );
    assert!(matches!(unknown, Err(Abort::Store(StoreError::Corrupt { .. }))));
}

fn a_refused_draft_writes_nothing(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_000, stock("a"))]);
    let refused = store.write(
        WriteTarget::Partner(key),
        entry(Verb::Import),
        draft(|transaction| {
            transaction.put_entity(EntityChange::Account(Edit::created(account("MA_1"))))?;
            transaction.put_numbers(&[created(911_000_001, stock("a"))])?;
            Err(Abort::Refused)
        }),
    );
    assert!(matches!(refused, Err(Abort::Refused)));
    assert_eq!(rows(&*store, key).len(), 1);
    assert_eq!(head(&*store, key), 2);
    assert_eq!(log(&*store, key).len(), 2);
    // The account is not there either.
    assert_eq!(put_account(&*store, key, "MA_1"), Some(3));
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_panic_harms_nothing(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                transaction.put_numbers(&[created(911_000_000, stock("a"))])?;
                std::panic::resume_unwind(Box::new("a defect in a draft"))
            }),
        )
    }));
    assert!(panicked.is_err(), "the panic is the caller's");
    assert_eq!(rows(&*store, key), []);
    assert_eq!(put(&*store, key, &[created(911_000_000, stock("b"))]), Some(2));
    assert_eq!(rows(&*store, key), [(911_000_000, 2, stock("b"))]);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_number_is_one_partners(database: Database) {
    let store = database.open();
    let one = new_partner(&*store, "PA_1");
    let two = new_partner(&*store, "PA_2");
    put(&*store, one, &[created(911_000_001, stock("a"))]);
    put(&*store, two, &[created(911_000_003, stock("a"))]);

    let holdings = |key| {
        let mut found = Vec::new();
        let looked = store.write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                found = transaction.numbers(&[911_000_001, 911_000_002, 911_000_003].map(number))?;
                Ok(())
            }),
        );
        assert_eq!(looked.expect("allowed"), None);
        found
    };
    assert_eq!(holdings(one), [ours("a", 2), Ownership::Free, Ownership::Foreign]);
    assert_eq!(holdings(two), [Ownership::Foreign, Ownership::Free, ours("a", 2)]);

    // A draft that does not look cannot take it either, in any way.
    let other = stock("stolen");
    for (before, after) in [(None, Some(other.clone())), (Some(stock("a")), Some(other)), (Some(stock("a")), None)] {
        let change = NumberChange { number: number(911_000_001), before, after };
        let stolen = store.write(
            WriteTarget::Partner(two),
            entry(Verb::Import),
            draft(|transaction| Ok(transaction.put_numbers(std::slice::from_ref(&change))?)),
        );
        assert!(matches!(stolen, Err(Abort::Store(_))), "{change:?}");
    }
    assert_eq!(rows(&*store, one), [(911_000_001, 2, stock("a"))]);
    assert_eq!(rows(&*store, two), [(911_000_003, 2, stock("a"))]);

    // What one retires, anyone may have.
    put(&*store, one, &[NumberChange { number: number(911_000_001), before: Some(stock("a")), after: None }]);
    assert_eq!(put(&*store, two, &[created(911_000_001, stock("b"))]), Some(3));
    assert_eq!(rows(&*store, one), []);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn the_log_is_what_was_put(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let entities = vec![
        EntityChange::Account(Edit::created(account("MA_\"1\""))),
        EntityChange::Account(Edit { before: Some(account("MA_\"1\"")), after: account("MA_\"1\"") }),
        EntityChange::Application(Edit::created(application("app_1", Some("MA_\"1\"")))),
        EntityChange::Trunk(Edit::created(trunk("trunk_1", None))),
    ];
    let full = Record {
        state: State::Suspended,
        application: Some("app_1".parse().expect("an id")),
        trunk: Some("trunk_1".parse().expect("an id")),
        expires_at: Some(time(NOW + 5)),
        region: Some("Île-de-France".into()),
        ..held("MA_\"1\"")
    };
    let numbers =
        vec![created(911_000_001, stock("a")), created(911_000_002, full), created(999_999_999_999_999, stock("z"))];
    let mut entry = entry(Verb::Import);
    entry.request_id = Some("req_1".to_owned());
    store
        .write(
            WriteTarget::Partner(key),
            entry.clone(),
            draft(|transaction| {
                for entity in &entities {
                    transaction.put_entity(entity.clone())?;
                }
                Ok(transaction.put_numbers(&numbers)?)
            }),
        )
        .expect("written");
    let log = log(&*database.open(), key);
    let [first, second] = &log[..] else { panic!("{} entries", log.len()) };
    assert_eq!((first.change.verb, first.previous), (Verb::PartnerCreate, GENESIS));
    assert_eq!(second.previous, first.digest);
    let change = &second.change;
    assert_eq!((change.partner, change.version, change.at), (key, 2, entry.at));
    assert_eq!((&change.actor, change.verb), (&entry.actor, entry.verb));
    assert_eq!(change.request_id, entry.request_id);
    assert_eq!(change.entities, entities);
    assert_eq!(change.numbers, numbers);
    let heads = store.heads(true).expect("heads").expect("asked for always");
    assert_eq!((heads[0].version, heads[0].digest), (2, second.digest));
}

fn a_large_change_is_logged_whole(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let tags = ["a", "b", "c"];
    // Three groups, with holes and with neighbours that differ.
    let all: Vec<NumberChange> = (0..20_000_u64)
        .map(|at| created(912_271_255_000 + at + at / 7, stock(tags[(at / 100 % 3) as usize])))
        .collect();
    put(&*store, key, &all);
    // Every 997th goes, every 13th changes: scattered over all groups.
    let scattered: Vec<NumberChange> = (all.iter().enumerate())
        .filter(|(at, _)| at % 13 == 0 || at % 997 == 0)
        .map(|(at, change)| {
            let after =
                (at % 997 != 0).then(|| Record { state: State::Quarantined, until: Some(time(NOW + 9)), ..stock("q") });
            NumberChange { number: change.number, before: change.after.clone(), after }
        })
        .collect();
    // In two parts, as a large import puts it.
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                let (left, right) = scattered.split_at(scattered.len() / 2);
                transaction.put_numbers(left)?;
                Ok(transaction.put_numbers(right)?)
            }),
        )
        .expect("written");
    let log = log(&*store, key);
    assert!(log[1].change.numbers == all, "the block differs");
    assert!(log[2].change.numbers == scattered, "the scattered change differs");

    // Many wanted at once and few at once are looked up in two ways.
    let wanted: Vec<_> = (912_271_255_000..912_271_256_000).map(number).collect();
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                let many = transaction.numbers(&wanted)?;
                for (number, holding) in wanted.iter().zip(&many).step_by(37) {
                    assert_eq!(transaction.numbers(&[*number])?, std::slice::from_ref(holding), "{number}");
                }
                assert!(many.contains(&Ownership::Free));
                Ok(())
            }),
        )
        .expect("allowed");
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_number_put_twice_is_one_change(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_005, stock("old"))]);
    let edit = |digits, before: Option<&str>, after: Option<&str>| NumberChange {
        number: number(digits),
        before: before.map(stock),
        after: after.map(stock),
    };
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                transaction
                    .put_numbers(&[edit(911_000_001, None, Some("a")), edit(911_000_005, Some("old"), Some("a"))])?;
                assert_eq!(
                    transaction.numbers(&[number(911_000_001), number(911_000_005)])?,
                    [ours("a", 3), ours("a", 3)],
                    "a draft sees what it put"
                );
                transaction
                    .put_numbers(&[edit(911_000_001, Some("a"), Some("b")), edit(911_000_003, None, Some("b"))])?;
                transaction
                    .put_numbers(&[edit(911_000_001, Some("b"), Some("c")), edit(911_000_005, Some("a"), None)])?;
                Ok(())
            }),
        )
        .expect("written");
    let expected =
        [edit(911_000_001, None, Some("c")), edit(911_000_003, None, Some("b")), edit(911_000_005, Some("old"), None)];
    assert_eq!(log(&*store, key)[2].change.numbers, expected);
    assert_eq!(rows(&*store, key), [(911_000_001, 3, stock("c")), (911_000_003, 3, stock("b"))]);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn heads_tell_of_commits_and_of_nothing_else(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let other = database.open();
    assert!(other.heads(false).expect("heads").is_some(), "the first call always tells");
    assert_eq!(other.heads(false).expect("heads"), None);
    put(&*store, key, &[created(911_000_001, stock("a"))]);
    let told = other.heads(false).expect("heads").expect("something was committed elsewhere");
    assert_eq!((told[0].key, told[0].version), (key, 2));
    assert_eq!(told[0].digest, log(&*store, key)[1].digest);
    assert_eq!(other.heads(false).expect("heads"), None);
    put(&*other, key, &[created(911_000_002, stock("a"))]);
    assert_eq!(other.heads(false).expect("heads").expect("its own commit")[0].version, 3);
    let refused = store.write(WriteTarget::Partner(key), entry(Verb::Import), draft(|_| Err(Abort::Refused)));
    assert!(matches!(refused, Err(Abort::Refused)));
    assert_eq!(other.heads(false).expect("heads"), None, "a refused write is no commit");
    assert!(other.heads(true).expect("heads").is_some(), "always tells");
}

fn load_returns_everything_in_order(database: Database) {
    let store = database.open();
    let one = new_partner(&*store, "PA_1");
    let two = new_partner(&*store, "PA_2");
    for key in [two, one] {
        put_account(&*store, key, "MA_2");
        put_account(&*store, key, "MA_1");
        store
            .write(
                WriteTarget::Partner(key),
                entry(Verb::Import),
                draft(|transaction| {
                    transaction.put_entity(EntityChange::Trunk(Edit::created(trunk("trunk_1", Some("MA_1")))))?;
                    Ok(transaction.put_entity(EntityChange::Application(Edit::created(application("app_1", None))))?)
                }),
            )
            .expect("written");
    }
    put(&*store, two, &[created(1_000_001, held("MA_2")), created(911_000_001_000, stock("a"))]);
    put(&*store, one, &[created(1_000_000, held("MA_1")), created(99_000_000, stock("b"))]);

    let load = |what| {
        let mut seen = Vec::new();
        store
            .load(what, &mut |loaded| {
                match loaded {
                    Loaded::Partner { head, partner, .. } => {
                        seen.push(format!("{} {partner:?} {}", head.key, head.version))
                    }
                    Loaded::Account(key, account, _) => seen.push(format!("{key} {}", account.auth_id)),
                    Loaded::Application(key, application) => seen.push(format!("{key} {}", application.id)),
                    Loaded::Trunk(key, trunk) => seen.push(format!("{key} {} {:?}", trunk.id, trunk.account)),
                    Loaded::Key(key, api_key) => seen.push(format!("{key} {}", api_key.id)),
                    Loaded::Acknowledgement(key, one) => seen.push(format!("{key} {}", one.finding)),
                    Loaded::Setting(key, setting) => seen.push(format!("{key} {}", setting.id)),
                    Loaded::Numbers(batch) => {
                        let line = |(key, number, version, _)| format!("{key} {number} {version}");
                        seen.extend(batch.records().map(line));
                    }
                    Loaded::Poison { what, .. } => panic!("a row is not understood: {what}"),
                }
                Ok(())
            })
            .expect("loads");
        seen
    };
    let of = |seen: &[String], key: PartnerKey| -> Vec<String> {
        let prefix = format!("{key} ");
        seen.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let expected = |key: PartnerKey, numbers: &[&str]| {
        let mut lines = vec![format!("{:?} 5", partner(if key == one { "PA_1" } else { "PA_2" }))];
        lines.extend(["MA_1", "MA_2", "app_1", "trunk_1 Some(\"MA_1\")"].map(str::to_owned));
        lines.extend(numbers.iter().map(|&number| number.to_owned()));
        lines
    };
    let all = load(Load { only: None, numbers: true });
    assert_eq!(of(&all, one), expected(one, &["+1000000 5", "+99000000 5"]));
    assert_eq!(of(&all, two), expected(two, &["+1000001 5", "+911000001000 5"]));
    let only = load(Load { only: Some(two), numbers: false });
    assert_eq!(of(&only, one), [] as [&str; 0]);
    assert_eq!(of(&only, two), expected(two, &[]));
}

/// A database in which every column of every table has something.
fn furnished(database: &Database) -> (Arc<dyn Store>, PartnerKey) {
    let store = database.open();
    let service = rollcall::service::Service::new(store.clone(), entry(Verb::Import).actor);
    let key = new_partner(&*store, "PA_1");
    new_partner(&*store, "PA_2");
    put_account(&*store, key, "MA_1");
    put_account(&*store, key, "MA_2");
    let new = rollcall::service::NewKey {
        name: "key".into(),
        scopes: vec![rollcall::domain::Scope::Read],
        expires_at: None,
        networks: Vec::new(),
        dialect: rollcall::domain::Dialect::Data,
    };
    service.key_create(&"PA_1".parse().expect("an id"), new).expect("a key");
    let full = Record {
        application: Some("app_1".parse().expect("an id")),
        trunk: Some("trunk_1".parse().expect("an id")),
        expires_at: Some(time(NOW + 5)),
        ..held("MA_1")
    };
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| {
                transaction.put_entity(EntityChange::Application(Edit::created(application("app_1", None))))?;
                transaction.put_entity(EntityChange::Application(Edit::created(application("app_2", None))))?;
                transaction.put_entity(EntityChange::Trunk(Edit::created(trunk("trunk_1", None))))?;
                Ok(transaction.put_numbers(&[created(911_000_001, full.clone()), created(911_000_002, stock("b"))])?)
            }),
        )
        .expect("written");
    put(&*store, key, &[created(922_000_001, stock("c")), created(922_000_002, stock("c"))]);
    put(&*store, key, &[created(933_000_001, Record { cost: None, ..stock("d") })]);
    (store, key)
}

fn an_untouched_database_verifies(database: Database) {
    let (store, key) = furnished(&database);
    let report = rollcall::service::replica::verify::verify(&*store, &mut |_| {}).expect("verifies");
    assert_eq!(report.differences, [] as [&str; 0]);
    assert_eq!((report.partners, report.changes, report.numbers), (2, 8, 5));
    assert_eq!(report.digests[&key].0, 7);
    let mut previous = GENESIS;
    for logged in log(&*store, key) {
        assert_eq!(logged.previous, previous);
        previous = logged.digest;
    }
}

/// Runs each statement on a fresh copy and expects `verify` to find it.
#[track_caller]
fn check_found(database: &Database, statements: &[&str]) {
    for statement in statements {
        let (_copy, store) = database.tampered(statement);
        assert_ne!(differences(&*store), [] as [&str; 0], "not found: {statement}");
    }
}

/// The same of rows: a load alone finds it, by the digest that is kept of them.
fn check_found_at_load(database: &Database, statements: &[&str]) {
    check_found(database, statements);
    for statement in statements {
        let (_copy, store) = database.tampered(statement);
        let loaded = rollcall::service::replica::salvage(&*store, Load { only: None, numbers: true }).expect("loads");
        assert!(!loaded.poison.is_empty(), "not found at a load: {statement}");
    }
}

fn a_tampered_log_is_found(database: Database) {
    furnished(&database);
    check_found(
        &database,
        &[
            "UPDATE change SET at = at + 1 WHERE partner = 1 AND version = 2",
            "UPDATE change SET at = at + 1 WHERE partner = 1 AND version = 7",
            "UPDATE change SET actor = 'command:other' WHERE partner = 1 AND version = 3",
            "UPDATE change SET actor = 'nobody' WHERE partner = 1 AND version = 3",
            "UPDATE change SET request_id = 'req_x' WHERE partner = 1 AND version = 3",
            "UPDATE change SET verb = 'key_revoke' WHERE partner = 1 AND version = 3",
            "UPDATE change SET entities = '[]' WHERE partner = 1 AND version = 3",
            "UPDATE change SET entities = replace(entities, 'MA_2', 'MA_9') WHERE partner = 1 AND version = 3",
            "UPDATE change SET previous = zeroblob(32) WHERE partner = 1 AND version = 4",
            "UPDATE change SET previous = randomblob(32) WHERE partner = 1 AND version = 1",
            "DELETE FROM change WHERE partner = 1 AND version = 3",
            "DELETE FROM change WHERE partner = 1 AND version = 7",
            "DELETE FROM change WHERE partner = 1",
            "UPDATE change SET partner = 2, version = 2 WHERE partner = 1 AND version = 7",
            "UPDATE change_part SET body = replace(body, 'Mumbai', 'Pune') WHERE version = 6",
            "UPDATE change_part SET body = '{}' WHERE version = 6",
            "UPDATE change_part SET body = replace(body, '[922000001,2', '[922000001,1') WHERE version = 6",
            "UPDATE change_part SET body = replace(body, '[922000001,2', '[18446744073709551615,2') WHERE version = 6",
            "UPDATE change_part SET body = replace(body, '[922000001,2', '[922000001,4294967295') WHERE version = 6",
            "UPDATE change_part SET body = replace(body, '[933000001,1,0,1]', '[933000001,1,1,1]') WHERE version = 7",
            "UPDATE change_part SET subject = 5 WHERE version = 7",
            "DELETE FROM change_part WHERE version = 7",
            "DELETE FROM change_part WHERE version = 6",
            "INSERT INTO change_part SELECT partner, version, 9, subject, body FROM change_part WHERE version = 7",
            "UPDATE partner SET version = 6 WHERE partner = 1",
            "UPDATE partner SET version = 8 WHERE partner = 1",
            "UPDATE partner SET head = zeroblob(32) WHERE partner = 1",
            "UPDATE partner SET version = 6, head = (SELECT previous FROM change WHERE partner = 1 AND version = 7) \
             WHERE partner = 1",
        ],
    );
}

fn tampered_rows_are_found(database: Database) {
    furnished(&database);
    check_found_at_load(
        &database,
        &[
            "UPDATE number SET number = 911000003 WHERE number = 911000002",
            "UPDATE number SET partner = 2 WHERE number = 911000002",
            "UPDATE number SET partner = 9 WHERE number = 911000002",
            "UPDATE number SET version = 4 WHERE number = 911000002",
            "UPDATE number SET state = 'suspended' WHERE number = 911000001",
            "UPDATE number SET state = 'lost' WHERE number = 911000001",
            "UPDATE number SET account = 'MA_2' WHERE number = 911000001",
            "UPDATE number SET account = 'MA_none' WHERE number = 911000001",
            "UPDATE number SET account = NULL WHERE number = 911000001",
            "UPDATE number SET application = 'app_2' WHERE number = 911000001",
            "UPDATE number SET application = NULL WHERE number = 911000001",
            "UPDATE number SET trunk = NULL WHERE number = 911000001",
            "UPDATE number SET number_type = 'mobile' WHERE number = 911000001",
            "UPDATE number SET country = 'FR' WHERE number = 911000001",
            "UPDATE number SET region = 'Pune' WHERE number = 911000001",
            "UPDATE number SET cost = cost + 1 WHERE number = 911000001",
            "UPDATE number SET currency = 'USD' WHERE number = 911000001",
            "UPDATE number SET currency = 'USD' WHERE number = 933000001",
            "UPDATE number SET assigned_at = assigned_at + 1 WHERE number = 911000001",
            "UPDATE number SET expires_at = NULL WHERE number = 911000001",
            "UPDATE number SET since = since + 1 WHERE number = 911000001",
            "UPDATE number SET until = 1 WHERE number = 911000001",
            "UPDATE number SET tags = NULL WHERE number = 911000001",
            "UPDATE number SET tags = '[\"x\"]' WHERE number = 911000001",
            "DELETE FROM number WHERE number = 922000002",
            "INSERT INTO number (number, partner, version, state, number_type, since) \
             VALUES (911000009, 1, 5, 'available', 'local', 1)",
            "UPDATE partner SET name = 'x' WHERE partner = 1",
            "UPDATE partner SET suspended_at = 1 WHERE partner = 2",
            "UPDATE account SET name = 'x' WHERE auth_id = 'MA_2'",
            "DELETE FROM account WHERE auth_id = 'MA_2'",
            "UPDATE application SET account = 'MA_1' WHERE id = 'app_2'",
            "UPDATE trunk SET archived_at = 1",
            "UPDATE api_key SET scopes = 'read,manage'",
            "UPDATE api_key SET token_sha256 = zeroblob(32)",
            "UPDATE api_key SET networks = '0.0.0.0/0'",
            "UPDATE api_key SET dialect = 'items'",
            "DELETE FROM api_key",
        ],
    );
}

const PATIENCE: Duration = Duration::from_secs(60);

fn writers_beside_each_other(database: Database) {
    const THREADS: u64 = 16;
    const WRITES: u64 = 50;
    let store = database.open();
    let keys: Vec<PartnerKey> = (1..=3).map(|at| new_partner(&*store, &format!("PA_{at}"))).collect();
    let acknowledged: AtomicU64 = AtomicU64::new(0);
    let begin = Instant::now();
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, keys, barrier, acknowledged) = (&store, &keys, &barrier, &acknowledged);
            scope.spawn(move || {
                barrier.wait();
                for write in 0..WRITES {
                    let key = keys[((thread + write) % 3) as usize];
                    let digits = 911_000_000 + thread * 1_000 + write;
                    let version = put(&**store, key, &[created(digits, stock("t"))]);
                    assert!(version.is_some());
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    assert_eq!(acknowledged.into_inner(), THREADS * WRITES);
    let other = database.open();
    let mut found = 0;
    for &key in &keys {
        let versions: Vec<u64> = log(&*other, key).iter().map(|logged| logged.change.version).collect();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
        assert_eq!(rows(&*other, key).len(), versions.len() - 1);
        found += rows(&*other, key).len() as u64;
    }
    assert_eq!(found, THREADS * WRITES);
    assert_eq!(differences(&*other), [] as [&str; 0]);
}

fn writers_in_two_processes(database: Database) {
    let stores = [database.open(), database.open()];
    let key = new_partner(&*stores[0], "PA_1");
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let store = &stores[thread as usize % 2];
            scope.spawn(move || {
                for write in 0..20 {
                    put(&**store, key, &[created(911_000_000 + thread * 1_000 + write, stock("t"))]);
                }
            });
        }
    });
    assert_eq!(head(&*stores[0], key), 161);
    assert_eq!(rows(&*stores[1], key).len(), 160);
    assert_eq!(differences(&*stores[0]), [] as [&str; 0]);
}

fn a_refusal_in_a_group_hurts_nobody(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let barrier = Barrier::new(12);
    thread::scope(|scope| {
        for thread in 0..12_u64 {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for write in 0..20 {
                    let change = created(911_000_000 + thread * 1_000 + write, stock("t"));
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        store.write(
                            WriteTarget::Partner(key),
                            entry(Verb::Import),
                            draft(|transaction| {
                                transaction.put_numbers(std::slice::from_ref(&change))?;
                                match thread % 4 {
                                    0 => Err(Abort::Refused),
                                    // A row that exists cannot come again: the engine refuses.
                                    1 => Ok(transaction.put_numbers(std::slice::from_ref(&change))?),
                                    2 if write % 5 == 0 => std::panic::resume_unwind(Box::new("a defect in a draft")),
                                    _ => Ok(()),
                                }
                            }),
                        )
                    }));
                    let expected = match thread % 4 {
                        0 => matches!(result, Ok(Err(Abort::Refused))),
                        1 => matches!(result, Ok(Err(Abort::Store(_)))),
                        2 if write % 5 == 0 => result.is_err(),
                        _ => matches!(result, Ok(Ok(Some(_)))),
                    };
                    assert!(expected, "thread {thread}, write {write}");
                }
            });
        }
    });
    let kept: Vec<u64> = rows(&*store, key).into_iter().map(|(digits, ..)| digits - 911_000_000).collect();
    let expected: Vec<u64> = (0..12_u64)
        .flat_map(|thread| (0..20).map(move |write| (thread, write)))
        .filter(|(thread, write)| thread % 4 == 3 || thread % 4 == 2 && write % 5 != 0)
        .map(|(thread, write)| thread * 1_000 + write)
        .collect();
    assert_eq!(kept, expected);
    assert_eq!(head(&*store, key), expected.len() as u64 + 1);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_backup_is_whole_while_others_write(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &(0..5_000).map(|at| created(922_000_000 + at, stock("b"))).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut write = 0;
                while !done.load(Ordering::Relaxed) {
                    put(&**store, key, &[created(911_000_000 + thread * 100_000 + write, stock("t"))]);
                    write += 1;
                }
            });
        }
        for at in 0..3 {
            let before = head(&*store, key);
            let file = database.file(&format!("backup{at}.db"));
            store.backup(&file).expect("a backup");
            let copy = open(&file, Open::Existing);
            assert_eq!(differences(&*copy), [] as [&str; 0]);
            assert!(head(&*copy, key) >= before, "what was acknowledged before the backup is in it");
            assert!(store.backup(&file).is_err(), "a backup never overwrites");
            // It is a database like another.
            assert!(put(&*copy, key, &[created(933_000_000, stock("x"))]).is_some());
        }
        done.store(true, Ordering::Relaxed);
    });
    let leftovers = std::fs::read_dir(database.path().parent().expect("a directory")).expect("reads");
    let leftovers: Vec<_> = leftovers
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(leftovers, [] as [&str; 0]);
}

fn one_server_at_a_time(database: Database) {
    let (one, two) = (database.open(), database.open());
    let held = one.serve_lock().expect("locks").expect("the first gets it");
    assert!(two.serve_lock().expect("asks").is_none());
    assert!(one.serve_lock().expect("asks").is_none());
    let key = new_partner(&*two, "PA_1");
    assert_eq!(head(&*one, key), 1, "the lock keeps no command out");
    drop(held);
    assert!(two.serve_lock().expect("locks").is_some());
}

fn key_uses_only_move_forward(database: Database) {
    let (store, key) = furnished(&database);
    let id = store
        .log(key, 3, 1)
        .expect("reads")
        .into_iter()
        .find_map(|logged| match &logged.change.entities[..] {
            [EntityChange::Key(edit)] => Some(edit.after.id.clone()),
            _ => None,
        })
        .expect("a key");
    assert_eq!(store.key_uses().expect("reads"), []);
    let before = head(&*store, key);
    for (used, expected) in [(NOW, NOW), (NOW + 60, NOW + 60), (NOW + 30, NOW + 60)] {
        store.put_key_uses(&[(key, id.clone(), time(used))]).expect("written");
        assert_eq!(store.key_uses().expect("reads"), [(key, id.clone(), time(expected))]);
    }
    assert_eq!(head(&*store, key), before, "uses are outside the log");
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn many_may_create_it_at_once(database: Database) {
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for at in 0..8 {
            let (database, barrier) = (&database, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let opened = rollcall::store::open(&database.location(), Open::Create);
                let store = opened.unwrap_or_else(|error| panic!("{error:?}"));
                new_partner(&*store, &format!("PA_{at}"));
            });
        }
    });
    assert_eq!(database.open().heads(true).expect("heads").expect("asked for always").len(), 8);
}

// Beside the rows and the log.

fn entry_at(seconds: i64) -> LogEntry {
    LogEntry { at: time(seconds), ..entry(Verb::Import) }
}

/// Logs one new number under a time.
fn put_at(store: &dyn Store, key: PartnerKey, seconds: i64, digits: u64) -> Option<u64> {
    let change = created(digits, stock("t"));
    let body = draft(|transaction| Ok(transaction.put_numbers(std::slice::from_ref(&change))?));
    write(store, key, entry_at(seconds), body)
}

fn times_in_the_log_never_go_back(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    for (turn, (clock, logged)) in [(50, 50), (20, 50), (-100, 50), (60, 60), (59, 60)].into_iter().enumerate() {
        let at = |store: &dyn Store| {
            let mut seen = None;
            let looking = draft(|transaction| {
                seen = Some(transaction.at());
                Ok(())
            });
            assert_eq!(write(store, one, entry_at(NOW + clock), looking), None);
            seen.expect("the draft ran")
        };
        assert_eq!(at(&*store), time(NOW + logged), "a draft knows, turn {turn}");
        assert_eq!(at(&*database.open()), time(NOW + logged), "another process too, turn {turn}");
        put_at(&*store, one, NOW + clock, 911_000_000 + turn as u64);
    }
    assert_eq!(put_at(&*store, two, NOW + 1, 922_000_000), Some(2));
    let times = |key| log(&*store, key).iter().map(|logged| logged.change.at.seconds() - NOW).collect::<Vec<_>>();
    assert_eq!(times(one), [0, 50, 50, 50, 60, 60]);
    assert_eq!(times(two), [0, 1], "each partner has its own clock");
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn answered(tag: &str) -> Answered {
    Answered {
        fingerprint: [tag.len() as u8; 32],
        status: 201,
        etag: Some(format!("\"{tag}\"")),
        body: format!("{{\"tag\":\"{tag}\"}}\0").into_bytes(),
    }
}

fn job(id: &str, created: i64, open: bool) -> StoredJob {
    StoredJob { id: id.to_owned(), created_at: time(NOW + created), open, body: format!("{{\"of\":\"{id}\"}}") }
}

/// Since before everything.
const EVER: i64 = 0;

fn find_answered(store: &dyn Store, key: PartnerKey, idempotency: &str, since: i64) -> Option<Answered> {
    look(store, key, |transaction| transaction.answered(idempotency, time(since)))
}

fn put_job(store: &dyn Store, key: PartnerKey, job: &StoredJob) {
    let body = draft(|transaction| Ok(transaction.put_job(job)?));
    assert_eq!(write(store, key, entry(Verb::Import), body), None, "a job is outside the log");
}

fn an_answer_alone_is_kept(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    let bare = Answered { etag: None, status: 404, body: Vec::new(), ..answered("bare") };
    for (idempotency, answer) in [("k1", answered("one")), ("k2", bare.clone())] {
        let body = draft(|transaction| {
            assert_eq!(transaction.answered(idempotency, time(EVER))?, None);
            transaction.put_answered(idempotency, &answer)?;
            assert_eq!(transaction.answered(idempotency, time(EVER))?.as_ref(), Some(&answer), "at once");
            Ok(())
        });
        assert_eq!(write(&*store, one, entry(Verb::Import), body), None);
    }
    assert_eq!((head(&*store, one), log(&*store, one).len()), (1, 1), "it makes no version");
    drop(store);
    let store = database.open();
    assert_eq!(find_answered(&*store, one, "k1", EVER), Some(answered("one")));
    assert_eq!(find_answered(&*store, one, "k2", EVER), Some(bare));
    assert_eq!(find_answered(&*store, one, "K1", EVER), None);
    assert_eq!(find_answered(&*store, two, "k1", EVER), None, "another partner's keys are others");

    // With a change, and in the place of an older one.
    let body = draft(|transaction| {
        transaction.put_numbers(&[created(911_000_000, stock("a"))])?;
        Ok(transaction.put_answered("k1", &answered("later"))?)
    });
    assert_eq!(write(&*store, one, entry(Verb::Import), body), Some(2));
    assert_eq!(find_answered(&*database.open(), one, "k1", EVER), Some(answered("later")));
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_refused_draft_keeps_no_answer_and_no_job(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put_job(&*store, key, &job("job_0", 0, true));
    let everything = |transaction: &mut dyn Transaction| {
        transaction.put_answered("k", &answered("x"))?;
        transaction.put_job(&job("job_0", 0, false))?;
        transaction.put_job(&job("job_1", 0, true))?;
        transaction.put_job_batch("job_0", 0, "[]")?;
        transaction.put_numbers(&[created(911_000_000, stock("a"))])
    };
    let refused = store.write(
        WriteTarget::Partner(key),
        entry(Verb::Import),
        draft(|transaction| {
            everything(transaction)?;
            Err(Abort::Refused)
        }),
    );
    assert!(matches!(refused, Err(Abort::Refused)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let body = draft(|transaction| {
            everything(transaction)?;
            std::panic::resume_unwind(Box::new("a defect in a draft"))
        });
        store.write(WriteTarget::Partner(key), entry(Verb::Import), body)
    }));
    assert!(panicked.is_err());
    assert_eq!(find_answered(&*store, key, "k", EVER), None);
    assert_eq!(store.jobs(key, 0, 10).expect("reads"), (vec![job("job_0", 0, true)], 1));
    assert_eq!(store.job_batches(key, "job_0", 0, 10).expect("reads"), []);
    assert_eq!((head(&*store, key), rows(&*store, key).len()), (1, 0));
}

fn an_answer_is_found_until_it_is_old(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let put = |idempotency: &str, seconds: i64| {
        let body = draft(|transaction| Ok(transaction.put_answered(idempotency, &answered(idempotency))?));
        assert_eq!(write(&*store, key, entry_at(seconds), body), None);
    };
    let found = |idempotency: &str, since: i64| find_answered(&*store, key, idempotency, since).is_some();
    for at in 0..2_500 {
        put(&format!("k{at}"), NOW + at);
    }
    assert!(found("k7", NOW + 7));
    assert!(!found("k7", NOW + 8), "too old to count");
    put("k7", NOW + 9);
    assert!(found("k7", NOW + 9), "its place was free again");

    store.forget_answered(time(NOW + 2_499)).expect("forgets");
    let left: Vec<i64> = (0..2_500).filter(|at| found(&format!("k{at}"), EVER)).collect();
    assert_eq!(left, [2_499], "what was kept before, and nothing else");
    store.forget_answered(time(NOW + 2_499)).expect("nothing to forget");
    assert!(found("k2499", EVER));
}

fn what_is_over_is_deleted_and_nothing_else(database: Database) {
    let store = database.open();
    let (key, busy) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    let head = |id: &str, created: i64, state: &str, open: bool| StoredJob {
        body: format!("{{\"state\":\"{state}\",\"name\":\"\\\"state\\\":\\\"previewed\\\"\"}}"),
        ..job(id, created, open)
    };
    let put = |key, job: StoredJob, batches: u64| {
        let body = draft(|transaction| {
            transaction.put_job(&job)?;
            (0..batches).try_for_each(|at| transaction.put_job_batch(&job.id, at, "[]"))?;
            Ok(())
        });
        write(&*store, key, entry_at(NOW), body);
    };
    put(key, head("job_old", 0, "done", false), 250);
    put(key, head("job_new", 500, "done", false), 2);
    put(key, head("job_waits", 0, "previewed", false), 1);
    put(busy, head("job_old", 0, "done", false), 1);
    put(busy, head("job_open", 0, "running", true), 1);
    let over = Over::Jobs { created_before: time(NOW + 500) };
    let mut rounds = 0;
    while store.delete_over(&over).expect("deletes") > 0 {
        rounds += 1;
    }
    assert!(rounds > 3, "in steps: {rounds}");
    let left = |key| {
        let (jobs, total) = store.jobs(key, 0, 10).expect("jobs");
        assert_eq!(jobs.len() as u64, total);
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(left(key), ["job_new", "job_waits"]);
    assert_eq!(left(busy), ["job_open", "job_old"], "an open job may undo an ended one");
    let batches = |job| store.job_batches(key, job, 0, 1_000).expect("batches").len();
    assert_eq!((batches("job_old"), batches("job_new"), batches("job_waits")), (0, 2, 1));

    let acknowledgement = |finding: &str, until: Option<i64>| {
        let until = until.map(|until| time(NOW + until));
        let after = Acknowledgement { finding: finding.into(), note: None, until, by: "test".into(), at: time(NOW) };
        EntityChange::Acknowledgement(Edit::created(after))
    };
    let webhook = |id: &str, removed: bool| {
        let off = None;
        let webhook = Webhook {
            name: id.into(),
            url: "https://a.example".into(),
            events: Vec::new(),
            order: Default::default(),
            off,
            rotated_at: None,
            rotations: 0,
        };
        let removed_at = removed.then(|| time(NOW));
        let choice = Choice::Webhook(webhook);
        EntityChange::Setting(Edit::created(Setting { id: id.into(), created_at: time(NOW), removed_at, choice }))
    };
    let body = draft(|transaction| {
        transaction.put_entity(acknowledgement("over", Some(10)))?;
        transaction.put_entity(acknowledgement("lasts", Some(900)))?;
        transaction.put_entity(acknowledgement("for good", None))?;
        transaction.put_entity(webhook("wh_removed", true))?;
        transaction.put_entity(webhook("wh_live", false))?;
        Ok(())
    });
    write(&*store, key, entry_at(NOW), body);
    let before = replica::load(&*store, Load { only: None, numbers: true }).expect("loads")[&key].digest();
    assert_eq!(store.delete_over(&Over::Acknowledgements { ended_before: time(NOW + 500) }).expect("deletes"), 1);
    let ids = vec!["wh_removed".to_owned(), "wh_unknown".to_owned()];
    assert_eq!(store.delete_over(&Over::Settings { partner: key, ids }).expect("deletes"), 1);
    let after = &replica::load(&*store, Load { only: None, numbers: true }).expect("loads")[&key];
    let findings: Vec<_> = after.acknowledgements.sorted().map(|one| one.finding.to_string()).collect();
    assert_eq!(findings, ["for good", "lasts"]);
    assert_eq!(after.settings.sorted().map(|one| one.id.to_string()).collect::<Vec<_>>(), ["wh_live"]);
    assert_eq!(after.digest(), before, "what may be deleted is in no digest");
    let report = verify::verify(&*store, &mut |_| ()).expect("verifies");
    assert_eq!(report.differences, [] as [String; 0], "and verify goes on to agree");
}

fn a_number_is_in_one_piece_of_an_entry(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    // One group comes in two batches, and one number of it twice.
    let numbers = |digits: std::ops::Range<u64>| -> Vec<NumberChange> {
        digits.map(|digits| created(digits, stock(if digits % 2 == 0 { "a" } else { "b" }))).collect()
    };
    let mut again = created(911_000_000, stock("b"));
    again.before = Some(stock("a"));
    let body = draft(|transaction| {
        transaction.put_numbers(&numbers(911_000_000..911_009_000))?;
        transaction.put_numbers(&[std::slice::from_ref(&again), &numbers(911_009_000..911_030_000)].concat())?;
        Ok(())
    });
    let version = write(&*store, key, entry(Verb::Stock), body).expect("a version");
    let (mut pieces, mut seen) = (Vec::new(), std::collections::BTreeMap::new());
    store
        .follow(key, version - 1, version, &mut |piece| {
            if let LogPiece::Numbers(runs) = piece {
                pieces.push(runs.len());
                for change in runs.iter().flat_map(|run| run.numbers()) {
                    assert!(seen.insert(change.number, change.after).is_none(), "{} comes twice", change.number);
                }
            }
            Ok(())
        })
        .expect("follows");
    assert_eq!(seen.len(), 30_000);
    assert!(pieces.len() > 3 && pieces.iter().all(|&numbers| numbers < 15_000), "{pieces:?}");
    assert_eq!(seen.values().next(), Some(&Some(stock("b"))), "the last image counts");
    let [whole] = &store.log(key, version - 1, 1).expect("reads")[..] else { panic!("one entry") };
    assert!(whole.change.numbers.iter().map(|change| change.number).eq(seen.into_keys()));
}

/// A draft that puts nothing answers from what it read, so what it read must
/// be durable before it returns; also if a neighbour's write is in between.
fn who_read_an_answer_waits_until_it_is_durable(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let other = database.open();
    for round in 0..5_u64 {
        let idempotency = format!("k{round}");
        let change = created(911_000_000 + round, stock("a"));
        let (first, second) = (Place::default(), Place::default());
        let (begun, read) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let body = draft(|transaction| {
                    transaction.put_numbers(std::slice::from_ref(&change))?;
                    transaction.put_answered(&idempotency, &answered("twin"))?;
                    begun.wait();
                    first.until_it_waits();
                    Ok(())
                });
                assert_eq!(write(&*store, key, entry(Verb::Import), body), Some(round + 2));
            });
            scope.spawn(|| {
                begun.wait();
                first.is_here();
                let twin = look(&*store, key, |transaction| {
                    let twin = transaction.answered(&idempotency, time(EVER))?;
                    read.wait();
                    second.until_it_waits();
                    Ok(twin)
                });
                assert_eq!(head(&*other, key), round + 2, "answered from what was not durable");
                assert_eq!(twin, Some(answered("twin")));
            });
            scope.spawn(|| {
                read.wait();
                second.is_here();
                look(&*store, key, |_| {
                    // The time is the test: as long as the writer is held, the twin must not be answered.
                    thread::sleep(Duration::from_millis(200));
                    Ok(())
                });
            });
        });
    }
}

/// A thread that is about to stand in the line of the writers.
#[derive(Default)]
struct Place(OnceLock<PathBuf>);

impl Place {
    fn is_here(&self) {
        let thread = std::fs::read_link("/proc/thread-self").expect("Linux tells which thread this is");
        self.0.set(thread).expect("once");
    }

    /// Until the thread sleeps: all that it does after it has said where it is, is to
    /// stand in line.
    fn until_it_waits(&self) {
        let sleeps = || {
            let Some(thread) = self.0.get() else { return false };
            let stat = std::fs::read_to_string(Path::new("/proc").join(thread).join("stat")).expect("a thread's state");
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
        };
        until(Duration::from_secs(10), || "the writer does not wait for its turn".to_owned(), sleeps);
    }
}

fn an_accounts_active_numbers_are_counted(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    for account in ["MA_1", "MA_2", "MA_3"] {
        put_account(&*store, one, account);
        put_account(&*store, two, account);
    }
    let suspended = Record { state: State::Suspended, ..held("MA_2") };
    let reserved = Record { state: State::Reserved, until: Some(time(NOW + 99)), ..held("MA_3") };
    let expiring = Record { expires_at: Some(time(NOW + 10)), ..held("MA_2") };
    let one_has = [
        created(911_000_001, held("MA_1")),
        created(911_000_002, stock("a")),
        created(911_000_003, suspended),
        created(911_000_004, expiring),
        created(911_000_005, reserved),
    ];
    put(&*store, one, &one_has);
    put(&*store, two, &[created(911_000_006, held("MA_1")), created(911_000_007, held("MA_3"))]);
    let active = |account: &str, now: i64, enough: u64| {
        let account = account.parse().expect("an id");
        look(&*store, one, |transaction| transaction.active_numbers(&account, time(NOW + now), enough))
    };
    let has = |account: &str, now: i64| {
        let account = account.parse().expect("an id");
        look(&*store, one, |transaction| transaction.has_numbers(&account, time(NOW + now)))
    };
    assert_eq!(active("MA_1", 0, 9), 1, "what another partner's account of that name has is not counted");
    assert_eq!(active("MA_2", 9, 9), 1, "suspended is not active");
    assert_eq!(active("MA_2", 10, 9), 0, "expired from that instant");
    assert_eq!(active("MA_3", 0, 9), 0, "reserved is not active");
    assert_eq!(active("MA_4", 0, 9), 0);
    let found = [("MA_1", 0), ("MA_2", 99), ("MA_3", 98), ("MA_3", 99), ("MA_4", 0)].map(|(id, now)| has(id, now));
    assert_eq!(found, [true, true, true, false, false], "an expired number is held, a reservation ends");
    let body = draft(|transaction| {
        transaction.put_numbers(&[created(911_000_008, held("MA_1"))])?;
        assert_eq!(transaction.active_numbers(&"MA_1".parse().expect("an id"), time(NOW), 9)?, 2);
        Err(Abort::Refused)
    });
    assert!(store.write(WriteTarget::Partner(one), entry(Verb::Import), body).is_err());
    assert_eq!(active("MA_1", 0, 9), 1, "as before");

    // Many ends: it counts as far as is asked, and every kind of change counts.
    let ends = |at: i64| Record { expires_at: Some(time(NOW + 100 + at)), ..held("MA_4") };
    let many: Vec<NumberChange> = (0..50).map(|at| created(922_000_000 + at as u64, ends(at))).collect();
    put(&*store, one, &many);
    assert_eq!((active("MA_4", 0, 2), active("MA_4", 0, 500), active("MA_4", 120, 500)), (2, 50, 29));
    let changed: Vec<NumberChange> = many
        .into_iter()
        .enumerate()
        .map(|(at, change)| {
            let after = match at % 5 {
                0 => None,
                1 => Some(Record { state: State::Suspended, ..ends(at as i64) }),
                2 => Some(held("MA_1")),
                3 => Some(Record { expires_at: None, ..ends(0) }),
                _ => Some(Record { region: Some("Elsewhere".into()), ..ends(at as i64) }),
            };
            NumberChange { before: change.after, after, ..change }
        })
        .collect();
    put(&*store, one, &changed);
    assert_eq!((active("MA_4", 0, 500), active("MA_1", 0, 500)), (20, 11));
    assert_eq!(store.integrity().expect("reads"), [] as [&str; 0], "the counts are as the numbers say");
    database.value("UPDATE account_numbers SET numbers = numbers + 1 WHERE account = 'MA_1' RETURNING numbers");
    assert!(store.integrity().expect("reads").join(" ").contains("counts of accounts' numbers"));
}

fn an_accounts_numbers(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    let with = |state, account: &str| Record { state, until: Some(time(NOW + 1)), ..held(account) };
    let one_has = [
        created(5_000_001, held("MA_1")),
        created(911_000_001, stock("a")),
        created(911_000_002, with(State::Suspended, "MA_1")),
        created(911_000_003, held("MA_2")),
        created(911_000_004, with(State::Quarantined, "MA_1")),
        created(911_000_005, with(State::Reserved, "MA_1")),
        created(999_999_999_999_999, held("MA_1")),
    ];
    put(&*store, one, &one_has);
    put(&*store, two, &[created(922_000_000, held("MA_1"))]);
    let numbers_of = |account: &str| {
        let account = account.parse().expect("an id");
        let numbers = look(&*store, one, |transaction| transaction.numbers_of(&account));
        numbers.into_iter().map(|number| number.digits()).collect::<Vec<_>>()
    };
    assert_eq!(numbers_of("MA_1"), [5_000_001, 911_000_002, 911_000_005, 999_999_999_999_999]);
    assert_eq!(numbers_of("MA_2"), [911_000_003]);
    assert_eq!(numbers_of("MA_3"), [] as [u64; 0]);
}

/// A partner whose log has blocks, single numbers, scattered ones, numbers put
/// twice in one change, and groups that were put in several parts.
fn eventful(store: &dyn Store) -> PartnerKey {
    let key = new_partner(store, "PA_1");
    let block = |from: u64, count: u64| (from..from + count).map(|digits| created(digits, stock("a")));
    let edit = |digits, before: Option<&str>, after: Option<&str>| NumberChange {
        number: number(digits),
        before: before.map(stock),
        after: after.map(stock),
    };
    let batches = |verb, batches: &[Vec<NumberChange>]| {
        let body = draft(|transaction| Ok(batches.iter().try_for_each(|batch| transaction.put_numbers(batch))?));
        write(store, key, entry(verb), body);
    };
    batches(Verb::Import, &[block(912_270_000_000, 25_000).collect()]);
    put_account(store, key, "MA_1");
    batches(Verb::Tag, &[vec![edit(912_270_010_005, Some("a"), Some("b"))]]);
    // Every third of all groups, in batches that cut through groups.
    let thirds: Vec<NumberChange> =
        (912_270_000_000..912_270_025_000).step_by(3).map(|digits| edit(digits, Some("a"), Some("c"))).collect();
    let thirds: Vec<NumberChange> = thirds.into_iter().filter(|c| c.number.digits() != 912_270_010_005).collect();
    batches(Verb::Tag, &thirds.chunks(1_500).map(<[_]>::to_vec).collect::<Vec<_>>());
    // Batches that overlap, the later ones first in number order.
    let twice = [
        vec![edit(912_270_010_004, Some("a"), Some("d")), edit(912_270_010_005, Some("b"), Some("d"))],
        block(5_000_000, 12).collect(),
        vec![edit(912_270_010_005, Some("d"), None), edit(912_270_010_007, Some("a"), Some("d"))],
        vec![edit(5_000_003, Some("a"), None), edit(5_000_004, Some("a"), Some("e"))],
    ];
    batches(Verb::Import, &twice);
    batches(Verb::Import, &[vec![created(912_270_010_005, stock("f"))]]);
    assert_eq!(head(store, key), 7);
    assert_eq!(differences(store), [] as [&str; 0]);
    key
}

fn a_numbers_history_is_what_the_log_says_of_it(database: Database) {
    let store = database.open();
    let key = eventful(&*store);
    let two = new_partner(&*store, "PA_2");
    put(&*store, two, &[created(5_000_003, stock("theirs"))]);
    let log = log(&*store, key);
    for digits in [
        5_000_003,
        5_000_004,
        5_000_099,
        912_270_000_000,
        912_270_000_001,
        912_270_010_004,
        912_270_010_005,
        912_270_010_006,
        912_270_024_999,
        912_270_025_000,
    ] {
        let expected: Vec<Past> = (log.iter())
            .filter_map(|logged| {
                let change = &logged.change;
                let entry = LogEntry {
                    at: change.at,
                    actor: change.actor.clone(),
                    request_id: change.request_id.clone(),
                    verb: change.verb,
                    from: None,
                };
                let number = change.numbers.iter().find(|change| change.number.digits() == digits)?;
                Some(Past { version: change.version, entry, change: number.clone() })
            })
            .collect();
        assert_eq!(store.history(key, number(digits)).expect("reads"), expected, "number {digits}");
    }
    let versions = |digits| {
        let history = store.history(key, number(digits)).expect("reads");
        history.iter().map(|past| past.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(912_270_010_005), [2, 4, 6, 7]);
    assert_eq!(versions(912_270_025_000), [] as [u64; 0], "only its neighbours changed");
    assert_eq!(store.history(two, number(5_000_003)).expect("reads").len(), 1);
}

fn changes_are_listed_in_pieces(database: Database) {
    let store = database.open();
    let key = eventful(&*store);
    let log = log(&*store, key);
    let sizes: Vec<usize> = log.iter().map(|logged| logged.change.numbers.len()).collect();
    for &(skip, numbers) in &[
        (0, 0),
        (0, 1),
        (0, 10),
        (3, 7),
        (11, 3),
        (14, 2),
        (1_499, 3),
        (9_999, 2),
        (24_990, 20),
        (30_000, 5),
        (0, 30_000),
    ] {
        let list = store.list(key, 0, 100, skip, numbers).expect("reads");
        assert_eq!(list.len(), log.len());
        for (listed, logged) in list.iter().zip(&log) {
            let change = &logged.change;
            let place = format!("version {}, {numbers} from {skip}", change.version);
            assert_eq!(listed.version, change.version, "{place}");
            let entry = &listed.entry;
            assert_eq!((entry.at, &entry.actor, entry.verb), (change.at, &change.actor, change.verb), "{place}");
            assert_eq!(entry.request_id, change.request_id, "{place}");
            assert_eq!(listed.entities, change.entities, "{place}");
            assert_eq!(listed.total, change.numbers.len() as u64, "{place}");
            assert!(listed.numbers.iter().eq(change.numbers.iter().skip(skip as usize).take(numbers)), "{place}");
        }
    }
    assert_eq!(sizes, [0, 25_000, 0, 1, sizes[4], 15, 1]);
    let versions = |after, limit| {
        let list = store.list(key, after, limit, 0, 1).expect("reads");
        list.iter().map(|listed| listed.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(0, 3), [1, 2, 3]);
    assert_eq!(versions(3, 2), [4, 5]);
    assert_eq!(versions(6, 100), [7]);
    assert_eq!(versions(7, 100), [] as [u64; 0]);
}

fn the_version_of_a_moment(database: Database) {
    let store = database.open();
    let (key, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    for (turn, at) in [10, 10, 10, 30, 20, 31].into_iter().enumerate() {
        put_at(&*store, key, NOW + at, 911_000_000 + turn as u64);
    }
    put_at(&*store, two, NOW + 15, 922_000_000);
    for (at, version) in [(-1, 0), (0, 1), (9, 1), (10, 4), (11, 4), (29, 4), (30, 6), (31, 7), (32, 7), (1_000_000, 7)]
    {
        assert_eq!(store.version_at(key, time(NOW + at)).expect("reads"), version, "at {at}");
    }
    assert_eq!(store.version_at(two, time(NOW + 14)).expect("reads"), 1);
    assert_eq!(store.version_at(PartnerKey(99), time(NOW + 14)).expect("reads"), 0);
}

fn jobs_are_listed_newest_first(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    for (key, id, created, open) in [
        (one, "job_b", 10, false),
        (one, "job_a", 10, true),
        (one, "job_c", 5, true),
        (two, "job_a", 7, true),
        (one, "job_d", 20, false),
    ] {
        put_job(&*store, key, &job(id, created, open));
    }
    let ids = |skip, limit| {
        let (jobs, total) = store.jobs(one, skip, limit).expect("reads");
        assert_eq!(total, 4);
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, 10), ["job_d", "job_b", "job_a", "job_c"]);
    assert_eq!(ids(1, 2), ["job_b", "job_a"]);
    assert_eq!(ids(4, 2), [] as [&str; 0]);
    assert_eq!(ids(u64::MAX, usize::MAX), [] as [&str; 0]);
    assert_eq!(store.jobs(PartnerKey(99), 0, 5).expect("reads"), (vec![], 0));

    let open = |store: &dyn Store| store.open_jobs().expect("reads");
    let expected = [(one, job("job_c", 5, true)), (two, job("job_a", 7, true)), (one, job("job_a", 10, true))];
    assert_eq!(open(&*store), expected, "oldest first, of all partners");
    assert_eq!(open(&*database.open()), expected, "another process too");

    // A job ends.
    let ended = StoredJob { body: "{\"done\":2}".to_owned(), ..job("job_a", 10, false) };
    let body = draft(|transaction| {
        assert_eq!(transaction.job("job_a")?, Some(job("job_a", 10, true)));
        assert_eq!(transaction.job("job_x")?, None);
        transaction.put_job(&ended)?;
        assert_eq!(transaction.job("job_a")?.as_ref(), Some(&ended));
        Ok(())
    });
    assert_eq!(write(&*store, one, entry(Verb::Import), body), None);
    assert_eq!(store.job(one, "job_a").expect("reads"), Some(ended));
    assert_eq!(store.job(two, "job_a").expect("reads"), Some(job("job_a", 7, true)), "another partner's");
    assert_eq!(store.job(two, "job_b").expect("reads"), None);
    assert_eq!(open(&*store).len(), 2);
    assert_eq!((head(&*store, one), log(&*store, one).len()), (1, 1));
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn a_jobs_batches_are_read_from_one_on(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let body = draft(|transaction| {
        transaction.put_job(&job("job_1", 0, true))?;
        transaction.put_job(&job("job_2", 0, true))?;
        for batch in [0, 1, 2, 3, 10] {
            transaction.put_job_batch("job_1", batch, &format!("[{batch}]"))?;
        }
        transaction.put_job_batch("job_2", 0, "[\"other\"]")?;
        assert_eq!(transaction.job_batch("job_1", 10)?.as_deref(), Some("[10]"));
        assert_eq!(transaction.job_batch("job_1", 4)?, None);
        transaction.put_job_batch("job_1", 2, "[\"done\"]")?;
        Ok(())
    });
    assert_eq!(write(&*store, key, entry(Verb::Import), body), None);
    let batches = |from, limit| {
        let batches = store.job_batches(key, "job_1", from, limit).expect("reads");
        batches.into_iter().map(|(at, body)| format!("{at}{body}")).collect::<Vec<_>>()
    };
    assert_eq!(batches(0, 100), ["0[0]", "1[1]", "2[\"done\"]", "3[3]", "10[10]"]);
    assert_eq!(batches(2, 2), ["2[\"done\"]", "3[3]"]);
    assert_eq!(batches(4, 2), ["10[10]"]);
    assert_eq!(batches(11, 2), [] as [&str; 0]);
    let orphan = draft(|transaction| Ok(transaction.put_job_batch("job_3", 0, "[]")?));
    let orphan = store.write(WriteTarget::Partner(key), entry(Verb::Import), orphan);
    assert!(matches!(orphan, Err(Abort::Store(_))), "a batch belongs to a job");
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

mod files {
    //! What only an engine that keeps files can get wrong.

    use super::*;

    fn refused(database: &Database, how: Open) -> StoreError {
        match rollcall::store::open(&Location::Sqlite(database.path()), how) {
            Ok(_) => panic!("opened"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_missing_file_is_made_only_on_request() {
        let database = Database::new();
        assert!(matches!(refused(&database, Open::Existing), StoreError::Missing { .. }));
        assert!(!database.path().exists());
        database.open();
        open(&database.path(), Open::Existing);
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let database = Database::new();
        new_partner(&*database.open(), "PA_1");
        let mode = std::fs::metadata(database.path()).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn somebody_elses_database_is_left_as_it_is() {
        let database = Database::new();
        let raw = database.raw();
        raw.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").expect("made");
        drop(raw);
        let before = std::fs::read(database.path()).expect("reads");
        for how in [Open::Existing, Open::Create] {
            assert!(matches!(refused(&database, how), StoreError::Foreign { .. }));
        }
        assert!(std::fs::read(database.path()).expect("reads") == before, "the file was changed");
    }

    #[test]
    fn what_is_no_database_is_left_as_it_is() {
        for text in ["number,account\n".repeat(200), "short".to_owned()] {
            let database = Database::new();
            std::fs::write(database.path(), &text).expect("written");
            for how in [Open::Existing, Open::Create] {
                let error = refused(&database, how);
                assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
            }
            assert_eq!(std::fs::read_to_string(database.path()).expect("reads"), text);
        }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let database = Database::new();
        database.open();
        database.raw().pragma_update(None, "user_version", 99).expect("set");
        assert!(matches!(refused(&database, Open::Existing), StoreError::Newer { found: 99, .. }));
    }

    #[test]
    fn an_older_schema_is_brought_up() {
        // What schema 1 held, in the tables that it had.
        let (old, new) = (Database::new(), Database::new());
        let (_, key) = furnished(&new);
        let raw = old.raw();
        raw.execute_batch(include_str!("../../migrations/sqlite/0001_initial.sql")).expect("made");
        raw.execute("ATTACH ?1 AS new", [new.path().to_str().expect("UTF-8")]).expect("attached");
        for table in ["partner", "account", "application", "trunk", "api_key", "number", "change", "change_part"] {
            let columns = "SELECT group_concat(name) FROM pragma_table_info(?1, 'main')";
            let columns: String = raw.query_row(columns, [table], |row| row.get(0)).expect("asks");
            raw.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"))
                .expect("copied");
        }
        raw.execute_batch("DETACH new; PRAGMA application_id = 0x526f6c6c; PRAGMA user_version = 1").expect("set");
        drop(raw);

        let store = open(&old.path(), Open::Existing);
        let version: i64 = old.raw().pragma_query_value(None, "user_version", |row| row.get(0)).expect("asks");
        let current: i64 = new.raw().pragma_query_value(None, "user_version", |row| row.get(0)).expect("asks");
        assert!(version > 1 && version == current, "{version} of {current}");
        assert_eq!(rows(&*store, key), rows(&*new.open(), key));
        assert_eq!(differences(&*store), [] as [&str; 0]);
        put_job(&*store, key, &job("job_1", 0, true));
        assert_eq!(open(&old.path(), Open::Existing).open_jobs().expect("reads").len(), 1);
    }

    #[test]
    fn commits_are_synced_and_logged_ahead() {
        let database = Database::new();
        database.open();
        let mode: String = database.raw().pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("asks");
        assert_eq!(mode, "wal");
    }
}

fn document(id: &str, due: Option<i64>, body: &str) -> Document {
    Document { id: id.to_owned(), due: due.map(|at| time(NOW + at)), body: body.to_owned() }
}

fn documents_are_kept_beside_the_log(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    let put = |key, kind: &str, document: &Document| {
        let body = draft(|transaction| Ok(transaction.put_document(kind, document)?));
        assert_eq!(write(&*store, key, entry(Verb::Import), body), None);
    };
    for (key, kind, id, due) in [
        (one, "a", "3", Some(30)),
        (one, "a", "1", Some(10)),
        (one, "a", "2", None),
        (one, "b", "1", Some(5)),
        (two, "a", "1", Some(20)),
    ] {
        put(key, kind, &document(id, due, "first"));
    }
    let ids = |store: &dyn Store, key, walk, limit| {
        let all = store.documents(key, "a", walk, limit).expect("reads");
        all.into_iter().map(|document| document.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&*store, one, DocumentWalk::Up { after: None }, 9), ["1", "2", "3"]);
    assert_eq!(ids(&*store, one, DocumentWalk::Up { after: Some("1") }, 1), ["2"]);
    assert_eq!(ids(&*store, one, DocumentWalk::Down { before: None }, 2), ["3", "2"]);
    assert_eq!(ids(&*store, one, DocumentWalk::Down { before: Some("2") }, 9), ["1"]);
    assert_eq!(ids(&*database.open(), two, DocumentWalk::Up { after: None }, 9), ["1"], "another process too");
    let due = |now: i64, limit| {
        let due = store.due("a", time(NOW + now), limit).expect("reads");
        due.into_iter().map(|(key, document)| (key, document.id)).collect::<Vec<_>>()
    };
    assert_eq!(due(9, 9), []);
    assert_eq!(due(29, 9), [(one, "1".to_owned()), (two, "1".to_owned())]);
    assert_eq!(due(30, 1), [(one, "1".to_owned())]);

    put(one, "a", &document("1", None, "second"));
    assert_eq!(store.document(one, "a", "1").expect("reads"), Some(document("1", None, "second")));
    assert_eq!(store.document(two, "a", "1").expect("reads"), Some(document("1", Some(20), "first")));
    let body = draft(|transaction| {
        assert_eq!(transaction.document("a", "1")?, Some(document("1", None, "second")));
        transaction.drop_document("a", "1")?;
        assert_eq!(transaction.document("a", "1")?, None);
        Ok(transaction.drop_document("a", "never")?)
    });
    assert_eq!(write(&*store, one, entry(Verb::Import), body), None);
    assert_eq!(ids(&*store, one, DocumentWalk::Up { after: None }, 9), ["2", "3"]);
    assert_eq!((head(&*store, one), differences(&*store)), (1, vec![]), "the log has nothing of it");
}

fn a_lease_has_one_holder(database: Database) {
    let (store, beside) = (database.open(), database.open());
    let lease = |store: &dyn Store, holder, seconds| store.lease("work", holder, seconds).expect("answers");
    let acquired = |answer| matches!(answer, Leased::Acquired { .. });
    let renewed = |answer| matches!(answer, Leased::Renewed { .. });
    assert!(acquired(lease(&*store, "a", 60)));
    assert_eq!(lease(&*beside, "b", 60), Leased::Refused);
    assert!(renewed(lease(&*store, "a", 60)));
    let holder = |name| beside.leaseholder(name).expect("answers");
    assert_eq!((holder("work").as_deref(), holder("no work")), (Some("a"), None));
    assert!(acquired(store.lease("other work", "b", 60).expect("answers")));
    beside.end_lease("work", "b").expect("done");
    assert_eq!(lease(&*beside, "b", 60), Leased::Refused, "only its holder ends it");
    store.end_lease("work", "a").expect("done");
    assert!(acquired(lease(&*beside, "b", 0)));
    assert_eq!(beside.leaseholder("work").expect("answers"), None);
    assert!(renewed(lease(&*beside, "b", 0)), "one that is over and that nobody else had in between");
    assert!(acquired(lease(&*store, "a", 60)), "one that is over is anybody's");
    assert_eq!(lease(&*beside, "b", 60), Leased::Refused);
}

fn an_accounts_last_loss_is_remembered(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put_account(&*store, key, "MA_1");
    put_account(&*store, key, "MA_2");
    let replica = Replica::load(store.clone()).expect("loads");
    let lost = |account: &str| {
        replica.follow();
        let account: AccountId = account.parse().expect("an id");
        let followed = replica.nodes()[0].snapshot().lost_at(&account);
        let loaded = replica::load(&*store, Load { only: None, numbers: true }).expect("loads").remove(&key);
        assert_eq!(followed, loaded.expect("it").lost_at(&account), "followed and loaded agree");
        followed.map(|at| at.seconds() - NOW)
    };
    let change = |seconds, before: Option<Record>, after: Option<Record>| {
        let changes = [NumberChange { number: number(4_930_100_001), before, after }];
        let body = draft(|transaction| Ok(transaction.put_numbers(&changes)?));
        write(&*store, key, entry_at(NOW + seconds), body);
    };
    let ends = |at| Record { expires_at: Some(time(NOW + at)), ..held("MA_1") };
    change(10, None, Some(held("MA_1")));
    assert_eq!((lost("MA_1"), lost("MA_2")), (None, None));
    change(20, Some(held("MA_1")), Some(held("MA_2")));
    assert_eq!((lost("MA_1"), lost("MA_2")), (Some(20), None));
    change(30, Some(held("MA_2")), Some(ends(50)));
    assert_eq!((lost("MA_1"), lost("MA_2")), (Some(20), Some(30)));
    // It was over before it was taken away.
    change(90, Some(ends(50)), None);
    assert_eq!((lost("MA_1"), lost("MA_2")), (Some(50), Some(30)));
}

// People.

fn id(text: &str) -> UserId {
    text.parse().expect("an id")
}

fn person(name: &str, role: Role, partner: Option<PartnerKey>) -> StoredUser {
    let user = User {
        id: id(&format!("us_{name}")),
        email: format!("{name}@x.org").into(),
        name: name.into(),
        role,
        partner,
        zone: "UTC".into(),
        created_at: time(NOW),
        disabled_at: None,
        two_factor: false,
        password_set: false,
        last_signed_in_at: None,
    };
    StoredUser { user, password: None, totp: None, totp_offer: None }
}

fn session(token: u8, user: &str, seconds: i64) -> StoredSession {
    let at = time(NOW + seconds);
    let from = "2001:db8::1".parse().expect("an address");
    StoredSession { digest: [token; 32], user: id(user), created_at: at, seen_at: at, from, code_due: false }
}

fn audited(what: &str, partner: Option<PartnerKey>, seconds: i64) -> AuditEntry {
    AuditEntry {
        at: time(NOW + seconds),
        partner,
        who: "command:tester".into(),
        what: what.into(),
        about: None,
        refused: None,
        from: None,
        request_id: None,
    }
}

/// Writes that must be accepted.
fn meet(store: &dyn Store, mut body: impl FnMut(&mut dyn PeopleWrites) -> Result<(), StoreError>) {
    store.people_write(&mut |people| Ok(body(people)?)).expect("written");
}

/// What is read as of one moment.
fn seen<T>(store: &dyn Store, mut body: impl FnMut(&mut dyn PeopleReads) -> Result<T, StoreError>) -> T {
    let mut seen = None;
    store
        .people_read(&mut |people| {
            seen = Some(body(people)?);
            Ok(())
        })
        .expect("read");
    seen.expect("it ran")
}

fn people_are_as_they_were_put(database: Database) {
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let mut full = person("b", Role::Owner, Some(key));
    full.user.disabled_at = Some(time(NOW + 1));
    full.user.last_signed_in_at = Some(time(NOW + 2));
    (full.user.two_factor, full.user.password_set) = (true, true);
    full.password = Some("$argon2id$…".to_owned());
    full.totp = Some(Totp { secret: vec![0, 1, 255], step: -7 });
    full.totp_offer = Some(vec![9]);
    let bare = person("a", Role::Administrator, None);
    meet(&*store, |people| {
        people.put_user(&full)?;
        people.put_user(&bare)
    });
    let beside = database.open();
    for expected in [&full, &bare] {
        let by_id = seen(&*beside, |people| people.user(&expected.user.id)).expect("there");
        let by_email = seen(&*beside, |people| people.user_by_email(&expected.user.email)).expect("there");
        assert_eq!((&by_id.user, by_id.partner_suspended), (expected, false));
        assert_eq!(by_id, by_email);
    }
    assert_eq!(seen(&*store, |people| people.user(&id("us_none"))), None);
    assert_eq!(seen(&*store, |people| people.user_by_email("none@x.org")), None);
    let names = |partner| -> Vec<String> {
        seen(&*store, |people| people.users(partner)).iter().map(|user| user.name.to_string()).collect()
    };
    assert_eq!(
        (names(None), names(Some(key)), names(Some(PartnerKey(99)))),
        (vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()], vec![])
    );
    // Changed, and back to bare.
    let plain =
        StoredUser { user: User { name: "B".into(), ..person("b", Role::Viewer, Some(key)).user }, ..bare.clone() };
    meet(&*store, |people| people.put_user(&plain));
    assert_eq!(seen(&*store, |people| people.user(&plain.user.id)).expect("there").user, plain);
    // An address is one person's, and a partner is there.
    let twin = StoredUser { user: User { id: id("us_twin"), ..bare.user.clone() }, ..bare.clone() };
    let lost = person("lost", Role::Owner, Some(PartnerKey(99)));
    for wrong in [&twin, &lost] {
        assert!(matches!(store.people_write(&mut |people| Ok(people.put_user(wrong)?)), Err(Abort::Store(_))));
    }
    assert_eq!(names(None).len(), 2);
    assert_eq!((head(&*store, key), differences(&*store)), (1, vec![]), "the log has nothing of it");
}

fn secrets_of_people_are_used_up_once(database: Database) {
    let store = database.open();
    let (a, b) = (id("us_a"), id("us_b"));
    let link = |token: u8, user: &UserId| StoredLink {
        digest: [token; 32],
        user: user.clone(),
        created_at: time(NOW),
        expires_at: time(NOW + 10),
    };
    let from = "192.0.2.1".parse().expect("an address");
    meet(&*store, |people| {
        people.put_user(&person("a", Role::Administrator, None))?;
        people.put_user(&person("b", Role::Administrator, None))?;
        for (token, user, at) in [(1, "us_a", 0), (2, "us_a", 5), (3, "us_b", 0)] {
            people.put_session(&session(token, user, at))?;
        }
        people.put_session(&StoredSession { code_due: true, ..session(4, "us_a", 1) })?;
        people.put_link(&link(1, &a))?;
        people.put_link(&link(2, &b))?;
        people.put_recovery_codes(&a, &[[1; 32], [2; 32]])?;
        people.put_source(&a, from, time(NOW + 5))?;
        people.put_source(&a, from, time(NOW + 1))
    });
    let (found, whose) = seen(&*store, |people| people.session(&[2; 32])).expect("there");
    assert_eq!((found, whose.user), (session(2, "us_a", 5), person("a", Role::Administrator, None)));
    let of = |user: &UserId| -> Vec<u8> {
        seen(&*store, |people| people.sessions(user)).iter().map(|session| session.digest[0]).collect()
    };
    assert_eq!((of(&a), of(&b)), (vec![2, 4, 1], vec![3]));
    assert!(seen(&*store, |people| people.session(&[4; 32])).expect("there").0.code_due);
    let (found, whose) = seen(&*store, |people| people.link(&[1; 32])).expect("there");
    assert_eq!((found, whose.user.user.id), (link(1, &a), a.clone()));
    assert_eq!(seen(&*store, |people| people.source(&a, from)), Some(time(NOW + 5)), "moves forward only");
    assert_eq!(seen(&*store, |people| people.source(&b, from)), None);
    meet(&*store, |people| {
        people.seen(&[2; 32], time(NOW + 60))?;
        people.seen(&[2; 32], time(NOW + 30))?;
        people.seen(&[99; 32], time(NOW))?;
        assert!(people.take_recovery_code(&a, &[1; 32])?);
        assert!(!people.take_recovery_code(&a, &[1; 32])? && !people.take_recovery_code(&b, &[2; 32])?);
        assert_eq!(people.recovery_codes(&a)?, 1);
        people.put_recovery_codes(&a, &[[7; 32]])?;
        assert!(!people.take_recovery_code(&a, &[2; 32])?, "replaced");
        assert!(people.end_session(&[1; 32])? && !people.end_session(&[1; 32])?);
        assert_eq!(people.end_sessions(&a, Some(&[2; 32]))?, 1);
        people.end_links(&a)
    });
    assert_eq!(seen(&*store, |people| people.session(&[2; 32])).expect("kept").0.seen_at, time(NOW + 60));
    assert_eq!((of(&a), of(&b)), (vec![2], vec![3]));
    assert_eq!(seen(&*store, |people| people.link(&[1; 32])), None);
    assert!(seen(&*store, |people| people.link(&[2; 32])).is_some(), "another's");
    meet(&*store, |people| people.end_sessions(&a, None).map(|_| ()));
    assert_eq!(of(&a), [0_u8; 0]);
}

fn people_are_written_whole_or_not_at_all(database: Database) {
    let store = database.open();
    let refused = store.people_write(&mut |people| {
        people.put_user(&person("a", Role::Administrator, None))?;
        people.put_audit(&audited("x", None, 0))?;
        Err(Abort::Refused)
    });
    assert!(matches!(refused, Err(Abort::Refused)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.people_write(&mut |people| {
            people.put_user(&person("a", Role::Administrator, None))?;
            std::panic::resume_unwind(Box::new("a defect in a draft"))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(seen(&*store, |people| Ok((people.users(None)?.len(), people.audit(None, None, 9)?.len()))), (0, 0));
    meet(&*store, |people| people.put_user(&person("a", Role::Administrator, None)));
    drop(store);
    assert_eq!(seen(&*database.open(), |people| people.users(None)).len(), 1, "after reopening");
}

/// Each looks whether there is anybody, and only then makes somebody.
fn a_write_to_people_is_alone(database: Database) {
    database.open();
    let barrier = Barrier::new(8);
    let made: usize = thread::scope(|scope| {
        let (database, barrier) = (&database, &barrier);
        let one = |at: usize| {
            move || {
                let store = database.open();
                barrier.wait();
                let made = store.people_write(&mut |people| match people.users(None)?.is_empty() {
                    true => Ok(people.put_user(&person(&format!("a{at}"), Role::Administrator, None))?),
                    false => Err(Abort::Refused),
                });
                usize::from(made.is_ok())
            }
        };
        let tries: Vec<_> = (0..8).map(|at| scope.spawn(one(at))).collect();
        tries.into_iter().map(|one| one.join().expect("ended")).sum()
    });
    assert_eq!((made, seen(&*database.open(), |people| people.users(None)).len()), (1, 1));
}

fn the_audit_trail_is_read_backwards(database: Database) {
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    let full = AuditEntry {
        about: Some("us_a".into()),
        refused: Some("wrong".into()),
        from: Some("2001:db8::1".parse().expect("an address")),
        request_id: Some("req_1".into()),
        ..audited("full", Some(one), 3)
    };
    meet(&*store, |people| {
        people.put_audit(&audited("a", Some(one), 0))?;
        people.put_audit(&audited("b", Some(two), 1))?;
        people.put_audit(&audited("c", None, 2))?;
        people.put_audit(&full)
    });
    let list = |partner, before, limit| seen(&*store, |people| people.audit(partner, before, limit));
    let words = |partner, before, limit| -> Vec<String> {
        list(partner, before, limit).iter().map(|audited| audited.entry.what.to_string()).collect()
    };
    assert_eq!(words(None, None, 9), ["full", "c", "b", "a", "partner.create", "partner.create"]);
    assert_eq!(words(Some(one), None, 9), ["full", "a", "partner.create"]);
    assert_eq!(words(None, None, 1), ["full"]);
    assert_eq!(list(Some(one), None, 1)[0].entry, full);
    let first = list(None, None, 1)[0].id;
    assert_eq!(words(None, Some(first), 2), ["c", "b"]);
    assert_eq!(words(Some(one), Some(first), 9), ["a", "partner.create"]);
}

fn what_is_over_is_forgotten(database: Database) {
    let store = database.open();
    let a = id("us_a");
    let address = |at: u8| std::net::IpAddr::from([192, 0, 2, at]);
    meet(&*store, |people| {
        people.put_user(&person("a", Role::Administrator, None))?;
        for token in 1..=4 {
            people.put_session(&session(token, "us_a", 0))?;
            let (created_at, expires_at) = (time(NOW), time(NOW + i64::from(token)));
            people.put_link(&StoredLink { digest: [token; 32], user: a.clone(), created_at, expires_at })?;
            people.put_source(&a, address(token), time(NOW + i64::from(token)))?;
        }
        people.put_session(&StoredSession { code_due: true, ..session(5, "us_a", 0) })?;
        people.seen(&[4; 32], time(NOW + 100))?;
        for second in 0..2_500 {
            people.put_audit(&audited("x", None, second))?;
        }
        Ok(())
    });
    let never = time(NOW - 1);
    let prune = Prune {
        sessions_created: never,
        sessions_seen: never,
        sessions_due: never,
        links: never,
        sources: never,
        audit: never,
    };
    let left = || {
        seen(&*store, |people| {
            let sessions: Vec<u8> = people.sessions(&a)?.iter().map(|session| session.digest[0]).collect();
            let mut links = Vec::new();
            let mut sources = Vec::new();
            for token in 1..=4 {
                links.extend(people.link(&[token; 32])?.map(|_| token));
                sources.extend(people.source(&a, address(token))?.map(|_| token));
            }
            Ok((sessions, links, sources, people.audit(None, None, 9_999)?.len()))
        })
    };
    let all = (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4], vec![1, 2, 3, 4], 2_500);
    store.people_prune(&prune).expect("forgotten");
    assert_eq!(left(), all);
    let (links, sources, audit) = (time(NOW + 2), time(NOW + 3), time(NOW + 2_400));
    store.people_prune(&Prune { sessions_due: time(NOW), links, sources, audit, ..prune }).expect("forgotten");
    assert_eq!(left(), (vec![1, 2, 3, 4], vec![3, 4], vec![4], 99));
    store.people_prune(&Prune { sessions_seen: time(NOW + 99), ..prune }).expect("forgotten");
    assert_eq!(left().0, [4]);
    store.people_prune(&Prune { sessions_created: time(NOW), ..prune }).expect("forgotten");
    assert_eq!(left().0, [0_u8; 0]);
}
