//! Small makers of domain values, so that tests read like tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{self, Cluster};

use rollcall::domain::change::Edit;
use rollcall::domain::{
    Account, Actor, Application, E164, EntityChange, Money, NumberChange, NumberType, Partner, PartnerKey, Record,
    State, Tags, Time, Trunk, Verb,
};
use rollcall::store::{Draft, Location, LogEntry, Open, Store, WriteTarget};

/// A database of its own, deleted on drop.
pub struct Database {
    directory: tempfile::TempDir,
    /// Its name, if it is one of PostgreSQL's.
    postgres: Option<String>,
}

impl Drop for Database {
    fn drop(&mut self) {
        if let (Some(name), Some(cluster)) = (&self.postgres, Cluster::shared()) {
            cluster.forget(name);
        }
    }
}

impl Database {
    pub fn new() -> Database {
        Database { directory: tempfile::tempdir().expect("a directory"), postgres: None }
    }

    /// In the tests' PostgreSQL server; `None` where it is not installed.
    pub fn postgres() -> Option<Database> {
        let address = Cluster::shared()?.database();
        Some(Database::named(cluster::database_name(&address)))
    }

    /// On the engine that this run of the tests is on.
    pub fn chosen() -> Database {
        match cluster::on_postgres() {
            Some(cluster) => Database::named(cluster::database_name(&cluster.database())),
            None => Database::new(),
        }
    }

    fn named(name: &str) -> Database {
        Database { directory: tempfile::tempdir().expect("a directory"), postgres: Some(name.to_owned()) }
    }

    /// As `--database` takes it.
    pub fn address(&self) -> String {
        match (&self.postgres, Cluster::shared()) {
            (Some(name), Some(cluster)) => cluster.address(name),
            _ => format!("sqlite:{}", self.path().display()),
        }
    }

    pub fn location(&self) -> Location {
        self.address().parse().expect("a location")
    }

    /// The one value that a query returns, past the store.
    pub fn value(&self, query: &str) -> String {
        if let (Some(name), Some(cluster)) = (&self.postgres, Cluster::shared()) {
            return cluster.psql(name, query);
        }
        let value = self.raw().query_row(query, [], |row| row.get(0)).expect("a row");
        match value {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => panic!("{query}: {other:?}"),
        }
    }

    /// Runs a statement, past the store.
    pub fn execute(&self, statement: &str) -> Result<(), String> {
        match (&self.postgres, Cluster::shared()) {
            (Some(name), Some(cluster)) => cluster.try_psql(name, statement).map(drop),
            _ => self.raw().execute_batch(statement).map_err(|error| error.to_string()),
        }
    }

    /// The same of a statement that leaves what no statement of the program leaves,
    /// in one row.
    #[track_caller]
    pub fn damage(&self, statement: &str) {
        let changed = match (&self.postgres, Cluster::shared()) {
            (Some(name), Some(cluster)) => {
                let unchecked = "ALTER TABLE number_run DROP CONSTRAINT IF EXISTS number_run_check";
                cluster.psql(name, unchecked);
                cluster.psql(name, &format!("WITH done AS ({statement} RETURNING 1) SELECT count(*) FROM done"))
            }
            _ => {
                let raw = self.raw();
                raw.pragma_update(None, "ignore_check_constraints", "ON").expect("set");
                raw.execute(statement, []).expect("changed").to_string()
            }
        };
        assert_eq!(changed, "1", "{statement}");
    }

    /// Everything that is in it, as its files or its dump say it.
    pub fn bytes(&self) -> Vec<u8> {
        if let (Some(name), Some(cluster)) = (&self.postgres, Cluster::shared()) {
            return cluster.client("pg_dump").args(["-d", name]).output().expect("pg_dump").stdout;
        }
        self.raw().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpointed");
        std::fs::read(self.path()).expect("the file")
    }

    /// A copy of it, with something done to it behind our back. Nobody may
    /// have it open.
    pub fn tampered(&self, statement: &str) -> (Database, Arc<dyn Store>) {
        let (Some(name), Some(cluster)) = (&self.postgres, Cluster::shared()) else {
            let copy = Database::new();
            self.open().backup(&copy.path()).expect("a backup");
            let raw = copy.raw();
            raw.pragma_update(None, "foreign_keys", "OFF").expect("set");
            raw.execute_batch(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
            // Those of triggers as well: `number` is a view.
            assert!(raw.total_changes() > 0, "changes nothing: {statement}");
            drop(raw);
            let store = open(&copy.path(), Open::Existing);
            return (copy, store);
        };
        // Connections that were just closed may still be going.
        cluster.psql(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
        let copy = cluster.fresh(&format!("TEMPLATE {name} STRATEGY file_copy"));
        let copy = Database::named(&copy);
        let statement = statement
            .replace("zeroblob(32)", "decode(repeat('00', 32), 'hex')")
            .replace("randomblob(32)", "sha256('any')");
        let changed = format!("WITH changed AS ({statement} RETURNING 1) SELECT count(*) FROM changed");
        let changed = cluster.psql(copy.postgres.as_deref().unwrap_or_default(), &changed);
        assert_ne!(changed, "0", "changes nothing: {statement}");
        let store = copy.open();
        (copy, store)
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("rollcall.db")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// One more handle on it, as another process would have.
    pub fn open(&self) -> Arc<dyn Store> {
        rollcall::store::open(&self.location(), Open::Create).expect("the database opens")
    }

    /// The file itself, past the store.
    pub fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("the database opens")
    }
}

pub fn open(path: &Path, how: Open) -> Arc<dyn Store> {
    rollcall::store::open(&Location::Sqlite(path.to_owned()), how).expect("the database opens")
}

pub const NOW: i64 = 1_770_000_000;

pub fn time(seconds: i64) -> Time {
    Time::new(seconds).expect("a time")
}

pub fn number(digits: u64) -> E164 {
    E164::new(digits).expect("a number")
}

pub fn money(minor: i64, currency: &str) -> Money {
    Money { minor, currency: currency.parse().expect("a currency") }
}

pub fn partner(auth_id: &str) -> Partner {
    Partner {
        auth_id: auth_id.parse().expect("an id"),
        name: auth_id.into(),
        created_at: time(NOW),
        suspended_at: None,
    }
}

pub fn account(auth_id: &str) -> Account {
    Account { auth_id: auth_id.parse().expect("an id"), name: auth_id.into(), created_at: time(NOW), archived_at: None }
}

pub fn application(id: &str, account: Option<&str>) -> Application {
    Application {
        id: id.parse().expect("an id"),
        name: format!("{id} by name").into(),
        account: account.map(|id| id.parse().expect("an id")),
        created_at: time(NOW),
        archived_at: None,
        destinations: Default::default(),
        answer_url: None,
    }
}

pub fn trunk(id: &str, account: Option<&str>) -> Trunk {
    Trunk {
        id: id.parse().expect("an id"),
        name: id.into(),
        account: account.map(|id| id.parse().expect("an id")),
        created_at: time(NOW),
        archived_at: None,
        destinations: Default::default(),
    }
}

/// A number in stock.
pub fn stock(tag: &str) -> Record {
    Record {
        state: State::Available,
        account: None,
        application: None,
        trunk: None,
        number_type: NumberType::Local,
        country: Some("IN".parse().expect("a country")),
        region: Some("Mumbai".into()),
        cost: Some(money(50_000, "INR")),
        assigned_at: None,
        expires_at: None,
        since: time(NOW),
        until: None,
        tags: Tags::new([tag]),
    }
}

/// A number that an account holds.
pub fn held(account: &str) -> Record {
    Record {
        state: State::Active,
        account: Some(account.parse().expect("an id")),
        assigned_at: Some(time(NOW)),
        ..stock("held")
    }
}

/// Who runs the commands of a test that runs none.
pub fn operator() -> Actor {
    Actor::Command { user: "tester".to_owned() }
}

pub fn entry(verb: Verb) -> LogEntry {
    LogEntry { at: time(NOW), actor: operator(), request_id: None, verb, from: None }
}

pub fn created(digits: u64, record: Record) -> NumberChange {
    NumberChange { number: number(digits), before: None, after: Some(record) }
}

pub fn draft<'a>(
    body: impl FnMut(&mut dyn rollcall::store::Transaction) -> Result<(), rollcall::store::Abort> + Send + 'a,
) -> Draft<'a> {
    Box::new(body)
}

/// Creates a partner and returns its key.
pub fn new_partner(store: &dyn Store, auth_id: &str) -> PartnerKey {
    let body = partner(auth_id);
    let made = store.write(
        WriteTarget::New(body.auth_id.clone()),
        entry(Verb::PartnerCreate),
        draft(|transaction| Ok(transaction.put_entity(EntityChange::Partner(Edit::created(body.clone())))?)),
    );
    assert_eq!(made.expect("created"), Some(1));
    let heads = store.heads(true).expect("heads").expect("asked for always");
    heads.iter().map(|head| head.key).max().expect("a partner")
}

/// Puts numbers as one change and returns the version it made.
pub fn put(store: &dyn Store, key: PartnerKey, changes: &[NumberChange]) -> Option<u64> {
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::Import),
            draft(|transaction| Ok(transaction.put_numbers(changes)?)),
        )
        .expect("written")
}

pub fn put_account(store: &dyn Store, key: PartnerKey, auth_id: &str) -> Option<u64> {
    let body = account(auth_id);
    store
        .write(
            WriteTarget::Partner(key),
            entry(Verb::AccountCreate),
            draft(|transaction| Ok(transaction.put_entity(EntityChange::Account(Edit::created(body.clone())))?)),
        )
        .expect("written")
}

/// What `rollcall verify` would say; empty when all is well. A row that cannot
/// even be read counts as found.
pub fn differences(store: &dyn Store) -> Vec<String> {
    match rollcall::service::replica::verify::verify(store, &mut |_| {}) {
        Ok(report) => report.differences,
        Err(error) => vec![error.to_string()],
    }
}

/// Returns once the clock shows another second: what is done then has another time.
pub fn next_second() {
    let second = Time::now();
    crate::until::until(Duration::from_secs(5), || "the clock stands".to_owned(), || Time::now() != second);
}
