//! The index against a naive model: the same rows in a map, filtered, sorted
//! and paged in the plainest way, as the contract says and not as the code does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rollcall::domain::change::{Digest, Edit, GENESIS};
use rollcall::domain::{
    Change, EntityChange, Logged, NumberChange, NumberType, PartnerKey, Record, State, Status, Tags, Time, Verb,
};
use rollcall::inventory::{Filter, Loader, Order, Pattern, Snapshot, SortKey, StatusCounts, Window};
use rollcall::wire::{self, RowWriter, TextForm};
use sha2::{Digest as _, Sha256};

use super::fixture::*;

/// How many accounts, applications, trunks… there are to choose from.
const KINDS: u64 = 3;
/// All times lie within this many seconds of `NOW`, so that boundaries meet.
const SPAN: i64 = 12;

fn account_id(at: u64) -> String {
    format!("MA_{at}")
}

fn application_id(at: u64) -> String {
    format!("app_{at}")
}

fn any_digits() -> impl Strategy<Value = u64> {
    prop_oneof![
        // A dense block over the border of two groups.
        4 => 912_271_259_990..912_271_260_010_u64,
        // Every length, few digits, so that searches meet something.
        2 => (7..=15_u32, 0..100_u64).prop_map(|(length, low)| 10_u64.pow(length - 1) + low),
        2 => (7..=15_u32, 0..100_u64).prop_map(|(length, low)| 10_u64.pow(length) - 1 - low),
        1 => 1_000_000..=999_999_999_999_999_u64,
    ]
}

fn any_time() -> impl Strategy<Value = Time> {
    (-SPAN..=SPAN).prop_map(|offset| time(NOW + offset))
}

fn maybe_time() -> impl Strategy<Value = Option<Time>> {
    proptest::option::of(any_time())
}

prop_compose! {
    fn any_record()(
        state in prop::sample::select(State::STORED),
        account in 0..KINDS,
        application in proptest::option::of(0..KINDS),
        trunk in proptest::option::of(0..KINDS),
        number_type in prop::sample::select(NumberType::ALL),
        country in proptest::option::of(prop::sample::select(vec!["IN", "FR"])),
        region in proptest::option::of(prop::sample::select(vec!["Mumbai", "Île", ""])),
        cost in proptest::option::of((0..5_i64, prop::sample::select(vec!["INR", "JPY", "KWD"]))),
        times in (maybe_time(), maybe_time(), any_time(), any_time()),
        tags in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 0..3),
    ) -> Record {
        let (assigned_at, expires_at, since, until) = times;
        let cost = cost.map(|(amount, currency)| money(amount * if currency == "JPY" { 1 } else { 100 }, currency));
        let account = match state {
            State::Active | State::Suspended | State::Reserved => Some(account_id(account)),
            State::Available | State::Quarantined | State::Retired => None,
        };
        Record {
            state,
            account: account.map(|id| id.parse().expect("an id")),
            application: application.map(|at| application_id(at).parse().expect("an id")),
            trunk: trunk.map(|at| format!("trunk_{at}").parse().expect("an id")),
            number_type,
            country: country.map(|code| code.parse().expect("a country")),
            region: region.map(Into::into),
            cost: if state.held() { cost.or(Some(money(1, "INR"))) } else { cost },
            assigned_at: if state.held() { assigned_at.or(Some(since)) } else { None },
            expires_at,
            since,
            until: matches!(state, State::Reserved | State::Quarantined).then_some(until),
            tags: Tags::new(tags),
        }
    }
}

/// What each change sets: a record, or nothing where the number retires.
fn any_changes() -> impl Strategy<Value = Vec<BTreeMap<u64, Option<Record>>>> {
    let edit = (any_digits(), proptest::option::weighted(0.8, any_record()));
    prop::collection::vec(prop::collection::vec(edit, 0..25), 1..6)
        .prop_map(|changes| changes.into_iter().map(|edits| edits.into_iter().collect()).collect())
}

/// The naive inventory: what is stored, and the version that last changed it.
type Model = BTreeMap<u64, (u64, Record)>;

fn digest(version: u64) -> Digest {
    Sha256::digest(version.to_le_bytes()).into()
}

fn logged(version: u64, entities: Vec<EntityChange>, numbers: Vec<NumberChange>) -> Logged {
    let entry = entry(if version == 1 { Verb::PartnerCreate } else { Verb::Import });
    let change = Change {
        partner: PartnerKey(1),
        version,
        at: entry.at,
        actor: entry.actor,
        request_id: None,
        verb: entry.verb,
        entities,
        numbers,
    };
    let previous = if version == 1 { GENESIS } else { digest(version - 1) };
    Logged { change, previous, digest: digest(version) }
}

fn furniture() -> Vec<EntityChange> {
    let mut all = vec![EntityChange::Partner(Edit::created(partner("PA_1")))];
    for at in 0..KINDS {
        all.push(EntityChange::Account(Edit::created(account(&account_id(at)))));
        all.push(EntityChange::Application(Edit::created(application(&application_id(at), None))));
        all.push(EntityChange::Trunk(Edit::created(trunk(&format!("trunk_{at}"), None))));
    }
    all
}

/// Every snapshot on the way, each with its model.
fn build(changes: &[BTreeMap<u64, Option<Record>>]) -> Vec<(Snapshot, Model)> {
    let first = Snapshot::created(&logged(1, furniture(), Vec::new())).expect("fits");
    let mut all = vec![(first, Model::new())];
    for edits in changes {
        let (snapshot, model) = all.last().expect("one at least");
        let version = snapshot.version + 1;
        let mut model = model.clone();
        let mut numbers = Vec::new();
        for (&digits, after) in edits {
            let before = match after {
                Some(after) => model.insert(digits, (version, after.clone())),
                None => model.remove(&digits),
            };
            numbers.push(NumberChange {
                number: number(digits),
                before: before.map(|(_, record)| record),
                after: after.clone(),
            });
        }
        let next = snapshot.applied(&logged(version, Vec::new(), numbers)).expect("fits");
        all.push((next, model));
    }
    all
}

/// The status on the wire, by the contract's section 1.
fn status(record: &Record, now: Time) -> &'static str {
    let expired = record.expires_at.is_some_and(|end| end <= now);
    if record.state == State::Active && !expired { "active" } else { "suspended" }
}

fn holder(record: &Record) -> Option<&str> {
    match record.state {
        State::Active | State::Suspended => record.account.as_ref().map(|id| id.as_str()),
        State::Available | State::Reserved | State::Quarantined | State::Retired => None,
    }
}

fn state(record: &Record, now: Time) -> State {
    match (record.state, record.until) {
        (State::Reserved | State::Quarantined, Some(end)) if end <= now => State::Available,
        (state, _) => state,
    }
}

/// Section 2 on `search`, by text.
fn searched(search: &str, digits: u64) -> bool {
    let number = format!("+{digits}");
    let anchored_by_space = search.trim_start_matches(['\u{200b}', '\u{202a}']).starts_with(' ');
    let dropped = " -.()\u{200b}\u{202a}\u{a0}\u{2011}\u{2013}";
    let mut text: String =
        search.chars().filter(|c| !dropped.contains(*c)).map(|c| if c == '\u{ff0b}' { '+' } else { c }).collect();
    if anchored_by_space && !text.starts_with('+') {
        text.insert(0, '+');
    }
    number.contains(&text)
}

type Setting = (&'static str, String);

fn matches(settings: &[Setting], digits: u64, record: &Record, now: Time) -> bool {
    let moment = |text: &str| text.parse::<Time>().expect("a time");
    settings.iter().all(|(name, value)| {
        let any = |is: &dyn Fn(&str) -> bool| value.split(',').any(is);
        match *name {
            "search" => searched(value, digits),
            "application_id" => record.application.as_ref().is_some_and(|id| id.as_str() == value),
            "trunk_id" => record.trunk.as_ref().is_some_and(|id| id.as_str() == value),
            "account_auth_id" => holder(record) == Some(value),
            "region" => record.region.as_deref() == Some(value),
            "tag" => record.tags.iter().any(|tag| tag == value),
            "status" => any(&|word| status(record, now) == word),
            "state" => any(&|word| state(record, now).as_str() == word),
            "number_type" => any(&|word| record.number_type.as_str() == word),
            "country" => any(&|word| record.country.is_some_and(|country| country.code() == word)),
            "routed" => any(&|word| record.application.is_some() == (word == "true")),
            "assigned" => any(&|word| holder(record).is_some() == (word == "true")),
            "expires_before" => record.expires_at.is_some_and(|time| time < moment(value)),
            "expires_after" => record.expires_at.is_some_and(|time| time > moment(value)),
            "assigned_before" => record.assigned_at.is_some_and(|time| time < moment(value)),
            "assigned_after" => record.assigned_at.is_some_and(|time| time > moment(value)),
            other => panic!("{other}"),
        }
    })
}

fn any_search() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[+ ]?[0-9]{1,3}",
        2 => "[-(. +]{0,3}[0-9 .()-]{0,6}",
        1 => "[0-9]{12,18}",
        1 => "[+ ]{1,3}[0-9]{1,2}[+a%]?",
        1 => "[+ \u{ff0b}\u{202a}\u{200b}]{1,2}[0-9\u{200b}\u{2011}\u{a0}]{1,4}\u{202a}?",
        // Part of a number that is likely there, at any place.
        4 => (any_digits(), 0..15_usize, 1..16_usize, prop::sample::select(vec!["", "+", " ", "(", "-"])).prop_map(
            |(digits, from, length, lead)| {
                let text = digits.to_string();
                let from = from.min(text.len() - 1);
                format!("{lead}{}", &text[from..(from + length).min(text.len())])
            }
        ),
    ]
}

fn any_setting() -> BoxedStrategy<Setting> {
    let words = |name: &'static str, words: &'static [&'static str]| {
        prop::sample::select(words).prop_map(move |word| (name, word.to_owned())).boxed()
    };
    let moment = |name: &'static str| any_time().prop_map(move |time| (name, time.to_string())).boxed();
    prop_oneof![
        3 => any_search().prop_filter("means no filter", |text| !text.is_empty()).prop_map(|text| ("search", text)),
        1 => words("application_id", &["app_0", "app_1", "app_9", "APP_0"]),
        1 => words("trunk_id", &["trunk_0", "trunk_9"]),
        1 => words("account_auth_id", &["MA_0", "MA_1", "MA_2", "MA_9", "ma_0"]),
        1 => words("region", &["Mumbai", "mumbai", "Île"]),
        1 => words("tag", &["a", "b", "ab", "c"]),
        1 => words("status", &["active", "suspended", "suspended,active"]),
        2 => words("state", &["available", "reserved", "active", "suspended", "quarantined",
            "available,reserved", "reserved,quarantined", "active,available", "quarantined,suspended,available"]),
        1 => words("number_type", &["local", "mobile", "tollfree", "mobile,local"]),
        1 => words("country", &["IN", "FR", "US", "IN,US", "FR,DE"]),
        1 => words("routed", &["true", "false", "true,false"]),
        1 => words("assigned", &["true", "false", "false,true"]),
        1 => moment("expires_before"),
        1 => moment("expires_after"),
        1 => moment("assigned_before"),
        1 => moment("assigned_after"),
    ]
    .boxed()
}

const SORTS: [&str; 8] =
    ["number", "-number", "assigned_at", "-assigned_at", "expires_at", "-expires_at", "monthly_cost", "-monthly_cost"];

/// The matching numbers in order.
fn expected(model: &Model, settings: &[Setting], sort: &str, now: Time) -> Vec<u64> {
    let rows = model.iter().filter(|(digits, (_, record))| matches(settings, **digits, record, now));
    let mut rows: Vec<(u64, &Record)> = rows.map(|(&digits, (_, record))| (digits, record)).collect();
    let descending = sort.starts_with('-');
    // Printed amounts in thousandths: no currency here has more decimals.
    let amount = |record: &Record| {
        record.cost.map(|cost| (cost.to_string().parse::<f64>().expect("an amount") * 1000.0).round() as i64)
    };
    let key = |digits: u64, record: &Record| match sort.trim_start_matches('-') {
        "number" => Some(digits as i64),
        "assigned_at" => record.assigned_at.map(Time::seconds),
        "expires_at" => record.expires_at.map(Time::seconds),
        "monthly_cost" => amount(record),
        other => panic!("{other}"),
    };
    rows.sort_by_key(|&(digits, record)| {
        let key = key(digits, record);
        // What is absent is last, whatever the direction.
        (key.is_none(), key.map(|key| if descending { -key } else { key }), digits)
    });
    rows.into_iter().map(|(digits, _)| digits).collect()
}

fn query(settings: &[Setting], sort: &str) -> (Filter, Order) {
    let (mut filter, mut order) = (Filter::default(), Order::default());
    for (name, value) in settings {
        if *name == "state" {
            filter.state = value.split(',').map(|word| State::parse(word).expect("a state")).collect();
            continue;
        }
        filter.set(&mut order, name, value).unwrap_or_else(|error| panic!("{name}={value:?}: {error:?}"));
    }
    filter.set(&mut order, "sort", sort).expect("a sort");
    (filter, order)
}

/// A stream, a few rows at a time.
fn walked(
    snapshot: &Snapshot,
    filter: &Filter,
    order: Order,
    after: Option<rollcall::domain::E164>,
    now: Time,
) -> Vec<u64> {
    let mut walk = snapshot.walk(filter.clone(), order, after, now);
    let mut numbers = Vec::new();
    while !walk.done() {
        let rows = walk.next(snapshot, 7);
        assert!(rows.len() <= 7);
        numbers.extend(rows.iter().map(|row| row.number().digits()));
    }
    numbers
}

fn check_list(snapshot: &Snapshot, model: &Model, settings: &[Setting], sort: &str, now: Time) {
    let (filter, order) = query(settings, sort);
    let expected = expected(model, settings, sort, now);
    let count = expected.len();
    let said = || format!("{settings:?} by {sort} at {now}");

    let streamed = walked(snapshot, &filter, order, None, now);
    assert_eq!(streamed, expected, "stream of {}", said());

    // Pages at every boundary, and far past the end.
    for rows in [1, 2, 3, count.max(1), count + 1] {
        for skip in
            [0, 1, rows - 1, rows, count.saturating_sub(rows), count.saturating_sub(1), count, count + 1, usize::MAX]
        {
            let got = snapshot.select(&filter, order, Window::Page { skip: skip as u64, rows }, now);
            let from = skip.min(count);
            let to = skip.saturating_add(rows).min(count);
            let numbers: Vec<u64> = got.rows.iter().map(|row| row.number().digits()).collect();
            assert_eq!(numbers, expected[from..to.max(from)], "page of {rows} after {skip} of {}", said());
            assert_eq!((got.total, got.start), (count as u64, from as u64), "{}", said());
        }
    }
    if sort != "number" {
        return;
    }
    // A walk from any number, there or not.
    let mut starts: BTreeSet<u64> = expected.iter().flat_map(|&digits| [digits - 1, digits, digits + 1]).collect();
    starts.extend([1_000_000, 999_999_999_999_999]);
    for after in starts.into_iter().filter_map(rollcall::domain::E164::new) {
        let from = expected.iter().filter(|&&digits| digits <= after.digits()).count();
        for rows in [1, 2, count + 1] {
            let got = snapshot.select(&filter, order, Window::After { number: after, rows }, now);
            let numbers: Vec<u64> = got.rows.iter().map(|row| row.number().digits()).collect();
            assert_eq!(numbers, expected[from..(from + rows).min(count)], "{rows} after {after} of {}", said());
            assert_eq!((got.total, got.start), (count as u64, from as u64), "{}", said());
            let before = (from > rows).then(|| expected[from - rows - 1]);
            assert_eq!(got.before.map(|number| number.digits()), before, "{rows} before {after} of {}", said());
        }
        let rest = walked(snapshot, &filter, order, Some(after), now);
        assert_eq!(rest, expected[from..], "stream after {after} of {}", said());
    }
}

fn check_everything_else(snapshot: &Snapshot, model: &Model, now: Time) {
    assert_eq!((snapshot.len(), snapshot.is_empty()), (model.len(), model.is_empty()));
    let shown: Vec<u64> = snapshot.iter(now).map(|row| row.number().digits()).collect();
    assert_eq!(shown, model.keys().copied().collect::<Vec<_>>());
    for (&digits, (version, record)) in model {
        let row = snapshot.get(number(digits), now).expect("it is there");
        assert_eq!((row.number().digits(), row.version()), (digits, *version));
        assert_eq!(row.record(), *record);
        assert_eq!(row.status().as_str(), status(record, now), "{digits} at {now}");
        assert_eq!(row.account().map(|account| account.auth_id.as_str()), holder(record));
        assert_eq!(row.state(), state(record, now));
        let running = state(record, now) == record.state;
        assert_eq!(row.until(), record.until.filter(|_| running));
        let promised = record.account.as_ref().filter(|_| record.state == State::Reserved && running);
        assert_eq!(row.reserved_for().map(|account| &account.auth_id), promised);
    }
    for digits in [1_000_000, 912_271_259_989, 912_271_260_010, 999_999_999_999_999] {
        assert_eq!(snapshot.get(number(digits), now).is_some(), model.contains_key(&digits));
    }
    let counts: Vec<StatusCounts> = (snapshot.accounts.iter())
        .map(|account| {
            let held = model.values().filter(|(_, record)| holder(record) == Some(account.auth_id.as_str()));
            let active = held.clone().filter(|(_, record)| status(record, now) == "active").count() as u64;
            StatusCounts { active, suspended: held.count() as u64 - active }
        })
        .collect();
    assert_eq!(snapshot.counts(now), counts);
}

/// Every row as JSON, by one writer, against the model.
#[track_caller]
fn check_text(snapshot: &Snapshot, model: &Model, now: Time) {
    let mut writer = RowWriter::new(snapshot, TextForm::Json, wire::GLOBAL);
    for row in snapshot.iter(now) {
        let (_, record) = &model[&row.number().digits()];
        let mut text = Vec::new();
        writer.row(&mut text, row);
        let account = holder(record).map(|id| snapshot.accounts.get(id).expect("an account"));
        let application = record.application.as_ref().map(|id| snapshot.applications.get(id.as_str()).expect("there"));
        let expected = serde_json::json!({
            "number": row.number(),
            "account_auth_id": account.map(|account| &account.auth_id),
            "account_name": account.map(|account| &account.name),
            "number_type": record.number_type,
            "country": record.country,
            "region": record.region,
            "status": status(record, now),
            "application_id": record.application,
            "application_name": application.map(|application| &application.name),
            "trunk_id": record.trunk,
            "monthly_cost": record.cost.map(|cost| cost.to_string().parse::<f64>().expect("an amount")),
            "currency": record.cost.map(|cost| cost.currency),
            "assigned_at": record.assigned_at,
            "expires_at": record.expires_at,
        });
        let mut written: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let cost = &mut written["monthly_cost"];
        *cost = serde_json::json!(cost.as_f64());
        assert_eq!(written, expected);
    }
    // In every shape and form, the row before leaves nothing behind.
    for columns in [wire::CUSTOMER, wire::GLOBAL, wire::EXPORT, wire::ITEMS] {
        for form in [TextForm::Json, TextForm::Csv, TextForm::Spreadsheet] {
            let mut writer = RowWriter::new(snapshot, form, columns);
            for row in snapshot.iter(now) {
                let (mut after_others, mut alone) = (Vec::new(), Vec::new());
                writer.row(&mut after_others, row);
                RowWriter::new(snapshot, form, columns).row(&mut alone, row);
                assert_eq!(String::from_utf8(after_others), String::from_utf8(alone));
            }
        }
    }
}

/// A number, and what the clock alone can change of it.
type Seen = (u64, Status, State, Option<Time>, Option<String>);

/// All that the clock can change of the inventory, at a moment.
fn view(snapshot: &Snapshot, now: Time) -> Vec<Seen> {
    let row = |row: rollcall::inventory::NumberRef<'_>| {
        let promised = row.reserved_for().map(|account| account.auth_id.to_string());
        (row.number().digits(), row.status(), row.state(), row.until(), promised)
    };
    snapshot.iter(now).map(row).collect()
}

#[test]
fn more_kinds_of_rows_than_are_kept_are_written_as_well() {
    let record = |at: u64| Record { cost: Some(money(at as i64, "INR")), ..stock("x") };
    let numbers = (0..5_000).map(|at| (442_079_460_000 + at, Some(record(at))));
    let history = build(&[numbers.collect()]);
    let (snapshot, model) = history.last().expect("one at least");
    check_text(snapshot, model, time(NOW));
    check_text(snapshot, model, time(NOW));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn lists_are_the_models(
        changes in any_changes(),
        queries in prop::collection::vec((prop::collection::vec(any_setting(), 0..4), prop::sample::select(&SORTS[..])), 6),
        offset in -SPAN - 1..=SPAN + 1,
    ) {
        let history = build(&changes);
        let (snapshot, model) = history.last().expect("one at least");
        let now = time(NOW + offset);
        for (settings, sort) in &queries {
            // A parameter that comes twice is the HTTP layer's to refuse.
            let names: BTreeSet<&str> = settings.iter().map(|(name, _)| *name).collect();
            if names.len() == settings.len() {
                check_list(snapshot, model, settings, sort, now);
            }
        }
        check_list(snapshot, model, &[], "number", now);
    }

    #[test]
    fn rows_are_written_as_their_records_say(changes in any_changes(), offsets in prop::collection::vec(-SPAN - 1..=SPAN + 1, 3)) {
        // One snapshot at several moments: what it keeps of one must do for the next.
        let history = build(&changes);
        let (snapshot, model) = history.last().expect("one at least");
        for offset in offsets {
            check_text(snapshot, model, time(NOW + offset));
        }
    }

    #[test]
    fn every_number_is_found_by_every_part_of_it(digits in any_digits(), other in any_digits()) {
        let text = format!("+{digits}");
        for from in 0..text.len() {
            for to in from + 1..=text.len() {
                let part = &text[from..to];
                for search in [part.to_owned(), format!("({part})"), part.replace('+', " ")] {
                    let pattern = Pattern::parse(&search).expect("a filter");
                    prop_assert!(pattern.matches(number(digits)), "{search:?} in {digits}");
                    prop_assert_eq!(pattern.matches(number(other)), searched(&search, other), "{:?} in {}", search, other);
                }
                if from > 1 {
                    let anchored = format!("+{part}");
                    let found = Pattern::parse(&anchored).expect("a filter").matches(number(digits));
                    prop_assert_eq!(found, text.starts_with(&anchored), "{:?} in {}", anchored, digits);
                }
            }
        }
    }

    #[test]
    fn rows_counts_and_states_are_the_models(changes in any_changes(), offset in -SPAN - 1..=SPAN + 1) {
        let now = time(NOW + offset);
        for (snapshot, model) in &build(&changes) {
            check_everything_else(snapshot, model, now);
        }
    }

    #[test]
    fn the_epoch_moves_exactly_when_the_clock_changes_an_answer(changes in any_changes()) {
        for (snapshot, _) in &build(&changes) {
            for offset in -SPAN - 1..=SPAN {
                let (before, after) = (time(NOW + offset), time(NOW + offset + 1));
                let changed = view(snapshot, before) != view(snapshot, after);
                let moved = snapshot.epoch(before) != snapshot.epoch(after);
                prop_assert_eq!(moved, changed, "at {}", after);
                if moved {
                    prop_assert_eq!(snapshot.epoch(after), Some(after));
                }
            }
        }
    }

    #[test]
    fn a_snapshot_stays_as_it_was_and_equals_one_loaded_from_rows(changes in any_changes()) {
        let mut digests = Vec::new();
        let history = build(&changes);
        for (snapshot, model) in &history {
            let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), snapshot.version, snapshot.head, partner("PA_1")));
            let loaded = &mut loader.snapshot;
            // Another order than the one in which they came.
            for at in (0..KINDS).rev() {
                std::sync::Arc::make_mut(&mut loaded.accounts).put(account(&account_id(at)));
                std::sync::Arc::make_mut(&mut loaded.applications).put(application(&application_id(at), None));
                std::sync::Arc::make_mut(&mut loaded.trunks).put(trunk(&format!("trunk_{at}"), None));
            }
            for (&digits, (version, record)) in model {
                loader.number(number(digits), *version, record).expect("fits");
            }
            let loaded = loader.finish();
            // By now all later snapshots have been made from this one.
            check_everything_else(snapshot, model, time(NOW));
            prop_assert_eq!(loaded.digest(), snapshot.digest());
            for offset in -SPAN..=SPAN {
                prop_assert_eq!(loaded.epoch(time(NOW + offset)), snapshot.epoch(time(NOW + offset)));
            }
            digests.push(snapshot.digest());
        }
        digests.sort();
        digests.dedup();
        prop_assert_eq!(digests.len(), history.len(), "two versions have one digest");
    }
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    use rollcall::inventory::Misfit;
    let created = |record| vec![created(911_000_000, record)];
    let first = Snapshot::created(&logged(1, furniture(), Vec::new())).expect("fits");
    let second = first.applied(&logged(2, Vec::new(), created(stock("a")))).expect("fits");
    let misfit = |snapshot: &Snapshot, logged: &Logged| snapshot.applied(logged).err();
    assert_eq!(misfit(&first, &logged(3, Vec::new(), Vec::new())), Some(Misfit::Gap { expected: 2, found: 3 }));
    assert_eq!(misfit(&second, &logged(2, Vec::new(), Vec::new())), Some(Misfit::Gap { expected: 3, found: 2 }));
    let broken = Logged { previous: digest(9), ..logged(3, Vec::new(), Vec::new()) };
    assert_eq!(misfit(&second, &broken), Some(Misfit::Chain { version: 3 }));
    let before = Misfit::Before { number: number(911_000_000) };
    assert_eq!(misfit(&second, &logged(3, Vec::new(), created(stock("b")))), Some(before));
    assert!(matches!(misfit(&first, &logged(2, Vec::new(), created(held("MA_9")))), Some(Misfit::Dangling { .. })));
    assert_eq!(Snapshot::created(&logged(1, Vec::new(), Vec::new())).err(), Some(Misfit::NotCreated));
}

#[test]
fn a_number_has_one_plus() {
    for search in ["++91", " ++91", "(++91", "+ +91", "9+1", "91+"] {
        let pattern = Pattern::parse(search).expect("a filter");
        assert!(!pattern.matches(number(912_271_264_217)), "{search:?}");
    }
    for search in ["+91", " +91", " 91", "(+91)", "+", " "] {
        assert!(Pattern::parse(search).expect("a filter").matches(number(912_271_264_217)), "{search:?}");
    }
}

#[test]
fn every_sort_and_every_parameter_has_been_tried() {
    let (_, order) = query(&[], "-expires_at");
    assert_eq!(order, Order { key: SortKey::ExpiresAt, descending: true });
    // A new parameter must come into the model as well.
    let tried = [
        "search",
        "application_id",
        "status",
        "number_type",
        "country",
        "region",
        "trunk_id",
        "account_auth_id",
        "routed",
        "assigned",
        "expires_before",
        "expires_after",
        "assigned_before",
        "assigned_after",
        "called_before",
        "tag",
        "sort",
    ];
    let known: Vec<&str> = rollcall::inventory::PARAMETERS.iter().map(|parameter| parameter.name).collect();
    assert_eq!(known, tried);
}
