//! What bulk work costs, and what it costs others: `cargo bench --bench jobs`.
//!
//! A job of 100,000 rows against an import of the same rows, both durable and
//! in the index; and how many lists a reader gets while a job runs, against
//! the same reader alone.

#![allow(clippy::print_stdout)]

mod shared;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::action::Action;
use rollcall::domain::{Actor, PartnerKey, Time};
use rollcall::inventory::{Filter, Order, Window};
use rollcall::service::background::jobs::runner::{JobRunner, JobSettings};
use rollcall::service::background::jobs::{BatchStep, Job, JobSelection, JobState, NewJob};
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::{Replica, Service, VerbOutcome, WriteOutcome};
use rollcall::store::{self, Location, Open, Store};

use shared::{at_least, at_most, heading, micros, reported};

const KEY: PartnerKey = PartnerKey(1);
const ROWS: usize = 100_000;
const ROUNDS: usize = 3;

fn main() {
    for (what, numbers) in [("in blocks", shared::blocks(ROWS)), ("at random", shared::indian(ROWS))] {
        let folder = tempfile::tempdir().expect("a folder");
        heading(&format!("a job of 100,000 rows, {what}"));
        run(folder.path(), &numbers);
    }
}

fn run(folder: &Path, numbers: &[(u64, u64)]) {
    let file = folder.join("numbers.csv");
    let mut text = "number,account_auth_id,monthly_cost,currency,assigned_at\n".to_owned();
    for (digits, holder) in numbers {
        let account = shared::account_id(*holder);
        text.push_str(&format!("+{digits},{account},500.00,INR,2026-02-01T10:00:00Z\n"));
    }
    std::fs::write(&file, text).expect("written");
    let mut imported = f64::INFINITY;
    let mut last = None;
    for round in 0..ROUNDS {
        let location = Location::Sqlite(folder.join(format!("rollcall-{round}.db")));
        let store = store::open(&location, Open::Create).expect("a database");
        let service = Service::new(store.clone(), Actor::Command { user: "bench".to_owned() });
        service.partner_create("PA_1".parse().expect("an id"), "P".into()).expect("a partner");
        let replica = Arc::new(Replica::load(store.clone()).expect("loads"));
        imported = imported.min(micros(|| {
            import(&service, &file, numbers.len());
            replica.follow();
        }));
        last = Some((store, replica));
    }
    let (store, replica) = last.expect("a database");
    let service = served(&store, &replica);

    // Suspended and resumed, so that every row changes every time.
    let (mut created, mut done) = (f64::INFINITY, f64::INFINITY);
    for action in [Action::Suspend, Action::Resume, Action::Suspend, Action::Resume] {
        let begin = Instant::now();
        let job = create(&service, action);
        created = created.min(begin.elapsed().as_secs_f64() * 1e6);
        while service.job_step(KEY, &job.id, Instant::now()).expect("a step") == BatchStep::More {}
        done = done.min(begin.elapsed().as_secs_f64() * 1e6);
        let job = service.job(KEY, &job.id).expect("the job");
        assert_eq!((job.state, job.tally.changed), (JobState::Done, numbers.len() as u64));
    }
    reported("import of the same rows", numbers.len() as f64 / imported, "M rows/s");
    reported("the job, created and done", numbers.len() as f64 / done, "M rows/s");
    at_least("the job's speed ÷ the import's", imported / done, "times", 1.0, 1.5);
    reported("creating it", created / 1e3, "ms");

    let alone = reads(&replica, || std::thread::sleep(Duration::from_secs(2)));
    let (mut steps, mut worst) = (0, Duration::ZERO);
    let beside = reads(&replica, || {
        let until = Instant::now() + Duration::from_secs(2);
        let runner = JobRunner::start(&service, JobSettings { workers: 2, per_partner: 2 });
        for action in [Action::Suspend, Action::Resume].into_iter().cycle() {
            let job = create(&service, action);
            steps += 1;
            while service.job(KEY, &job.id).expect("the job").state != JobState::Done {
                let asked = Instant::now();
                // What another's click has to wait for, at the most.
                service
                    .account_new(
                        KEY,
                        &format!("MA_new_{steps}_{}", asked.elapsed().as_nanos()).parse().expect("an id"),
                        &"x".into(),
                    )
                    .ok();
                worst = worst.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            if Instant::now() > until {
                break;
            }
        }
        runner.stop();
    });
    reported("lists a second, alone", alone.a_second, "/s");
    at_least("lists while a job runs ÷ alone", beside.a_second / alone.a_second, "times", 0.9, 0.95);
    // What is left of it when processors are not what is short.
    reported("the same, by the reader's own processor time", beside.a_cpu_second / alone.a_cpu_second, "times");
    at_most("the longest that another's write waited", worst.as_secs_f64() * 1e3, "ms", 250.0, 100.0);
}

fn served(store: &Arc<dyn Store>, replica: &Arc<Replica>) -> Service {
    Service::new(store.clone(), Actor::Command { user: "bench".to_owned() }).replica(replica.clone())
}

fn create(service: &Service, action: Action) -> Job {
    let wanted = JobSelection::Filter(Box::default(), "{}".to_owned());
    let new = NewJob { action, params: "{}".to_owned(), wanted, preview: false };
    match service.job_create(KEY, &new) {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => *job,
        other => panic!("not created: {other:?}"),
    }
}

/// How many pages of a list a reader gets.
struct Reads {
    a_second: f64,
    a_cpu_second: f64,
}

/// How long this thread has been on a processor, in seconds.
fn on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.map_or(f64::NAN, |nanos| nanos / 1e9)
}

/// What one reader gets while something happens.
fn reads(replica: &Arc<Replica>, something: impl FnOnce()) -> Reads {
    let stop = AtomicBool::new(false);
    let node = replica.node("PA_1").expect("the partner");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut count, begin, cpu) = (0_u64, Instant::now(), on_cpu());
            let filter = Filter { routed: Some(false), ..Filter::default() };
            while !stop.load(Ordering::Relaxed) {
                let snapshot = node.snapshot();
                let skip = count * 37 % (ROWS as u64);
                black_box(
                    snapshot.select(&filter, Order::default(), Window::Page { skip, rows: 20 }, Time::now()).total,
                );
                count += 1;
            }
            let count = count as f64;
            Reads { a_second: count / begin.elapsed().as_secs_f64(), a_cpu_second: count / (on_cpu() - cpu) }
        });
        something();
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("the reader")
    })
}

fn import(service: &Service, file: &Path, rows: usize) {
    let options = ImportOptions::default();
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let partner = "PA_1".parse().expect("an id");
    let report = service.import(&partner, &|| Ok(Box::new(File::open(file)?)), &options, &watch).expect("imported");
    assert!(report.written && report.imported as usize == rows, "{report:?}");
}
