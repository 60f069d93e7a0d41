//! The day on which a number was last called: recorded by calls, kept through
//! restarts and between nodes, and what follows from it.

use std::time::Duration;

use rollcall::checks::{self, Check, CheckOptions};
use rollcall::domain::{E164, Money, Time};
use rollcall::inventory::called::{CalledBefore, CalledDay, DAYS_KEPT};
use rollcall::inventory::{Filter, Order, Window};
use rollcall::service::Replica;
use rollcall::store::Load;
use serde_json::Value;

use crate::calls::{SETTINGS, ask, faces, get, place, request, socket};
use crate::fixture::{self, Database as Files, created, held, money, new_partner, put, put_account};
use crate::process::PARTNER;
use crate::until::until;

const DAY: i64 = 86_400;

fn numbers(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["number"].as_str().expect("a number").to_owned()).collect()
}

#[test]
fn calls_are_remembered_by_day_through_a_restart() {
    let place = place(&["sip:127.0.0.1:5999".to_owned()]);
    let settings = format!("[routing]\n{SETTINGS}");
    let server = place.serve_with(&settings);
    let (sip, http) = faces(&server);
    let never = "/api/v1/partner/numbers?called_before=never&per_page=100";
    let (total, _) = server.client().list("/api/v1/partner/numbers?per_page=100");
    assert_eq!(server.client().list(never).0, total);
    // One that is answered, one that is refused, a number in stock, an unknown
    // number, and a test call.
    ask(&socket(), sip, &request("INVITE", "+912271260008", "c1"));
    get(http, "/route/+912271260004");
    get(http, "/route/+912271260001");
    get(http, "/route/+912271260000");
    place.must(&["route", "test", "+912271260009", "--at", &sip.to_string()]);
    let called = ["+912271260004", "+912271260008"];
    let check = |server: &crate::process::Server| {
        let (rest, rows) = server.client().list(never);
        assert_eq!(rest, total - 2);
        assert!(numbers(&rows).iter().all(|number| !called.contains(&number.as_str())), "{rows:?}");
        let soon = Time::now().plus(1);
        let (found, rows) = server.client().list(&format!("/api/v1/partner/numbers?called_before={soon}"));
        assert_eq!((found, numbers(&rows)), (2, called.map(str::to_owned).to_vec()));
        let (both, _) = server.client().list(&format!("/api/v1/partner/numbers?called_before=never,{soon}"));
        assert_eq!(both, total);
        let one = format!("/api/v1/partner/numbers?called_before={soon}&status=suspended");
        assert_eq!(numbers(&server.client().list(&one).1), ["+912271260004"]);
        let sorted = format!("/api/v1/partner/numbers?called_before={soon}&sort=-monthly_cost");
        assert_eq!(server.client().list(&sorted).0, 2);
    };
    check(&server);
    for query in ["called_before=soon", "called_before=2026-11-29", "called_before=never&as_of=2001-01-01T00:00:00Z"] {
        let (status, _) =
            server.client().get(&format!("/api/v1/partner/numbers?{query}"), "application/json").expect("an answer");
        assert_eq!(status, 422, "{query}");
    }
    server.stop();
    let server = place.serve_with(&settings);
    check(&server);
    server.stop();
    let today = CalledDay::of(Time::now()).to_string();
    let shown: Value =
        serde_json::from_str(&place.must(&["number", "show", "+912271260008", "--partner", PARTNER, "--json"]))
            .expect("JSON");
    assert!(shown["last_called_at"].as_str().is_some_and(|day| *day <= *today), "{shown}");
    let shown = place.must(&["number", "show", "+912271260009", "--partner", PARTNER]);
    assert!(shown.contains("last_called_at     not in 90 days"), "{shown}");
    let exported = place.must(&["export", "--partner", PARTNER, "--called-before", "never", "--format", "ndjson"]);
    assert!(!exported.contains(called[0]) && exported.contains("+912271260009"), "{exported}");
}

#[test]
fn what_a_node_stored_outlives_its_death() {
    let place = place(&["sip:127.0.0.1:5999".to_owned()]);
    let settings = format!("[routing]\n{SETTINGS}");
    let server = place.serve_with(&settings);
    get(faces(&server).1, "/route/+912271260008");
    // The first store is at once or a minute later; the day is in a document then.
    let key = place.snapshot().key;
    until(
        Duration::from_secs(150),
        || format!("nothing was stored: {}", server.log()),
        || place.store().document(key, "called", &CalledDay::of(Time::now()).to_string()).expect("read").is_some(),
    );
    server.kill();
    let number: E164 = "+912271260008".parse().expect("a number");
    assert!(place.snapshot().called.last(number).is_some());
}

fn rows(replica: &Replica, asked: CalledBefore, now: Time) -> Vec<u64> {
    let node = replica.nodes().remove(0);
    let filter = Filter { called: Some(asked), ..Filter::default() };
    let window = Window::Page { skip: 0, rows: 100 };
    let snapshot = node.snapshot();
    let found = snapshot.select(&filter, Order::default(), window, now);
    assert_eq!(found.total as usize, found.rows.len());
    found.rows.iter().map(|row| row.number().digits()).collect()
}

#[test]
fn nodes_lose_nothing_of_each_other_and_days_end() {
    let files = Files::chosen();
    let store = files.open();
    let key = new_partner(&*store, "PA_1");
    put_account(&*store, key, "MA_1");
    let base = 912_271_260_000;
    let all: Vec<_> = (0..10).map(|at| created(base + at, held("MA_1"))).collect();
    put(&*store, key, &all);
    let nodes = [Replica::load(store.clone()).expect("loaded"), Replica::load(store.clone()).expect("loaded")];
    let now = Time::now();
    let record = |node: &Replica, number: u64, at: Time| {
        node.nodes()[0].snapshot().called.record(fixture::number(number), at);
    };
    record(&nodes[0], base, now);
    record(&nodes[1], base + 1, now);
    record(&nodes[1], base + 2, now.plus(-DAY));
    record(&nodes[0], base + 3, now.plus(-DAY * (i64::from(DAYS_KEPT) + 2)));
    for node in [0, 1, 0] {
        nodes[node].keep_called(Some((["a", "b"][node], false)), now).expect("kept");
    }
    let never = CalledBefore { never: true, before: None };
    let rest: Vec<u64> = (3..10).map(|at| base + at).collect();
    let third = Replica::load(store.clone()).expect("loaded");
    assert_eq!(rows(&third, never, now), rest, "a day that is over is forgotten");
    if store.shared() {
        assert_eq!(rows(&nodes[0], never, now), rest);
        assert_eq!(rows(&nodes[1], never, now), rest, "in an earlier round it knew its own and the first's");
    }
    let today = CalledDay::of(now);
    let yesterday = CalledBefore { never: false, before: Some(today.begin()) };
    assert_eq!(rows(&third, yesterday, now), [base + 2]);
    // A write of the inventory loses nothing of it, and is no matter of the log.
    let version = store.version(key).expect("read");
    put_account(&*store, key, "MA_2");
    third.follow();
    assert_eq!(store.version(key).expect("read"), version + 1);
    assert_eq!(rows(&third, yesterday, now), [base + 2]);
    // Days that are over are deleted.
    third.keep_called(None, now.plus(DAY * i64::from(DAYS_KEPT + 1))).expect("kept");
    assert!(store.document(key, "called", &today.to_string()).expect("read").is_none());
    assert_eq!(rows(&third, never, now).len(), 10);
}

#[test]
fn idle_waits_for_its_days_and_adds_up_by_currency() {
    let files = Files::chosen();
    let store = files.open();
    let key = new_partner(&*store, "PA_1");
    put_account(&*store, key, "MA_1");
    let base = 912_271_260_000;
    let now = Time::now();
    let cost = |at: u64| -> Option<Money> {
        match at {
            0 | 1 | 4 => Some(money(50_000, "INR")),
            2 => Some(money(1_250, "KWD")),
            _ => None,
        }
    };
    let long_ago = Some(now.plus(-DAY * 400));
    let row = |at| {
        let assigned_at = if at == 4 { Some(now.plus(-DAY)) } else { long_ago };
        created(base + at, rollcall::domain::Record { cost: cost(at), assigned_at, expires_at: None, ..held("MA_1") })
    };
    put(&*store, key, &(0..6).map(row).collect::<Vec<_>>());
    let replica = Replica::load(store.clone()).expect("loaded");
    let node = replica.nodes().remove(0);
    let options = CheckOptions { checks: vec![Check::Idle], idle_days: 30, ..CheckOptions::default() };
    let found = |options: &CheckOptions, now: Time| checks::run(&node.snapshot(), options, now);
    for day in (0..=31).rev() {
        let at = now.plus(-DAY * day);
        replica.keep_called(Some(("a", false)), at).expect("kept");
        assert_eq!(found(&options, at).is_empty(), day > 0, "{day} days before");
    }
    node.snapshot().called.record(fixture::number(base), now.plus(-DAY * 10));
    node.snapshot().called.record(fixture::number(base + 1), now.plus(-DAY * 40));
    let idle = found(&options, now);
    let numbers: Vec<u64> = idle.iter().filter_map(|one| one.number).map(E164::digits).collect();
    assert_eq!(numbers, [base + 1, base + 2], "called, free of charge, or new: not idle");
    let sums: Vec<String> = checks::savings(&node.snapshot(), &idle, now)
        .into_iter()
        .map(|sum| format!("{sum} {}", sum.currency.code()))
        .collect();
    assert_eq!(sums, ["500.00 INR", "1.250 KWD"]);
    let evidence = idle[0].evidence();
    assert!(evidence.contains(&("monthly_cost", "500.00".to_owned())), "{evidence:?}");
    // Off unless it is asked for by name, and silent beyond what was recorded.
    let all = found(&CheckOptions { idle_days: 30, ..CheckOptions::default() }, now);
    assert!(all.iter().all(|one| one.check != Check::Idle), "{all:?}");
    assert!(found(&CheckOptions { idle_days: 40, ..options.clone() }, now).is_empty());
    // A node that fell silent may have answered calls.
    assert!(found(&options, now.plus(DAY * 2)).is_empty());
    // Without an index it is the same.
    let loaded = rollcall::service::replica::load(&*store, Load { only: Some(key), numbers: true }).expect("loaded");
    replica.keep_called(Some(("a", false)), now).expect("kept");
    assert_eq!(checks::run(&loaded[&key], &options, now).len(), 3, "what was called is stored after it was loaded");
}
