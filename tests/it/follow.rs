//! What a node does when its database is not as it was: away, set back, another
//! one, or with rows that cannot be understood; and what it tells its clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rollcall::config::Config;
use rollcall::console;
use rollcall::domain::change::Edit;
use rollcall::domain::user::Role;
use rollcall::domain::{
    Dialect, E164, EntityChange, KeyId, NetChange, NumberChange, PartnerId, PartnerKey, RowDigest, Scope, Time, Verb,
};
use rollcall::http::{self, App};
use rollcall::service::people::{NewUser, UserActor};
use rollcall::service::replica::Replica;
use rollcall::service::{NewKey, Service, ServiceError, Token};
use rollcall::store::health::Health;
use rollcall::store::people::{PeopleDraft, PeopleLook, PeopleStore, Prune};
use rollcall::store::{
    Abort, Document, DocumentWalk, Draft, FollowNow, Incarnation, Leased, Load, Loaded, LogEntry, LogHead, LogPiece,
    LogReads, LoggedChange, NetChangeTable, Over, Past, Replayed, SideDraft, SideTables, Store, StoreError, StoredJob,
    WholeEntry, WriteTarget,
};
use serde_json::{Value, json};

use super::console_import::Browser;
use super::fixture::*;
use super::harness::{self, GLOBAL, ONE, Server, TWO};
use super::replica::check_fresh;
use crate::until::until;

/// How long a busy machine may take for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(20);
/// A little more than it takes until a partner is tried again.
const AGAIN: Duration = Duration::from_millis(5_300);

/// A database that can go away, or be another one.
struct Far {
    store: Arc<dyn Store>,
    away: AtomicBool,
    incarnation: Mutex<Option<Incarnation>>,
    loads: AtomicU64,
    health: Health,
}

impl Far {
    fn new(store: Arc<dyn Store>) -> Arc<Far> {
        let (away, loads) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Far { store, away, incarnation: Mutex::new(None), loads, health: Health::default() })
    }

    fn asked(&self) -> Result<&dyn Store, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unreachable { reason: "it is cut off".into() });
        }
        Ok(&*self.store)
    }

    fn goes(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn is(&self, system: u64, timeline: u32) {
        *self.incarnation.lock() = Some(Incarnation { system, timeline });
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }
}

type Stored<T> = Result<T, StoreError>;

impl PeopleStore for Far {
    fn people_read(&self, look: PeopleLook<'_>) -> Stored<()> {
        self.asked()?.people_read(look)
    }
    fn people_write(&self, draft: PeopleDraft<'_>) -> Result<(), Abort> {
        self.asked()?.people_write(draft)
    }
    fn people_prune(&self, prune: &Prune) -> Stored<()> {
        self.asked()?.people_prune(prune)
    }
}

impl LogReads for Far {
    fn partner(&self, auth_id: &PartnerId) -> Stored<Option<PartnerKey>> {
        self.asked()?.partner(auth_id)
    }
    fn version(&self, key: PartnerKey) -> Stored<u64> {
        self.asked()?.version(key)
    }
    fn follow(
        &self,
        key: PartnerKey,
        after: u64,
        through: u64,
        take: &mut dyn FnMut(LogPiece) -> Stored<()>,
    ) -> Stored<()> {
        self.asked()?.follow(key, after, through, take)
    }
    fn mentions(
        &self,
        key: PartnerKey,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
    ) -> Stored<()> {
        self.asked()?.mentions(key, through, mention, take)
    }
    fn history(&self, key: PartnerKey, number: E164) -> Stored<Vec<Past>> {
        self.asked()?.history(key, number)
    }
    fn entries(&self, key: PartnerKey, after: u64, limit: usize) -> Stored<Vec<(u64, LogEntry)>> {
        self.asked()?.entries(key, after, limit)
    }
    fn list(&self, key: PartnerKey, after: u64, limit: usize, skip: u64, numbers: usize) -> Stored<Vec<LoggedChange>> {
        self.asked()?.list(key, after, limit, skip, numbers)
    }
    fn replay(
        &self,
        key: PartnerKey,
        through: u64,
        take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Stored<()>,
    ) -> Stored<()> {
        self.asked()?.replay(key, through, take)
    }
    fn version_at(&self, key: PartnerKey, time: Time) -> Stored<u64> {
        self.asked()?.version_at(key, time)
    }
}

impl NetChangeTable for Far {
    fn net_change_ends(&self, key: PartnerKey) -> Stored<Vec<u64>> {
        self.asked()?.net_change_ends(key)
    }
    fn net_change_spans(&self, key: PartnerKey, after: u64, through: u64) -> Stored<Vec<(u64, u64)>> {
        self.asked()?.net_change_spans(key, after, through)
    }
    fn net_change(&self, key: PartnerKey, last: u64) -> Stored<Option<NetChange>> {
        self.asked()?.net_change(key, last)
    }
    fn put_net_change(&self, key: PartnerKey, net: &NetChange) -> Stored<()> {
        self.asked()?.put_net_change(key, net)
    }
    fn put_log_span(&self, key: PartnerKey, first: u64, last: u64) -> Stored<()> {
        self.asked()?.put_log_span(key, first, last)
    }
}

impl SideTables for Far {
    fn survey(&self) -> Stored<()> {
        self.asked()?.survey()
    }
    fn delete_over(&self, over: &Over) -> Stored<u64> {
        self.asked()?.delete_over(over)
    }
    fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Stored<(Vec<StoredJob>, u64)> {
        self.asked()?.jobs(key, skip, limit)
    }
    fn job(&self, key: PartnerKey, id: &str) -> Stored<Option<StoredJob>> {
        self.asked()?.job(key, id)
    }
    fn job_batches(&self, key: PartnerKey, id: &str, from: u64, limit: usize) -> Stored<Vec<(u64, String)>> {
        self.asked()?.job_batches(key, id, from, limit)
    }
    fn open_jobs(&self) -> Stored<Vec<(PartnerKey, StoredJob)>> {
        self.asked()?.open_jobs()
    }
    fn document(&self, key: PartnerKey, kind: &str, id: &str) -> Stored<Option<Document>> {
        self.asked()?.document(key, kind, id)
    }
    fn documents(&self, key: PartnerKey, kind: &str, walk: DocumentWalk<'_>, limit: usize) -> Stored<Vec<Document>> {
        self.asked()?.documents(key, kind, walk, limit)
    }
    fn due(&self, kind: &str, now: Time, limit: usize) -> Stored<Vec<(PartnerKey, Document)>> {
        self.asked()?.due(kind, now, limit)
    }
    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Stored<Leased> {
        self.asked()?.lease(name, holder, seconds)
    }
    fn end_lease(&self, name: &str, holder: &str) -> Stored<()> {
        self.asked()?.end_lease(name, holder)
    }
    fn leaseholder(&self, name: &str) -> Stored<Option<String>> {
        self.asked()?.leaseholder(name)
    }
    fn forget_answered(&self, before: Time) -> Stored<()> {
        self.asked()?.forget_answered(before)
    }
    fn key_uses(&self) -> Stored<Vec<(PartnerKey, KeyId, Time)>> {
        self.asked()?.key_uses()
    }
    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Stored<()> {
        self.asked()?.put_key_uses(uses)
    }
}

impl Store for Far {
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Stored<()>) -> Stored<()> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.asked()?.load(what, take)
    }
    fn heads(&self, always: bool) -> Stored<Option<Vec<LogHead>>> {
        self.asked()?.heads(always)
    }
    fn health(&self) -> &Health {
        &self.health
    }
    fn probe(&self) {
        self.store.probe();
    }
    fn incarnation(&self) -> Option<Incarnation> {
        *self.incarnation.lock()
    }
    fn keep_row_digests(&self, made: &[(LogHead, RowDigest)], replace: bool) -> Stored<u64> {
        self.asked()?.keep_row_digests(made, replace)
    }
    fn after_shared_commits(&self, follow: FollowNow) {
        self.store.after_shared_commits(follow);
    }
    fn own_entries(&self, key: PartnerKey, after: u64, through: u64) -> Vec<WholeEntry> {
        self.store.own_entries(key, after, through)
    }
    fn write_beside(&self, key: PartnerKey, at: Time, draft: SideDraft<'_>) -> Result<(), Abort> {
        self.asked()?.write_beside(key, at, draft)
    }
    fn write(&self, target: WriteTarget, entry: LogEntry, draft: Draft<'_>) -> Result<Option<u64>, Abort> {
        self.asked()?.write(target, entry, draft)
    }
    fn shared(&self) -> bool {
        self.store.shared()
    }
    fn backup(&self, to: &Path) -> Stored<()> {
        self.asked()?.backup(to)
    }
    fn integrity(&self) -> Stored<Vec<String>> {
        self.asked()?.integrity()
    }
    fn serve_lock(&self) -> Stored<Option<Box<dyn Send + Sync>>> {
        self.asked()?.serve_lock()
    }
}

fn load(store: &Arc<Far>) -> Arc<Replica> {
    Arc::new(Replica::load(store.clone()).expect("loads"))
}

fn verbs(store: &Arc<dyn Store>) -> Service {
    Service::new(store.clone(), entry(Verb::Import).actor)
}

fn make_key(service: &Service, partner: &str, scopes: &[Scope]) -> Token {
    let (name, scopes) = ("key".into(), scopes.to_vec());
    let new = NewKey { name, scopes, expires_at: None, networks: Vec::new(), dialect: Dialect::Data };
    service.key_create(&partner.parse().expect("an id"), new).expect("created").value.1
}

/// Statements past the store, which would not have them.
fn tamper(database: &Database, statements: &[&str]) {
    let raw = database.raw();
    raw.execute_batch("PRAGMA foreign_keys = OFF").expect("off");
    for statement in statements {
        raw.execute(statement, []).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Every table that says whose a row is.
const TABLES: [&str; 12] = [
    "partner",
    "account",
    "application",
    "trunk",
    "api_key",
    "number",
    "change",
    "change_part",
    "acknowledgement",
    "setting",
    "document",
    "answered",
];

/// Whose inventory a token opens under an id: the id that it says it is.
fn opened(replica: &Replica, auth_id: &str, token: &Token) -> Option<String> {
    let from = IpAddr::from([192, 0, 2, 7]);
    let access = replica.authenticate(auth_id, token.reveal().as_bytes(), from, Scope::Read, Time::now()).ok()?;
    Some(access.snapshot.partner.auth_id.to_string())
}

#[test]
fn a_partner_that_the_database_lost_is_not_served() {
    let database = Database::new();
    let store = database.open();
    let (_, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
    put(&*store, two, &[created(911_000_001, stock("a"))]);
    let token = make_key(&verbs(&store), "PA_2", &[Scope::Read]);
    let replica = load(&Far::new(database.open()));
    let held = replica.node("PA_2").expect("there");
    assert_eq!(opened(&replica, "PA_2", &token).as_deref(), Some("PA_2"));

    // The database went back to before the partner was created.
    let gone: Vec<String> = TABLES[..8].iter().map(|table| format!("DELETE FROM {table} WHERE partner = 2")).collect();
    tamper(&database, &gone.iter().map(String::as_str).collect::<Vec<_>>());
    replica.follow();
    assert!(replica.node("PA_2").is_none());
    assert_eq!(opened(&replica, "PA_2", &token), None);
    assert!(held.snapshot().is_empty(), "whoever still holds it finds nothing in it");
    check_fresh(&replica, &*store);

    // Its place goes to another.
    assert_eq!(new_partner(&*store, "PA_3"), two);
    replica.follow();
    assert_eq!(opened(&replica, "PA_2", &token), None);
    assert_eq!(replica.node("PA_3").expect("there").key, two);
    check_fresh(&replica, &*store);
}

#[test]
fn partners_that_swap_places_are_never_taken_for_each_other() {
    let database = Database::new();
    let store = database.open();
    let keys = [new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2")];
    put(&*store, keys[0], &[created(911_000_001, stock("a"))]);
    put(&*store, keys[1], &[created(922_000_001, stock("a")), created(922_000_002, stock("a"))]);
    let tokens = ["PA_1", "PA_2"].map(|partner| make_key(&verbs(&store), partner, &[Scope::Read]));
    let replica = load(&Far::new(database.open()));

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                for (id, token, other) in [("PA_1", &tokens[0], &tokens[1]), ("PA_2", &tokens[1], &tokens[0])] {
                    let opens = opened(&replica, id, token);
                    assert!(opens.as_deref().is_none_or(|opened| opened == id), "{id} opened {opens:?}");
                    assert_eq!(opened(&replica, id, other), None, "another's token at {id}");
                    let node = replica.node(id);
                    assert!(node.is_none_or(|node| node.snapshot().partner.auth_id.as_str() == id));
                    asked += 1;
                }
            }
            asked
        });
        for _ in 0..20 {
            let before = replica.renewals();
            let swap = |step: &'static str| TABLES.map(|table| format!("UPDATE {table} SET partner = {step}"));
            let raw = database.raw();
            raw.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").expect("begun");
            for statement in swap("partner + 100").iter().chain(&swap("103 - partner")) {
                raw.execute(statement, []).expect("swapped");
            }
            // As another database, which agrees with itself.
            raw.execute("UPDATE partner SET row_digest = NULL", []).expect("forgotten");
            raw.execute_batch("COMMIT").expect("committed");
            replica.follow();
            for (id, token) in [("PA_1", &tokens[0]), ("PA_2", &tokens[1])] {
                assert_eq!(opened(&replica, id, token).as_deref(), Some(id));
            }
            assert!(replica.renewals() > before);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(asked.join().expect("no one was taken for another") > 0);
    });
    check_fresh(&replica, &*store);
    assert_eq!(replica.node("PA_1").expect("there").snapshot().len(), 1);
}

#[test]
fn another_database_is_loaded_from_the_start() {
    let database = Database::new();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_001, stock("a"))]);
    let far = Far::new(database.open());
    far.is(7, 3);
    let replica = load(&far);
    replica.follow();
    let region = || {
        let snapshot = replica.node("PA_1").expect("there").snapshot();
        snapshot.get(number(911_000_001), time(NOW)).expect("there").region().map(str::to_owned)
    };
    // Rows that differ under heads that do not: only who answers tells.
    // As another database, which agrees with itself.
    let forget = "UPDATE partner SET row_digest = NULL";
    let rewrite = |region: &str| tamper(&database, &[&format!("UPDATE number SET region = '{region}'"), forget]);
    rewrite("Pune");
    let loads = far.loads();
    far.is(7, 4);
    replica.follow();
    replica.follow();
    assert_eq!((far.loads(), region().as_deref()), (loads, Some("Mumbai")), "a new primary has the same log");
    for (at, (system, timeline)) in [(7, 3), (8, 9)].into_iter().enumerate() {
        rewrite(&format!("Place {at}"));
        replica.follow();
        let loads = far.loads();
        far.is(system, timeline);
        // It is noticed although nothing new was committed; and loaded once.
        (0..5).for_each(|_| replica.follow());
        assert_eq!((far.loads(), region()), (loads + 1, Some(format!("Place {at}"))));
        check_fresh(&replica, &*store);
    }
    // An attempt that fails is made again.
    rewrite("Delhi");
    far.is(9, 1);
    far.goes(true);
    replica.follow();
    assert!(!replica.freshness().0);
    far.goes(false);
    replica.follow();
    assert_eq!(region().as_deref(), Some("Delhi"));
}

/// As after a takeover by a standby that had not got them.
#[test]
fn commits_that_the_database_forgot_cost_no_load() {
    let database = Database::new();
    let (other, far) = (database.open(), Far::new(database.open()));
    let key = new_partner(&*far, "PA_1");
    let replica = load(&far);
    far.after_shared_commits(Box::new(|| ()));
    let remembered = "SELECT 'UPDATE partner SET version = ' || version || ', head = x''' || hex(head) || ''', \
                      row_digest = x''' || hex(row_digest) || '''' FROM partner";
    for round in 0..3_u64 {
        let back: String = database.raw().query_row(remembered, [], |row| row.get(0)).expect("a partner");
        let version = other.version(key).expect("a version");
        for at in 0..2 {
            put_account(&*far, key, &format!("MA_gone_{round}_{at}"));
        }
        let forget = ["DELETE FROM account WHERE auth_id LIKE 'MA_gone%'", &back];
        tamper(&database, &forget);
        tamper(&database, &[&format!("DELETE FROM change WHERE version > {version}")]);
        // One that it has forgotten is remembered for another version, or both are.
        for at in 0..=round {
            put_account(&*other, key, &format!("MA_there_{round}_{at}"));
        }
        let loads = far.loads();
        replica.follow();
        assert_eq!(far.loads(), loads, "{round}");
        check_fresh(&replica, &*other);
    }
    put_account(&*far, key, "MA_last");
    replica.follow();
    check_fresh(&replica, &*other);
    assert_eq!(replica.node("PA_1").expect("there").snapshot().accounts.len(), 7);
}

/// Follows until it has tried again what it could not do.
#[track_caller]
fn follow_until(replica: &Replica, wanted: impl Fn() -> bool) {
    let follow = || {
        let so = wanted();
        if !so {
            replica.follow();
        }
        so
    };
    until(Duration::from_secs(120), || "not tried again".to_owned(), follow);
}

#[test]
fn a_log_that_cannot_be_read_holds_up_its_partner_alone() {
    let database = Database::new();
    let store = database.open();
    let keys = [new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2")];
    let replica = load(&Far::new(database.open()));
    let version = |partner: &str| replica.node(partner).expect("there").snapshot().version;
    put(&*store, keys[0], &[created(911_000_001, stock("a"))]);
    put(&*store, keys[0], &[created(911_000_002, stock("a"))]);
    tamper(&database, &["UPDATE change SET verb = 'unheard_of' WHERE partner = 1 AND version = 3"]);
    for at in 0..5 {
        put(&*store, keys[1], &[created(922_000_000 + at, stock("a"))]);
        replica.follow();
        assert_eq!((version("PA_1"), version("PA_2")), (1, 2 + at), "the one stays, the other goes on");
    }
    assert!(replica.freshness().0, "the database answers");
    assert!(replica.node("PA_1").expect("there").stuck_for().is_some());
    assert!(replica.node("PA_2").expect("there").stuck_for().is_none());
    assert_eq!((replica.progress().poisoned, replica.progress().lag), (1, 2));

    tamper(&database, &["UPDATE change SET verb = 'import' WHERE partner = 1 AND version = 3"]);
    replica.follow();
    assert_eq!(version("PA_1"), 1, "not looked at all the time");
    follow_until(&replica, || replica.node("PA_1").expect("there").stuck_for().is_none());
    assert_eq!((replica.progress().poisoned, replica.progress().lag), (0, 0));
    check_fresh(&replica, &*store);
}

#[test]
fn rows_that_cannot_be_understood_are_left_out_and_told() {
    let rows = [
        ("UPDATE number SET state = 'lost' WHERE number = 911000001", 1, "911000001", 4),
        ("UPDATE number SET number = -5 WHERE number = 911000001", 1, "-5", 4),
        ("UPDATE number SET since = -999999999999999 WHERE number = 911000001", 1, "911000001", 4),
        ("UPDATE number SET partner = 9 WHERE number = 911000001", 1, "911000001", 4),
        ("UPDATE number SET account = 'MA_none' WHERE number = 911000001", 1, "MA_none", 4),
        ("UPDATE account SET created_at = -999999999999999 WHERE auth_id = 'MA_1'", 3, "MA_1", 3),
        ("UPDATE application SET created_at = -999999999999999", 1, "app_1", 5),
        ("UPDATE trunk SET created_at = -999999999999999", 1, "trunk_1", 5),
        ("UPDATE api_key SET scopes = 'all'", 1, "api_key", 5),
        ("UPDATE api_key SET token_sha256 = zeroblob(31)", 1, "api_key", 5),
        ("INSERT INTO setting (partner, id, body) VALUES (1, 'odd', '{')", 1, "setting odd", 5),
        (
            "INSERT INTO acknowledgement (partner, finding, by, at) VALUES (1, 'odd', 'x', -999999999999999)",
            1,
            "odd",
            5,
        ),
    ];
    for (statement, left_out, named, has) in rows {
        let database = Database::new();
        let store = database.open();
        let keys = [new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2")];
        put_account(&*store, keys[0], "MA_1");
        let entities = draft(|transaction| {
            let application = Edit::created(application("app_1", None));
            transaction.put_entity(EntityChange::Application(application))?;
            let trunk = Edit::created(trunk("trunk_1", None));
            Ok(transaction.put_entity(EntityChange::Trunk(trunk))?)
        });
        store.write(WriteTarget::Partner(keys[0]), entry(Verb::Import), entities).expect("written");
        make_key(&verbs(&store), "PA_1", &[Scope::Read]);
        let numbers = [
            created(911_000_001, stock("a")),
            created(911_000_002, held("MA_1")),
            created(911_000_003, held("MA_1")),
            created(911_000_004, stock("a")),
            created(911_000_005, stock("a")),
        ];
        put(&*store, keys[0], &numbers);
        put(&*store, keys[1], &[created(922_000_001, stock("a"))]);
        tamper(&database, &[statement]);

        let replica = Replica::load(database.open()).unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert_eq!(replica.progress().poisoned, left_out, "{statement}");
        assert_eq!(replica.node("PA_1").expect("there").snapshot().len(), has, "{statement}");
        assert_eq!(replica.node("PA_2").expect("there").snapshot().len(), 1, "{statement}");
        replica.follow();
        assert!(replica.freshness().0 && replica.progress().poisoned == left_out, "{statement}");
        let found = differences(&*store);
        assert!(found.iter().any(|line| line.contains("cannot be understood") && line.contains(named)), "{found:?}");
        // What would be incomplete without saying so is refused.
        let exported = verbs(&store).snapshot(&"PA_1".parse().expect("an id"), true);
        let whole = statement.contains("partner = 9");
        assert!(matches!(exported, Err(ServiceError::Store(StoreError::Corrupt { .. }))) != whole, "{statement}");
        assert!(verbs(&store).snapshot(&"PA_2".parse().expect("an id"), true).is_ok());
    }
}

#[test]
fn a_partner_that_cannot_be_understood_is_not_taken_for_absent() {
    let database = Database::new();
    let store = database.open();
    let keys = [new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2")];
    put(&*store, keys[0], &[created(911_000_001, stock("a"))]);
    tamper(&database, &["UPDATE partner SET created_at = -999999999999999 WHERE partner = 1"]);
    let replica = Replica::load(database.open()).expect("loads");
    assert!(replica.node("PA_1").is_none() && replica.node("PA_2").is_some());
    assert_eq!(replica.progress().poisoned, 2, "the partner, and its number");
    let service = verbs(&store);
    assert!(service.partner_key(&"PA_2".parse().expect("an id")).is_ok());
    for corrupt in [service.partner_key(&"PA_1".parse().expect("an id")).err(), service.partners().err()] {
        assert!(matches!(corrupt, Some(ServiceError::Store(StoreError::Corrupt { .. }))), "{corrupt:?}");
    }
    // A list leaves it out.
    let listed = service.partners_listed().expect("the others");
    assert_eq!(listed.iter().map(|(_, _, partner)| partner.auth_id.as_str()).collect::<Vec<_>>(), ["PA_2"]);
    assert!(differences(&*store).iter().any(|line| line.contains("partner PA_1")));
    // Its log says what it is.
    follow_until(&replica, || replica.node("PA_1").is_some());
    assert_eq!(replica.node("PA_1").expect("from the log").snapshot().len(), 1);
}

#[test]
fn a_change_to_what_was_left_out_is_not_met_with_load_after_load() {
    let database = Database::new();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_001, stock("a")), created(911_000_002, stock("a"))]);
    tamper(&database, &["UPDATE number SET state = 'lost' WHERE number = 911000001"]);
    let far = Far::new(database.open());
    let replica = load(&far);
    let node = replica.node("PA_1").expect("there");
    assert_eq!((node.snapshot().len(), replica.progress().poisoned), (1, 1));

    // What does not touch it is followed as ever.
    put(&*store, key, &[created(911_000_003, stock("a"))]);
    replica.follow();
    assert_eq!((node.snapshot().len(), node.stuck_for()), (2, None));

    let change = NumberChange { number: number(911_000_001), before: Some(stock("a")), after: Some(stock("b")) };
    put(&*store, key, &[change]);
    let loads = far.loads();
    let version = node.snapshot().version;
    let changed = Instant::now();
    for _ in 0..50 {
        replica.follow();
        // A slow machine comes to the next attempt within these rounds.
        if changed.elapsed() > AGAIN / 2 {
            break;
        }
        assert_eq!((far.loads(), node.snapshot().version), (loads, version));
        assert!(node.stuck_for().is_some());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The change wrote the row anew, so it can be understood again.
    follow_until(&replica, || node.stuck_for().is_none());
    assert_eq!(far.loads(), loads + 1);
    assert_eq!((replica.progress().poisoned, node.snapshot().len(), node.stuck_for()), (0, 3, None));
    check_fresh(&replica, &*store);
    assert_eq!(differences(&*store), [] as [&str; 0]);
}

#[test]
fn a_repaired_row_is_taken_in_without_a_restart() {
    let database = Database::new();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    put(&*store, key, &[created(911_000_001, stock("a")), created(911_000_002, stock("a"))]);
    let state = |state: &str| format!("UPDATE number SET state = '{state}' WHERE number = 911000001");
    tamper(&database, &[&state("lost")]);
    let far = Far::new(database.open());
    let replica = load(&far);
    follow_until(&replica, || far.loads() == 2);
    assert_eq!(replica.progress().poisoned, 1, "looked at, and still so");
    tamper(&database, &[&state("available")]);
    follow_until(&replica, || far.loads() == 3);
    assert_eq!(replica.progress().poisoned, 0);
    check_fresh(&replica, &*store);
}

// A server on a database that can go away.

struct Away {
    far: Arc<Far>,
    app: Arc<App>,
    replica: Arc<Replica>,
    address: SocketAddr,
    token: Token,
    /// A session's, of an owner.
    cookie: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
    database: Database,
}

struct Got {
    status: u16,
    headers: ::http::HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Away {
    fn start(settings: &str) -> Away {
        let database = Database::new();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        put_account(&*store, key, "MA_1");
        put(&*store, key, &[created(911_000_001, stock("a")), created(911_000_002, stock("a"))]);
        let token = make_key(&verbs(&store), "PA_1", &[Scope::Manage]);
        let path = database.file("rollcall.toml");
        std::fs::write(&path, settings).expect("written");
        let config = Config::load(Some(&path)).expect("settings");
        let far = Far::new(database.open());
        let replica = load(&far);
        let app = Arc::new(App::new(replica.clone(), &config));
        let email = "m@x.org".to_owned();
        let new = NewUser { email, name: None, role: Role::Owner, partner: Some(key), zone: None };
        let (_, link) = app.people.user_create(UserActor::Command(&operator()), new).expect("created");
        let link = link.rsplit('/').next().expect("a secret");
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let signed = app.people.set_up(link, "a few words nobody guesses", here).expect("set up");
        let cookie = format!("rollcall={}", signed.token);

        let router = http::router(app.clone()).merge(console::router(app.clone()));
        let live = app.live.clone();
        let (stop, asked) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
                tell.send(listener.local_addr().expect("an address")).expect("heard");
                http::serve("public", router, listener, (&config, &live), None, async { drop(asked.await) }).await;
            });
        });
        let stopped = Arc::new(AtomicBool::new(false));
        let (following, stop_following) = (replica.clone(), stopped.clone());
        let following = std::thread::spawn(move || {
            while !stop_following.load(Ordering::Relaxed) {
                following.follow();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let address = told.recv().expect("an address");
        let threads = vec![serving, following];
        Away { far, app, replica, address, token, cookie, stop: Some(stop), threads, stopped, database }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Got {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = ::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default().to_owned()).expect("a request");
        let mut response = agent.run(request).expect("an answer");
        let body = response.body_mut().read_to_string().expect("text");
        Got { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Got {
        let token = self.token.reveal();
        let headers = [("X-Auth-ID", "PA_1"), ("X-Auth-Token", token), ("Content-Type", "application/json")];
        self.send(method, path, &headers, body)
    }

    fn page(&self, path: &str) -> Got {
        self.send("GET", path, &[("Cookie", &self.cookie)], None)
    }

    fn form(&self, path: &str, form: &str) -> Got {
        let origin = format!("http://{}", self.address);
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[("Cookie", &self.cookie), ("Origin", &origin), kind], Some(form))
    }

    fn ready(&self) -> Value {
        serde_json::from_str(&self.send("GET", "/readyz", &[], None).body).expect("JSON")
    }

    #[track_caller]
    fn until(&self, what: &str, mut so: impl FnMut(&Away) -> bool) {
        until(PATIENCE, || format!("never: {what}"), || so(self));
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.far.goes(false);
        self.stopped.store(true, Ordering::Relaxed);
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the server panicked");
        }
        self.app.people.flush();
    }
}

const NUMBERS: &str = "/api/v1/partner/numbers";
const ASSIGN: &str = "/api/v1/manage/numbers/+911000001/assign";
const TO_MA_1: &str = r#"{"account_auth_id":"MA_1"}"#;

#[test]
fn a_node_without_its_database_reads_on_says_how_old_that_is_and_refuses_writes() {
    let server = Away::start("");
    let before = server.ask("GET", NUMBERS, None);
    assert_eq!((before.status, before.header("age"), before.header("inventory-version")), (200, None, Some("4")));
    assert_eq!(server.page("/console/p/PA_1/numbers").status, 200);
    let ready = server.ready();
    assert_eq!((&ready["role"], &ready["writable"], &ready["lag"]), (&json!("writer"), &json!(true), &json!(0)));
    assert_eq!(ready["version"], 4);

    server.far.goes(true);
    server.until("it notices", |server| !server.replica.freshness().0);
    let cut = Instant::now();
    // The time is the test: the answers below say how old they are.
    std::thread::sleep(Duration::from_millis(3_100));
    let etag = before.header("etag").expect("a tag").to_owned();
    for (path, tag, status) in [
        (NUMBERS, "", 200),
        (NUMBERS, &*etag, 304),
        ("/api/v1/partner/numbers?page=0", "", 422),
        ("/api/v1/partner/numbers/+911000009", "", 404),
        ("/api/v1/partner/numbers/+911000001", "", 200),
    ] {
        let credentials = [("X-Auth-ID", "PA_1"), ("X-Auth-Token", server.token.reveal())];
        let answer = server.send("GET", path, &[&credentials[..], &[("If-None-Match", tag)]].concat(), None);
        assert_eq!((answer.status, answer.header("inventory-version")), (status, Some("4")), "{path}");
        let age: u64 = answer.header("age").expect("an age").parse().expect("seconds");
        // Whole seconds, of which the first may have begun before.
        let most = cut.elapsed().as_secs() + 2;
        assert!((2..=most).contains(&age), "{path}: {age}, not at most {most}");
    }
    let stranger = server.send("GET", NUMBERS, &[("X-Auth-ID", "PA_1"), ("X-Auth-Token", "no")], None);
    assert_eq!((stranger.status, stranger.header("age"), stranger.header("inventory-version")), (401, None, None));

    for (method, path, body) in [
        ("POST", ASSIGN, Some(TO_MA_1)),
        ("POST", "/api/v1/manage/numbers", Some(r#"{"number":"+911000007","monthly_cost":1,"currency":"INR"}"#)),
        ("POST", "/api/v1/manage/accounts", Some(r#"{"account_auth_id":"MA_2","name":"Two"}"#)),
        ("POST", "/api/v1/manage/changes/4/undo", Some("{}")),
        ("POST", "/api/v1/manage/jobs", Some(r#"{"verb":"suspend","numbers":["+911000001"]}"#)),
        ("POST", "/api/v1/manage/jobs/job_x/run", Some("{}")),
        ("POST", "/api/v1/manage/schedules", Some(r#"{"name":"weekly","recipients":["a@x.org"]}"#)),
        ("POST", "/api/v1/manage/webhooks", Some(r#"{"name":"hook","url":"https://x.org/","events":["tag"]}"#)),
        ("GET", "/api/v1/manage/jobs", None),
        ("GET", "/api/v1/manage/jobs/job_x/rows", None),
        ("GET", "/api/v1/partner/numbers/+911000001/history", None),
        ("GET", "/api/v1/partner/changes", None),
        ("GET", "/api/v1/partner/changes/2", None),
        ("GET", "/api/v1/partner/numbers?as_of=2026-02-02T03:00:00Z", None),
        ("GET", "/api/v1/partner/costs?month=2026-02", None),
    ] {
        let begun = Instant::now();
        let answer = server.ask(method, path, body);
        // What is wrong in itself may be told first, and what is known here be answered.
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.body);
        assert_eq!(answer.header("retry-after"), Some("1"), "{method} {path}");
        assert!(answer.body.contains("UNAVAILABLE") && answer.body.contains("database"), "{}", answer.body);
        assert!(begun.elapsed() < Duration::from_secs(10), "{method} {path} took {:?}", begun.elapsed());
    }
    // The console: pages go on, forms are refused.
    let page = server.page("/console/p/PA_1/numbers");
    assert!(page.status == 200 && page.body.contains("has not heard from its database"), "{}", page.status);
    for (path, form) in [
        ("/console/p/PA_1/numbers/+911000001/assign", "account=MA_1"),
        ("/console/p/PA_1/customers", "id=MA_2&name=Two"),
        ("/console/p/PA_1/customers/MA_1/rename", "name=Two"),
        ("/console/p/PA_1/numbers", "number=%2B911000007&monthly_cost=1&currency=INR"),
        ("/console/p/PA_1/numbers/bulk/preview", "verb=retire&n=%2B911000001"),
        ("/console/p/PA_1/numbers/views/save", "name=mine&q="),
        ("/console/p/PA_1/keys", "name=one&scope=read"),
        ("/console/p/PA_1/users", "email=b@x.org&role=viewer"),
        ("/console/p/PA_1/settings/quarantine", "days=5"),
        ("/console/p/PA_1/changes/3/undo", ""),
        ("/console/p/PA_1/import", "text=number"),
        ("/console/p/PA_1/checks/webhooks", "name=hook&url=https://x.org/&events=tag"),
        (
            "/console/p/PA_1/checks/schedules",
            "name=weekly&rhythm=cron&cron=0+6+*+*+1&zone=UTC&within=14d&recipients=a@x.org&report=always",
        ),
        ("/console/me", "name=Ann&zone=UTC"),
        ("/console/me/sessions/end", ""),
        ("/console/sign-in", "email=m@x.org&password=a+few+words+nobody+guesses"),
    ] {
        let answer = server.form(path, form);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{path}: {}", answer.body);
    }
    let ready = server.ready();
    assert_eq!(
        (&ready["role"], &ready["writable"], &ready["status"]),
        (&json!("reader"), &json!(false), &json!("degraded"))
    );
    assert!(ready["age_seconds"].as_u64().expect("seconds") >= 2);

    server.far.goes(false);
    server.until("it goes on", |server| server.ready()["writable"] == true);
    let assigned = server.ask("POST", ASSIGN, Some(TO_MA_1));
    assert_eq!((assigned.status, assigned.header("inventory-version")), (200, Some("5")), "{}", assigned.body);
    assert_eq!(server.ask("GET", NUMBERS, None).header("age"), None);
}

#[test]
fn keys_are_trusted_for_as_long_as_was_said() {
    let server = Away::start("[follow]\nstale_keys_max = 1\n");
    server.far.goes(true);
    server.until("nobody is let in", |server| server.ask("GET", NUMBERS, None).status == 503);
    let answer = server.ask("GET", NUMBERS, None);
    assert!(answer.body.contains("UNAVAILABLE") && answer.body.contains("for 1"), "{}", answer.body);
    assert!(answer.header("retry-after").is_some() && answer.header("inventory-version").is_none());
    assert_eq!(server.ask("POST", ASSIGN, Some(TO_MA_1)).status, 503);
    let page = server.page("/console/p/PA_1/numbers");
    assert!(page.status == 503 && page.body.contains("has not heard from its database"), "{}", page.body);
    assert_eq!(server.send("GET", "/readyz", &[], None).status, 200);
    server.far.goes(false);
    server.until("all are let in", |server| server.ask("GET", NUMBERS, None).status == 200);
}

#[test]
fn whose_partner_cannot_be_followed_is_told_how_old_it_is() {
    let server = Away::start("");
    let key = server.replica.node("PA_1").expect("there").key;
    put(&*server.far.store, key, &[created(911_000_003, stock("a"))]);
    server.until("it has it", |server| server.ready()["version"] == 5);
    let store = server.database.open();
    {
        // Written and spoiled before anybody looks.
        let raw = server.database.raw();
        raw.execute_batch(
            "CREATE TRIGGER spoil AFTER INSERT ON change BEGIN UPDATE change SET verb = 'odd' \
             WHERE version = NEW.version AND partner = NEW.partner; END",
        )
        .expect("made");
        put(&*store, key, &[created(911_000_004, stock("a"))]);
        raw.execute_batch("DROP TRIGGER spoil").expect("dropped");
    }
    server.until("it stays behind", |server| server.ready()["poisoned"] == 1);
    let answer = server.ask("GET", NUMBERS, None);
    assert_eq!((answer.status, answer.header("inventory-version")), (200, Some("5")));
    assert!(answer.header("age").is_some());
    assert_eq!((&server.ready()["lag"], &server.ready()["status"]), (&json!(1), &json!("ok")));
}

// A real server, and commands that write beside it.

const AT_LEAST: &str = "Inventory-Version-At-Least";

fn version(answer: &harness::Answer) -> u64 {
    answer.header("inventory-version").expect("a version").parse().expect("a whole number")
}

/// Serves the sample with some settings.
fn serve(settings: &str) -> Server {
    let database = harness::Database::sample();
    let config = database.write("rollcall.toml", settings).display().to_string();
    Server::start(database, &["--config", &config])
}

#[test]
fn a_read_waits_for_the_version_it_names() {
    let server = serve("[follow]\nwait_max_ms = 20000\n");
    let now = version(&server.get(GLOBAL).auth(&ONE).check(200));
    for least in [0, 1, now] {
        let answer = server.get(GLOBAL).auth(&ONE).header(AT_LEAST, &least.to_string()).check(200);
        assert_eq!(version(&answer), now);
    }
    for path in [GLOBAL, "/api/v1/partner/numbers/+447700900001", "/api/v1/partner/changes", "/api/v1/partner/accounts"]
    {
        let next = version(&server.get(GLOBAL).auth(&ONE).check(200)) + 1;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let begun = Instant::now();
                let answer = server.get(path).auth(&ONE).header(AT_LEAST, &next.to_string()).send();
                (answer, begun.elapsed())
            });
            // The time is the test: the request waits for at least this long, and others do not meanwhile.
            std::thread::sleep(Duration::from_millis(300));
            server.get(GLOBAL).auth(&ONE).check(200);
            let number = format!("number\n+4477009{:05}\n", next);
            server.database.import("PA_ONE", &number);
            let (answer, waited) = waiting.join().expect("answered");
            assert_eq!(version(&answer), next, "{path}: {answer:?}");
            assert!(answer.status == 200 || answer.status == 404, "{path}: {answer:?}");
            assert!(waited >= Duration::from_millis(300), "{waited:?}");
        });
    }
}

#[test]
fn waiting_ends_with_503_and_is_for_tenants_only() {
    let server = serve("[follow]\nwait_max_ms = 400\n[limits]\nrequests_per_second = 1\nrequests_burst = 100\n");
    let now = version(&server.get(GLOBAL).auth(&ONE).check(200));
    let far = (now + 100).to_string();
    let begun = Instant::now();
    let answer = server.get(GLOBAL).auth(&ONE).header(AT_LEAST, &far).check(503);
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("UNAVAILABLE", Some("1")));
    assert_eq!(version(&answer), now);
    let text = answer.text();
    assert!(text.contains(&format!("version {now} ")) && text.contains(&far), "{text}");
    let left = |answer: &harness::Answer| answer.header("ratelimit").expect("a budget").to_owned();
    assert!(left(&answer).starts_with("\"requests\";r=98;"), "waiting is one request: {}", left(&answer));

    for wrong in ["x", "-1", "1.5", "", "99999999999999999999999"] {
        let answer = server.get(GLOBAL).auth(&ONE).header(AT_LEAST, wrong).check(422);
        assert_eq!(answer.fields(), [format!("{AT_LEAST} INVALID")], "{wrong:?}");
        assert_eq!(version(&answer), now);
    }
    let twice = server.get(GLOBAL).auth(&ONE).header(AT_LEAST, "1").header(AT_LEAST, "1").check(422);
    assert_eq!(twice.fields(), [format!("{AT_LEAST} REPEATED")]);
    let server = serve("[follow]\nwait_max_ms = 60000\n");
    let begun = Instant::now();
    for least in [&*far, "x"] {
        let nobody = server.get(GLOBAL).header(AT_LEAST, least).check(401);
        assert_eq!(nobody.header("inventory-version"), None);
        let wrong = harness::Key { auth_token: TWO.auth_token.clone(), ..ONE.clone() };
        server.get(GLOBAL).auth(&wrong).header(AT_LEAST, least).check(401);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "strangers do not wait: {:?}", begun.elapsed());
}

#[test]
fn a_key_that_is_revoked_while_it_waits_opens_nothing() {
    let database = harness::Database::sample();
    let key = database.key("PA_ONE", &[]);
    let config = database.write("rollcall.toml", "[follow]\nwait_max_ms = 20000\n").display().to_string();
    let server = Server::start(database, &["--config", &config]);
    let next = version(&server.get(GLOBAL).auth(&key).check(200)) + 1;
    let sent = server.sent();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get(GLOBAL).auth(&key).header(AT_LEAST, &next.to_string()).send());
        server.once_sent(sent + 1);
        server.database.run(&["key", "revoke", "--partner", "PA_ONE", &key.key_id]).done();
        waiting.join().expect("answered").check(401);
    });
}

#[test]
fn a_write_says_the_version_that_shows_it() {
    let database = harness::Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let now = version(&server.get(GLOBAL).auth(&key).check(200));
    let stock = json!({ "number": "+442079460177", "monthly_cost": 1, "currency": "GBP" });
    let post =
        |path: &str, body: &Value| server.request("POST", path).auth(&key).header("Idempotency-Key", path).json(body);
    let made = post("/api/v1/manage/numbers", &stock).check(201);
    assert_eq!(version(&made), now + 1);
    let again = post("/api/v1/manage/numbers", &stock).check(201);
    assert_eq!(version(&again), now + 1);
    let assign = "/api/v1/manage/numbers/+442079460177/assign";
    let assigned = post(assign, &json!({ "account_auth_id": "MA_1" })).check(200);
    assert_eq!(version(&assigned), now + 2);
    // A replay, a refusal and what changes nothing: what is now.
    assert_eq!(version(&post("/api/v1/manage/numbers", &stock).check(201)), now + 2);
    assert_eq!(
        version(&server.request("POST", assign).auth(&key).json(&json!({ "account_auth_id": "MA_2" })).check(409)),
        now + 2
    );
    assert_eq!(
        version(&server.request("POST", assign).auth(&key).json(&json!({ "account_auth_id": "MA_1" })).check(200)),
        now + 2
    );
    // Reads, unchanged ones, and those of the past.
    let read = server.get(GLOBAL).auth(&key).check(200);
    let tag = read.header("etag").expect("a tag").to_owned();
    assert_eq!(version(&server.get(GLOBAL).auth(&key).header("If-None-Match", &tag).check(304)), now + 2);
    assert_eq!(version(&server.get("/api/v1/partner/changes").auth(&key).check(200)), now + 2);
    assert_eq!(version(&server.request("POST", assign).auth(&ONE).json(&json!({})).check(403)), now + 2, "no scope");
    assert!(version(&server.get(&format!("{GLOBAL}?as_of=2020-01-01T00:00:00Z")).auth(&key).check(200)) == 0);
    server.get("/livez").check(200);
}

#[test]
fn the_page_after_a_form_waits_for_what_the_form_made() {
    // One that waits longer than anything takes here, and one that hardly does.
    let server = serve("[follow]\nwait_max_ms = 60000\n");
    let hasty = serve("[follow]\nwait_max_ms = 300\n");
    let browser = Browser::sign_up(&server, "PA_ONE", "manager");
    let stranger = Browser::sign_up(&server, "PA_TWO", "manager");
    let next = version(&server.get(GLOBAL).auth(&ONE).check(200)) + 1;
    let page = format!("/console/p/PA_ONE/numbers?done={next}&search=447700999999");
    let sent = server.sent();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| browser.get(&server, &page));
        server.once_sent(sent + 1);
        server.database.import("PA_ONE", "number\n+447700999999\n");
        let answer = waiting.join().expect("answered").check(200);
        assert!(answer.text().contains("/numbers/+447700999999"), "the page shows it: {}", answer.text());
    });
    let took = |server: &Server, browser: &Browser, path: &str, status: u16| {
        let begun = Instant::now();
        browser.get(server, path).check(status);
        begun.elapsed()
    };
    let never = format!("/console/p/PA_ONE/numbers?done={}", next + 100);
    assert!(took(&server, &browser, &page, 200) < Duration::from_secs(60));
    let stranger = took(&server, &stranger, &never, 404);
    assert!(stranger < Duration::from_secs(60), "a stranger does not learn by waiting: {stranger:?}");
    let known = Browser::sign_up(&hasty, "PA_ONE", "manager");
    assert!(took(&hasty, &known, &never, 200) >= Duration::from_millis(300), "as long as may be, then as it is");
}

#[test]
fn a_server_starts_without_the_rows_it_cannot_understand() {
    let database = harness::Database::sample();
    let raw = rusqlite::Connection::open(database.path()).expect("opens");
    raw.execute("UPDATE number SET state = 'lost' WHERE number % 1000 BETWEEN 221 AND 250", []).expect("spoiled");
    drop(raw);
    let server = Server::start(database, &[]);
    let ready = server.get("/readyz").check(200).json();
    assert_eq!((&ready["poisoned"], &ready["status"]), (&json!(30), &json!("ok")));
    assert!(server.get("/metrics").check(200).text().contains("rollcall_poisoned_rows 30\n"));
    let log = server.log();
    assert_eq!(log.matches("cannot be understood and is left out").count(), 20, "{log}");
    assert!(log.contains("10 more rows cannot be understood"), "{log}");
    assert!(log.contains("number 912271264221"), "{log}");
    let verified = server.database.run(&["verify"]);
    assert!(verified.code != 0 && verified.stdout.contains("912271264221"), "{verified:?}");
    for command in [&["export", "--partner", "PA_SEED"][..], &["check", "--partner", "PA_SEED"]] {
        let refused = server.database.run(command).check(1);
        assert!(refused.stderr.contains("cannot be understood"), "{refused:?}");
    }
    let raw = rusqlite::Connection::open(server.database.path()).expect("opens");
    raw.execute("UPDATE number SET state = 'active' WHERE state = 'lost'", []).expect("repaired");
    server.within(PATIENCE, |server| server.get("/readyz").check(200).json()["poisoned"] == 0);
}
