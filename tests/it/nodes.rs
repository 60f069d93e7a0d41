//! Several nodes on one PostgreSQL, and what befalls them: everybody writes at
//! once, a node is cut off, is killed, the database is lost, behind, full.
//!
//! What always holds, whatever happens: reads are answered, what was
//! acknowledged is in the log, writes that cannot be done are refused within
//! two seconds and by name, and nodes get over it without being restarted.
//!
//! The short versions run with all tests. The whole proof: `ROLLCALL_CUT_S=60
//! ROLLCALL_CUT_CHANGES=10000 ROLLCALL_FAILOVER_ROUNDS=20 cargo test --release
//! --test it nodes:: -- --nocapture --test-threads 1`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::{E164, PartnerKey};
use rollcall::store::Store;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster, Replication, Stop, database_name};
use crate::fixture::time;
use crate::harness::{Answer, Database, GLOBAL, Key, Server};
use crate::kill::setting;
use crate::network::Namespace;
use crate::process::Random;
use crate::until::until;
use crate::{alerts, jobs, smtp, webhooks};

const NUMBERS: u64 = 2_000;
const WRITERS: u64 = 8;
/// A refusal has to come by then, on a busy machine: well before the timeouts of
/// the connection (10 s) and of a lock (30 s).
const PROMPT: Duration = Duration::from_secs(5);
/// By then another node does the work of one that was killed or stopped.
pub const TAKEN_OVER: Duration = Duration::from_secs(30);
/// How long a node may take to be as before, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(30);

/// Nodes on one database of one partner, with a key that may write.
pub struct Nodes {
    pub servers: Vec<Server>,
    pub key: Key,
    pub database: Arc<Database>,
    /// Makes each write unlike all others.
    turns: AtomicU64,
}

/// What was acknowledged: versions, and the number that each changed.
type Acknowledged = BTreeMap<u64, String>;

pub fn number(at: u64) -> String {
    format!("+{}", 4_930_000_000_000 + at)
}

impl Nodes {
    fn start(address: &str, count: usize) -> Nodes {
        Nodes::configured(address, count, |_| String::new())
    }

    pub fn configured(address: &str, count: usize, settings: impl FnOnce(&Database) -> String) -> Nodes {
        let database = Arc::new(Database::on(address));
        database.partner("PA_ONE", "One", &[]);
        let key = database.key("PA_ONE", &["--scope", "manage"]);
        let last = 4_930_000_000_000 + NUMBERS - 1;
        let rows = format!("number,account_auth_id,monthly_cost,currency\n{}-+{last},MA_1,1.00,EUR\n", number(0));
        assert_eq!(database.import("PA_ONE", &rows)["rejected"], 0);
        let settings = settings(&database);
        let config = database.write("rollcall.toml", &settings).display().to_string();
        let serve = || Server::start(database.clone(), &["--config", &config, "--rate-limit", "0"]);
        let servers = (0..count).map(|_| serve()).collect();
        Nodes { servers, key, database, turns: AtomicU64::new(0) }
    }

    pub fn post(&self, node: &Server, path: &str, body: &Value) -> Answer {
        node.request("POST", path).auth(&self.key).json(body).send()
    }

    fn verb(&self, node: &Server, number: &str, verb: &str, body: &Value) -> Answer {
        self.post(node, &format!("/api/v1/manage/numbers/{number}/{verb}"), body)
    }

    /// A change that nothing else made before.
    pub fn write(&self, node: &Server, number: &str) -> Answer {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 2;
        self.verb(node, number, "cost", &json!({ "monthly_cost": turn, "currency": "EUR" }))
    }

    fn read(&self, node: &Server) -> Answer {
        node.get(&format!("{GLOBAL}?per_page=1")).auth(&self.key).send()
    }

    /// The version that a node answers from, by the entity tag.
    fn seen(&self, node: &Server) -> u64 {
        let answer = self.read(node).check(200);
        let tag = answer.header("etag").expect("a tag").trim_matches('"').to_owned();
        u64::from_str_radix(tag.split('-').next().unwrap_or_default(), 16).expect("a version")
    }

    fn digests(&self, node: &Server) -> Value {
        node.get("/digest").check(200).json()["data"].clone()
    }

    /// All nodes have what the database has, soon.
    #[track_caller]
    fn agree(&self) {
        let all = || self.servers.iter().map(|node| self.digests(node)).collect::<Vec<Value>>();
        let agree = || {
            let all = all();
            all.iter().all(|one| *one == all[0])
        };
        until(RECOVERY, || format!("digests differ: {:?}", all()), agree);
        for node in &self.servers {
            self.database.verify(Some(&node.url()));
        }
    }

    fn partner(&self, store: &dyn Store) -> PartnerKey {
        let heads = store.heads(true).expect("heads").expect("asked for always");
        heads.iter().map(|head| head.key).min().expect("a partner")
    }

    /// The log has no gaps, and each acknowledged write under its version.
    #[track_caller]
    fn check_log(&self, acknowledged: &Acknowledged) {
        let store = self.database.store();
        let key = self.partner(&*store);
        let log = store.log(key, 0, 1_000_000).expect("the log");
        let versions = log.iter().map(|logged| logged.change.version);
        assert!(versions.eq(1..=log.len() as u64), "no gaps");
        for (version, number) in acknowledged {
            let number: E164 = number.parse().expect("a number");
            let entry = log.get(*version as usize - 1).unwrap_or_else(|| panic!("version {version} is lost"));
            let changed = entry.change.numbers.iter().any(|change| change.number == number);
            assert!(changed, "version {version} was acknowledged for {number}, and is another's");
        }
    }

    /// Writers on all nodes, until `over`; what was acknowledged. Each goes on
    /// with the next node when one says that it cannot.
    fn work(&self, over: &AtomicBool, done: &AtomicU64) -> Acknowledged {
        let work = |writer: u64| {
            let mut acknowledged = Acknowledged::new();
            for turn in writer.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let number = number(writer * 100 + turn % 100);
                let begun = Instant::now();
                let answer = self.write(&self.servers[turn as usize % self.servers.len()], &number);
                match answer.status {
                    200 => {
                        let other = acknowledged.insert(version(&answer), number);
                        assert_eq!(other, None, "a version is one write's");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    503 => {
                        // A commit that has begun ends when the database's disk lets it, also
                        // while the database stops; only then is it known that nothing is known.
                        let in_doubt = answer.text().contains("is not known");
                        let bound = if in_doubt { RECOVERY } else { PROMPT };
                        assert!(begun.elapsed() < bound, "refused after {:?}: {answer:?}", begun.elapsed());
                        assert!(answer.header("retry-after").is_some(), "{answer:?}");
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    _ => panic!("neither done nor refused: {answer:?}"),
                }
            }
            acknowledged
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || work(writer))).collect();
            let mut all = Acknowledged::new();
            for writer in writers {
                for (version, number) in writer.join().expect("a writer") {
                    assert_eq!(all.insert(version, number), None, "version {version} is one write's");
                }
            }
            all
        })
    }

    /// Something happens to the database while all write, and they write on
    /// after it. What was acknowledged, and how long nothing was.
    fn disturbed(&self, what: impl FnOnce()) -> (Acknowledged, Duration) {
        let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let more = |count: u64| {
            let before = done.load(Ordering::Relaxed);
            let stopped = || {
                over.store(true, Ordering::Relaxed);
                format!("no {count} writes")
            };
            until(RECOVERY, stopped, || done.load(Ordering::Relaxed) >= before + count);
        };
        std::thread::scope(|scope| {
            let working = scope.spawn(|| self.work(&over, &done));
            more(100);
            what();
            let begun = Instant::now();
            more(1);
            let after = begun.elapsed();
            more(100);
            over.store(true, Ordering::Relaxed);
            (working.join().expect("the writers"), after)
        })
    }

    /// Reads are answered by all nodes, and writes as `wanted` says.
    #[track_caller]
    fn check_refused(&self, for_long: Duration, wanted: u16, code: &str) {
        let begun = Instant::now();
        let mut refused = 0;
        while begun.elapsed() < for_long || refused == 0 {
            assert!(begun.elapsed() < for_long + RECOVERY, "writes are still done");
            for node in &self.servers {
                self.read(node).check(200);
                let asked = Instant::now();
                let answer = self.write(node, &number(refused % NUMBERS));
                // What was under way may still be done at the beginning.
                if answer.status == 200 && refused == 0 {
                    continue;
                }
                assert_eq!((answer.status, &*answer.code()), (wanted, code), "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                assert!(asked.elapsed() < PROMPT, "refused after {:?}", asked.elapsed());
                refused += 1;
            }
        }
    }

    /// All nodes take writes again, soon, and agree.
    #[track_caller]
    fn check_recovered(&self) {
        for node in &self.servers {
            node.within(RECOVERY, |node| self.write(node, &number(0)).status == 200);
        }
        self.agree();
    }
}

#[track_caller]
pub fn version(answer: &Answer) -> u64 {
    answer.json()["data"]["version"].as_u64().expect("a version")
}

fn percentile(spans: &mut [Duration], percent: usize) -> Duration {
    spans.sort_unstable();
    spans[(spans.len() * percent / 100).min(spans.len() - 1)]
}

// Everybody writes.

#[derive(Default)]
struct Seen {
    acknowledged: Acknowledged,
    refused: usize,
    after: Vec<Duration>,
}

/// Random verbs at random nodes. One in twenty is refused in its transaction,
/// and after one in five it is taken how soon another node shows it.
fn random_verbs(nodes: &Nodes, writer: u64, seed: u64, turns: u64) -> Seen {
    let mut random = Random(seed);
    let mut seen = Seen::default();
    let mut suspended = BTreeSet::new();
    for turn in 1..=turns {
        let at = random.below(nodes.servers.len() as u64) as usize;
        let (node, number) = (&nodes.servers[at], number(writer * 100 + random.below(100)));
        if turn % 20 == 0 {
            nodes.verb(node, &number, "unreserve", &json!({})).check(409);
            seen.refused += 1;
            continue;
        }
        let answer = match random.below(4) {
            0 => nodes.write(node, &number),
            1 => {
                let expires_at = time(4_000_000_000 + (writer * turns + turn) as i64);
                nodes.verb(node, &number, "renew", &json!({ "expires_at": expires_at }))
            }
            2 => nodes.verb(node, &number, "tags", &json!({ "add": [format!("w{writer}t{turn}")] })),
            _ if suspended.remove(&number) => nodes.verb(node, &number, "resume", &json!({})),
            _ => {
                suspended.insert(number.clone());
                nodes.verb(node, &number, "suspend", &json!({}))
            }
        };
        let version = version(&answer.check(200));
        assert!(nodes.seen(node) >= version, "who writes reads it at once");
        assert_eq!(seen.acknowledged.insert(version, number), None, "version {version} is one write's");
        if turn % 5 == 0 {
            let other = &nodes.servers[(at + 1 + random.below(2) as usize) % nodes.servers.len()];
            let begun = Instant::now();
            other.within(RECOVERY, |other| nodes.seen(other) >= version);
            seen.after.push(begun.elapsed());
        }
    }
    seen
}

#[test]
fn what_any_node_writes_all_have_once_and_without_gaps() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let address = cluster.database();
    let nodes = Nodes::start(&address, 3);
    nodes.database.partner("PA_IDLE", "Idle", &[]);
    // Transactions that others left open: one that has read, one with a lock.
    let mut reading = cluster.session(database_name(&address));
    reading.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    reading.run("SELECT count(*) FROM number");
    let mut locking = cluster.session(database_name(&address));
    locking.run("BEGIN");
    assert_ne!(locking.run("SELECT auth_id FROM partner WHERE auth_id = 'PA_IDLE' FOR UPDATE"), "");

    let mut random = Random::new();
    let seeds: Vec<u64> = (0..WRITERS).map(|_| random.below(u64::MAX) | 1).collect();
    let turns = setting("ROLLCALL_NODES_TURNS", 100);
    let (mut acknowledged, mut refused, mut after) = (Acknowledged::new(), 0, Vec::new());
    std::thread::scope(|scope| {
        let nodes = &nodes;
        let begin = |(writer, seed): (usize, &u64)| {
            let seed = *seed;
            scope.spawn(move || random_verbs(nodes, writer as u64, seed, turns))
        };
        let writers: Vec<_> = seeds.iter().enumerate().map(begin).collect();
        for writer in writers {
            let seen = writer.join().expect("a writer");
            refused += seen.refused;
            after.extend(seen.after);
            for (version, number) in seen.acknowledged {
                assert_eq!(acknowledged.insert(version, number), None, "version {version} is one write's");
            }
        }
    });
    nodes.agree();
    nodes.check_log(&acknowledged);
    println!(
        "3 nodes, {WRITERS} writers: {} writes acknowledged, {refused} refused, 0 missed, 0 gaps; visible on another \
         node after {:?} (median), {:?} (99th percentile of {})",
        acknowledged.len(),
        percentile(&mut after, 50),
        percentile(&mut after, 99),
        after.len(),
    );
}

// A node alone.

#[test]
fn a_node_cut_off_from_its_database_answers_from_what_it_has() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let Some(network) = Namespace::new().map(Arc::new) else { return };
    let name = database_name(&cluster.database()).to_owned();
    cluster.listen(&network.host());
    let nodes = Nodes::start(&format!("postgres://postgres@{}:{}/{name}", network.host(), cluster.port), 1);
    let alone = Server::start_within(nodes.database.clone(), network.clone(), &["--rate-limit", "0"]);
    let (span, changes) = (Duration::from_secs(setting("ROLLCALL_CUT_S", 10)), setting("ROLLCALL_CUT_CHANGES", 1_000));
    assert_eq!(nodes.seen(&alone), nodes.seen(&nodes.servers[0]));
    let before = nodes.seen(&alone);

    network.cut();
    let begun = Instant::now();
    let (mut reads, mut slowest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let nodes = &nodes;
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let write = |number: &str| nodes.write(&nodes.servers[0], number).status;
                for change in 0..changes / WRITERS {
                    let number = number(writer * 100 + change % 100);
                    // A crowded machine may make the node refuse one for now.
                    until(RECOVERY, || format!("{number} is not written"), || write(&number) == 200);
                }
            });
        }
        while begun.elapsed() < span {
            let answer = nodes.read(&alone).check(200);
            reads += 1;
            let cut = begun.elapsed();
            if cut > Duration::from_secs(4) {
                let age = answer.header("age").and_then(|age| age.parse::<u64>().ok());
                let age = age.unwrap_or_else(|| panic!("no Age after {cut:?}: {answer:?}"));
                assert!(age.abs_diff(cut.as_secs()) <= 2, "Age {age} after {cut:?}");
            }
            if reads % 20 == 0 {
                let asked = Instant::now();
                let answer = nodes.write(&alone, &number(1_900)).check(503);
                slowest = slowest.max(asked.elapsed());
                assert!(asked.elapsed() < PROMPT, "refused after {:?}", asked.elapsed());
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (behind, head) = (nodes.seen(&alone), nodes.seen(&nodes.servers[0]));
    assert_eq!(behind, before, "it has heard of nothing");
    network.mend();
    let mended = Instant::now();
    alone.within(RECOVERY, |alone| nodes.seen(alone) >= head);
    let caught_up = mended.elapsed();
    println!(
        "cut off for {span:?}: {reads} reads, all answered; writes refused within {slowest:?}; {} changes caught up \
         within {caught_up:?}",
        head - behind
    );
    assert!(caught_up < Duration::from_secs(5), "caught up after {caught_up:?}");
    alone.within(RECOVERY, |alone| nodes.write(alone, &number(1_900)).status == 200);
    assert_eq!(nodes.read(&alone).header("age"), None, "it follows again");
}

// The database is lost.

#[test]
fn a_synchronous_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let Some(mut primary) = Cluster::new(&[]) else { return };
    let name = database_name(&primary.database()).to_owned();
    let mut standby = primary.standby(Replication::Synchronous);
    let nodes = Nodes::start(&cluster::addresses(&[&primary, &standby], &name), 2);
    let rounds = setting("ROLLCALL_FAILOVER_ROUNDS", 2);
    let (mut acknowledged, mut after) = (Acknowledged::new(), Vec::new());
    for _ in 0..rounds {
        let (more, gap) = nodes.disturbed(|| {
            primary.kill9();
            standby.promote();
        });
        acknowledged.extend(more);
        after.push(gap);
        nodes.check_log(&acknowledged);
        nodes.agree();
        (primary, standby) = (standby, primary);
        standby.follow(&primary, Replication::Synchronous);
    }
    println!(
        "{rounds} primaries killed under {WRITERS} writers: {} writes acknowledged, 0 lost; nodes write again {:?} \
         after the standby does (longest)",
        acknowledged.len(),
        after.iter().max().expect("a round"),
    );
    drop(nodes);
}

#[test]
fn nodes_give_up_what_a_standby_never_got() {
    let Some(primary) = Cluster::new(&[]) else { return };
    let name = database_name(&primary.database()).to_owned();
    let standby = primary.standby(Replication::Asynchronous);
    let nodes = Nodes::start(&cluster::addresses(&[&primary, &standby], &name), 3);
    for at in 0..20 {
        nodes.write(&nodes.servers[0], &number(at)).check(200);
    }
    standby.caught_up(&primary);
    standby.hear_nothing();
    let kept = nodes.seen(&nodes.servers[0]);
    for at in 0..20 {
        nodes.write(&nodes.servers[0], &number(at)).check(200);
    }
    let lost = nodes.seen(&nodes.servers[0]);
    for node in &nodes.servers {
        node.within(RECOVERY, |node| nodes.seen(node) == lost);
    }
    primary.kill9();
    standby.promote();
    // Others write in their place, and further, before most nodes look again.
    for at in 0..=(lost - kept) {
        let id = format!("MA_new{at}");
        nodes.database.run(&["account", "create", "--partner", "PA_ONE", "--auth-id", &id, "--name", "New"]).done();
    }
    nodes.check_recovered();
    for node in &nodes.servers {
        let log = node.log();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(said.iter().any(|line| line.contains("log does not fit") || line.contains("lost")), "{said:?}");
    }
}

// A node is lost.

#[test]
fn a_killed_nodes_job_is_done_by_another_each_row_once() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let mut nodes = Nodes::configured(&cluster.database(), 2, |_| "[jobs]\nbatch_rows = 20\n".to_owned());
    let body = json!({ "verb": "suspend", "filter": {}, "params": {} });
    let job = nodes.post(&nodes.servers[0], "/api/v1/manage/jobs", &body).check(201).json()["data"].clone();
    let id = job["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/manage/jobs/{id}");
    let look = |node: &Server, key: &Key| node.get(&path).auth(key).check(200).json()["data"].clone();
    let begun = Instant::now();
    while look(&nodes.servers[0], &nodes.key)["done"].as_u64() < Some(200) {
        assert!(begun.elapsed() < RECOVERY, "it began");
    }
    nodes.servers[0].kill();
    nodes.servers.remove(0);
    let killed = Instant::now();
    nodes.servers[0].within(RECOVERY, |node| look(node, &nodes.key)["state"] == "done");
    println!("a killed node's job was done {:?} later", killed.elapsed());
    let (numbers, versions) = jobs::logged(&*nodes.database.store(), &id);
    assert_eq!((numbers.len() as u64, versions.len() as u64), (NUMBERS, NUMBERS / 20));
    assert!(numbers.values().all(|&times| times == 1), "each row once");
}

#[test]
fn a_killed_nodes_webhooks_are_told_by_another_at_least_once() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let receiver = webhooks::Receiver::new(webhooks::Manner::Status(200));
    let mut nodes = Nodes::configured(&cluster.database(), 1, |database| {
        let authority = database.write("authority.pem", &webhooks::AUTHORITY.pem);
        // An attempt may take longer than a node may be gone.
        format!("[webhooks]\ntimeout_ms = 60000\nallow_networks = [\"127.0.0.0/8\"]\nca_file = {authority:?}\n")
    });
    let hook = json!({ "name": "Hook", "url": receiver.url(), "events": [] });
    nodes.post(&nodes.servers[0], "/api/v1/manage/webhooks", &hook).check(201);
    let mut told = BTreeSet::from([version(&nodes.write(&nodes.servers[0], &number(0)).check(200))]);
    let all = |told: &BTreeSet<u64>| {
        let got: BTreeSet<u64> = receiver.versions().into_iter().collect();
        told.is_subset(&got)
    };
    nodes.servers[0].within(RECOVERY, |_| all(&told));
    // The next one is killed in the middle of it.
    let config = nodes.database.file("rollcall.toml").display().to_string();
    nodes.servers.push(Server::start(nodes.database.clone(), &["--config", &config, "--rate-limit", "0"]));
    receiver.set(webhooks::Manner::Hang);
    let before = receiver.versions().len();
    told.insert(version(&nodes.write(&nodes.servers[0], &number(1)).check(200)));
    nodes.servers[0].within(RECOVERY, |_| receiver.versions().len() > before);
    nodes.servers[0].kill();
    nodes.servers.remove(0);
    let killed = Instant::now();
    receiver.set(webhooks::Manner::Status(200));
    told.insert(version(&nodes.write(&nodes.servers[0], &number(2)).check(200)));
    nodes.servers[0].within(Duration::from_secs(60), |_| all(&told));
    let after = killed.elapsed();
    println!("a killed node's webhooks were told {after:?} later");
    let versions = receiver.versions();
    assert!(versions.windows(2).all(|two| two[0] <= two[1]), "in order: {versions:?}");
    assert!(after < TAKEN_OVER, "taken over after {after:?}");
}

#[test]
fn a_killed_nodes_letters_are_sent_by_another_for_one_run() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let receiver = smtp::Receiver::start(smtp::Manners::default());
    let mut nodes = Nodes::configured(&cluster.database(), 2, |database| {
        let file = alerts::settings(database, &receiver, |text| text);
        std::fs::read_to_string(file).expect("the settings")
    });
    let body = json!({ "name": "Weekly", "recipients": ["desk@example.net"] });
    let made = nodes.post(&nodes.servers[0], "/api/v1/manage/schedules", &body).check(201).json();
    let path = format!("/api/v1/manage/schedules/{}", made["data"]["id"].as_str().expect("an id"));
    // It is being sent when its node is killed.
    receiver.manners(|manners| manners.silent = true);
    nodes.post(&nodes.servers[0], &format!("{path}/run"), &json!({})).check(200);
    nodes.servers[0].within(Duration::from_secs(60), |_| receiver.ignored() > 0);
    nodes.servers[0].kill();
    nodes.servers.remove(0);
    let killed = Instant::now();
    receiver.manners(|manners| manners.silent = false);
    nodes.servers[0].within(Duration::from_secs(180), |_| !receiver.taken().is_empty());
    let after = killed.elapsed();
    println!("a killed node's letter was sent {after:?} later");
    let schedule = nodes.servers[0].get(&path).auth(&nodes.key).check(200).json();
    assert_eq!(schedule["data"]["runs"].as_array().map(Vec::len), Some(1), "{schedule}");
    assert!(after < TAKEN_OVER, "taken over after {after:?}");
}

// The database is not well.

#[test]
fn without_connections_reads_go_on_and_writes_are_refused() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let nodes = Nodes::start(&cluster.database(), 2);
    let taken = cluster.exhaust();
    nodes.check_refused(Duration::from_secs(3), 503, "UNAVAILABLE");
    drop(taken);
    nodes.check_recovered();
}

#[test]
fn a_restarted_database_is_found_again() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let nodes = Nodes::start(&cluster.database(), 2);
    cluster.stop(Stop::Fast);
    nodes.check_refused(Duration::from_secs(3), 503, "UNAVAILABLE");
    cluster.start();
    nodes.check_recovered();
    // It is there, and does not answer.
    cluster.freeze();
    nodes.check_refused(Duration::from_secs(3), 503, "UNAVAILABLE");
    cluster.resume();
    nodes.check_recovered();
}

#[test]
fn restarts_in_the_middle_of_writes_lose_nothing() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let nodes = Nodes::start(&cluster.database(), 2);
    let mut acknowledged = Acknowledged::new();
    for how in [Stop::Fast, Stop::Immediate] {
        let (more, gap) = nodes.disturbed(|| cluster.restart(how));
        acknowledged.extend(more);
        println!("nodes write again {gap:?} after a restart ({how:?})");
    }
    nodes.check_recovered();
    nodes.check_log(&acknowledged);
}

#[test]
fn a_database_that_takes_no_writes_is_read_on() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let nodes = Nodes::start(&cluster.database(), 2);
    cluster.read_only(true);
    nodes.check_refused(Duration::from_secs(3), 503, "UNAVAILABLE");
    cluster.read_only(false);
    nodes.check_recovered();
}

/// A session keeps the default that it began with, and a node its sessions.
#[test]
fn a_default_of_the_database_that_is_reset_is_noticed() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let address = cluster.database();
    let nodes = Nodes::start(&address, 2);
    let name = database_name(&address);
    let writable = |wanted: bool| {
        for server in &nodes.servers {
            server.within(RECOVERY, |server| server.get("/readyz").send().json()["writable"] == wanted);
        }
    };
    writable(true);
    cluster.psql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let others = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    cluster.psql("postgres", &others);
    writable(false);
    cluster.psql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    writable(true);
    nodes.check_recovered();
}

/// Writes that change nothing and leave only their answer under an idempotency key, in
/// the group of others: none takes another along.
#[test]
fn a_write_that_changes_nothing_shares_a_commit() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let address = cluster.database();
    let nodes = Nodes::start(&address, 1);
    let server = &nodes.servers[0];
    let suspend = |at: u64, retry: Option<String>| {
        let path = format!("/api/v1/manage/numbers/{}/suspend", number(at));
        let request = server.request("POST", &path).auth(&nodes.key).json(&json!({}));
        match &retry {
            Some(retry) => request.header("Idempotency-Key", retry).send(),
            None => request.send(),
        }
    };
    suspend(0, None).check(200);
    for round in 0..3 {
        // The first writer waits for this lock, and the others for their turn behind it.
        let mut locking = cluster.session(database_name(&address));
        locking.run("BEGIN");
        assert_ne!(locking.run("SELECT auth_id FROM partner WHERE auth_id = 'PA_ONE' FOR UPDATE"), "");
        std::thread::scope(|scope| {
            let suspend = &suspend;
            let write = |at: u64| {
                let writer = scope.spawn(move || match at % 2 {
                    0 => suspend(0, Some(format!("nothing-{round}-{at}"))),
                    _ => suspend(round * 10 + at, None),
                });
                std::thread::sleep(Duration::from_millis(30));
                writer
            };
            let writers: Vec<_> = (1..9).map(write).collect();
            locking.run("COMMIT");
            for writer in writers {
                writer.join().expect("an answer").check(200);
            }
        });
    }
    nodes.check_recovered();
}

#[test]
fn a_full_disk_is_told_by_name() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let Some((address, disk)) = cluster.small_database(64) else { return };
    let nodes = Nodes::start(&address, 2);
    disk.fill();
    nodes.check_refused(Duration::from_secs(3), 507, "STORAGE_FULL");
    disk.empty();
    nodes.check_recovered();
    drop(nodes);
    cluster.forget(database_name(&address));
}
