//! Neighbours with equal values are one row: what writes make of the rows, what a
//! person reads, damaged rows, and SQLite files of the last release. Databases of the
//! last release in PostgreSQL are those of `switch.rs`.

use std::collections::BTreeMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rollcall::domain::change::Edit;
use rollcall::domain::{E164, EntityChange, NumberChange, PartnerKey, Record, State, Time, Verb};
use rollcall::routing::{Case, RoutingSettings};
use rollcall::service::Replica;
use rollcall::service::replica::routing::RouteRequest;
use rollcall::store::{Load, Loaded, LogEntry, LogPiece, Open, Ownership, Store, StoreError, WholeEntry, WriteTarget};
use rusqlite::Connection;

use super::cluster;
use super::fixture::*;
use super::harness::{Database as Files, no_file};

/// A database that the last release made with its commands: two partners with
/// numbers in one another's blocks, ids such as `NA`, `0` and `new`, an invalid
/// number that looks like a glued block, holders, reservations and quarantines.
const LAST_RELEASE: &[u8] = include_bytes!("../fixtures/sqlite-schema-9.db.gz");

fn last_release_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(LAST_RELEASE).read_to_end(&mut bytes).expect("unpacked");
    bytes
}

fn last_release() -> Database {
    let database = Database::new();
    std::fs::write(database.path(), last_release_bytes()).expect("written");
    database
}

/// Each number with all of its values, as SQL reads them from `number`.
fn by_number(raw: &Connection) -> Vec<Vec<rusqlite::types::Value>> {
    let mut statement = raw.prepare("SELECT * FROM number ORDER BY number").expect("asks");
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).expect("reads");
    rows.collect::<Result<_, _>>().expect("read")
}

fn int(raw: &Connection, sql: &str) -> i64 {
    raw.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The first and the last number of each row of a table.
fn rows_of(database: &Database, table: &str) -> Vec<(u64, u64)> {
    let all = format!("(SELECT first, last FROM {table} ORDER BY first) AS run");
    let list = match cluster::on_postgres() {
        Some(_) => format!("SELECT coalesce(string_agg(first || '-' || last, ' '), '') FROM {all}"),
        None => format!("SELECT coalesce(group_concat(first || '-' || last, ' '), '') FROM {all}"),
    };
    let list = database.value(&list);
    let row = |text: &str| text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    list.split_whitespace().map(|text| row(text).expect("two numbers")).collect()
}

fn rows(database: &Database) -> Vec<(u64, u64)> {
    rows_of(database, "number_run")
}

fn block(first: u64, count: u64, record: &Record) -> Vec<NumberChange> {
    (first..first + count).map(|digits| created(digits, record.clone())).collect()
}

fn changed(changes: &[NumberChange], after: Option<&Record>) -> Vec<NumberChange> {
    let change = |change: &NumberChange| NumberChange {
        number: change.number,
        before: change.after.clone(),
        after: after.cloned(),
    };
    changes.iter().map(change).collect()
}

#[test]
fn a_file_of_the_last_release_is_brought_up() {
    if no_file() {
        return;
    }
    let database = last_release();
    let raw = database.raw();
    assert_eq!(int(&raw, "PRAGMA user_version"), 9);
    let before = by_number(&raw);
    let accounts = int(&raw, "SELECT count(*) FROM account WHERE auth_id IN ('NA', '0', 'new')");
    let glued = int(&raw, "SELECT count(*) FROM number WHERE number = 3314268700099");
    assert_eq!((before.len(), accounts, glued), (1_424, 3, 1));
    drop(raw);

    let store = open(&database.path(), Open::Existing);
    let raw = database.raw();
    assert_eq!(by_number(&raw), before);
    assert_eq!(int(&raw, "SELECT count(*) FROM sqlite_schema WHERE name = 'number_each'"), 0);
    let runs = int(&raw, "SELECT count(*) FROM number_run");
    assert!(runs < 100, "{runs} rows");
    assert_eq!(differences(&*store), [] as [&str; 0]);
    let replica = Replica::load(store.clone()).expect("loads");
    assert_eq!((replica.damaged_partners(), replica.progress().poisoned), (0, 0));
    let heads = store.heads(true).expect("heads").expect("some");
    assert!(put(&*store, heads[0].key, &[created(911_000_001, stock("a"))]).is_some());
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

#[test]
fn unreadable_rows_are_migrated_as_they_are() {
    if no_file() {
        return;
    }
    let spoils = [
        "UPDATE number SET state = 'lost' WHERE number BETWEEN 912271264310 AND 912271264319",
        "UPDATE number SET number = -5 WHERE number = 912271264320",
        "UPDATE number SET tags = CAST(x'ff' AS TEXT) WHERE number = 912271264330",
        "UPDATE number SET since = -999999999999999 WHERE number = 912271264340",
    ];
    let database = last_release();
    let raw = database.raw();
    for spoil in spoils {
        raw.execute(spoil, []).expect("spoiled");
    }
    let count = int(&raw, "SELECT count(*) FROM number");
    drop(raw);
    let store = open(&database.path(), Open::Existing);
    let raw = database.raw();
    assert_eq!(int(&raw, "SELECT sum(last - first + 1) FROM number_run"), count);
    assert_eq!(int(&raw, "SELECT sum(last - first + 1) FROM number_run WHERE state = 'lost'"), 10);
    let replica = Replica::load(store).expect("loads");
    assert_eq!(replica.progress().poisoned, 13, "each number counts");
    for (digits, left_out) in [(912271264309, false), (912271264310, true), (912271264319, true), (912271264340, true)]
    {
        assert_eq!(replica.left_out(number(digits)), left_out, "{digits}");
    }
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    if no_file() {
        return;
    }
    let database = last_release();
    // The rename of the table succeeds, and the next statement does not.
    database.raw().execute_batch("CREATE TABLE number_run (first INTEGER)").expect("made");
    let before = by_number(&database.raw());
    let refused = rollcall::store::open(&database.location(), Open::Existing).err();
    assert!(matches!(refused, Some(StoreError::Sqlite(_))), "{refused:?}");
    let raw = database.raw();
    assert_eq!((int(&raw, "PRAGMA user_version"), by_number(&raw)), (9, before));
    raw.execute_batch("DROP TABLE number_run").expect("dropped");
    drop(raw);
    assert_eq!(differences(&*open(&database.path(), Open::Existing)), [] as [&str; 0]);
}

#[test]
fn a_block_is_one_row_however_it_is_written() {
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &block(911_000_000, 10_000, &stock("a")));
    assert_eq!(rows(&database), [(911_000_000, 911_009_999)]);
    // In pieces of one write, over the bounds of groups.
    let all = block(922_000_500, 25_000, &stock("b"));
    let pieces = draft(|transaction| {
        all.chunks(7_777).try_for_each(|piece| transaction.put_numbers(piece))?;
        Ok(())
    });
    let target = rollcall::store::WriteTarget::Partner(key);
    store.write(target, entry(rollcall::domain::Verb::Import), pieces).expect("written");
    assert_eq!(rows(&database)[1..], [(922_000_500, 922_025_499)]);
    // Equal neighbours of another write have another version.
    put(&*store, key, &block(911_010_000, 1, &stock("a")));
    assert_eq!(rows(&database)[..2], [(911_000_000, 911_009_999), (911_010_000, 911_010_000)]);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

#[test]
fn a_write_splits_what_it_must() {
    let all = block(911_000_000, 10, &stock("a"));
    /// Which of ten numbers change, and the rows afterwards.
    type Case = (&'static str, &'static [usize], &'static [(u64, u64)]);
    let cases: [Case; 5] = [
        ("the first", &[0], &[(0, 0), (1, 9)]),
        ("the last", &[9], &[(0, 8), (9, 9)]),
        ("one within", &[4], &[(0, 3), (4, 4), (5, 9)]),
        ("some within", &[3, 4, 5], &[(0, 2), (3, 5), (6, 9)]),
        ("two apart", &[2, 7], &[(0, 1), (2, 2), (3, 6), (7, 7), (8, 9)]),
    ];
    for (what, some, expected) in cases {
        for after in [Some(stock("b")), None] {
            let database = Database::chosen();
            let store = database.open();
            let key = new_partner(&*store, "PA_1");
            put(&*store, key, &all);
            let some: Vec<NumberChange> = some.iter().map(|&at| all[at].clone()).collect();
            put(&*store, key, &changed(&some, after.as_ref()));
            let changed: Vec<u64> = some.iter().map(|change| change.number.digits() - 911_000_000).collect();
            let stays = |(first, _): &(u64, u64)| after.is_some() || !changed.contains(first);
            let expected: Vec<_> = expected.iter().copied().filter(stays).collect();
            let found: Vec<_> = rows(&database).iter().map(|(a, b)| (a - 911_000_000, b - 911_000_000)).collect();
            assert_eq!(found, expected, "{what}, {after:?}");
            assert_eq!(differences(&*store), [] as [&str; 0], "{what}");
        }
    }
}

/// The numbers of all partners: whose each is, its version and its values.
type Oracle = BTreeMap<u64, (PartnerKey, u64, Record)>;

#[test]
fn random_writes_leave_the_rows_that_an_oracle_has() {
    let database = Database::chosen();
    let store = database.open();
    let keys = [new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2")];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut oracle = Oracle::new();
    for round in 0..400 {
        let key = keys[next(2) as usize];
        let mut wanted: Vec<u64> = Vec::new();
        for _ in 0..=next(3) {
            let first = 911_000_000 + next(300);
            let longest = [1, 4, 40][next(3) as usize];
            wanted.extend(first..first + 1 + next(longest));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let wanted: Vec<E164> = wanted.into_iter().map(number).collect();
        let record = (next(4) > 0).then(|| stock(["a", "b"][next(2) as usize]));
        let twice = next(3) == 0;
        let draft = draft(|transaction| {
            let held = transaction.numbers(&wanted)?;
            check_owners(&oracle, key, &wanted, &held);
            let mut changes = Vec::new();
            for (&number, held) in wanted.iter().zip(held) {
                let before = match held {
                    Ownership::Foreign => continue,
                    Ownership::Free => None,
                    Ownership::Ours { record, .. } => Some(record),
                };
                if before.is_some() || record.is_some() {
                    changes.push(NumberChange { number, before, after: record.clone() });
                }
            }
            transaction.put_numbers(&changes)?;
            if twice && record.is_some() {
                // Some of them again, and then as they were.
                let again = stock("again");
                let some: Vec<NumberChange> = changes.iter().skip(1).step_by(2).cloned().collect();
                transaction.put_numbers(&changed(&some, Some(&again)))?;
                transaction.put_numbers(&changed(&changed(&some, Some(&again)), record.as_ref()))?;
            }
            Ok(())
        });
        let target = rollcall::store::WriteTarget::Partner(key);
        let version = store.write(target, entry(rollcall::domain::Verb::Import), draft).expect("written");
        for number in &wanted {
            let foreign = oracle.get(&number.digits()).is_some_and(|(of, ..)| *of != key);
            match (&record, version) {
                _ if foreign => {}
                (Some(record), Some(version)) => {
                    oracle.insert(number.digits(), (key, version, record.clone()));
                }
                _ => drop(oracle.remove(&number.digits())),
            }
        }
        if round % 20 == 0 {
            check_rows(&database, &*store, &oracle);
        }
    }
    check_rows(&database, &*store, &oracle);
    let rows = rows(&database).len();
    assert!(rows < oracle.len(), "{rows} rows of {} numbers", oracle.len());
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

/// One draft: the version that it made or would have made, what it read of which
/// numbers, what it put there, and how many `MA_0` had afterwards.
struct Drafted {
    version: u64,
    made: bool,
    wanted: Vec<E164>,
    held: Vec<Ownership>,
    after: Option<Record>,
    counted: u64,
}

#[test]
fn writes_that_share_commits_read_and_write_as_one_after_another() {
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    for at in 0..4 {
        put_account(&*store, key, &format!("MA_{at}"));
    }
    let drafted: Mutex<Vec<Drafted>> = Mutex::default();
    let threads = 8;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, drafted) = (&store, &drafted);
            scope.spawn(move || {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64 + thread;
                let mut next = move |below: u64| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random % below
                };
                for round in 0..120 {
                    // Mostly numbers of its own, so that writes wait beside each other.
                    let first = if next(4) == 0 { next(800) } else { next(100) * threads + thread };
                    let count = [1, 1, 1, 30][next(4) as usize];
                    let wanted: Vec<E164> = (first..first + count).map(|at| number(911_000_000 + at)).collect();
                    let record = match next(8) {
                        0 => None,
                        1 | 2 => Some(stock("s")),
                        _ => Some(held(&format!("MA_{}", next(4)))),
                    };
                    let (kept, twice, entity) = (next(4) > 0, next(5) == 0, next(12) == 0);
                    let mut note = None;
                    let body = draft(|transaction| {
                        let held = transaction.numbers(&wanted)?;
                        let change = |(&number, held): (&E164, &Ownership)| {
                            let before = match held {
                                Ownership::Ours { record, .. } => Some(record.clone()),
                                _ => None,
                            };
                            let change = NumberChange { number, before, after: record.clone() };
                            (change.before.is_some() || change.after.is_some()).then_some(change)
                        };
                        let changes: Vec<NumberChange> = wanted.iter().zip(&held).filter_map(change).collect();
                        let version = transaction.version();
                        transaction.put_numbers(&changes)?;
                        if entity {
                            let account = account(&format!("MA_{thread}_{round}"));
                            transaction.put_entity(EntityChange::Account(Edit::created(account)))?;
                        }
                        if twice && record.is_some() {
                            let read = transaction.numbers(&wanted)?;
                            let as_put = |owner: &Ownership| match owner {
                                Ownership::Ours { record: read, .. } => Some(read) == record.as_ref(),
                                _ => false,
                            };
                            assert!(read.iter().all(as_put), "{read:?}");
                            transaction.put_numbers(&changed(&changes, Some(&stock("between"))))?;
                            let between = changed(&changes, Some(&stock("between")));
                            transaction.put_numbers(&changed(&between, record.as_ref()))?;
                        }
                        let id = "MA_0".parse().expect("an id");
                        let counted = transaction.active_numbers(&id, time(NOW), u64::MAX >> 1)?;
                        note = Some((version, held, counted));
                        if kept { Ok(()) } else { Err(rollcall::store::Abort::Refused) }
                    });
                    let target = rollcall::store::WriteTarget::Partner(key);
                    let written = store.write(target, entry(rollcall::domain::Verb::Import), body);
                    let (version, held, counted) = note.expect("it ran");
                    let made = match written {
                        Ok(made) => made,
                        Err(rollcall::store::Abort::Refused) if !kept => None,
                        Err(error) => panic!("{error:?}"),
                    };
                    assert!(made.is_none_or(|made| made == version), "{made:?} {version}");
                    let drafted_one = Drafted { version, made: made.is_some(), wanted, held, after: record, counted };
                    drafted.lock().expect("whole").push(drafted_one);
                }
            });
        }
    });
    let mut drafted = drafted.into_inner().expect("whole");
    drafted.sort_by_key(|drafted| (drafted.version, drafted.made));
    let mut oracle = Oracle::new();
    for Drafted { version, made, wanted, held: read, after, counted } in &drafted {
        check_owners(&oracle, key, wanted, read);
        let mut next = oracle.clone();
        for number in wanted {
            match after {
                Some(record) => drop(next.insert(number.digits(), (key, *version, record.clone()))),
                None => drop(next.remove(&number.digits())),
            }
        }
        let account = held("MA_0").account;
        assert_eq!(next.values().filter(|(.., record)| record.account == account).count() as u64, *counted);
        if *made {
            oracle = next;
        }
    }
    check_rows(&database, &*store, &oracle);
    assert_eq!(differences(&*store), [] as [&str; 0]);
    let counted = "SELECT count(*) FROM (SELECT account, count(*) AS numbers FROM number WHERE account IS NOT NULL \
                   GROUP BY account) AS held JOIN (SELECT account, sum(numbers) AS numbers FROM account_numbers \
                   GROUP BY account) AS counted USING (account) WHERE held.numbers <> counted.numbers";
    assert_eq!(database.value(counted), "0");
}

/// Who commits for others follows the log for them before it tells them, and tells them
/// also if that panics.
#[test]
fn who_follows_for_others_and_fails_keeps_none_of_them_waiting() {
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let before = store.version(key).expect("a version");
    let followed = Arc::new(AtomicU64::new(0));
    let counter = followed.clone();
    store.after_shared_commits(Box::new(move || {
        assert!(counter.fetch_add(1, Ordering::SeqCst) >= 3, "cannot follow");
    }));
    let panicked = AtomicU64::new(0);
    let (threads, each) = (8, 60);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, panicked) = (&store, &panicked);
            scope.spawn(move || {
                for at in 0..each {
                    let changes = [created(911_000_000 + thread * each + at, stock("a"))];
                    let written = catch_unwind(AssertUnwindSafe(|| put(&**store, key, &changes)));
                    panicked.fetch_add(u64::from(written.is_err()), Ordering::SeqCst);
                }
            });
        }
    });
    let followed = followed.load(Ordering::SeqCst);
    assert!(followed > 3, "followed {followed} times");
    assert_eq!(panicked.into_inner(), 3);
    // Nothing is lost by it.
    assert_eq!(store.version(key).expect("a version"), before + threads * each);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

/// A piece of the log, so that two can be compared.
fn shown(piece: LogPiece) -> String {
    match piece {
        LogPiece::Entry { version, entry, entities, previous } => {
            // From where it was asked is in the audit trail, and not in the log.
            let entry = LogEntry { from: None, ..entry };
            format!("{version} {entry:?} {entities:?} {previous:?}")
        }
        LogPiece::Numbers(numbers) => format!("{numbers:?}"),
        LogPiece::End { digest } => format!("{digest:?}"),
    }
}

/// What a process remembers of its commits is what the log has of them, it is handed
/// over once, and never with a gap.
#[test]
fn own_entries_are_those_of_the_log() {
    let database = Database::chosen();
    let (store, other) = (database.open(), database.open());
    let key = new_partner(&*store, "PA_1");
    let newest = |store: &dyn Store| store.version(key).expect("a version");
    let stocked = |from: u64, numbers: u64| -> Vec<NumberChange> {
        (from..from + numbers).map(|digits| created(digits, stock("a"))).collect()
    };
    put(&*store, key, &stocked(911_000_000, 1));
    assert_eq!(store.own_entries(key, 0, u64::MAX), [], "nobody follows");
    store.after_shared_commits(Box::new(|| ()));

    let dated = |at: i64| Record { expires_at: Some(time(NOW).plus(at)), ..stock("dated") };
    let mut scattered: Vec<NumberChange> = Vec::new();
    scattered.extend((0..500).map(|at| created(912_000_000 + at * 777, dated(at as i64 % 7))));
    let many: Vec<NumberChange> = (0..9_000).map(|at| created(913_000_000 + at * 2, stock("b"))).collect();
    let changed = |changes: &[NumberChange], after: Option<&Record>| -> Vec<NumberChange> {
        let change = |NumberChange { number, after: before, .. }: &NumberChange| NumberChange {
            number: *number,
            before: before.clone(),
            after: after.cloned(),
        };
        changes.iter().map(change).collect()
    };
    let block = stocked(914_000_000, 25_000);
    // What each write puts, one after another, and whether its entry is remembered.
    let writes: Vec<(&str, Vec<Vec<NumberChange>>, bool)> = vec![
        ("one number", vec![stocked(911_000_001, 1)], true),
        ("scattered numbers with dates", vec![scattered.clone()], true),
        ("a block over groups", vec![block.clone()], true),
        ("part of it goes", vec![changed(&block[9_990..10_020], None)], true),
        ("two puts that ascend", vec![stocked(915_000_000, 3), stocked(915_000_003, 3)], true),
        ("two puts that do not", vec![stocked(915_000_103, 3), stocked(915_000_100, 3)], false),
        ("numbers put twice", vec![changed(&scattered[..9], None), scattered[..9].to_vec()], false),
        ("more than is kept", vec![many], false),
        ("entities alone", vec![], true),
    ];
    for (what, puts, remembered) in writes {
        let before = newest(&*store);
        let write = draft(|transaction| {
            transaction.put_entity(EntityChange::Account(Edit::created(account(&what.replace(' ', "_")))))?;
            Ok(puts.iter().try_for_each(|changes| transaction.put_numbers(changes))?)
        });
        store.write(WriteTarget::Partner(key), entry(Verb::Import), write).expect(what);
        let own = store.own_entries(key, before, newest(&*store));
        assert_eq!(own.len(), usize::from(remembered), "{what}");
        let own: Vec<String> = own.into_iter().flat_map(WholeEntry::pieces).map(shown).collect();
        let mut logged = Vec::new();
        let take = &mut |piece| {
            logged.push(shown(piece));
            Ok(())
        };
        store.follow(key, before, newest(&*store), take).expect("read");
        assert!(!remembered || own == logged, "{what}: {own:?} instead of {logged:?}");
        assert_eq!(store.own_entries(key, before, newest(&*store)), [], "{what}: once");
    }

    // Nor is an entry kept that has very many entities.
    let before = newest(&*store);
    let write = draft(|transaction| {
        let accounts = (0..9_000).map(|at| EntityChange::Account(Edit::created(account(&format!("MA_many_{at}")))));
        Ok(accounts.into_iter().try_for_each(|account| transaction.put_entity(account))?)
    });
    store.write(WriteTarget::Partner(key), entry(Verb::Import), write).expect("written");
    assert_eq!(store.own_entries(key, before, before + 1), []);

    // A refused write leaves nothing.
    let before = newest(&*store);
    let refused = draft(|transaction| {
        transaction.put_numbers(&stocked(916_000_000, 1))?;
        Err(rollcall::store::Abort::Refused)
    });
    assert!(store.write(WriteTarget::Partner(key), entry(Verb::Import), refused).is_err());
    put(&*store, key, &stocked(916_000_001, 1));
    let versions = |after: u64, through: u64| -> Vec<u64> {
        store.own_entries(key, after, through).iter().map(|entry| entry.version).collect()
    };
    assert_eq!(versions(before, before + 9), [before + 1]);

    // Entries of another process come between.
    for (at, own) in [true, true, false, true, true].into_iter().enumerate() {
        let writer = if own { &store } else { &other };
        put(&**writer, key, &stocked(917_000_000 + at as u64, 1));
    }
    assert_eq!(versions(before + 1, before + 6), [0_u64; 0], "those before are in the log alone");
    put(&*store, key, &stocked(918_000_000, 1));
    put(&*store, key, &stocked(918_000_001, 1));
    assert_eq!(versions(before + 6, before + 7), [before + 7], "up to a version");
    assert_eq!(versions(before + 7, before + 8), [before + 8]);
    put(&*store, key, &stocked(918_000_002, 1));
    assert_eq!(versions(before + 9, before + 9), [0_u64; 0], "it got there without them");
}

#[test]
fn what_the_database_refuses_takes_back_the_writes_that_share_its_commit() {
    if cluster::on_postgres().is_none() {
        return;
    }
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_000, stock("first"))]);
    let trigger = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                   $$ BEGIN IF NEW.body LIKE '%refused%' THEN RAISE 'not this'; END IF; RETURN NEW; END $$; \
                   CREATE TRIGGER refuse BEFORE INSERT ON change_part FOR EACH ROW EXECUTE FUNCTION refuse()";
    database.execute(trigger).expect("made");
    let (threads, rounds) = (6, 20);
    let done: Mutex<Vec<u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for round in 0..rounds {
                    let at = 911_000_001 + round * threads + thread;
                    let refused = at % 9 == 0;
                    let record = stock(if refused { "refused" } else { "fine" });
                    let body = draft(|transaction| {
                        transaction.numbers(&[number(at)])?;
                        Ok(transaction.put_numbers(&[created(at, record.clone())])?)
                    });
                    let target = rollcall::store::WriteTarget::Partner(key);
                    match store.write(target, entry(rollcall::domain::Verb::Import), body) {
                        Ok(made) => {
                            assert!(made.is_some() && !refused, "{at}");
                            done.lock().expect("whole").push(at);
                        }
                        Err(rollcall::store::Abort::Store(error)) => {
                            assert!(
                                error.to_string().contains("not this") || format!("{error:?}").contains("not this")
                            );
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    database.execute("DROP TRIGGER refuse ON change_part").expect("dropped");
    let mut done = done.into_inner().expect("whole");
    done.sort_unstable();
    assert!(!done.is_empty());
    let stored =
        database.value("SELECT string_agg(number::text, ' ' ORDER BY number) FROM number WHERE number > 911000000");
    let stored: Vec<u64> = stored.split(' ').map(|digits| digits.parse().expect("a number")).collect();
    assert_eq!(stored, done);
    put(&*store, key, &[created(911_100_000, stock("last"))]);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

fn check_owners(oracle: &Oracle, key: PartnerKey, wanted: &[E164], held: &[Ownership]) {
    assert_eq!(wanted.len(), held.len());
    for (number, held) in wanted.iter().zip(held) {
        let expected = match oracle.get(&number.digits()) {
            None => Ownership::Free,
            Some((of, version, record)) if *of == key => Ownership::Ours { record: record.clone(), version: *version },
            Some(_) => Ownership::Foreign,
        };
        assert_eq!(*held, expected, "{number}");
    }
}

fn check_rows(database: &Database, store: &dyn Store, oracle: &Oracle) {
    let mut found = Oracle::new();
    let load = Load { only: None, numbers: true };
    let take = &mut |loaded| {
        match loaded {
            Loaded::Numbers(batch) => {
                for (of, number, version, record) in batch.records() {
                    assert!(found.insert(number.digits(), (of, version, record)).is_none(), "{number} twice");
                }
            }
            Loaded::Poison { what, .. } => panic!("{what}"),
            _ => {}
        }
        Ok(())
    };
    store.load(load, take).expect("loads");
    assert_eq!(found, *oracle);
    let rows = rows(database);
    assert!(rows.windows(2).all(|pair| pair[0].1 < pair[1].0), "{rows:?}");
    let aggregate =
        if cluster::on_postgres().is_some() { "string_agg(number::text, ' ')" } else { "group_concat(number, ' ')" };
    let seen = database
        .value(&format!("SELECT coalesce({aggregate}, '') FROM (SELECT number FROM number ORDER BY number) AS each"));
    let numbers: Vec<u64> = seen.split_whitespace().map(|digits| digits.parse().expect("a number")).collect();
    assert_eq!(numbers, oracle.keys().copied().collect::<Vec<_>>());
    check_holders(database, oracle);
}

/// In PostgreSQL a table of its own says who has a number.
fn check_holders(database: &Database, oracle: &Oracle) {
    if cluster::on_postgres().is_none() {
        return;
    }
    let mut expected: Vec<(u64, u64, PartnerKey)> = Vec::new();
    for (&digits, (key, ..)) in oracle {
        match expected.last_mut() {
            Some((_, last, of)) if *last + 1 == digits && of == key => *last = digits,
            _ => expected.push((digits, digits, *key)),
        }
    }
    let expected: Vec<(u64, u64)> = expected.into_iter().map(|(first, last, _)| (first, last)).collect();
    assert_eq!(rows_of(database, "holder_run"), expected);
}

#[test]
fn a_person_reads_and_mends_single_numbers() {
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &block(911_000_000, 10, &stock("a")));
    let statements = [
        ("UPDATE number SET region = 'Pune' WHERE number = 911000004", &[(0, 3), (4, 4), (5, 9)][..]),
        ("UPDATE number SET region = 'Mumbai' WHERE region = 'Pune'", &[(0, 3), (4, 4), (5, 9)]),
        ("DELETE FROM number WHERE number IN (911000000, 911000009)", &[(1, 3), (4, 4), (5, 8)]),
        (
            "INSERT INTO number (number, partner, version, state, number_type, since) \
             VALUES (911000009, 1, 1, 'available', 'local', 0)",
            &[(1, 3), (4, 4), (5, 8), (9, 9)],
        ),
    ];
    for (statement, expected) in statements {
        database.execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        let found: Vec<_> = rows(&database).iter().map(|(a, b)| (a - 911_000_000, b - 911_000_000)).collect();
        assert_eq!(found, expected, "{statement}");
    }
    for taken in [
        "UPDATE number SET number = 911000006 WHERE number = 911000004",
        "INSERT INTO number (number, partner, version, state, number_type, since) \
         VALUES (911000006, 1, 1, 'available', 'local', 0)",
    ] {
        let refused = database.execute(taken).expect_err("taken");
        assert!(refused.contains("in another row"), "{refused}");
    }
}

#[test]
fn damaged_rows_are_left_out_and_each_of_their_numbers_is_known() {
    let a = "first = 911000000";
    let cases = [
        // What is done, how many numbers are left out, some of them, some others.
        (format!("UPDATE number_run SET state = 'lost' WHERE {a}"), 10, [0, 5, 9], [10, 19, 20]),
        (format!("UPDATE number_run SET last = 911000012 WHERE {a}"), 23, [0, 12, 19], [20, 25, 29]),
        (format!("UPDATE number_run SET last = 911000022 WHERE {a}"), 43, [0, 15, 29], [30, 31, 32]),
        (format!("UPDATE number_run SET last = 711000000 WHERE {a}"), 1, [0, 0, 0], [10, 19, 29]),
        (format!("UPDATE number_run SET last = last + 70000000000 WHERE {a}"), 1, [0, 0, 0], [10, 19, 29]),
        (format!("UPDATE number_run SET account = 'MA_none' WHERE {a}"), 10, [0, 5, 9], [10, 19, 29]),
        (format!("UPDATE number_run SET partner = 7 WHERE {a}"), 10, [0, 5, 9], [10, 19, 29]),
    ];
    for (statement, left_out, gone, there) in cases {
        let database = Database::chosen();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        for (at, tag) in ["a", "b", "c"].into_iter().enumerate() {
            put(&*store, key, &block(911_000_000 + 10 * at as u64, 10, &stock(tag)));
        }
        drop(store);
        database.damage(&statement);
        let replica = Replica::load(database.open()).expect("loads");
        assert_eq!((replica.progress().poisoned, replica.damaged_partners()), (left_out, 0), "{statement}");
        let settings = RoutingSettings::default();
        for (offsets, unreadable) in [(gone, true), (there, false)] {
            for offset in offsets {
                let number = number(911_000_000 + offset);
                let text = number.to_string();
                let asked = RouteRequest { user: text.as_bytes(), call_id: None, now: time(NOW) };
                let case = replica.route(&settings, asked, |answer| answer.line.case);
                assert_eq!(case == Case::RowUnreadable, unreadable, "{statement}: {number} is {case:?}");
            }
        }
        assert!(!differences(&*database.open()).is_empty(), "{statement}");
    }
}

/// Damage between the rows of one partner and of two.
const CLAIMS: [&str; 3] = ["last = 911000012", "last = 711000000", "last = last + 70000000000"];

#[test]
fn no_write_uses_rows_of_which_a_load_uses_none() {
    for claim in CLAIMS {
        let database = Database::chosen();
        let store = database.open();
        let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
        put(&*store, one, &block(911_000_000, 10, &stock("a")));
        put(&*store, one, &block(911_000_010, 10, &stock("b")));
        drop(store);
        database.damage(&format!("UPDATE number_run SET {claim} WHERE first = 911000000"));
        let store = database.open();
        for (key, wanted) in [(one, [911_000_005, 911_000_011]), (two, [911_000_005, 911_000_011])] {
            let wanted = wanted.map(number);
            let read = draft(|transaction| {
                let owners = transaction.numbers(&wanted);
                // In PostgreSQL another table says that they are the first partner's.
                let foreign = [Ownership::Foreign, Ownership::Foreign];
                let refused = key == two
                    && cluster::on_postgres().is_some()
                    && matches!(&owners, Ok(owners) if *owners == foreign);
                assert!(refused || matches!(owners, Err(StoreError::Corrupt { .. })), "{claim}: {owners:?}");
                Ok(())
            });
            let target = rollcall::store::WriteTarget::Partner(key);
            store.write(target, entry(rollcall::domain::Verb::Import), read).expect("read");
        }
    }
}

#[test]
fn a_load_of_one_partner_sees_rows_of_others_that_claim_its_numbers() {
    if no_file() {
        return;
    }
    let database = Database::new();
    let store = database.open();
    let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    put(&*store, one, &block(911_000_000, 10, &stock("a")));
    put(&*store, two, &block(911_000_010, 10, &stock("b")));
    drop(store);
    let (_copy, store) = database.tampered("UPDATE number_run SET last = 911000012 WHERE first = 911000000");
    for key in [one, two] {
        let mut loaded = 0;
        let mut left_out = 0;
        store
            .load(Load { only: Some(key), numbers: true }, &mut |part| {
                match part {
                    Loaded::Numbers(batch) => loaded += batch.rows.len(),
                    Loaded::Poison { .. } => left_out += 1,
                    _ => {}
                }
                Ok(())
            })
            .expect("loads");
        assert_eq!((loaded, left_out > 0), (0, true), "partner {key}");
    }
}

#[test]
fn no_command_migrates_a_file_under_a_server_of_the_last_release() {
    if no_file() {
        return;
    }
    let database = Files::sample();
    std::fs::write(database.path(), last_release_bytes()).expect("written");
    let served = std::fs::File::options().read(true).write(true).open(database.path()).expect("opens");
    served.try_lock().expect("locked");
    // A server always has a write-ahead log.
    let raw = Connection::open(database.path()).expect("opens");
    raw.pragma_update(None, "journal_mode", "WAL").expect("set");
    assert!(int(&raw, "SELECT count(*) FROM number") > 0);
    let ran = database.run(&["partner", "list"]).check(1);
    assert!(ran.stderr.contains("a server of an earlier release is using the database"), "{}", ran.stderr);
    drop(raw);
    drop(served);
    database.run(&["partner", "list"]).check(0);
}

#[test]
fn a_backup_of_the_last_release_is_restored() {
    if no_file() {
        return;
    }
    let (backup, database) = (last_release(), Files::sample());
    let file = backup.path().display().to_string();
    let before = std::fs::read(backup.path()).expect("read");
    let ran = database.run(&["restore", &file]).check(0);
    assert!(ran.stdout.contains("2 partners"), "{}", ran.stdout);
    assert!(std::fs::read(backup.path()).expect("read") == before, "the backup stays as it is");
    database.run(&["verify"]).check(0);
    let left: Vec<_> = std::fs::read_dir(database.path().parent().expect("a folder"))
        .expect("read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(".rollcall-backup-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_row_that_lost_or_gained_numbers_is_found_by_the_digest() {
    for change in ["last = last - 1", "last = last + 1", "first = first + 1", "first = first - 1"] {
        let database = Database::chosen();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        put(&*store, key, &block(911_000_010, 10, &stock("a")));
        let (_copy, store) = database.tampered(&format!("UPDATE number_run SET {change}"));
        assert_eq!(Replica::load(store).expect("loads").damaged_partners(), 1, "{change}");
    }
}

#[test]
fn an_accounts_numbers_are_read_from_rows_of_many() {
    let database = Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put_account(&*store, key, "MA_1");
    let all = block(911_000_000, 100, &held("MA_1"));
    put(&*store, key, &all);
    put(&*store, key, &changed(&all[40..50], Some(&Record { state: State::Quarantined, ..stock("q") })));
    let read = draft(|transaction| {
        let account = "MA_1".parse().expect("an id");
        let numbers = transaction.numbers_of(&account)?;
        assert_eq!((numbers.len(), numbers[39], numbers[40]), (90, number(911_000_039), number(911_000_050)));
        assert_eq!(transaction.active_numbers(&account, time(NOW), u64::MAX)?, 90);
        assert!(transaction.has_numbers(&account, Time::now())?);
        Ok(())
    });
    let target = rollcall::store::WriteTarget::Partner(key);
    store.write(target, entry(rollcall::domain::Verb::Import), read).expect("read");
    assert_eq!(differences(&*store), [] as [&str; 0]);
}
