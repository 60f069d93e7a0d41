//! The real server as an operator watches it: the access log, settings that are
//! read again on SIGHUP, and the dashboard's queries against `/metrics`.

use crate::until::{found, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::process::{Place, Server, signal};

/// Waits until the log has a line that fits, and returns it.
#[track_caller]
fn line(server: &Server, fits: impl Fn(&str) -> bool) -> String {
    let look = || server.log().lines().rev().find(|line| fits(line)).map(str::to_owned);
    found(Duration::from_secs(20), || format!("no such line: {}", server.log()), look)
}

/// Writes the settings, sends SIGHUP, and waits for a line that begins so.
#[track_caller]
fn reread(place: &Place, server: &Server, settings: &str, expected: &str) -> String {
    std::fs::write(place.path("rollcall.toml"), settings).expect("written");
    let before = server.log().matches(expected).count();
    signal(&server.child, "HUP");
    let why = || format!("no {expected:?}: {}", server.log());
    until(Duration::from_secs(20), why, || server.log().matches(expected).count() > before);
    line(server, |line| line.contains(expected))
}

fn raw(server: &Server, request: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(&server.address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_access_log_has_one_line_a_request_and_no_credential() {
    let place = Place::new();
    let server = place.serve_with("[log]\naccess = \"json\"\n[http]\nprivate_listen = \"127.0.0.1:0\"\n");
    let client = server.client();
    let token = place.token.clone();
    for path in [
        "/api/v1/partner/numbers?per_page=7".to_owned(),
        format!("/api/v1/partner/numbers?search={token}"),
        "/api/v1/partner/numbers?api_token=hunter2".to_owned(),
        format!("/api/v1/partner/numbers/{token}"),
        format!("/console/set-up/{}", "0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjk"),
    ] {
        client.get(&path, "application/json").expect("an answer");
    }
    let answer = raw(&server, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    raw(&server, "HEAD /livez?last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    line(&server, |line| line.contains("\"query\":\"last\""));

    let lines: Vec<Value> = server
        .log()
        .lines()
        .filter(|line| line.starts_with("{\"access\":"))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert_eq!(
        (&lines[0]["status"], &lines[0]["partner"], &lines[0]["path"], &lines[0]["query"]),
        (&200.into(), &"PA_A".into(), &"/api/v1/partner/numbers".into(), &"per_page=7".into())
    );
    assert_eq!((&lines[0]["client"], &lines[0]["complete"]), (&"127.0.0.1".into(), &true.into()));
    assert!(lines[0]["bytes"].as_u64() > Some(10) && lines[0]["request_id"].as_str().is_some());
    assert_eq!((&lines[5]["status"], &lines[5]["method"]), (&400.into(), &Value::Null));
    assert_eq!((&lines[6]["status"], &lines[6]["bytes"]), (&200.into(), &0.into()));
    let log = server.log();
    for secret in [token.as_str(), "hunter2", "qrstvwxyz0123456789"] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }

    // The other format, without a restart.
    reread(&place, &server, "[log]\naccess = \"common\"\n", "changed: log.access");
    client.get("/livez?common", "*/*").expect("an answer");
    let common = line(&server, |line| line.contains("?common"));
    let pattern = ["127.0.0.1 - - [", " +0000] \"GET /livez?common HTTP/1.1\" 200 15"];
    assert!(common.starts_with(pattern[0]) && common.ends_with(pattern[1]), "{common}");
    reread(&place, &server, "[log]\naccess = \"off\"\n", "changed: log.access");
    client.get("/livez?silent", "*/*").expect("an answer");
    reread(&place, &server, "[log]\naccess = \"common\"\n", "changed: log.access");
    client.get("/livez?again", "*/*").expect("an answer");
    line(&server, |line| line.contains("?again"));
    assert!(!server.log().contains("?silent"));
    assert_eq!(server.stop().1, Some(0));
}

#[test]
fn sighup_applies_what_may_change_names_what_needs_a_restart_and_a_broken_file_changes_nothing() {
    let place = Place::new();
    let server = place.serve_with("");
    let client = server.client();
    let limited = |client: &super::process::Client| {
        (0..20).filter(|_| client.get("/api/v1/partner/numbers", "*/*").expect("an answer").0 == 429).count()
    };
    assert_eq!(limited(&client), 0);
    // Flags still win over the file.
    reread(&place, &server, "[limits]\nrequests_per_second = 1\n", "none that applies at once has changed");
    assert_eq!(limited(&client), 0);
    // The password in the address of the database is not repeated.
    let broken = "database = \"postgres://a:hunter2@h/d\"\n[http]\ntrusted_proxies = [\"nonsense\"]\n";
    let said = reread(&place, &server, broken, "SIGHUP: the settings cannot be used, so nothing was changed");
    assert!(said.contains("trusted_proxies") && said.contains("line 3"), "{said}");
    std::fs::remove_file(place.path("rollcall.toml")).expect("removed");
    signal(&server.child, "HUP");
    line(&server, |line| line.contains("nothing was changed") && line.contains("cannot read the settings"));
    assert!(!server.log().contains("hunter2"));
    // Failed authentications, trusted proxies and the level of the log.
    let settings = "[limits]\nfailed_auth_per_second = 1\nfailed_auth_burst = 1\nstreams_per_key = 3\n[http]\n\
                    trusted_proxies = [\"127.0.0.1/32\"]\nidle_timeout_ms = 1000\n[log]\nfilter = \"debug\"\naccess = \"json\"\n";
    let changed = reread(&place, &server, settings, "read the settings again; changed:");
    for name in ["http.trusted_proxies", "limits.failed_auth_per_second", "log.filter", "log.access"] {
        assert!(changed.contains(name), "{changed}");
    }
    let restart = line(&server, |line| line.contains("need a restart"));
    assert!(restart.contains("http.idle_timeout_ms, limits.streams_per_key"), "{restart}");
    raw(&server, "GET /livez?proxied HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\nConnection: close\r\n\r\n");
    line(&server, |line| line.contains("DEBUG"));
    let proxied = line(&server, |line| line.contains("proxied") && line.starts_with('{'));
    assert!(proxied.contains("\"client\":\"192.0.2.9\""), "{proxied}");
    let wrong = "GET /api/v1/partner/numbers HTTP/1.1\r\nHost: a\r\nX-Auth-ID: PA_A\r\nConnection: close\r\n\r\n";
    let answers: Vec<String> = (0..5).map(|_| raw(&server, wrong)).collect();
    assert!(answers.iter().any(|answer| answer.starts_with("HTTP/1.1 429 ")), "{answers:?}");
    assert_eq!(server.stop().1, Some(0));
}

/// The series of `/metrics`: the label names of each metric.
fn series(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        all.entry(name.to_owned()).or_default().extend(names);
    }
    all
}

/// What is wrong with a query, held against the series there are.
fn wrong(query: &str, series: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let depth = |open: char, close: char| query.matches(open).count() == query.matches(close).count();
    if !depth('(', ')') || !depth('{', '}') || !depth('[', ']') {
        return Some("its brackets do not match".to_owned());
    }
    let mut names = 0;
    let mut known = BTreeSet::from(["instance".to_owned()]);
    for (at, _) in query.match_indices("rollcall_") {
        names += 1;
        let name = query[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().expect("a name");
        let Some(labels) = series.get(name) else { return Some(format!("there is no metric {name}")) };
        known.extend(labels.iter().cloned());
        let selector = query[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for matcher in selector.map_or("", |(matchers, _)| matchers).split(',').filter(|matcher| !matcher.is_empty()) {
            let label = matcher.split(['=', '!']).next().unwrap_or_default();
            if label != "instance" && !labels.contains(label) {
                return Some(format!("{name} has no label {label}"));
            }
        }
    }
    for group in query.split("by (").skip(1) {
        let group = group.split(')').next().unwrap_or_default();
        if let Some(label) = group.split(", ").find(|label| !known.contains(*label)) {
            return Some(format!("there is no label {label} to group by"));
        }
    }
    (names == 0).then(|| "it names no metric".to_owned())
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_has_its_metrics() {
    let place = Place::new();
    let settings =
        "[routing]\nsip = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n[http]\nprivate_listen = \"127.0.0.1:0\"\n";
    let server = place.serve_with(settings);
    let client = server.client();
    client.get("/api/v1/partner/numbers", "*/*").expect("an answer");
    // Durations have their buckets after the first answer to a call that is timed.
    let face = line(&server, |line| line.contains("/route/ for calls"));
    let face =
        face.split_once("http://").and_then(|(_, rest)| rest.split_once("/route/")).expect("an address").0.to_owned();
    let call = ureq::get(format!("http://{face}/route/+912271264217")).call().expect("an answer");
    assert_eq!(call.status(), 200);
    let (_, text) = client.get("/metrics", "*/*").expect("an answer");
    let series = series(&text);

    let dashboard: Value = serde_json::from_str(include_str!("../../packaging/grafana/rollcall.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut queries: Vec<String> = targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect();
    assert!(queries.len() > 30, "{}", queries.len());
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    // Alerts of other exporters and of the backup have their own metrics.
    let alerts = include_str!("../../packaging/alerts.yml").split("rollcall-surroundings").next().unwrap_or_default();
    let exprs = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).filter(|expr| *expr != "|");
    queries.extend(exprs.filter(|expr| expr.contains("rollcall_")).map(str::to_owned));
    for query in &queries {
        assert_eq!(wrong(query, &series), None, "{query}");
    }
    for (query, reason) in [
        ("sum(rate(rollcall_nothing_total[5m]))", "no metric rollcall_nothing_total"),
        ("sum by (colour) (rollcall_numbers)", "no label colour"),
        ("rollcall_numbers{colour=\"red\"}", "no label colour"),
        ("sum(rollcall_numbers", "brackets"),
        ("up", "no metric"),
    ] {
        assert!(wrong(query, &series).is_some_and(|wrong| wrong.contains(reason)), "{query}");
    }

    // Each worker and each listener.
    for worker in ["follower", "housekeeping", "jobs", "schedules", "emails", "webhooks"] {
        for metric in ["stuck", "queue", "oldest_seconds", "last_run_timestamp_seconds", "lease", "threads"] {
            let name = format!("rollcall_worker_{metric}{{worker=\"{worker}\"}}");
            assert!(text.contains(&name), "no {name}: {text}");
        }
        assert!(text.contains(&format!("rollcall_worker_stuck{{worker=\"{worker}\"}} 0\n")), "{text}");
    }
    for listener in ["public", "private", "route"] {
        assert!(text.contains(&format!("rollcall_connections{{listener=\"{listener}\"}} ")), "{listener}: {text}");
    }
    assert_eq!(server.stop().1, Some(0));
}
