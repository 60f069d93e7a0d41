//! Forty million numbers of France: what is known of them is some two thousand
//! blocks, and everything costs as much. `cargo bench --bench france` has all of
//! them, with limits. Skipped where the published blocks are absent.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rollcall::domain::action::Action;
use rollcall::domain::{PartnerKey, Status, Time};
use rollcall::inventory::{Filter, Order, Snapshot, Window};
use rollcall::service::background::jobs::{BatchStep, JobSelection, JobState, NewJob};
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::{Replica, Service, VerbOutcome, WriteOutcome};

use crate::fixture::{Database, differences, new_partner, number, operator};

#[path = "../../benches/shared/france.rs"]
mod blocks;

const NUMBERS: u64 = 40_000_000;

fn search(snapshot: &Snapshot, digits: &str, account: &str) -> u64 {
    let (mut filter, mut order) = (Filter::default(), Order::default());
    filter.set(&mut order, "search", digits).expect("a filter");
    filter.account = Some(account.into());
    snapshot.select(&filter, order, Window::Page { skip: 0, rows: 20 }, Time::now()).total
}

/// Does a job to its end, and returns its id and how many rows it changed.
fn done(service: &Service, key: PartnerKey, created: WriteOutcome) -> (String, u64) {
    let WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. } = created else { panic!("{created:?}") };
    while service.job_step(key, &job.id, Instant::now()).expect("a step") == BatchStep::More {}
    let job = service.job(key, &job.id).expect("the job");
    assert_eq!(job.state, JobState::Done);
    (job.id, job.tally.changed)
}

#[test]
fn forty_million_numbers_of_france() {
    let blocks = match blocks::blocks(NUMBERS) {
        Ok(blocks) => blocks,
        Err(why) => return println!("skipped: {why}"),
    };
    let numbers: u64 = blocks.iter().map(blocks::Block::numbers).sum();
    assert!(numbers > NUMBERS - 100_000, "{numbers}");
    let mut customers: BTreeMap<String, u64> = BTreeMap::new();
    blocks.iter().for_each(|block| *customers.entry(format!("MA_{}", block.operator)).or_default() += block.numbers());

    let database = Database::new();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let replica = Arc::new(Replica::load(store.clone()).expect("loads"));
    let service = Service::new(store.clone(), operator()).replica(replica.clone());
    let (began, csv) = (Instant::now(), blocks::csv(&blocks));
    let source = || Ok(Box::new(Cursor::new(csv.clone())) as Box<dyn std::io::Read>);
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let partner = "PA_1".parse().expect("an id");
    let report = service.import(&partner, &source, &ImportOptions::default(), &watch).expect("imported");
    assert_eq!((report.written, report.imported, report.rejected), (true, numbers, 0), "{:?}", report.errors);
    replica.follow();
    println!("imported and followed in {:.1} s", began.elapsed().as_secs_f64());

    let node = replica.node("PA_1").expect("the partner");
    let now = Time::now();
    let check = |snapshot: &Snapshot| {
        assert_eq!(snapshot.len() as u64, numbers);
        let held = snapshot.accounts.iter().zip(snapshot.counts(now));
        for (account, counts) in held {
            assert_eq!(counts.active, customers[account.auth_id.as_str()], "{}", account.auth_id);
        }
        // The blocks of one operator, number by number.
        let (small, _) =
            customers.iter().filter(|(_, count)| **count >= 10_000).min_by_key(|(_, count)| **count).expect("one");
        let own = || blocks.iter().filter(|block| *small == format!("MA_{}", block.operator));
        for digits in ["71", "7126", "0000", "3310570"] {
            let matching = |number: &u64| number.to_string().contains(digits);
            let expected = own().flat_map(|block| block.first..=block.last).filter(matching).count() as u64;
            assert_eq!(search(snapshot, digits, small), expected, "{digits} of {small}");
        }
        let deep = Window::Page { skip: numbers - 7, rows: 20 };
        let page = snapshot.select(&Filter::default(), Order::default(), deep, now);
        let last = blocks.last().expect("blocks").last;
        assert_eq!(
            page.rows.iter().map(|row| row.number().digits()).collect::<Vec<_>>(),
            (last - 6..=last).collect::<Vec<_>>()
        );
    };
    check(&node.snapshot());
    let began = Instant::now();
    let loaded = Replica::load(store.clone()).expect("loads");
    println!("started in {:.2} s", began.elapsed().as_secs_f64());
    let started = loaded.node("PA_1").expect("the partner").snapshot();
    check(&started);
    assert_eq!(started.row_digest(), node.snapshot().row_digest());
    let bytes = started.bytes() as f64 / numbers as f64;
    println!("{bytes:.2} bytes a number in {} blocks", blocks.len());
    assert!(bytes < 1.0, "{bytes} bytes a number");
    let began = Instant::now();
    assert_eq!(differences(&*store), [""; 0]);
    let took = began.elapsed();
    println!("verified in {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(20), "{took:?}: a step for each number");

    // One number of a block, and then all of a customer's.
    let (first, customer) = (number(blocks[0].first + 4_711), format!("MA_{}", blocks[0].operator));
    service.act(key, first, &Action::Suspend, &Expected::Anything).expect("suspended");
    replica.follow();
    assert_eq!(node.snapshot().get(first, now).expect("there").status(), Status::Suspended);
    let (middle, _) = customers
        .iter()
        .filter(|(id, count)| **id != customer && **count <= 20_000)
        .max_by_key(|(_, count)| **count)
        .expect("one");
    let wanted = JobSelection::Filter(
        Box::new(Filter { account: Some(middle.as_str().into()), ..Filter::default() }),
        "{}".to_owned(),
    );
    let new = NewJob { action: Action::Suspend, params: "{}".to_owned(), wanted, preview: false };
    let (job, changed) = done(&service, key, service.job_create(key, &new).expect("created"));
    assert_eq!(changed, customers[middle]);
    let (_, undone) = done(&service, key, service.job_undo(key, &job, false).expect("created"));
    assert_eq!(undone, changed);
    replica.follow();
    service.act(key, first, &Action::Resume, &Expected::Anything).expect("resumed");
    replica.follow();
    check(&node.snapshot());
    let after = Replica::load(store).expect("loads").node("PA_1").expect("the partner").snapshot();
    assert!(!after.damaged);
    assert_eq!(after.row_digest(), node.snapshot().row_digest());
}
