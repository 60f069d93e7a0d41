//! The database of several nodes: what writes, imports and rows cost in it, in its
//! present form and in that of the release before, and how fast a node follows a
//! failover.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::change::Edit;
use rollcall::domain::{Actor, E164, EntityChange, PartnerKey, Record, RunChange, Verb};
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::{Replica, Service};
use rollcall::store::{self, Draft, LogEntry, Open, Store, WriteTarget};

use super::cluster::{self, Cluster, Replication};
use super::shared::{self, Random, at_least, at_most, heading, micros, now, record, reported};

/// A database of the release before, which has one row for each number.
const EARLIER: &[u8] = include_bytes!("../../tests/fixtures/postgres-schema-4.sql.gz");
const FORMS: [Form; 2] = [Form::Runs, Form::Each];

#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Runs,
    Each,
}

impl Form {
    fn named(self) -> &'static str {
        match self {
            Form::Runs => "rows of neighbours",
            Form::Each => "one row a number",
        }
    }

    /// A new database of this form.
    fn database(self, cluster: &Cluster) -> String {
        let database = cluster.database();
        if self == Form::Each {
            cluster.restore(cluster::database_name(&database), EARLIER);
        }
        database
    }
}

fn open(database: &str) -> Arc<dyn Store> {
    store::open(&database.parse().expect("a location"), Open::Create).expect("a database")
}

fn partner(store: &Arc<dyn Store>, auth_id: &str) -> PartnerKey {
    let id = auth_id.parse().expect("an id");
    shared::verbs(store.clone()).partner_create(id, "P".into()).expect("a partner");
    store.partner(&auth_id.parse().expect("an id")).expect("asked").expect("a partner")
}

fn write(store: &Arc<dyn Store>, key: PartnerKey, draft: Draft<'_>) {
    let actor = Actor::Command { user: "bench".to_owned() };
    let entry = LogEntry { at: now(), actor, request_id: None, verb: Verb::Import, from: None };
    store.write(WriteTarget::Partner(key), entry, draft).expect("written");
}

/// The accounts and the applications that numbers refer to.
fn entities(store: &Arc<dyn Store>, key: PartnerKey) {
    let put = |transaction: &mut dyn store::Transaction| {
        for at in 0..shared::ACCOUNTS {
            transaction.put_entity(EntityChange::Account(Edit::created(shared::account(at))))?;
            transaction.put_entity(EntityChange::Application(Edit::created(shared::application(at))))?;
        }
        Ok(())
    };
    write(store, key, Box::new(put));
}

/// Numbers of one account that say the same, as runs of at most 10,000.
fn alike(numbers: &[(u64, u64)]) -> Vec<RunChange> {
    let record_of = |holder| {
        let expires_at = None;
        Record { expires_at, ..record(holder, &mut Random(9)) }
    };
    let blocks = numbers.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1 && b.0 % 10_000 != 0);
    let change = |block: &[(u64, u64)]| RunChange {
        first: E164::new(block[0].0).expect("a number"),
        count: block.len() as u64,
        before: None,
        after: Some(record_of(block[0].1)),
    };
    blocks.map(change).collect()
}

/// Numbers that have dates of their own.
fn dated(numbers: &[(u64, u64)]) -> Vec<RunChange> {
    let mut random = Random(3);
    let change = |&(digits, holder): &(u64, u64)| RunChange {
        first: E164::new(digits).expect("a number"),
        count: 1,
        before: None,
        after: Some(shared::dated_record(holder, &mut random)),
    };
    numbers.iter().map(change).collect()
}

/// Puts numbers as an import does, and returns how long it took, in seconds.
fn put(store: &Arc<dyn Store>, key: PartnerKey, changes: &[RunChange]) -> f64 {
    let body = |transaction: &mut dyn store::Transaction| {
        for some in changes.chunks(5_000) {
            let wanted: Vec<_> = some.iter().map(RunChange::run).collect();
            transaction.owners(&wanted)?;
            transaction.put_runs(some)?;
        }
        Ok(())
    };
    micros(|| write(store, key, Box::new(body))) / 1e6
}

// ---- writes

const WRITERS: usize = 32;
const WRITES_EACH: usize = 30;

/// Verbs of one number each, durable.
pub fn writes(cluster: &Cluster) {
    heading("durable single assigns and releases, one partner, PostgreSQL with fsync");
    let mut raw = 0.0_f64;
    let mut rates = [[0.0_f64; 2]; 2];
    let mut forms = FORMS.map(|form| Writing::of(form, cluster));
    for _ in 0..4 {
        raw = raw.max(commits(cluster));
        for (writing, rates) in forms.iter_mut().zip(&mut rates) {
            for (rate, writers) in rates.iter_mut().zip([1, WRITERS]) {
                *rate = rate.max(writing.rate(writers));
            }
        }
    }
    reported("commits of one row, one connection (pgbench)", raw, "/s");
    for (form, [one, many]) in FORMS.into_iter().zip(rates) {
        let named = form.named();
        reported(&format!("one writer, {named}"), one, "/s");
        reported(&format!("{WRITERS} writers, {named}"), many, "/s");
        at_least(&format!("{WRITERS} writers ÷ one, {named}"), many / one, "times", 3.0, 5.0);
        at_least(&format!("{WRITERS} writers ÷ commits of a connection, {named}"), many / raw, "times", 3.0, 5.0);
    }
}

/// A partner whose numbers are written.
struct Writing {
    store: Arc<dyn Store>,
    key: PartnerKey,
    targets: Vec<E164>,
    round: u64,
}

impl Writing {
    fn of(form: Form, cluster: &Cluster) -> Writing {
        let store = open(&form.database(cluster));
        let key = partner(&store, "PA_BENCH");
        entities(&store, key);
        let numbers = shared::blocks(20_000);
        put(&store, key, &alike(&numbers));
        let targets = numbers.iter().step_by(20).filter_map(|&(digits, _)| E164::new(digits)).collect();
        Writing { store, key, targets, round: 0 }
    }

    /// Verbs a second.
    fn rate(&mut self, writers: usize) -> f64 {
        self.round += 1;
        let took = micros(|| {
            std::thread::scope(|scope| {
                for targets in self.targets.chunks(WRITES_EACH).take(writers) {
                    let (service, key, round) = (shared::verbs(self.store.clone()), self.key, self.round);
                    scope.spawn(move || {
                        targets.iter().for_each(|&number| shared::reassign(&service, key, number, round));
                    });
                }
            });
        });
        (2 * writers * WRITES_EACH) as f64 / took * 1e6
    }
}

/// Commits a second of a connection that inserts a row.
fn commits(cluster: &Cluster) -> f64 {
    let database = cluster.database();
    let name = cluster::database_name(&database);
    cluster.psql(name, "CREATE TABLE raw (at BIGSERIAL PRIMARY KEY, what TEXT)");
    let script = cluster.folder.join("insert.sql");
    std::fs::write(&script, "INSERT INTO raw (what) VALUES (repeat('x', 200));\n").expect("written");
    let mut command = cluster.client("pgbench");
    command.args(["-n", "-M", "prepared", "-c", "1", "-T", "2", "-f"]).arg(&script).arg(name);
    let output = command.output().expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("pgbench said {text} {}", String::from_utf8_lossy(&output.stderr)))
}

// ---- imports and sizes

const ROOM: &str = "SELECT sum(pg_total_relation_size(name)) FROM unnest(array[to_regclass('number'), \
                    to_regclass('holder'), to_regclass('number_run'), to_regclass('holder_run'), \
                    to_regclass('holder_group')]) AS name";

/// The same numbers in both forms.
pub fn imports(cluster: &Cluster, count: usize) {
    heading(&format!("{count} numbers in both forms: the write of an import, and the tables without the log"));
    let blocks = alike(&shared::blocks(count));
    let (indian, scattered) = (shared::indian(count), shared::scattered(count));
    for (what, changes, most, room) in [
        ("in blocks", blocks, 0.1, 0.1),
        ("scattered over India", alike(&indian), 1.1, 1.1),
        ("scattered over India, with dates", dated(&indian), 1.1, 1.1),
        ("at random of all numbers", alike(&scattered), 1.1, 1.1),
    ] {
        let numbers: u64 = changes.iter().map(|change| change.count).sum();
        let (mut times, mut rooms) = ([f64::INFINITY; 2], [0.0; 2]);
        for _ in 0..2 {
            for (at, form) in FORMS.into_iter().enumerate() {
                let database = form.database(cluster);
                let name = cluster::database_name(&database);
                let size = || cluster.psql(name, ROOM).parse::<f64>().expect("a size");
                let store = open(&database);
                let key = partner(&store, "PA_BENCH");
                let before = size();
                times[at] = times[at].min(put(&store, key, &changes));
                rooms[at] = (size() - before) / numbers as f64;
                drop(store);
                cluster.forget(name);
            }
        }
        for (at, form) in FORMS.into_iter().enumerate() {
            let named = form.named();
            reported(&format!("{what}, {named}: time a number"), times[at] * 1e6 / numbers as f64, "µs");
            reported(&format!("{what}, {named}: room a number"), rooms[at], "bytes");
        }
        at_most(&format!("{what}: time of neighbours ÷ each"), times[0] / times[1], "times", most, most);
        at_most(&format!("{what}: room of neighbours ÷ each"), rooms[0] / rooms[1], "times", room, room);
    }
}

// ---- neighbours

/// One tenant's import of a million numbers, and another tenant's writes.
pub fn neighbours(cluster: &Cluster, folder: &Path) {
    heading("one tenant imports 1 M numbers: another tenant's longest write");
    let count = 1_000_000;
    for (what, numbers, most) in [("in blocks", shared::blocks(count), 0.3), ("scattered", shared::indian(count), 1.5)]
    {
        let file = folder.join("import.csv");
        std::fs::write(&file, lines(&numbers)).expect("written");
        let store = open(&cluster.database());
        let (large, small) = (partner(&store, "PA_LARGE"), partner(&store, "PA_SMALL"));
        assert_ne!(large, small);
        entities(&store, small);
        let own: Vec<(u64, u64)> = (0..2_000).map(|at| (4_420_000_000_u64 + at, at % 400)).collect();
        put(&store, small, &alike(&own));
        let alone = longest(&store, small, &own, |done| {
            std::thread::sleep(Duration::from_secs(3));
            done.store(true, Ordering::SeqCst);
        });
        let mut took = 0.0;
        let beside = longest(&store, small, &own, |done| {
            let service = shared::verbs(store.clone());
            took = micros(|| import(&service, "PA_LARGE", &file)) / 1e6;
            done.store(true, Ordering::SeqCst);
        });
        reported(&format!("{what}: the import"), took, "s");
        reported(&format!("{what}: another's longest write, alone"), alone, "s");
        at_most(&format!("{what}: another's longest write, beside it"), beside, "s", most, most);
    }
}

/// A file with a line for each block or number.
fn lines(numbers: &[(u64, u64)]) -> String {
    let mut text =
        "number,account_auth_id,status,number_type,country,region,monthly_cost,currency,assigned_at\n".to_owned();
    for block in numbers.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1) {
        let (first, last, account) = (block[0].0, block[block.len() - 1].0, shared::account_id(block[0].1));
        let number = if first == last { format!("+{first}") } else { format!("+{first}..+{last}") };
        text += &format!("{number},{account},active,local,IN,Mumbai,500.00,INR,2026-01-01T00:00:00Z\n");
    }
    text
}

fn import(service: &Service, partner: &str, file: &Path) {
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let source = || Ok(Box::new(std::fs::File::open(file)?) as Box<dyn std::io::Read>);
    let report = service.import(&partner.parse().expect("an id"), &source, &ImportOptions::default(), &watch);
    let report = report.expect("imported");
    let why = report.errors.first();
    assert!(report.written && report.rejected == 0, "{} rejected, such as {why:?}", report.rejected);
}

/// The longest of a partner's writes, one after another, while something happens; in
/// seconds.
fn longest(store: &Arc<dyn Store>, key: PartnerKey, own: &[(u64, u64)], work: impl FnOnce(&AtomicBool)) -> f64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let service = shared::verbs(store.clone());
            let (mut worst, mut round) = (0.0_f64, 0);
            while !done.load(Ordering::SeqCst) {
                round += 1;
                for &(digits, _) in own {
                    let number = E164::new(digits).expect("a number");
                    // Two verbs.
                    let took = micros(|| shared::reassign(&service, key, number, round % 400)) / 1e6;
                    worst = worst.max(took);
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                }
            }
            worst
        });
        work(&done);
        writer.join().expect("the writer")
    })
}

// ---- failover

/// A node whose database lost its last writes in a failover.
pub fn failover(numbers: usize) {
    heading(&format!("a failover that loses writes, {} M numbers in blocks", numbers / 1_000_000));
    let Some(primary) = Cluster::new(&["shared_buffers=256MB"]) else { return };
    let database = primary.database();
    let store = open(&database);
    let key = partner(&store, "PA_BENCH");
    entities(&store, key);
    let changes = alike(&shared::blocks(numbers));
    reported("rows of neighbours", changes.len() as f64, "");
    put(&store, key, &changes);
    let room: f64 = primary.psql(cluster::database_name(&database), ROOM).parse().expect("a size");
    reported("tables of numbers", room / 1e6, "MB");
    drop(store);
    let standby = primary.standby(Replication::Asynchronous);
    let store = open(&cluster::addresses(&[&primary, &standby], cluster::database_name(&database)));
    let mut replica = None;
    let start = micros(|| replica = Some(Replica::load(store.clone()).expect("loads"))) / 1e6;
    let replica = replica.expect("loaded");
    at_most("start of a node", start, "s", 1.0, 0.6);
    let snapshot = replica.node("PA_BENCH").expect("the partner").snapshot();
    reported("memory of the index", snapshot.bytes() as f64 / 1e6, "MB");
    drop(snapshot);
    standby.hear_nothing();
    let service = shared::verbs(store.clone());
    let number = changes[0].first;
    shared::reassign(&service, key, number, 1);
    replica.follow();
    primary.kill9();
    standby.promote();
    // Another write in the place of the lost ones. The connections to the old primary
    // are found dead by the first.
    let began = Instant::now();
    let other = open(&cluster::addresses(&[&standby], cluster::database_name(&database)));
    shared::reassign(&shared::verbs(other.clone()), key, changes[1].first, 2);
    let wanted = other.heads(true).expect("heads").expect("asked for always")[0];
    let mut longest = 0.0_f64;
    let node = replica.node("PA_BENCH").expect("the partner");
    let there = |node: &rollcall::service::replica::Node| {
        let snapshot = node.snapshot();
        (snapshot.version, snapshot.head) == (wanted.version, wanted.digest)
    };
    while !replica.node("PA_BENCH").is_some_and(|node| there(&node)) {
        longest = longest.max(micros(|| replica.follow()) / 1e6);
        assert!(began.elapsed() < Duration::from_secs(60), "the node does not follow");
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(node);
    at_most("the node reloads its partner and follows", longest, "s", 1.0, 0.6);
    reported("the node has all writes after the takeover", began.elapsed().as_secs_f64(), "s");
}

// ---- holders

/// What keeps two partners from having one number: the ways that were compared.
pub fn holders(cluster: &Cluster) {
    heading("100,000 scattered numbers get a holder, in statements of 5,000");
    let database = Form::Runs.database(cluster);
    drop(open(&database));
    let name = cluster::database_name(&database);
    let tables = [
        ("plain", "CREATE TABLE plain (first BIGINT PRIMARY KEY, last BIGINT NOT NULL, partner BIGINT NOT NULL)"),
        (
            "ranges",
            "CREATE TABLE ranges (first BIGINT, last BIGINT NOT NULL, partner BIGINT NOT NULL, \
             EXCLUDE USING gist (int8range(first, last, '[]') WITH &&))",
        ),
    ];
    for (_, sql) in tables {
        cluster.psql(name, sql);
    }
    let numbers = shared::scattered(100_000);
    let folder = cluster.folder.join("holders.sql");
    let mut times = Vec::new();
    for table in ["plain", "holder_run", "ranges"] {
        let mut text = String::from("BEGIN;\n");
        for some in numbers.chunks(5_000) {
            let list: Vec<String> = some.iter().map(|(digits, _)| digits.to_string()).collect();
            text += &format!(
                "INSERT INTO {table} (first, last, partner) SELECT n, n, 1 FROM unnest('{{{}}}'::bigint[]) AS n;\n",
                list.join(",")
            );
        }
        // Undone, so that each round begins with an empty table.
        text += "ROLLBACK;\n";
        std::fs::write(&folder, text).expect("written");
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let mut psql = cluster.client("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-f"]).arg(&folder);
            best = best.min(micros(|| assert!(psql.status().expect("psql").success())));
        }
        times.push(best / numbers.len() as f64);
    }
    let [plain, trigger, ranges] = times[..] else { unreachable!("three tables") };
    reported("a primary key alone", plain, "µs a number");
    reported("with the trigger of holder_run", trigger, "µs a number");
    reported("with an exclusion constraint on ranges", ranges, "µs a number");
    at_most("the trigger ÷ the exclusion constraint", trigger / ranges, "times", 0.5, 0.2);
}
