//! The index at sizes where its leaves split and its sets change form, against
//! the plain scan: inventories of tens of thousands of numbers, edited many
//! times, asked everything.

use proptest::prelude::*;
use rollcall::domain::change::{GENESIS, Logged};
use rollcall::domain::{Actor, Change, E164, NumberChange, NumberType, PartnerKey, Record, State, Tags, Time, Verb};
use rollcall::inventory::flat::Flat;
use rollcall::inventory::{Filter, Loader, Order, Snapshot, SortKey, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixture::{NOW, account, application, held, money, number, partner, stock, time, trunk};

/// SplitMix64: deterministic, and good enough to choose test data.
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

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A record like its neighbours, or now and then like nobody.
fn record(random: &mut Random, like: u64) -> Record {
    let kind = if random.one_in(40) { random.below(1_000) } else { like };
    let mut record = match kind % 7 {
        0 => stock("t"),
        1 => Record { state: State::Quarantined, until: Some(time(NOW + 60)), ..stock("q") },
        2 => Record {
            state: State::Reserved,
            account: Some("MA_1".parse().expect("an id")),
            until: Some(time(NOW - 60)),
            ..stock("r")
        },
        _ => held(&format!("MA_{}", kind % 5)),
    };
    if !kind.is_multiple_of(3) {
        record.application = Some(format!("app_{}", kind % 4).parse().expect("an id"));
    }
    if kind.is_multiple_of(2) {
        record.trunk = Some(format!("trunk_{}", kind % 3).parse().expect("an id"));
    }
    if kind.is_multiple_of(11) {
        record.state = if record.state == State::Active { State::Suspended } else { record.state };
        record.tags = Tags::new(["a", "b"]);
        record.region = Some("Delhi".into());
        record.country = None;
        record.cost = Some(money(700, "JPY"));
        record.number_type = NumberType::Mobile;
    }
    if random.one_in(20) {
        record.expires_at = Some(time(NOW + random.below(200) as i64 - 100));
    }
    if record.state.held() && random.one_in(3) {
        record.assigned_at = Some(time(NOW - random.below(1_000) as i64));
    }
    record
}

fn digits(random: &mut Random) -> u64 {
    match random.below(4) {
        // Scattered over all lengths; near one another; two ranges of which
        // one lies inside the other's.
        0 => 1_000_000 + random.next() % 10_u64.pow(7 + random.below(9) as u32 - 1).max(10),
        1 => 912_271_260_000 + random.below(200_000),
        2 => 33_100_000_000 + random.below(3) * 1_000_000 + random.below(30_000),
        _ => 1_000_000 + random.below(40_000),
    }
    .clamp(1_000_000, 999_999_999_999_999)
}

type Model = BTreeMap<u64, Record>;

fn inventory(random: &mut Random) -> Model {
    let mut model = Model::new();
    for _ in 0..random.below(30) {
        let (first, like) = (digits(random), random.below(50));
        let mut next = first;
        for _ in 0..random.below(3_000) {
            next += 1 + if random.one_in(30) { random.below(20) } else { 0 };
            if next < 999_999_999_999_999 {
                model.insert(next, record(random, like));
            }
        }
    }
    for _ in 0..random.below(3_000) {
        let like = random.below(50);
        model.insert(digits(random), record(random, like));
    }
    model
}

fn loaded(model: &Model) -> Snapshot {
    let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), 1, GENESIS, partner("PA_1")));
    for at in 0..5 {
        let snapshot = &mut loader.snapshot;
        Arc::make_mut(&mut snapshot.accounts).put(account(&format!("MA_{at}")));
        Arc::make_mut(&mut snapshot.applications).put(application(&format!("app_{at}"), None));
        Arc::make_mut(&mut snapshot.trunks).put(trunk(&format!("trunk_{at}"), None));
    }
    for (&digits, record) in model {
        loader.number(number(digits), 1, record).expect("fits");
    }
    loader.finish()
}

/// Changes some numbers: bulk, scattered, or one.
fn edit(random: &mut Random, snapshot: &Snapshot, model: &mut Model) -> Snapshot {
    let mut after: BTreeMap<u64, Option<Record>> = BTreeMap::new();
    let count = [1, 1, 5, 300, 4_000][random.below(5) as usize];
    let existing: Vec<u64> = model.keys().copied().collect();
    let block = digits(random);
    let like = random.below(50);
    for at in 0..count {
        let target = match random.below(3) {
            0 => block + at,
            1 if !existing.is_empty() => existing[random.below(existing.len() as u64) as usize],
            _ => digits(random),
        };
        let gone = random.one_in(4);
        after.insert(target.min(999_999_999_999_999), (!gone).then(|| record(random, like)));
    }
    let numbers: Vec<NumberChange> = after
        .into_iter()
        .map(|(digits, after)| NumberChange { number: number(digits), before: model.get(&digits).cloned(), after })
        .filter(|change| change.before.is_some() || change.after.is_some())
        .collect();
    for change in &numbers {
        match &change.after {
            Some(record) => model.insert(change.number.digits(), record.clone()),
            None => model.remove(&change.number.digits()),
        };
    }
    let version = snapshot.version + 1;
    let change = Change {
        partner: PartnerKey(1),
        version,
        at: time(NOW),
        actor: Actor::Command { user: "test".to_owned() },
        request_id: None,
        verb: Verb::Import,
        entities: Vec::new(),
        numbers,
    };
    let logged = Logged { change, previous: snapshot.head, digest: [version as u8; 32] };
    snapshot.applied(&logged).expect("fits")
}

fn question(random: &mut Random, model: &Model) -> (Filter, Order) {
    let (mut filter, mut order) = (Filter::default(), Order::default());
    let mut set = |name: &str, value: &str| filter.set(&mut order, name, value).expect("a filter");
    let mut parameters = 1 + random.below(3);
    if random.one_in(8) {
        parameters = 0;
    }
    for _ in 0..parameters {
        let at = random.below(6);
        let moment = time(NOW + random.below(240) as i64 - 120).to_string();
        match random.below(17) {
            0..=2 => {
                // A piece of a number that is there, mostly.
                let any = model.keys().nth(random.below(model.len().max(1) as u64) as usize).copied();
                let text = format!("+{}", any.unwrap_or(1_234_567));
                let from = random.below(text.len() as u64) as usize;
                let length = 1 + random.below((text.len() - from) as u64) as usize;
                set("search", &text[from..from + length]);
            }
            3 => set("account_auth_id", &format!("MA_{at}")),
            4 => set("application_id", &format!("app_{at}")),
            5 => set("trunk_id", &format!("trunk_{at}")),
            6 => set("status", ["active", "suspended"][random.below(2) as usize]),
            7 => set("routed", ["true", "false"][random.below(2) as usize]),
            8 => set("assigned", ["true", "false"][random.below(2) as usize]),
            9 => set("expires_before", &moment),
            10 => set("expires_after", &moment),
            11 => set("assigned_after", &moment),
            12 => set("tag", ["a", "t", "none"][random.below(3) as usize]),
            13 => set("assigned_before", &moment),
            14 => set("country", ["IN", "FR"][random.below(2) as usize]),
            15 => set("region", ["Mumbai", "Delhi"][random.below(2) as usize]),
            _ => set("number_type", ["local", "mobile"][random.below(2) as usize]),
        }
    }
    if random.one_in(3) {
        let sorts =
            ["-number", "assigned_at", "-assigned_at", "expires_at", "-expires_at", "monthly_cost", "-monthly_cost"];
        set("sort", sorts[random.below(sorts.len() as u64) as usize]);
    }
    // The console's own orders, which the API's `sort` does not name.
    if random.one_in(4) {
        let key = [SortKey::State, SortKey::Customer, SortKey::Application][random.below(3) as usize];
        order = Order { key, descending: random.one_in(2) };
    }
    (filter, order)
}

fn check(random: &mut Random, snapshot: &Snapshot, model: &Model) {
    let flat = Flat::of(snapshot);
    assert_eq!(snapshot.len(), model.len());
    for _ in 0..40 {
        let now: Time = time(NOW + random.below(240) as i64 - 120);
        let (filter, order) = question(random, model);
        let rows = [1, 7, 20, 100, 100_000][random.below(5) as usize];
        let skip = [0, 1, random.below(1_000), random.below(60_000), u64::MAX][random.below(5) as usize];
        let mut windows = vec![Window::Page { skip, rows }];
        if order.by_number() {
            let any = model.keys().nth(random.below(model.len().max(1) as u64) as usize).copied();
            let after = any.unwrap_or(1_234_567) + random.below(2);
            windows.extend(E164::new(after).map(|number| Window::After { number, rows }));
        }
        for window in windows {
            let got = snapshot.select(&filter, order, window, now);
            let numbers: Vec<E164> = got.rows.iter().map(|row| row.number()).collect();
            let expected = flat.select(&filter, order, window, now);
            assert_eq!((got.total, got.start, numbers), expected, "{filter:?} {order:?} {window:?} at {now}");
            for row in &got.rows {
                assert_eq!(row.record(), model[&row.number().digits()]);
            }
        }
    }
}

/// How many answers to a search the index finds, on every way it has.
fn check_search(snapshot: &Snapshot, flat: &Flat, search: &str) {
    for (name, value) in [("", ""), ("account_auth_id", "MA_3"), ("routed", "true")] {
        let (mut filter, mut order) = (Filter::default(), Order::default());
        filter.set(&mut order, "search", search).expect("a filter");
        if !name.is_empty() {
            filter.set(&mut order, name, value).expect("a filter");
        }
        let window = Window::Page { skip: 1, rows: 7 };
        let got = snapshot.select(&filter, order, window, time(NOW));
        let numbers: Vec<E164> = got.rows.iter().map(|row| row.number()).collect();
        let expected = flat.select(&filter, order, window, time(NOW));
        assert_eq!((got.total, got.start, numbers), expected, "{search:?} with {name} {value}");
    }
}

#[test]
fn a_search_of_every_length_at_every_position_is_the_scans() {
    let mut random = Random(11);
    let mut model = Model::new();
    // A full group, one with holes, one of every second number, a few, and the
    // scattered of all lengths: every form that a set has.
    let groups: [(u64, u64, u64); 5] = [(10_000, 1, 0), (10_000, 1, 30), (10_000, 2, 3), (1_000, 7, 0), (5, 1_111, 0)];
    for (at, (count, step, holes)) in groups.into_iter().enumerate() {
        for member in (0..count).map(|member| member * step % 10_000) {
            if holes == 0 || !random.one_in(holes) {
                let record = record(&mut random, member / 100);
                model.insert(912_271_120_000 + at as u64 * 10_000 + member, record);
            }
        }
    }
    for length in 7..=15 {
        for _ in 0..40 {
            let first = 10_u64.pow(length - 1);
            model.insert(first + random.below(9 * first), record(&mut random, u64::from(length)));
        }
    }
    let snapshot = loaded(&model);
    let flat = Flat::of(&snapshot);
    let mut searches = std::collections::BTreeSet::new();
    let probes = [912_271_120_000, 912_271_121_271, 912_271_139_999, 912_271_141_111, 912_271_142_712];
    let lengths = (7..=15).filter_map(|length| model.keys().copied().find(|number| number.ilog10() + 1 == length));
    for number in probes.into_iter().chain(lengths) {
        let text = format!("+{number}");
        for from in 0..text.len() {
            searches.extend((from + 1..=text.len()).map(|to| text[from..to].to_owned()));
        }
        // Anchored, and not there.
        searches.extend((2..text.len()).map(|from| format!("+{}", &text[from..])));
    }
    for search in &searches {
        check_search(&snapshot, &flat, search);
    }
    println!("{} searches of {} numbers", searches.len(), model.len());
}

/// Enough scattered numbers for the index to keep lists of their digits.
#[test]
fn searches_of_scattered_numbers_are_the_scans() {
    let mut random = Random(13);
    let mut model = Model::new();
    for at in 0..60_000_u64 {
        let digits = match at % 4 {
            0 => 10_000_000_000 + random.below(900_000_000_000),
            1 => 912_271_000_000 + random.below(3_000_000),
            _ => 912_200_000_000 + random.below(60_000_000),
        };
        let like = random.below(50);
        model.insert(digits, record(&mut random, like));
    }
    // A block in their midst.
    for at in 0..12_000 {
        model.insert(912_245_000_000 + at, record(&mut random, at / 500));
    }
    let mut snapshot = loaded(&model);
    for round in 0..3 {
        let flat = Flat::of(&snapshot);
        for search in
            ["7", "71", "712", "000", "7126", "0000", "9122", "22712", "912271", "2271264", "+91227", "+1", "99999"]
        {
            check_search(&snapshot, &flat, search);
            check_search(&snapshot, &flat, search);
        }
        for _ in 0..3 {
            check(&mut random, &snapshot, &model);
        }
        (0..=round * 5).for_each(|_| snapshot = edit(&mut random, &snapshot, &mut model));
    }
}

#[test]
fn two_partners_whose_ranges_interleave_are_loaded_apart() {
    use crate::fixture::{Database, created, differences, new_partner, put, put_account};
    let mut random = Random(12);
    let database = Database::new();
    let store = database.open();
    let keys = ["PA_1", "PA_2"].map(|name| new_partner(&*store, name));
    for key in keys {
        for at in 0..5 {
            put_account(&*store, key, &format!("MA_{at}"));
        }
    }
    // One's numbers alternate with the other's, lie inside one of its blocks,
    // and border on it; more than are read at a time.
    let mut models = [Model::new(), Model::new()];
    for at in 0..12_000_u64 {
        let whose = match at {
            0..4_000 => at % 2,
            4_000..9_000 => u64::from((6_000..6_500).contains(&at)),
            _ => random.below(2),
        };
        let mut record = record(&mut random, at / 700);
        (record.application, record.trunk) = (None, None);
        models[whose as usize].insert(912_271_264_000 + at, record);
    }
    for (key, model) in keys.into_iter().zip(&models) {
        let numbers: Vec<NumberChange> =
            model.iter().map(|(&digits, record)| created(digits, record.clone())).collect();
        put(&*store, key, &numbers);
    }
    let replica = rollcall::service::Replica::load(store.clone()).expect("loads");
    for (name, model) in ["PA_1", "PA_2"].into_iter().zip(&models) {
        let snapshot = replica.node(name).expect("the partner").snapshot();
        let records: Vec<(u64, Record)> =
            snapshot.iter(time(NOW)).map(|row| (row.number().digits(), row.record())).collect();
        assert!(records.iter().map(|(digits, record)| (digits, record)).eq(model.iter()), "{name}");
    }
    // The same by the other way, from the log.
    assert_eq!(differences(&*store), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_scans_however_the_index_came_about(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut model = inventory(&mut random);
        let mut snapshot = loaded(&model);
        check(&mut random, &snapshot, &model);
        let (first, first_digest) = (snapshot.clone(), snapshot.digest());
        for _ in 0..6 {
            snapshot = edit(&mut random, &snapshot, &mut model);
            check(&mut random, &snapshot, &model);
        }
        // Many single edits, which leave leaves and chunks of odd sizes.
        for _ in 0..100 {
            snapshot = edit(&mut random, &snapshot, &mut model);
        }
        check(&mut random, &snapshot, &model);
        let records: Vec<(u64, Record)> =
            snapshot.iter(time(NOW)).map(|row| (row.number().digits(), row.record())).collect();
        prop_assert!(records.iter().map(|(digits, record)| (digits, record)).eq(model.iter()));
        prop_assert_eq!(loaded(&model).epoch(time(NOW)), snapshot.epoch(time(NOW)));
        // What a reader held meanwhile stayed as it was.
        prop_assert_eq!(first.digest(), first_digest);
    }
}
