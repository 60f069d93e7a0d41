//! What the benchmarks share: inventories, a random generator, a way to take
//! times, and the table that they print.
//!
//! Every line says what was measured, the figure, what it has to be at the
//! least, what it is meant to be, and which of the two it meets. Figures are
//! ratios of two things taken in one run wherever they can be, because
//! machines differ and are shared.
//!
//! Three kinds of inventory: *blocks*, generated, as operators hand numbers out;
//! *Indian* numbers, scattered, as a platform's export has them; and numbers *drawn* from the blocks that France's regulator publishes, which
//! is the sparse case of a customer with a number here and there. The drawn
//! ones need `../shared/data` or `ROLLCALL_DATA`, and are skipped without.

// Each benchmark uses a part of this.
#![allow(dead_code)]

pub mod server;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rollcall::domain::action::{Action, Assignment};
use rollcall::domain::change::GENESIS;
use rollcall::domain::quarantine::Quarantine;
use rollcall::domain::{
    Account, Actor, Application, E164, Money, NumberType, Partner, PartnerKey, Record, State, Tags, Time,
};
use rollcall::inventory::{Filter, Loader, Order, Snapshot};
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::{Service, WriteOutcome};
use rollcall::store::Store;
use rustix::time::{ClockId, clock_gettime};

/// SplitMix64: deterministic, and good enough to choose test data.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The moment at which every question is asked.
pub fn now() -> Time {
    Time::new(1_770_000_000).expect("a time")
}

// ---- the table

/// Begins a part of the table.
pub fn heading(text: &str) {
    println!("\n{text}");
    println!("  {:<58} {:>14} {:>10} {:>10}", "", "measured", "at least", "aim");
}

fn print(what: &str, figure: &str, least: &str, aim: &str, verdict: &str) {
    let line = format!("  {what:<58} {figure:>14} {least:>10} {aim:>10}  {verdict}");
    println!("{}", line.trim_end());
}

fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A figure that should be small.
pub fn at_most(what: &str, value: f64, unit: &str, least: f64, aim: f64) {
    let verdict = if value <= aim {
        "aim met"
    } else if value <= least {
        "met"
    } else {
        "NOT MET"
    };
    print(what, &format!("{} {unit}", plain(value)), &format!("≤ {least}"), &format!("≤ {aim}"), verdict);
}

/// A figure that should be large.
pub fn at_least(what: &str, value: f64, unit: &str, least: f64, aim: f64) {
    let verdict = if value >= aim {
        "aim met"
    } else if value >= least {
        "met"
    } else {
        "NOT MET"
    };
    print(what, &format!("{} {unit}", plain(value)), &format!("≥ {least}"), &format!("≥ {aim}"), verdict);
}

/// A figure that has an aim only.
pub fn aimed(what: &str, value: f64, unit: &str, aim: f64) {
    let verdict = if value >= aim { "aim met" } else { "reported" };
    print(what, &format!("{} {unit}", plain(value)), "", &format!("≥ {aim}"), verdict);
}

/// A figure that nothing is asked of.
pub fn reported(what: &str, value: f64, unit: &str) {
    print(what, &format!("{} {unit}", plain(value)), "", "", "");
}

pub fn skipped(what: &str, why: &str) {
    println!("  {what}: skipped, {why}");
}

// ---- taking times

/// How long something takes, in microseconds.
pub fn micros<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64() * 1e6
}

/// The best of some rounds on this thread, in microseconds of its processor.
/// What takes longer than others let it run would else be measured with them.
pub fn best<T>(rounds: usize, mut work: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = processor_micros(ClockId::ThreadCPUTime);
        let took = micros(&mut work);
        // Asking this clock takes as long as some questions do.
        if took < 100.0 { took } else { processor_micros(ClockId::ThreadCPUTime) - start }
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

/// What a thread or the process has used of processors so far.
pub fn processor_micros(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// The best of some rounds of two things that are compared, taken in turns, so
/// that both see the same machine.
pub fn best_of_two<T, U>(rounds: usize, mut one: impl FnMut() -> T, mut other: impl FnMut() -> U) -> (f64, f64) {
    let pair = |_| (micros(&mut one), micros(&mut other));
    (0..rounds).map(pair).fold((f64::INFINITY, f64::INFINITY), |best, pair| (best.0.min(pair.0), best.1.min(pair.1)))
}

/// The bytes of a process's memory that are resident, of itself.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1024
}

// ---- verbs

/// The verbs, with no quarantine, so that a released number is available.
pub fn verbs(store: Arc<dyn Store>) -> Service {
    let quarantine = Quarantine { default_days: 0, ..Quarantine::default() };
    Service::new(store, Actor::Command { user: "bench".to_owned() }).quarantine(quarantine)
}

/// Takes one number back and gives it to an account: two verbs, each of them
/// one version and one log entry, durable when it returns.
pub fn reassign(service: &Service, key: PartnerKey, number: E164, account: u64) {
    let account = account_id(account).parse().expect("an id");
    let to = Assignment { account, application: None, trunk: None, expires_at: None, cost: None };
    for action in [Action::Release { confirm_last: true }, Action::Assign(to)] {
        let done = service.act(key, number, &action, &Expected::Anything);
        assert!(matches!(done, Ok(WriteOutcome::Done { version: Some(_), .. })), "{done:?}");
    }
}

// ---- inventories

/// How many accounts hold the numbers; each has an application.
pub const ACCOUNTS: u64 = 430;

/// Numbers, ascending, each with which account holds it.
pub type Numbers = Vec<(u64, u64)>;

/// Blocks of 100 to 10,000 over 200 prefixes with 3 % holes and 1 % singles;
/// 500 neighbours go to one account.
pub fn blocks(count: usize) -> Numbers {
    let mut random = Random(1);
    let mut numbers = Vec::with_capacity(count + 10_000);
    let mut free: Vec<u64> = (0..200).map(|at| (100 + at * 4) * 100_000_000_u64).collect();
    while numbers.len() < count {
        let prefix = random.below(200) as usize;
        if random.below(100) == 0 {
            free[prefix] += random.below(5_000);
            numbers.push(free[prefix]);
        }
        let size = [100, 1_000, 1_000, 10_000][random.below(4) as usize];
        let first = free[prefix].next_multiple_of(size);
        free[prefix] = first + size;
        numbers.extend((first..first + size).filter(|_| random.below(100) >= 3));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers.truncate(count);
    held_by_neighbours(numbers)
}

/// Numbers at random of all there are with twelve digits or eleven.
pub fn scattered(count: usize) -> Numbers {
    let mut random = Random(2);
    let mut numbers: Vec<u64> = (0..count).map(|_| 10_000_000_000 + random.below(900_000_000_000)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    held_by_neighbours(numbers)
}

/// The account that holds about 96,000 of a million Indian numbers.
pub const LARGE_ACCOUNT: u64 = 0;

/// Numbers at random of eight area codes of India, a twentieth of them toll-free
/// and a twentieth mobile. One account has 96 of a thousand, the others share the
/// rest at random.
pub fn indian(count: usize) -> Numbers {
    let mut random = Random(5);
    let mut numbers: Vec<u64> = (0..count)
        .map(|_| match random.below(20) {
            0 => 9_118_000_000_000 + random.below(10_000_000),
            1 => 919_800_000_000 + random.below(200_000_000),
            _ => {
                let area = [11, 22, 33, 40, 44, 79, 80, 20][random.below(8) as usize];
                (91 * 100 + area) * 100_000_000 + 20_000_000 + random.below(60_000_000)
            }
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut holder = || match random.below(1_000) {
        0..96 => LARGE_ACCOUNT,
        _ => 1 + random.below(ACCOUNTS - 1),
    };
    numbers.into_iter().map(|number| (number, holder())).collect()
}

/// [`record`], with dates to the minute.
pub fn dated_record(holder: u64, random: &mut Random) -> Record {
    let assigned_at = now().plus(-(random.below(3 * 365 * 1_440) as i64) * 60);
    Record { assigned_at: Some(assigned_at), since: assigned_at, ..record(holder, random) }
}

fn held_by_neighbours(numbers: Vec<u64>) -> Numbers {
    let holder = |at: usize| (at as u64 / 500).wrapping_mul(0x9e37_79b9) % ACCOUNTS;
    numbers.into_iter().enumerate().map(|(at, number)| (number, holder(at))).collect()
}

/// Numbers drawn from the blocks of France, each held by the operator that has
/// its block. `Err` says why there are none.
pub fn drawn(count: usize) -> Result<Numbers, String> {
    let data = match std::env::var_os("ROLLCALL_DATA") {
        Some(data) => PathBuf::from(data),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let (script, blocks) = (data.join("draw_numbers.py"), data.join("blocks_fr_arcep.csv.gz"));
    if !script.exists() || !blocks.exists() {
        return Err(format!("{} has no blocks to draw from; ROLLCALL_DATA may name them", data.display()));
    }
    // Drawing ten million takes more than a minute, so what was drawn is kept.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("drawn-{count}.csv"));
    if !kept.exists() {
        let mut python = Command::new("python3");
        python.arg(script).arg(blocks).arg(count.to_string()).stdin(Stdio::null());
        let output = python.output().map_err(|error| format!("python3: {error}"))?;
        if !output.status.success() {
            return Err(format!("the drawing failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let part = kept.with_extension("part");
        std::fs::write(&part, &output.stdout)
            .and_then(|()| std::fs::rename(&part, &kept))
            .map_err(|e| e.to_string())?;
    }
    let text = std::fs::read_to_string(&kept).map_err(|error| error.to_string())?;
    let mut operators = std::collections::HashMap::new();
    let mut numbers: Numbers = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut cells = line.split(',');
            let number = cells.next()?.strip_prefix('+')?.parse().ok()?;
            let next = operators.len() as u64;
            Some((number, *operators.entry(cells.nth(2)?).or_insert(next) % ACCOUNTS))
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is known of a number of an account: 1 % suspended, 1 % without an
/// application, 1 % with an expiry within 90 days.
pub fn record(holder: u64, random: &mut Random) -> Record {
    let routed = random.below(100) > 0;
    let expires = random.below(100) == 0;
    Record {
        state: if random.below(100) == 0 { State::Suspended } else { State::Active },
        account: Some(account_id(holder).parse().expect("an id")),
        application: routed.then(|| application_id(holder).parse().expect("an id")),
        trunk: None,
        number_type: NumberType::Local,
        country: Some("IN".parse().expect("a country")),
        region: Some("Mumbai".into()),
        cost: Some(Money { minor: 50_000, currency: "INR".parse().expect("a currency") }),
        assigned_at: Some(now().plus(-(holder as i64) * 86_400)),
        expires_at: expires.then(|| now().plus(random.below(90 * 86_400) as i64)),
        since: now(),
        until: None,
        tags: Tags::default(),
    }
}

pub fn account_id(at: u64) -> String {
    format!("MA_{at}")
}

pub fn application_id(at: u64) -> String {
    format!("app_{at}")
}

pub fn partner() -> Partner {
    Partner { auth_id: "PA_1".parse().expect("an id"), name: "P".into(), created_at: now(), suspended_at: None }
}

pub fn account(at: u64) -> Account {
    Account {
        auth_id: account_id(at).parse().expect("an id"),
        name: format!("Customer {at}").into(),
        created_at: now(),
        archived_at: None,
    }
}

pub fn application(at: u64) -> Application {
    Application {
        id: application_id(at).parse().expect("an id"),
        name: format!("Menu {at}").into(),
        account: None,
        created_at: now(),
        archived_at: None,
        destinations: Default::default(),
        answer_url: None,
    }
}

/// All of it as an index.
pub fn snapshot(numbers: &[(u64, u64)]) -> Snapshot {
    snapshot_of(numbers, record)
}

/// The same, with the records that `record` makes of accounts.
pub fn snapshot_of(numbers: &[(u64, u64)], record: fn(u64, &mut Random) -> Record) -> Snapshot {
    let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), 1, GENESIS, partner()));
    for at in 0..ACCOUNTS {
        Arc::make_mut(&mut loader.snapshot.accounts).put(account(at));
        Arc::make_mut(&mut loader.snapshot.applications).put(application(at));
    }
    let mut random = Random(3);
    for &(digits, holder) in numbers {
        let number = E164::new(digits).expect("a number");
        loader.number(number, 1, &record(holder, &mut random)).expect("fits");
    }
    loader.finish()
}

/// A question with one filter and an order; empty for none.
pub fn ask(name: &str, value: &str, sort: &str) -> (Filter, Order) {
    let (mut filter, mut order) = (Filter::default(), Order::default());
    for part in [(name, value), ("sort", sort)] {
        if !part.0.is_empty() {
            filter.set(&mut order, part.0, part.1).expect("a filter");
        }
    }
    (filter, order)
}
