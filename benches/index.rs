//! What a question costs inside the index, at several sizes, against the plain
//! scan: `cargo bench --bench index [-- NUMBERS…]`.
//!
//! Each figure is the best of several rounds on one thread. Where a question
//! must not cost more the more numbers there are, the line is what it costs
//! with the most divided by what it costs with the fewest.

#![allow(clippy::print_stdout)]

#[path = "shared/france.rs"]
#[allow(dead_code)]
mod france;
mod shared;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use rollcall::checks;
use rollcall::domain::change::{GENESIS, Logged};
use rollcall::domain::{Actor, Change, E164, NumberChange, PartnerKey, Record, State, Verb};
use rollcall::inventory::flat::Flat;
use rollcall::inventory::{Loader, Snapshot, Window};

use shared::{ACCOUNTS, Random, ask, at_least, at_most, best, heading, now, reported, skipped};

const IN_BLOCKS: &str = "numbers in blocks";

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 1_000_000, 10_000_000] } else { sizes };
    table(IN_BLOCKS, &sizes, |size| Ok(shared::blocks(size)));
    scattered(1_000_000);
    match france::blocks(u64::MAX) {
        Ok(blocks) => whole_france(&blocks),
        Err(why) => skipped("the numbers of France", &why),
    }
    // One drawing serves all sizes: any part of it is as good a drawing.
    let most = sizes.iter().copied().max().unwrap_or_default();
    let drawn = shared::drawn(most);
    table("numbers drawn from the blocks of France", &sizes, |size| {
        let drawn = drawn.as_ref().map_err(String::clone)?;
        Ok(drawn.iter().step_by(drawn.len() / size).take(size).copied().collect())
    });
}

/// Searches of scattered numbers, each with a date of its own.
fn scattered(size: usize) {
    let numbers = shared::indian(size);
    let snapshot = shared::snapshot_of(&numbers, shared::dated_record);
    heading(&format!("{} Indian numbers at random, dates to the minute", named(numbers.len())));
    let bytes = |snapshot: &Snapshot| snapshot.bytes() as f64 / numbers.len() as f64;
    let rows = bytes(&snapshot);
    at_most("bytes a number, counted, before a search", rows, "", 70.0, 60.0);
    let first = Window::Page { skip: 0, rows: 20 };
    let line = |what: &str, (filter, order): (_, _), most: f64| {
        let total = || snapshot.select(&filter, order, first, now()).total;
        reported("matches", total() as f64, "");
        at_most(what, best(50, total) / 1e3, "ms", most, most / 2.0);
    };
    let account = shared::account_id(shared::LARGE_ACCOUNT);
    let within = |search: &str| {
        let mut within = ask("search", search, "");
        within.0.account = Some(account.as_str().into());
        within
    };
    let filtered = |name: &str, value: &str| {
        let (mut filter, mut order) = ask("search", "7126", "");
        filter.set(&mut order, name, value).expect("a filter");
        (filter, order)
    };
    let four = ask("search", "7126", "");
    let begun = shared::micros(|| snapshot.select(&four.0, four.1, first, now()).total);
    reported("4 digits, the first time", begun / 1e3, "ms");
    // A search makes some of the lists that it needs.
    let warm = |(filter, order): (_, _)| {
        (0..100).for_each(|_| {
            black_box(snapshot.select(&filter, order, first, now()).total);
        })
    };
    warm(ask("search", "7126", ""));
    warm(within("712"));
    line("4 digits, total and page", ask("search", "7126", ""), 0.4);
    line("7 digits, total and page", ask("search", "2271264", ""), 0.4);
    line("the first 4 digits, total and page", ask("search", "+9122", ""), 0.4);
    line("3 digits within an account of 96 k", within("712"), 0.3);
    line("4 digits within an account of 96 k", within("7126"), 0.3);
    line("4 digits that are active", filtered("status", "active"), 0.4);
    line("4 digits that expire within 90 days", filtered("expires_before", &now().plus(90 * 86_400).to_string()), 0.4);
    line("4 digits, sorted by assignment", filtered("sort", "-assigned_at"), 0.4);
    let deep = ask("search", "7126", "");
    let page = || snapshot.select(&deep.0, deep.1, Window::Page { skip: 500, rows: 20 }, now()).rows.len();
    at_most("4 digits, a deep page", best(50, page) / 1e3, "ms", 0.4, 0.2);
    at_most("bytes a number of the lists of digits", bytes(&snapshot) - rows, "", 25.0, 15.0);
}

/// All numbers of France, each operator a customer.
fn france_snapshot(blocks: &[france::Block]) -> Snapshot {
    let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), 1, GENESIS, shared::partner()));
    for at in 0..ACCOUNTS {
        Arc::make_mut(&mut loader.snapshot.accounts).put(shared::account(at));
        Arc::make_mut(&mut loader.snapshot.applications).put(shared::application(at));
    }
    let (mut random, mut operators) = (Random(6), HashMap::new());
    for block in blocks {
        let next = operators.len() as u64;
        let holder = *operators.entry(&block.operator).or_insert(next) % ACCOUNTS;
        let record = Record { state: State::Active, expires_at: None, ..shared::record(holder, &mut random) };
        let [first, last] = [block.first, block.last].map(|digits| E164::new(digits).expect("a number"));
        let image = loader.image(first, &record).expect("fits");
        loader.place((first, last), 1, image, record.dates()).expect("fits");
    }
    loader.finish()
}

/// Searches of 424 million numbers.
fn whole_france(blocks: &[france::Block]) {
    let snapshot = france_snapshot(blocks);
    heading(&format!("France whole: {} million numbers in {} blocks", snapshot.len() / 1_000_000, blocks.len()));
    at_most("bytes a number, counted", snapshot.bytes() as f64 / snapshot.len() as f64, "", 1.0, 0.1);
    let first = Window::Page { skip: 0, rows: 20 };
    let four = ask("search", "7126", "");
    let mut total = 0;
    let begun = shared::micros(|| total = snapshot.select(&four.0, four.1, first, now()).total);
    reported("4 digits, with the tables made", begun / 1e3, "ms");
    for digits in [1, 2, 3, 4, 5, 6, 7, 9] {
        france_digits(&snapshot, digits);
    }
    let mut random = Random(8);
    let skips: Vec<u64> = (0..64).map(|_| random.below(total)).collect();
    let deep = best(20, || {
        let rows = |&skip: &u64| snapshot.select(&four.0, four.1, Window::Page { skip, rows: 20 }, now()).rows.len();
        skips.iter().map(rows).sum::<usize>()
    });
    reported("4 digits, a random deep page", deep / 64.0, "µs");
    let counted = snapshot.accounts.iter().zip(snapshot.counts(now()));
    let (largest, _) = counted.max_by_key(|(_, counts)| counts.active).expect("an account");
    let mut within = four.clone();
    within.0.account = Some(largest.auth_id.as_str().into());
    let page = || snapshot.select(&within.0, within.1, first, now()).total;
    at_most("4 digits within the largest operator", best(200, page), "µs", 15.0, 8.0);
}

/// Many searches of so many digits, in microseconds each.
fn france_digits(snapshot: &Snapshot, digits: u32) {
    let mut random = Random(u64::from(digits));
    let searches: Vec<_> = (0..64)
        .map(|_| ask("search", &format!("{:0width$}", random.below(10_u64.pow(digits)), width = digits as usize), ""))
        .collect();
    let first = Window::Page { skip: 0, rows: 20 };
    let total = |(filter, order): &(_, _)| snapshot.select(filter, *order, first, now()).total;
    let all = || searches.iter().map(total).sum::<u64>();
    reported(&format!("{digits} digits, each for the first time"), shared::micros(all) / 64.0, "µs");
    at_most(&format!("{digits} digits, total and page"), best(20, all) / 64.0, "µs", 15.0, 8.0);
}

/// What must not grow with the inventory, in microseconds.
struct Flatness {
    size: usize,
    first: f64,
    deep: f64,
    account: f64,
    application: f64,
}

fn table(what: &str, sizes: &[usize], numbers: impl Fn(usize) -> Result<shared::Numbers, String>) {
    let mut measured: Vec<Flatness> = Vec::new();
    for &size in sizes {
        match numbers(size) {
            Ok(numbers) => measured.push(measure(what, size, &numbers)),
            Err(why) => return skipped(what, &why),
        }
    }
    let (Some(fewest), Some(most)) = (measured.first(), measured.last()) else { return };
    heading(&format!("{what}: {} ÷ {}", named(most.size), named(fewest.size)));
    let line = |what: &str, of: fn(&Flatness) -> f64| at_most(what, of(most) / of(fewest), "times", 3.0, 1.15);
    line("first page", |figures| figures.first);
    line("random deep page", |figures| figures.deep);
    line("account page", |figures| figures.account);
    line("application filter", |figures| figures.application);
}

fn named(size: usize) -> String {
    match size {
        size if size.is_multiple_of(1_000_000) => format!("{} M", size / 1_000_000),
        size if size.is_multiple_of(1_000) => format!("{} k", size / 1_000),
        size => size.to_string(),
    }
}

fn measure(what: &str, size: usize, numbers: &[(u64, u64)]) -> Flatness {
    let snapshot = shared::snapshot(numbers);
    heading(&format!("{} {what}", named(size)));
    let bytes = snapshot.bytes() as f64 / size as f64;
    match what {
        IN_BLOCKS if size == 10_000_000 => at_most("bytes a number, counted", bytes, "", 1.0, 0.5),
        _ => reported("bytes a number, counted", bytes, ""),
    }

    let first = Window::Page { skip: 0, rows: 20 };
    // An account and an application that have numbers.
    let (middle, holder) = numbers[size / 2];
    let middle = E164::new(middle).expect("a number");
    let (holder, menu) = (shared::account_id(holder), shared::application_id(holder));
    let all = ask("", "", "");
    let line = |what: &str, micros: f64| {
        reported(what, micros, "µs");
        micros
    };
    let page = |(filter, order): &(_, _), window| snapshot.select(filter, *order, window, now());
    let one = line("first page", best(2_000, || page(&all, first).rows.len()));
    let mut random = Random(4);
    let skips: Vec<u64> = (0..64).map(|_| random.below(size as u64)).collect();
    let deep = best(200, || {
        let rows = |&skip: &u64| page(&all, Window::Page { skip, rows: 20 }).rows.len();
        skips.iter().map(rows).sum::<usize>()
    });
    let deep = line("random deep page", deep / 64.0);
    line("page after a number", best(500, || page(&all, Window::After { number: middle, rows: 20 }).rows.len()));
    let of_account = ask("account_auth_id", &holder, "");
    let of_menu = ask("application_id", &menu, "");
    let account = line("account page", best(2_000, || page(&of_account, first).total));
    let application = line("application filter", best(2_000, || page(&of_menu, first).total));

    let rounds = (20_000_000 / size).clamp(5, 500);
    let four = ask("search", "7126", "");
    // The first searches make the lists of scattered numbers.
    (0..100).for_each(|_| {
        black_box(page(&four, first).total);
    });
    let searched = line("4 digits, total and page", best(rounds, || page(&four, first).total));
    line("7 digits, total and page", best(rounds, || page(&ask("search", "1000712", ""), first).total));
    let flat = Flat::of(&snapshot);
    let scanned = line("4 digits by the scan", best(3, || flat.select(&four.0, four.1, first, now()).0));
    drop(flat);
    match size {
        10_000_000 => {
            at_most("4 digits, total and page", searched / 1e3, "ms", 1.0, 0.5);
            at_least("4 digits: the scan's cost ÷ the search's", scanned / searched, "times", 20.0, 150.0);
        }
        _ => reported("4 digits: the scan's cost ÷ the search's", scanned / searched, "times"),
    }
    questions(&snapshot, size, rounds, &holder);

    let target = E164::new(numbers[size / 3].0).expect("a number");
    let before = snapshot.get(target, now()).expect("there").record();
    let after = Record { application: Some("app_9".parse().expect("an id")), ..before.clone() };
    let logged = edit(&snapshot, vec![NumberChange { number: target, before: Some(before), after: Some(after) }]);
    line("route one number, new snapshot", best(200, || snapshot.applied(&logged).expect("fits").version));
    Flatness { size, first: one, deep, account, application }
}

/// Questions that may look at everything.
fn questions(snapshot: &Snapshot, size: usize, rounds: usize, holder: &str) {
    let first = Window::Page { skip: 0, rows: 20 };
    let line = |what: &str, (filter, order): (_, _), rounds: usize| {
        let millis = best(rounds, || snapshot.select(&filter, order, first, now()).total) / 1e3;
        match size {
            1_000_000 => at_most(what, millis, "ms", 25.0, 1.0),
            _ => reported(what, millis, "ms"),
        }
    };
    let mut within = ask("search", "7126", "");
    within.0.account = Some(holder.into());
    line("4 digits within an account", within, rounds);
    let soon = now().plus(14 * 86_400).to_string();
    line("expiring within 14 days", ask("expires_before", &soon, ""), rounds);
    line("unrouted", ask("routed", "false", ""), rounds);
    line("suspended", ask("status", "suspended", ""), rounds);
    let (all, by_expiry) = ask("", "", "expires_at");
    let sorted = || snapshot.select(&all, by_expiry, first, now()).total;
    let millis = best(rounds.min(20), sorted) / 1e3;
    match size {
        1_000_000 => at_most("sorted by expiry, which most have not", millis, "ms", 1.0, 0.5),
        _ => reported("sorted by expiry, which most have not", millis, "ms"),
    }
    // Their counts and a page of them, as an answer has them.
    let options = checks::CheckOptions::default();
    let checked = || {
        let found = checks::find(snapshot, &options, now());
        let page: usize = found.iter(0).take(20).map(|finding| finding.evidence().len()).sum();
        (found.len(), page)
    };
    reported("findings of all checks", checked().0 as f64, "");
    let millis = best(rounds.min(20), checked) / 1e3;
    match size {
        1_000_000 => at_most("all checks together", millis, "ms", 10.0, 5.0),
        10_000_000 => at_most("all checks together", millis, "ms", 25.0, 15.0),
        _ => reported("all checks together", millis, "ms"),
    }
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
