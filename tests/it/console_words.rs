//! Every page of the console as a reader gets it, found by its links: none has a
//! retired word, none is too large, none is missing.

use std::collections::{BTreeSet, VecDeque};

use crate::harness::{Database, Server};
use crate::pages::{Pages, attributes, plain};

#[path = "../files/retired.rs"]
mod retired;

/// How many pages are visited at the most.
const PAGES_MAX: usize = 150;

fn database() -> Database {
    let database = Database::empty();
    database.partner("PA_W", "Words", &[]);
    database.import(
        "PA_W",
        "number,account_auth_id,account_name,application_id,application_name,trunk_id,monthly_cost,currency,expires_at,tags\n\
         +442079460001,MA_1,Globex,app_1,Main IVR,trunk_1,1.00,GBP,2031-02-28T18:30:00Z,vip\n\
         +442079460002,MA_1,Globex,,,,1.00,GBP,2026-01-01T00:00:00Z,\n\
         +12125550100,MA_2,Initech,app_2,Support,,2.00,USD,,\n\
         +12125550101,,,,,,2.00,USD,,\n",
    );
    for args in [
        &["number", "suspend", "+12125550100"][..],
        &["number", "release", "+442079460001", "--yes"],
        &["undo", "4", "--yes"],
        &["job", "create", "--verb", "suspend", "--filter", "account_auth_id=MA_1", "--preview"],
    ] {
        database.run(&[args, &["--partner", "PA_W"]].concat());
    }
    database
}

/// The text that a reader sees: without scripts, tags and what readers typed.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html.split_once("<main").map_or(html, |(_, main)| main);
    rest = rest.split_once('>').map_or(rest, |(_, after)| after);
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let script = after.starts_with("script") || after.starts_with("style");
        let end = if script { "</s" } else { ">" };
        rest = after.split_once(end).map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    plain(&text).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_page_has_a_retired_word() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_W", "UTC");
    let mut queue: VecDeque<String> =
        ["", "/search?q=glob", "/numbers?q=globx", "/costs?currency=EURO", "/nowhere", "/checks?check=x"]
            .iter()
            .map(|path| format!("{}{path}", pages.base))
            .collect();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let (mut visited, mut kinds) = (0, BTreeSet::new());
    while let Some(path) = queue.pop_front() {
        if visited == PAGES_MAX {
            break;
        }
        visited += 1;
        let answer = pages.get(&path);
        let html = answer.text();
        assert!(answer.status < 500 && html.len() < 100_000, "{path}: {} with {} bytes", answer.status, html.len());
        kinds.insert(path[pages.base.len()..].split(['/', '?']).nth(1).unwrap_or_default().to_owned());
        let shown = text(html);
        for (retired, instead) in retired::RETIRED {
            assert!(!shown.contains(retired), "{path} has {retired:?}; write: {instead}\n{shown}");
        }
        for href in attributes(html, "href") {
            let href = href.split('#').next().unwrap_or_default().to_owned();
            let page = href.starts_with(&pages.base) && !href.contains("export") && !href.contains(".csv");
            if page && !href.contains("sort") && seen.insert(href.clone()) {
                queue.push_back(href);
            }
        }
    }
    println!("{visited} pages of {} kinds", kinds.len());
    assert!(visited > 40 && kinds.len() >= 12, "{kinds:?}");
}
