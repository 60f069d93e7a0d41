//! The demo at several sizes: its counts, its situations, and that it never
//! changes by itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::stream::{COLUMNS, DemoStream};
use super::tables::SAMPLES;
use super::*;
use crate::domain::{E164, NumberType, State, Status, plan};
use crate::inventory::Snapshot;
use crate::service::Replica;
use crate::service::background::jobs::JobState;
use crate::service::replica::verify;
use crate::store::{DocumentWalk, Open, sqlite::SqliteStore};
use crate::wire;

const DAY: i64 = 86_400;

fn noon() -> Time {
    "2026-06-15T12:34:56Z".parse().expect("a time")
}

struct Demo {
    service: Service,
    _directory: tempfile::TempDir,
}

impl Demo {
    fn empty() -> Demo {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&directory.path().join("demo.db"), Open::Create).expect("a store");
        let service = Service::new(Arc::new(store), Actor::Server);
        Demo { service, _directory: directory }
    }

    fn populate(&self, numbers: u64) -> Result<DemoReport, DemoError> {
        populate(&self.service, &|_| None, numbers, noon(), &|_| {}, &AtomicBool::new(false))
    }

    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        let replica = Replica::load(self.service.store().clone()).expect("it loads");
        replica.nodes().iter().map(|node| node.snapshot()).collect()
    }
}

fn file(profile: &'static PartnerProfile, numbers: u64, now: Time) -> String {
    let mut text = format!("{COLUMNS}\n");
    DemoStream::new(profile, numbers, now).rows(&mut |row| text.push_str(&row.to_string()));
    text
}

/// Every block of a file.
fn blocks(text: &str) -> impl Iterator<Item = (u64, u64)> {
    text.lines().skip(1).filter(|line| line.starts_with('+')).map(|line| {
        let mut cells = line.split(',').map(|cell| cell.strip_prefix('+').and_then(|digits| digits.parse().ok()));
        let first = cells.next().flatten().expect("a number");
        (first, cells.next().flatten().unwrap_or(first))
    })
}

/// Counts must be exact, and every situation be there, in both partners.
#[track_caller]
fn check_inventory(numbers: u64) {
    let demo = Demo::empty();
    let now = noon();
    let made = demo.populate(numbers).expect("it is made");
    for report in made.imported.iter().flat_map(|(_, reports)| reports) {
        assert!(report.written && report.rejected == 0 && report.unknown.is_empty(), "{report:?}");
        assert!(report.warnings * 20 <= report.imported, "{report:?}");
    }
    let snapshots = demo.snapshots();
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.len() as u64).sum::<u64>(), numbers);
    let mut seen: HashSet<E164> = HashSet::new();
    for snapshot in &snapshots {
        check_situations(snapshot, numbers, now);
        for number in snapshot.iter(now) {
            assert!(seen.insert(number.number()), "{} is there twice", number.number());
        }
    }

    let versions: Vec<u64> = snapshots.iter().map(|snapshot| snapshot.version).collect();
    assert!(demo.populate(numbers).expect("it is there").imported.is_empty());
    assert_eq!(demo.snapshots().iter().map(|snapshot| snapshot.version).collect::<Vec<_>>(), versions);

    let report = verify::verify(&**demo.service.store(), &mut |_| {}).expect("it can be read");
    assert_eq!((report.numbers, report.differences), (numbers, Vec::new()));
}

#[track_caller]
fn check_situations(snapshot: &Snapshot, numbers: u64, now: Time) {
    let name = &snapshot.partner.auth_id;
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for number in snapshot.iter(now) {
        let mut count = |what| *counts.entry(what).or_default() += 1;
        let days = number.expires_at().map(|end| (end.seconds() - now.seconds()) as f64 / DAY as f64);
        let active = number.status() == Status::Active;
        count(number.state().as_str());
        count(number.number_type().as_str());
        count(number.country().map_or("nowhere", |_| "somewhere"));
        count(match (number.account().is_some(), number.application().is_some()) {
            (true, true) => "routed",
            (true, false) if active => "unrouted",
            (true, false) | (false, _) => "unroutable",
        });
        if !number.tags().is_empty() {
            count("tagged");
        }
        match days {
            Some(days) if days <= 0.0 => count("expired"),
            Some(days) if days <= 1.0 => count("within 1"),
            Some(days) if days <= 7.0 => count("within 7"),
            Some(days) if days <= 14.0 => count("within 14"),
            Some(_) => count("later"),
            None => {}
        }
    }
    let of = |what| counts.get(what).copied().unwrap_or(0);
    let total = snapshot.len() as u64;
    for situation in [
        "available",
        "reserved",
        "active",
        "suspended",
        "quarantined",
        "local",
        "tollfree",
        "mobile",
        "routed",
        "unrouted",
        "tagged",
        "expired",
        "within 1",
        "within 7",
        "within 14",
        "later",
    ] {
        assert!(of(situation) > 0, "{name} of {numbers} has no {situation}: {counts:?}");
    }
    assert_eq!(of("nowhere"), 0, "{name} of {numbers}");
    // At 1,000 each of the rare ones has at least its two or three.
    let permille = |what, least: u64| (least..=least.max(12) + 12 * total / 1_000).contains(&of(what));
    for rare in ["within 1", "within 7", "within 14", "expired", "suspended", "unrouted", "reserved", "quarantined"] {
        assert!(permille(rare, 2), "{name} of {numbers}: {rare} is out of proportion: {counts:?}");
    }
    assert!((60..=100).contains(&(of("available") * 1_000 / total)), "{name} of {numbers}: {counts:?}");

    assert!((18..=22).contains(&snapshot.accounts.len()), "{}", snapshot.accounts.len());
    let counts = snapshot.counts(now);
    assert!(counts.iter().filter(|count| count.active + count.suspended == 0).count() >= 2, "{counts:?}");
    assert_eq!(counts.iter().filter(|count| count.active == 0 && count.suspended > 0).count(), 1, "{counts:?}");
    for (account, count) in snapshot.accounts.sorted().zip(0..) {
        let id = account.auth_id.as_str();
        let hex = id.strip_prefix("MA_").is_some_and(|hex| hex.len() == 8);
        assert!(hex, "{count}: {id}");
    }
    let currencies: HashSet<String> =
        snapshot.iter(now).filter_map(|number| number.cost().map(|cost| cost.currency.to_string())).collect();
    assert_eq!(currencies.len(), 5, "{currencies:?}");
}

#[test]
fn every_situation_is_in_both_partners() {
    for numbers in [1_000, 1_001, 25_000] {
        check_inventory(numbers);
    }
}

#[test]
fn the_specifications_rows_are_there() {
    for numbers in [1_000, 25_000] {
        check_samples(numbers);
    }
}

#[track_caller]
fn check_samples(numbers: u64) {
    let demo = Demo::empty();
    demo.populate(numbers).expect("it is made");
    let snapshot = demo.snapshots().swap_remove(0);
    for (digits, account, name, application, assigned_at) in [
        (912_271_264_217, "MA_48149cf4", "Credresolve", "app_abc123", "2026-02-01T10:00:00Z"),
        (912_271_264_218, "MA_99ab12c3", "Acme Outbound", "app_def456", "2026-01-15T09:00:00Z"),
    ] {
        let number = snapshot.get(E164::new(digits).expect("a number"), noon()).expect("it is there");
        let holder = number.account().expect("it is held");
        let shown = (holder.auth_id.as_str(), &*holder.name, number.application().map(|it| it.id.as_str()));
        assert_eq!(shown, (account, name, Some(application)));
        assert_eq!(number.assigned_at().map(|time| time.to_string()).as_deref(), Some(assigned_at));
        assert_eq!(number.cost().map(|cost| cost.to_string()).as_deref(), Some("500.00"));
        assert_eq!((number.region(), number.number_type()), (Some("Mumbai"), NumberType::Local));
        assert_eq!((number.status(), number.state(), number.expires_at()), (Status::Active, State::Active, None));
        assert_eq!(number.trunk().map(|trunk| trunk.id.as_str()), Some("trunk_xyz"));
    }
    let main = snapshot.applications.sorted().find(|application| application.id.as_str() == "app_abc123");
    assert_eq!(main.map(|application| &*application.name), Some("Main IVR"));
    let credresolve = snapshot
        .iter(noon())
        .filter(|number| number.account().is_some_and(|account| account.auth_id.as_str() == "MA_48149cf4"));
    assert_eq!(credresolve.count(), 3);
    // It was tried on another route, suspended and resumed, and is as it was.
    let number = E164::new(912_271_264_217).expect("a number");
    let past = demo.service.store().history(snapshot.key, number).expect("its past");
    let verbs: Vec<&str> = past.iter().map(|past| past.entry.verb.as_str()).collect();
    assert!(verbs.ends_with(&["suspend", "resume"]), "{verbs:?}");
    let applications: Vec<&str> =
        snapshot.applications.iter().filter(|it| it.destinations.is_empty()).map(|it| it.id.as_str()).collect();
    assert!(applications.is_empty(), "{applications:?} lead nowhere");
}

#[test]
fn the_file_depends_on_the_day_alone() {
    for profile in [&FIRST, &SECOND] {
        let text = file(profile, 5_000, noon());
        assert_eq!(text, file(profile, 5_000, noon().plus(3_600)));
        assert_ne!(text, file(profile, 5_000, noon().plus(DAY)));
    }
}

#[test]
fn the_columns_are_those_of_an_export() {
    let mut columns: Vec<&str> = wire::EXPORT.iter().map(|column| column.name()).collect();
    columns.insert(1, "number_end");
    assert_eq!(COLUMNS, columns.join(","));
}

/// As large as it gets, the ranges still have room.
#[test]
fn counts_are_exact_and_numbers_plausible_at_any_size() {
    for numbers in [1_000, 1_234, 50_000, 999_999] {
        let files = shares(numbers).map(|(profile, numbers)| file(profile, numbers, noon()));
        let mut all: Vec<(u64, u64)> = files.iter().flat_map(|text| blocks(text)).collect();
        all.sort_unstable();
        assert_eq!(all.iter().map(|(first, last)| last - first + 1).sum::<u64>(), numbers);
        assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0), "a number is there twice");
        let valid = |digits: u64| u64::from(plan::lookup(digits).valid);
        let valid: u64 = all.iter().map(|&(first, last)| valid(first) + valid(last)).sum();
        assert!(valid * 100 >= all.len() as u64 * 2 * 95, "{valid} of {}", all.len() * 2);
    }
}

#[test]
fn ranges_are_apart_and_what_they_say() {
    let ranges: Vec<_> = FIRST.ranges.iter().chain(SECOND.ranges).collect();
    for (at, range) in ranges.iter().enumerate() {
        let end = range.first + range.size;
        let apart = |first: u64, last: u64| last < range.first || end <= first;
        assert!(ranges[..at].iter().all(|other| apart(other.first, other.first + other.size - 1)), "{}", range.first);
        assert!(SAMPLES.iter().all(|sample| apart(sample.first, sample.last)), "{}", range.first);
        let found = (range.first..end).step_by(10_007).map(plan::lookup).find(|plan| plan.valid);
        assert_eq!(found.map(|plan| plan.number_type), Some(range.number_type), "{}", range.first);
    }
    for profile in [&FIRST, &SECOND] {
        assert_eq!(profile.ranges.iter().map(|range| range.weight).sum::<u64>(), 100);
    }
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    let demo = Demo::empty();
    for numbers in [0, 999, 10_000_001] {
        assert!(matches!(demo.populate(numbers), Err(DemoError::Numbers { .. })), "numbers: {numbers}");
    }
    assert!(demo.snapshots().is_empty());
}

#[test]
fn an_interrupted_call_is_completed_by_the_next() {
    let demo = Demo::empty();
    let interrupted = populate(&demo.service, &|_| None, 1_000, noon(), &|_| {}, &AtomicBool::new(true));
    assert!(matches!(interrupted, Err(DemoError::Import(ImportError::Cancelled))));
    assert_eq!(demo.populate(1_000).expect("it is made").imported.len(), 2);
}

/// Run by hand, optimised, to see where the time goes.
#[test]
#[ignore = "a measurement"]
fn time_of_a_million() {
    let start = std::time::Instant::now();
    let bytes: usize = shares(1_000_000).map(|(profile, numbers)| file(profile, numbers, noon()).len()).iter().sum();
    println!("the files alone: {bytes} bytes in {:?}", start.elapsed());
    let demo = Demo::empty();
    let start = std::time::Instant::now();
    let writing = std::sync::Mutex::new(None);
    let progress = |progress: ImportProgress| {
        if let ImportProgress::Writing { .. } = progress {
            writing.lock().expect("not poisoned").get_or_insert_with(|| start.elapsed());
        }
    };
    let made =
        populate(&demo.service, &|_| None, 1_000_000, noon(), &progress, &AtomicBool::new(false)).expect("it is made");
    println!("populate: {:?}, first written after {:?}", start.elapsed(), writing.lock().expect("not poisoned"));
    let reports = made.imported.iter().flat_map(|(_, reports)| reports);
    println!("{:?}", reports.map(|report| (report.rows, report.warnings)).collect::<Vec<_>>());
    let start = std::time::Instant::now();
    demo.snapshots();
    println!("load: {:?}", start.elapsed());
}

/// Every page of the console has something of the year to show.
#[test]
fn the_year_has_left_its_marks() {
    let demo = Demo::empty();
    demo.populate(5_000).expect("it is made");
    for snapshot in demo.snapshots() {
        let (key, name) = (snapshot.key, &snapshot.partner.auth_id);
        let log = demo.service.store().log(key, 0, usize::MAX).expect("the log");
        let mut times = log.iter().map(|logged| logged.change.at);
        let (first, last) = (times.next().expect("a change"), times.next_back().expect("another"));
        assert_eq!(first, arrival(noon()), "{name}");
        assert!(last <= noon().max(last) && log.is_sorted_by_key(|logged| logged.change.at), "{name}");
        let verbs: HashSet<&str> = log.iter().map(|logged| logged.change.verb.as_str()).collect();
        for verb in [
            "import",
            "suspend",
            "release",
            "renew",
            "transfer",
            "undo",
            "acknowledge",
            "schedule_create",
            "webhook_create",
        ] {
            assert!(verbs.contains(verb), "{name} has no {verb}: {verbs:?}");
        }
        let months: HashSet<String> = log.iter().map(|logged| logged.change.at.to_string()[..7].to_owned()).collect();
        assert!(months.len() >= 11, "{name}: {months:?}");
        let (jobs, total) = demo.service.jobs(key, 0, 100).expect("jobs");
        assert!(total > 12 && jobs.iter().all(|job| job.tally.failed == 0), "{name}: {jobs:?}");
        assert!(jobs.iter().any(|job| job.state == JobState::Previewed && job.total > 0), "{name}");
        assert!(jobs.iter().any(|job| job.task.undoes().is_some() && job.state == JobState::Done), "{name}");
        assert!(snapshot.acknowledgements.iter().count() >= 3, "{name}");
        let schedule = demo.service.schedules(key, noon()).expect("schedules").remove(0);
        assert!(schedule.state.and_then(|state| state.last).is_some_and(|ran| ran.findings > 0), "{name}");
        assert_eq!(demo.service.views(key).expect("views").len(), 2, "{name}");
        // A node of today does not remember them, so they are counted in the store.
        let walk = DocumentWalk::Down { before: None };
        let days = demo.service.store().documents(key, "called", walk, 100).expect("days of calls");
        assert!(days.len() > 9, "{name}: {}", days.len());
        for job in jobs.iter().filter(|job| job.state == JobState::Done) {
            let ended = job.ended_at.expect("it ended");
            assert!(ended >= job.created_at && ended <= job.created_at.plus(60), "{job:?}");
        }
    }
}

/// At the end the numbers are as the file of today says.
#[test]
fn the_year_leads_to_the_inventory() {
    let demo = Demo::empty();
    demo.populate(5_000).expect("it is made");
    let moved: HashSet<E164> = demo
        .snapshots()
        .iter()
        .flat_map(|snapshot| demo.service.store().log(snapshot.key, 0, usize::MAX).expect("the log"))
        .filter(|logged| logged.change.verb == crate::domain::Verb::Transfer)
        .flat_map(|logged| logged.change.numbers)
        .map(|change| change.number)
        .collect();
    for (profile, numbers) in shares(5_000) {
        let snapshots = demo.snapshots();
        let snapshot = snapshots.iter().find(|one| one.partner.auth_id.as_str() == profile.auth_id).expect("there");
        DemoStream::new(profile, numbers, noon()).rows(&mut |row| {
            let (first, last) = row.numbers.unwrap_or((1, 0));
            for number in (first..=last).filter_map(E164::new).filter(|number| !moved.contains(number)) {
                let found = snapshot.get(number, noon()).expect("it is there");
                let cost = found.cost().map(|cost| cost.to_string()).unwrap_or_default();
                let holder = found.account().map_or("", |account| account.auth_id.as_str());
                assert_eq!((found.state().as_str(), holder), (row.state, row.holding.account.0), "{number}");
                assert_eq!((cost.as_str(), found.expires_at()), (row.cost, row.expires_at), "{number}");
                let route = found.application().map_or("", |application| application.id.as_str());
                assert_eq!(route, row.holding.application.0, "{number}");
            }
        });
    }
}
