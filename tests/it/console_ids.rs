//! Ids with anything in them, through every form, link and path: each page is
//! about the id that was meant, and nobody else is touched.

use crate::until::found;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollcall::billing::{Day, Month};
use rollcall::domain::Time;
use rollcall::domain::spreadsheet::is_formula;
use serde_json::json;

use super::harness::{Database, Key, Server};
use super::pages::{Pages, as_browsers_do, attributes, plain, said};

const PATIENCE: Duration = Duration::from_secs(60);
/// The first number; each id has ten after each other.
const FIRST: u64 = 442_079_460_000;
/// The numbers of the neighbours are from here on.
const NEIGHBOURS: u64 = 442_079_465_000;

/// Ids that something might take for more than an id.
const ODD: [&str; 32] = [
    "MA 1",
    "two  spaces and more",
    "say \"hi\"",
    "\"quoted\"",
    "it's",
    "a&b=c",
    "<b>",
    "a#b",
    "what?",
    "a+b",
    "a%2Fb",
    "100%",
    "%",
    "%%32%65",
    "a;b",
    "a,b",
    "back\\slash",
    "a\\\" b",
    "a:b",
    "-dash",
    "account:MA",
    "q=1&account=MA",
    "new",
    "New",
    "bulk",
    ".hidden",
    "...",
    "søk ü 顧客",
    "{{name}}",
    "1' OR '1'='1",
    "=HYPERLINK(1)",
    "archive",
];

/// A few more, of the characters that are something somewhere; the same each
/// time.
fn made() -> Vec<String> {
    let alphabet: Vec<char> = "aZ09 \"'&<>#?+%;,\\.:=-_~@!$^*()[]{}|`é顧".chars().collect();
    let mut seed = 7_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let one = |_| {
        let length = 1 + next(20);
        let text: String = (0..length).map(|_| alphabet[next(alphabet.len())]).collect();
        text.trim().to_owned()
    };
    let mut all: Vec<String> = (0..10).map(one).filter(|text| !matches!(text.as_str(), "" | "." | "..")).collect();
    all.push("x".repeat(127) + "y");
    all.push("ü ".repeat(42) + "y");
    all
}

/// What an id might be taken for.
fn neighbours(id: &str) -> Vec<String> {
    let mut all = vec![
        id.split_whitespace().next().unwrap_or_default().to_owned(),
        id.replace('+', " "),
        id.replace("%20", " "),
        id.split(['&', '#', '?', ';', ',', '"', ':']).next().unwrap_or_default().to_owned(),
        id.to_lowercase(),
        id.trim_matches('"').to_owned(),
        id.replace('\\', ""),
        "MA".to_owned(),
    ];
    all.iter_mut().for_each(|text| *text = text.trim().to_owned());
    all.retain(|text| !text.is_empty() && text != id);
    all
}

/// A partner with a customer for each id and for each neighbour, who holds one
/// number. Names differ from ids.
struct World {
    server: Server,
    key: Key,
    ids: Vec<String>,
    others: Vec<String>,
}

impl World {
    fn new() -> World {
        let mut ids: Vec<String> = ODD.iter().map(|&id| id.to_owned()).collect();
        for id in made() {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let others: BTreeSet<String> = ids.iter().flat_map(|id| neighbours(id)).collect();
        let others: Vec<String> = others.into_iter().filter(|other| !ids.contains(other)).collect();
        let database = Database::empty();
        database.partner("PA_IDS", "Ids", &[]);
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut rows = "number,account_auth_id,account_name,application_id,monthly_cost,currency\n".to_owned();
        for at in 0..ids.len() as u64 * 10 {
            rows += &format!("+{},,,,1.00,EUR\n", FIRST + at);
        }
        for (at, other) in others.iter().enumerate() {
            let (id, number) = (quoted(other), NEIGHBOURS + at as u64);
            rows += &format!("+{number},{id},Neighbour {at},{id},2.00,EUR\n");
        }
        database.import("PA_IDS", &rows);
        let key = database.key("PA_IDS", &["--scope", "manage"]);
        World { server: Server::start(database, &["--rate-limit", "0"]), key, ids, others }
    }

    fn number(&self, id: usize, at: u64) -> String {
        format!("+{}", FIRST + id as u64 * 10 + at)
    }

    /// Columns of each number, as the export has them.
    fn rows(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let text = self.server.database.export("PA_IDS");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let head: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        let mut rows = BTreeMap::new();
        for record in reader.records() {
            let record = record.expect("a record");
            let row: BTreeMap<String, String> = head.iter().cloned().zip(record.iter().map(str::to_owned)).collect();
            if !row["number"].is_empty() {
                rows.insert(row["number"].clone(), row);
            }
        }
        rows
    }

    /// The neighbours hold what they held.
    fn check_neighbours(&self) {
        let rows = self.rows();
        for (at, other) in self.others.iter().enumerate() {
            let row = &rows[&format!("+{}", NEIGHBOURS + at as u64)];
            let kept = [&row["account_auth_id"], &row["application_id"], &row["state"], &row["tags"]];
            assert_eq!(kept, [other, other, "active", ""], "the neighbour {other:?} was touched");
            assert_eq!(row["account_name"], format!("Neighbour {at}"));
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// One segment of a path, by the rules of URLs and not by those of forms.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Runs a previewed job to its end.
fn run_job(pages: &Pages<'_>, to: &str) {
    pages.post(&format!("{to}/run"), &[]).check(303);
    let goes_on = |page: &String| page.contains("data-refresh") || page.contains("http-equiv=\"refresh\"");
    let page = found(PATIENCE, || format!("{to} does not end"), || Some(pages.page(to)).filter(|page| !goes_on(page)));
    assert!(plain(&page).contains("mark good\">done"), "{to}: {}", said(&page));
}

#[test]
fn every_form_and_link_of_the_console_is_about_the_id_that_was_meant() {
    let world = World::new();
    let pages = Pages::owner(&world.server, "PA_IDS", "Asia/Kolkata");
    for (at, id) in world.ids.iter().enumerate() {
        one_id(&world, &pages, at, id);
    }
    let rows = world.rows();
    for (at, id) in world.ids.iter().enumerate() {
        let of = |n: u64, column: &str| rows[&world.number(at, n)][column].clone();
        for n in 0..3 {
            assert_eq!((of(n, "account_auth_id"), of(n, "application_id")), (id.clone(), id.clone()), "{id:?} {n}");
            assert_eq!(of(n, "tags"), format!("tag-{at}"), "{id:?} {n}");
        }
        assert_eq!(of(0, "trunk_id"), *id);
        assert_eq!((of(3, "state"), of(3, "reserved_for")), ("reserved".to_owned(), id.clone()));
        assert_eq!((of(4, "account_auth_id"), of(4, "application_id")), (id.clone(), String::new()));
    }
    world.check_neighbours();
    crawl(&world, &pages);

    // Archiving last: what was meant goes, and nothing else.
    for id in &world.ids {
        let customer = format!("/customers/{}", path_of(id));
        for route in ["applications", "trunks"] {
            pages.done(&format!("/{route}/{}/archive", path_of(id)), &[]);
        }
        let (_, page) = pages.done(&format!("{customer}/archive"), &[("releases", "4"), ("sure", "1")]);
        assert!(page.contains(">archived<"), "{id:?}");
        let (_, page) = pages.done(&format!("{customer}/restore"), &[]);
        assert!(!page.contains(">archived<"), "{id:?}");
    }
    let rows = world.rows();
    for (at, id) in world.ids.iter().enumerate() {
        for n in [0, 1, 2, 4] {
            assert_eq!(rows[&world.number(at, n)]["state"], "quarantined", "{id:?} {n}");
        }
        assert_eq!(rows[&world.number(at, 3)]["state"], "available", "what was reserved for {id:?} is free");
    }
    world.check_neighbours();
    world.server.database.verify(Some(&world.server.url()));
}

/// An id as browsers put it into a path: everything but letters and digits
/// encoded.
fn path_of(id: &str) -> String {
    let one = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(one).collect()
}

fn one_id(world: &World, pages: &Pages<'_>, at: usize, id: &str) {
    let number = |n| world.number(at, n);
    // Made by forms, with the id as a customer, an application and a trunk.
    let name = format!("Customer number {at}");
    let (customer, page) = pages.done("/customers", &[("name", &name), ("id", id)]);
    let customer = customer.split('?').next().expect("a path").to_owned();
    assert!(plain(&page).contains(&format!("<dt>Id<dd>{id}<dt>")), "{customer} is about {id:?}");
    for route in ["applications", "trunks"] {
        let fields = [("id", id), ("name", &*format!("Route {at}")), ("account_auth_id", id)];
        let (to, page) = pages.done(&format!("/{route}"), &fields);
        assert!(plain(&page).contains(&format!("<dt>Id<dd>{id}<dt>")), "{to} is about {id:?}");
        assert!(plain(&page).contains(&format!(">{name}</a>")), "{to} is for {id:?}");
        let (_, page) =
            pages.done(&format!("{}/rename", to.split('?').next().expect("a path")), &[("name", "Another name")]);
        assert!(page.contains("<h1>Another name"), "{to}");
    }
    // The same id again is refused, and the form keeps it.
    let again = pages.refused("/customers", &[("name", "Twice"), ("id", id)]);
    assert!(plain(again.text()).contains(&format!("there is already a customer {id}")), "{}", said(again.text()));

    // One number by the form of the number, one by that of the customer, one in bulk.
    let to = [("account_auth_id", id), ("application_id", id), ("trunk_id", id)];
    pages.done(&format!("/numbers/{}/assign", number(0)), &to);
    pages.done(&format!("{customer}/assign"), &[("number", &number(1)), ("application_id", id)]);
    let bulk = [("verb", "assign"), ("n", &*number(2)), ("account_auth_id", id), ("application_id", "")];
    let (job, page) = pages.done("/numbers/bulk/preview", &bulk);
    assert!(plain(&page).contains(&format!("<small>{id}</small>")), "{job} says whom it is about: {id:?}");
    run_job(pages, &job);
    pages.done(&format!("/numbers/{}/reserve", number(3)), &[("account_auth_id", id), ("until", "2090-01-01")]);
    pages.done(&format!("/numbers/{}/assign", number(4)), &[("account_auth_id", id)]);

    // The filter of the customer's own page finds theirs.
    let page = pages.page(&customer);
    let links = attributes(&page, "href");
    let list = links.iter().find(|href| href.contains("/numbers?q=account")).expect("the customer's numbers");
    let found = pages.page(list);
    for n in [0, 1, 2, 4] {
        assert!(found.contains(&format!("value=\"{}\"", number(n))), "{list} finds {} of {id:?}", number(n));
    }
    assert!(found.contains("<b>4 numbers</b>"), "{list} finds those of {id:?} only");
    let line = form_urlencoded::parse(list.split_once('?').expect("a query").1.as_bytes()).next().expect("a line").1;
    // As a file, as a saved view, and in bulk by the line itself.
    let csv = pages.get(&format!("/numbers/export?q={}", encoded(&line))).check(200);
    assert_eq!(csv.text().lines().count(), 5, "{}", csv.text());
    let view = format!("View {}", at % 10);
    pages.done("/numbers/views/save", &[("name", &view), ("q", &line), ("replace", "1")]);
    let views = pages.page("/numbers");
    let saved = attributes(&views, "href").into_iter().find(|href| href.ends_with(&encoded(&line)));
    assert!(pages.page(&saved.expect("the view is a tab")).contains("<b>4 numbers</b>"));
    let unrouted = format!("{line} no:application");
    for (verb, line, field) in
        [("route", &*unrouted, ("application_id", id)), ("tags", &*line, ("add", &*format!("tag-{at}")))]
    {
        let fields = [("verb", verb), ("q", line), ("all", "1"), ("leave", "1"), field];
        let (job, _) = pages.done("/numbers/bulk/preview", &fields);
        run_job(pages, &job);
    }
    pages.done(&format!("/numbers/{}/route", number(4)), &[("application_id", ""), ("trunk_id", "")]);

    // Costs, their file and the invoice.
    let account = encoded(id);
    let costs = plain(&pages.page(&format!("/costs?account={account}")));
    assert!(costs.contains(&format!("<small>{id}</small>")) && costs.contains(&number(0)), "costs of {id:?}");
    let links = attributes(&pages.page(&format!("/costs?account={account}")), "href");
    let file = links.iter().find(|href| href.contains("costs.csv?")).expect("a file");
    let csv = pages.get(file).check(200);
    assert!(csv.text().contains(&number(0)[1..]) && !csv.text().contains("2.00"), "{}", csv.text());
    let raw = pages.get(&format!("{file}&raw=1")).check(200);
    let formula = is_formula(id) || is_formula(&name);
    assert_eq!(raw.text() != csv.text(), formula, "{}", raw.text());
    let invoice = links.iter().find(|href| href.contains("costs/invoice?")).expect("an invoice");
    let invoice = plain(pages.get(invoice).check(200).text());
    assert!(invoice.contains(&name) && invoice.contains(&format!("({id})")), "the invoice of {id:?}");

    // Checks: theirs alone, acknowledged where they are listed.
    let checks = format!("/checks?check=unrouted&account={account}");
    let page = pages.page(&checks);
    assert!(page.contains("<b>1 finding</b>"), "{checks} of {id:?}");
    let actions = attributes(&page, "action");
    let acknowledge = actions.iter().find(|action| action.contains("/acknowledge")).expect("a form");
    let (to, page) = pages.done(acknowledge, &[("until", "good"), ("note", "known")]);
    assert!(page.contains("<b>0 findings</b>") && plain(&page).contains(&name), "{to} is still about {id:?}");

    // Another name, and the same id.
    let (_, page) = pages.done(&format!("{customer}/rename"), &[("name", &format!("{name} & Co"))]);
    assert!(plain(&page).contains(&format!("<h1>{name} & Co")), "{id:?}");
    pages.done(&format!("{customer}/rename"), &[("name", &name)]);
    for n in [0, 1, 4] {
        pages.done(&format!("/numbers/{}/suspend", number(n)), &[]);
        pages.done(&format!("/numbers/{}/resume", number(n)), &[]);
    }
}

/// Follows every link, as a browser does: all are there, and a page of a
/// customer, an application or a trunk is about the id in its address.
fn crawl(world: &World, pages: &Pages<'_>) {
    let mut due: Vec<String> = vec![pages.base.clone()];
    let mut seen: BTreeSet<String> = due.iter().cloned().collect();
    let mut met: BTreeSet<(String, String)> = BTreeSet::new();
    let this_month = format!("month={}", Month::of(Day::utc(Time::now())));
    while let Some(path) = due.pop() {
        let answer = pages.get(&path);
        assert_eq!(answer.status, 200, "GET {path}: {}", said(&String::from_utf8_lossy(&answer.body)));
        let is_html = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if !is_html {
            continue;
        }
        let html = answer.text();
        let rest = path.strip_prefix(&pages.base).unwrap_or_default();
        let parts: Vec<&str> = rest.split(['/', '?']).collect();
        if let ["", kind @ ("customers" | "applications" | "trunks"), id, ..] = parts[..]
            && rest.matches('/').count() == 2
        {
            let id = decoded(id);
            assert!(plain(html).contains(&format!("<dt>Id<dd>{id}<dt>")), "{path} is about {id:?}");
            met.insert((kind.to_owned(), id));
        }
        for href in attributes(html, "href") {
            let href = href.split('#').next().unwrap_or_default();
            // Each page has links to other months, orders and moments of itself.
            let month = href.contains("month=") && !href.contains(&this_month);
            let again = month || ["sort%3A", "/changes/", "before="].iter().any(|part| href.contains(part));
            if href.starts_with(&pages.base) && !again {
                let href = as_browsers_do(href);
                if seen.insert(href.clone()) {
                    due.push(href);
                }
            }
        }
    }
    for id in world.ids.iter() {
        for kind in ["customers", "applications", "trunks"] {
            assert!(met.contains(&(kind.to_owned(), id.clone())), "no link leads to {kind} {id:?}");
        }
    }
}

#[test]
fn every_path_and_filter_of_the_api_is_about_the_id_that_was_meant() {
    let world = World::new();
    let (server, key) = (&world.server, &world.key);
    let post = |path: &str, body: serde_json::Value, status: u16| {
        server.request("POST", &format!("/api/v1/manage/{path}")).auth(key).json(&body).check(status).json()
    };
    let patch = |path: &str, body: serde_json::Value| {
        server.request("PATCH", &format!("/api/v1/manage/{path}")).auth(key).json(&body).check(200).json()
    };
    for (at, id) in world.ids.iter().enumerate() {
        let name = format!("Customer number {at}");
        post("accounts", json!({ "account_auth_id": id, "name": name }), 201);
        for (kind, field) in [("applications", "application_id"), ("trunks", "trunk_id")] {
            post(kind, json!({ field: id, "name": "R", "account_auth_id": id }), 201);
        }
        let path = path_of(id);
        let number = |n| world.number(at, n);
        for n in 0..2 {
            let body = json!({ "account_auth_id": id, "application_id": id, "trunk_id": id });
            let row = post(&format!("numbers/{}/assign", number(n)), body, 200);
            assert_eq!(row["data"]["account_auth_id"], json!(id), "{row}");
        }
        let body = json!({ "account_auth_id": id, "until": "2090-01-01T00:00:00Z" });
        post(&format!("numbers/{}/reserve", number(2)), body, 200);
        for list in [
            format!("accounts/{path}/numbers"),
            format!("numbers?account_auth_id={}", encoded(id)),
            format!("numbers?application_id={}", encoded(id)),
            format!("numbers?trunk_id={}", encoded(id)),
        ] {
            let found = server.get(&format!("/api/v1/partner/{list}")).auth(key).check(200).numbers();
            assert_eq!(found, [number(0), number(1)], "{list} of {id:?}");
        }
        let edited = patch(&format!("accounts/{path}"), json!({ "name": "Renamed" }));
        assert_eq!(edited["data"]["account_auth_id"], json!(id), "{edited}");
        for (kind, field) in [("applications", "application_id"), ("trunks", "trunk_id")] {
            let edited = patch(&format!("{kind}/{path}"), json!({ "archived": true }));
            assert_eq!(edited["data"][field], json!(id), "{edited}");
        }
        let month = "2026-01";
        let costs = server.get(&format!("/api/v1/partner/costs?month={month}&account_auth_id={}", encoded(id)));
        costs.auth(key).check(200);
        let findings = server.get(&format!("/api/v1/partner/checks?account_auth_id={}", encoded(id))).auth(key);
        findings.check(200);
    }
    world.check_neighbours();
    server.database.verify(Some(&server.url()));
}
