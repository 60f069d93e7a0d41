//! What a question costs inside the index, at several sizes, against the plain
//! scan: `cargo bench --bench index [-- NUMBERS…]`.
//!
//! Each figure is the best of several rounds on one thread, in microseconds;
//! what counts are the ratios inside one run, because machines differ and are
//! shared. Inventories are generated: blocks of 100 to 10,000 over 200
//! prefixes with 3 % holes and 1 % singles, 400 accounts; and, for the bytes,
//! numbers drawn at random from all there are.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rollcall::domain::change::{GENESIS, Logged};
use rollcall::domain::{
    Account, Actor, Application, Change, E164, Money, NumberChange, NumberType, Partner, PartnerKey, Record, State,
    Tags, Time, Verb,
};
use rollcall::inventory::flat::Flat;
use rollcall::inventory::{Filter, Loader, Order, Snapshot, Window};

const ACCOUNTS: u64 = 400;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn now() -> Time {
    Time::new(1_770_000_000).expect("a time")
}

fn blocks(count: usize) -> Vec<u64> {
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
    numbers
}

fn scattered(count: usize) -> Vec<u64> {
    let mut random = Random(2);
    let mut numbers: Vec<u64> = (0..count).map(|_| 10_000_000_000 + random.below(900_000_000_000)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn snapshot(numbers: &[u64]) -> Snapshot {
    let partner =
        Partner { auth_id: "PA_1".parse().expect("an id"), name: "P".into(), created_at: now(), suspended_at: None };
    let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), 1, GENESIS, partner));
    for at in 0..ACCOUNTS {
        let account = Account {
            auth_id: format!("MA_{at}").parse().expect("an id"),
            name: format!("Customer {at}").into(),
            created_at: now(),
            archived_at: None,
        };
        let application = Application {
            id: format!("app_{at}").parse().expect("an id"),
            name: format!("Menu {at}").into(),
            account: None,
            created_at: now(),
            archived_at: None,
        };
        Arc::make_mut(&mut loader.snapshot.accounts).put(account);
        Arc::make_mut(&mut loader.snapshot.applications).put(application);
    }
    let mut random = Random(3);
    for (at, &digits) in numbers.iter().enumerate() {
        // Blocks of 500 neighbours go together; some numbers differ.
        let holder = (at as u64 / 500).wrapping_mul(0x9e37_79b9) % ACCOUNTS;
        let record = record(holder, &mut random);
        loader.number(E164::new(digits).expect("a number"), 1, &record).expect("fits");
    }
    loader.finish()
}

fn record(holder: u64, random: &mut Random) -> Record {
    let routed = random.below(100) > 0;
    let expires = random.below(100) == 0;
    Record {
        state: if random.below(100) == 0 { State::Suspended } else { State::Active },
        account: Some(format!("MA_{holder}").parse().expect("an id")),
        application: routed.then(|| format!("app_{holder}").parse().expect("an id")),
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

/// The best of some rounds, in microseconds.
fn best<T>(rounds: usize, mut work: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

fn ask(name: &str, value: &str, sort: &str) -> (Filter, Order) {
    let (mut filter, mut order) = (Filter::default(), Order::default());
    for part in [(name, value), ("sort", sort)] {
        if !part.0.is_empty() {
            filter.set(&mut order, part.0, part.1).expect("a filter");
        }
    }
    (filter, order)
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 1_000_000, 10_000_000] } else { sizes };
    for size in sizes {
        let numbers = blocks(size);
        let start = Instant::now();
        let snapshot = snapshot(&numbers);
        println!("\n{size} numbers in blocks, built in {:.2} s", start.elapsed().as_secs_f64());
        println!("  {:<46} {:>10.1}", "bytes a number, all structures", snapshot.bytes() as f64 / size as f64);

        let first = Window::Page { skip: 0, rows: 20 };
        // An account and an application that have numbers.
        let middle = E164::new(numbers[size / 2]).expect("a number");
        let middle = snapshot.get(middle, now()).expect("there").record();
        let holder = middle.account.expect("held").to_string();
        let menu = holder.replace("MA", "app");
        let all = ask("", "", "");
        let line = |what: &str, micros: f64| println!("  {what:<46} {micros:>10.2} µs");
        let page = |(filter, order): &(Filter, Order), window| snapshot.select(filter, *order, window, now());
        line("first page", best(2_000, || page(&all, first).rows.len()));
        let mut random = Random(4);
        let skips: Vec<u64> = (0..64).map(|_| random.below(size as u64)).collect();
        let deep = best(200, || {
            let rows = |&skip: &u64| page(&all, Window::Page { skip, rows: 20 }).rows.len();
            skips.iter().map(rows).sum::<usize>()
        });
        line("random deep page", deep / 64.0);
        let after = E164::new(numbers[size / 2]).expect("a number");
        line("page after a number", best(500, || page(&all, Window::After { number: after, rows: 20 }).rows.len()));
        line("account page", best(2_000, || page(&ask("account_auth_id", &holder, ""), first).total));
        line("application page", best(2_000, || page(&ask("application_id", &menu, ""), first).total));
        let rounds = (20_000_000 / size).clamp(5, 500);
        let four = ask("search", "7126", "");
        let searched = best(rounds, || page(&four, first).total);
        line("4 digits, total and page", searched);
        line("7 digits, total and page", best(rounds, || page(&ask("search", "1000712", ""), first).total));
        let mut within = ask("search", "7126", "");
        within.0.account = Some(holder.as_str().into());
        line("4 digits within an account", best(rounds, || page(&within, first).total));
        let soon = now().plus(14 * 86_400).to_string();
        line("expiring within 14 days", best(rounds, || page(&ask("expires_before", &soon, ""), first).total));
        line("unrouted", best(rounds, || page(&ask("routed", "false", ""), first).total));
        line("suspended", best(rounds, || page(&ask("status", "suspended", ""), first).total));
        line("sorted by expiry", best(rounds.min(20), || page(&ask("", "", "expires_at"), first).total));

        let flat = Flat::of(&snapshot);
        let scan = best(3, || flat.select(&snapshot, &four.0, four.1, first, now()).0);
        line("4 digits by the scan", scan);
        println!("  {:<46} {:>10.1} times", "the scan's cost ÷ the search's", scan / searched);

        let target = E164::new(numbers[size / 3]).expect("a number");
        let before = snapshot.get(target, now()).expect("there").record();
        let after = Record { application: Some("app_9".parse().expect("an id")), ..before.clone() };
        let logged = edit(&snapshot, vec![NumberChange { number: target, before: Some(before), after: Some(after) }]);
        line("route one number, new snapshot", best(200, || snapshot.applied(&logged).expect("fits").version));
    }
    let numbers = scattered(1_000_000);
    let snapshot = snapshot(&numbers);
    println!("\n{} numbers at random", numbers.len());
    println!("  {:<46} {:>10.1}", "bytes a number, all structures", snapshot.bytes() as f64 / numbers.len() as f64);
}

fn edit(snapshot: &Snapshot, numbers: Vec<NumberChange>) -> Logged {
    let change = Change {
        partner: snapshot.key,
        version: snapshot.version + 1,
        at: now(),
        actor: Actor::Command { user: "bench".to_owned() },
        request_id: None,
        verb: Verb::Import,
        entities: Vec::new(),
        numbers,
    };
    Logged { change, previous: snapshot.head, digest: [1; 32] }
}
