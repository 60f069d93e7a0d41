//! All numbers of France on one machine, against the demo: `cargo bench --bench france`.
//!
//! 424 million numbers in 18,793 blocks are imported by the command, served by the
//! real server and asked over HTTP. What an answer or a write costs is compared, in
//! time of processors, with the same in the inventory of `rollcall demo`.

#![allow(clippy::print_stdout)]

#[path = "shared/france.rs"]
mod france;
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rollcall::demo;
use rollcall::domain::action::{Action, Assignment};
use rollcall::domain::quarantine::Quarantine;
use rollcall::domain::{Actor, E164, Time};
use rollcall::inventory::{Filter, Order, Window};
use rollcall::service::background::jobs::{BatchStep, JobSelection, JobState, NewJob};
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::{Replica, Service, VerbOutcome, WriteOutcome};
use rollcall::store::{self, Location, Open, Store};
use rustix::time::ClockId;

use shared::server::{Server, ask_as, command};
use shared::{Random, at_most, heading, micros, reported, skipped};

fn main() {
    let most = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(u64::MAX);
    let blocks = match france::blocks(most) {
        Ok(blocks) => blocks,
        Err(why) => return skipped("the numbers of France", &why),
    };
    let numbers: u64 = blocks.iter().map(france::Block::numbers).sum();
    let folder = tempfile::tempdir().expect("a folder");
    let database = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    heading(&format!("France: {} million numbers in {} blocks", numbers / 1_000_000, blocks.len()));
    let whole = import(folder.path(), &database("france.db"), &blocks, numbers);
    let demo = populate(&database("demo.db"));
    heading("an answer over HTTP: time of processors ÷ that of the demo's");
    let (ours, theirs) = (Server::start(&whole.database), Server::start(&demo.database));
    at_most("memory of the server that is resident", ours.resident_bytes() as f64 / 1e6, "MB", 400.0, 300.0);
    let cost = |server: &Server, of: &Inventory, path: &Address<'_>| {
        let before = server.processor_s();
        let begun = Instant::now();
        let rate = ask_as(&of.partner, &[server], &of.token, 4, 3, path);
        (server.processor_s() - before) * 1e6 / (rate * begun.elapsed().as_secs_f64())
    };
    for (what, path) in PAGES {
        compared(what, cost(&ours, &whole, &path), cost(&theirs, &demo, &path));
    }
    // Digits at random are in France's numbers and not in the demo's, whose answer has no
    // row; those of a block, without what tells its numbers apart, are on a full page.
    let [here, there] = [(&ours, &whole), (&theirs, &demo)].map(|(server, of)| {
        let blocks = of.digits_of_blocks();
        let search = |random: &mut Random| {
            let digits = &blocks[random.below(blocks.len() as u64) as usize];
            format!("/api/v1/partner/numbers?per_page=20&search={digits}")
        };
        cost(server, of, &search)
    });
    compared("a search of 7 digits of a block", here, there);
    drop((ours, theirs));
    heading("a write and the index after it: time of processors ÷ that of the demo's");
    let (ours, theirs) = (Opened::new(&whole), Opened::new(&demo));
    compared("release and assign", ours.reassign(), theirs.reassign());
    let (ours, theirs) = (ours.job(), theirs.job());
    compared("a job over one customer, a number", ours.0, theirs.0);
    compared("its undo, a number", ours.1, theirs.1);
}

/// Makes the address of a page.
type Address<'a> = dyn Fn(&mut Random) -> String + Sync + 'a;

type PlainAddress = fn(&mut Random) -> String;

/// The answers that are compared.
const PAGES: [(&str, PlainAddress); 4] = [
    ("a page", |random| format!("/api/v1/partner/numbers?per_page=20&page={}", 1 + random.below(40))),
    ("a search of 4 digits", |random| {
        format!("/api/v1/partner/numbers?per_page=20&search={:04}", random.below(10_000))
    }),
    ("a search of 7 digits at random", |random| {
        format!("/api/v1/partner/numbers?per_page=20&search={:07}", random.below(10_000_000))
    }),
    ("a page of one customer", |random| {
        let customer = ["MA_DFRA", "MA_BDMA", "MA_IKAC"][random.below(3) as usize];
        format!("/api/v1/partner/numbers?per_page=20&account_auth_id={customer}")
    }),
];

fn compared(what: &str, ours: f64, theirs: f64) {
    reported(&format!("{what}, here"), ours, "µs");
    reported(&format!("{what}, in the demo"), theirs, "µs");
    at_most(&format!("{what}: here ÷ the demo"), ours / theirs, "times", 1.5, 1.1);
}

/// A database and the partner that is asked for.
struct Inventory {
    database: String,
    partner: String,
    token: String,
}

fn run(database: &str, arguments: &[&str]) -> Vec<u8> {
    let output = command(database, arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Inventory {
    fn new(database: &str, partner: &str) -> Inventory {
        let arguments = ["key", "create", "--partner", partner, "--name", "bench", "--json"];
        let key: serde_json::Value = serde_json::from_slice(&run(database, &arguments)).expect("JSON");
        let token = key["auth_token"].as_str().expect("a token").to_owned();
        Inventory { database: database.to_owned(), partner: partner.to_owned(), token }
    }

    /// Seven digits that a hundred neighbours have, of many numbers.
    fn digits_of_blocks(&self) -> Vec<String> {
        let replica = Replica::load(open(&self.database)).expect("loads");
        let snapshot = replica.node(&self.partner).expect("the partner").snapshot();
        let step = snapshot.len() as u64 / 1_000 + 1;
        let page = |at: u64| {
            snapshot.select(
                &Filter::default(),
                Order::default(),
                Window::Page { skip: at * step, rows: 1 },
                Time::now(),
            )
        };
        let numbers = (0..1_000).filter_map(|at| page(at).rows.first().map(|row| row.number().digits()));
        numbers.map(|digits| format!("{:07}", digits / 100 % 10_000_000)).collect()
    }
}

fn import(folder: &Path, database: &str, blocks: &[france::Block], numbers: u64) -> Inventory {
    let file = folder.join("france.csv");
    std::fs::write(&file, france::csv(blocks)).expect("written");
    run(database, &["partner", "create", "--auth-id", "PA_1", "--name", "France"]);
    let arguments = ["import", file.to_str().expect("UTF-8"), "--partner", "PA_1"];
    at_most("import", micros(|| run(database, &arguments)) / 1e6, "s", 30.0, 10.0);
    let path = Path::new(database.strip_prefix("sqlite:").expect("a file"));
    let bytes = std::fs::metadata(path).expect("the file").len();
    at_most("the file, with the log of the import", bytes as f64 / 1e6, "MB", 60.0, 40.0);
    let mut held = 0;
    let start = micros(|| {
        let replica = Replica::load(open(database)).expect("loads");
        held = replica.nodes()[0].snapshot().len() as u64;
    });
    at_most("start", start / 1e6, "s", 3.0, 1.0);
    assert_eq!(held, numbers);
    Inventory::new(database, "PA_1")
}

fn open(database: &str) -> Arc<dyn Store> {
    let location: Location = database.parse().expect("a location");
    store::open(&location, Open::Create).expect("a database")
}

fn service(store: &Arc<dyn Store>) -> Service {
    let quarantine = Quarantine { default_days: 0, ..Quarantine::default() };
    Service::new(store.clone(), Actor::Command { user: "bench".to_owned() }).quarantine(quarantine)
}

/// What `rollcall demo` has.
fn populate(database: &str) -> Inventory {
    let store = open(database);
    let service = service(&store);
    demo::create_partners(&service, Time::now()).expect("partners");
    let cancel = AtomicBool::new(false);
    demo::populate(&service, &|_| None, demo::NUMBERS_DEFAULT, Time::now(), &|_| {}, &cancel).expect("the demo");
    drop(service);
    Inventory::new(database, demo::partners()[0].auth_id.as_str())
}

/// An inventory in this process, which writes and follows.
struct Opened {
    service: Service,
    replica: Arc<Replica>,
    partner: String,
}

impl Opened {
    fn new(of: &Inventory) -> Opened {
        let store = open(&of.database);
        let replica = Arc::new(Replica::load(store.clone()).expect("loads"));
        Opened { service: service(&store).replica(replica.clone()), replica, partner: of.partner.clone() }
    }

    /// The customer with the most numbers of those with at most 20,000.
    fn customer(&self) -> Filter {
        let snapshot = self.replica.node(&self.partner).expect("the partner").snapshot();
        let counts = snapshot.counts(Time::now());
        let mut known: Vec<(u64, &str)> = snapshot
            .accounts
            .iter()
            .zip(&counts)
            .map(|(account, counts)| (counts.active, account.auth_id.as_str()))
            .filter(|(active, _)| *active <= 20_000)
            .collect();
        known.sort_unstable();
        Filter { account: known.last().map(|(_, id)| (*id).into()), ..Filter::default() }
    }

    /// What releasing a number and assigning it again costs, in µs of processors.
    fn reassign(&self) -> f64 {
        const ROUNDS: usize = 300;
        let node = self.replica.node(&self.partner).expect("the partner");
        let snapshot = node.snapshot();
        let filter = self.customer();
        let window = Window::Page { skip: 0, rows: ROUNDS };
        let found = snapshot.select(&filter, Order::default(), window, Time::now());
        let active = found.rows.iter().filter(|row| row.status() == rollcall::domain::Status::Active);
        let targets: Vec<E164> = active.map(|row| row.number()).collect();
        let account = filter.account.as_deref().expect("a customer").parse().expect("an id");
        let to = Assignment { account, application: None, trunk: None, expires_at: None, cost: None };
        let before = shared::processor_micros(ClockId::ProcessCPUTime);
        for &number in &targets {
            for action in [Action::Release { confirm_last: true }, Action::Assign(to.clone())] {
                let done = self.service.act(node.key, number, &action, &Expected::Anything);
                assert!(matches!(done, Ok(WriteOutcome::Done { .. })), "{done:?}");
                self.replica.follow();
            }
        }
        (shared::processor_micros(ClockId::ProcessCPUTime) - before) / targets.len() as f64
    }

    /// What suspending a customer's numbers costs a number, and its undo.
    fn job(&self) -> (f64, f64) {
        let key = self.replica.node(&self.partner).expect("the partner").key;
        let wanted = JobSelection::Filter(Box::new(self.customer()), "{}".to_owned());
        let new = NewJob { action: Action::Suspend, params: "{}".to_owned(), wanted, preview: false };
        let steps = |created: WriteOutcome| {
            let WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. } = created else { panic!("no job") };
            while self.service.job_step(key, &job.id, Instant::now()).expect("a step") == (BatchStep::More {}) {}
            let job = self.service.job(key, &job.id).expect("the job");
            assert_eq!(job.state, JobState::Done);
            (job.id, job.tally.rows() as f64)
        };
        let clock = || shared::processor_micros(ClockId::ProcessCPUTime);
        let begun = clock();
        let (id, rows) = steps(self.service.job_create(key, &new).expect("created"));
        let job = (clock() - begun) / rows;
        let begun = clock();
        let (_, rows) = steps(self.service.job_undo(key, &id, false).expect("created"));
        (job, (clock() - begun) / rows)
    }
}
