//! Lists as people work with them: tabs, orders, sizes of a page, and renewals by
//! months through every door.

use std::time::Duration;

use serde_json::json;

use super::harness::{Database, Server};
use super::pages::{Pages, plain, said};
use super::until::found;

/// Eight numbers, of which one auto-renews, one has expired, two are in stock.
fn database() -> Database {
    let database = Database::empty();
    database.partner("PA_L", "Lists", &[]);
    let soon = soon();
    database.import(
        "PA_L",
        &format!(
            "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency,expires_at\n\
             +442079460001,MA_1,beta,app_1,Zebra,1.00,GBP,2031-01-31T00:00:00Z\n\
             +442079460002,MA_2,Alpha,app_2,apple,1.00,GBP,{soon}\n\
             +442079460003,MA_3,Gamma,,,1.00,GBP,\n\
             +442079460004,MA_1,beta,app_1,Zebra,1.00,GBP,2020-01-01T00:00:00Z\n\
             +442079460005,,,,,1.00,GBP,\n\
             +442079460006,,,,,1.00,GBP,\n"
        ),
    );
    let reserve = ["--account", "MA_2", "--until", "2090-01-01T00:00:00Z", "--partner", "PA_L"];
    database.run(&[&["number", "reserve", "+442079460006"][..], &reserve].concat()).done();
    database
}

/// Within the days that count as expiring.
fn soon() -> String {
    let soon = jiff::Timestamp::now().as_second() + 5 * 86_400;
    jiff::Timestamp::from_second(soon).expect("a time").to_string()
}

fn expiry(database: &Database, number: &str) -> Option<String> {
    let row = database.run(&["number", "show", number, "--partner", "PA_L", "--json"]).done().json();
    row["expires_at"].as_str().map(str::to_owned)
}

/// A page once it is so: another process wrote, and the server follows it.
#[track_caller]
fn once(pages: &Pages<'_>, path: &str, so: impl Fn(&str) -> bool) -> String {
    let look = || Some(plain(&pages.page(path))).filter(|page| so(page));
    found(Duration::from_secs(20), || format!("{path}: {}", plain(&pages.page(path))), look)
}

/// The numbers of a list, in its order.
fn listed(page: &str) -> Vec<String> {
    page.split("data-copy=\"+4420794600").skip(1).map(|rest| rest[..2].to_owned()).collect()
}

#[test]
fn a_renewal_by_months_is_the_same_through_every_door() {
    let server = Server::start(database(), &[]);
    let (database, key) = (&server.database, server.database.key("PA_L", &["--scope", "manage"]));
    let renew = |number: &str, args: &[&str]| {
        database.run(&[&["number", "renew", number, "--partner", "PA_L"][..], args].concat())
    };
    renew("+442079460001", &["--months", "1"]).done();
    assert_eq!(expiry(database, "+442079460001").as_deref(), Some("2031-02-28T00:00:00Z"));
    renew("+442079460001", &["--years", "1"]).done();
    assert_eq!(expiry(database, "+442079460001").as_deref(), Some("2032-02-28T00:00:00Z"));
    // One that auto-renews stays so.
    renew("+442079460003", &["--years", "1"]).done();
    assert_eq!(expiry(database, "+442079460003"), None);
    // The zone's calendar counts: this is 31 March, 00:00 in Kolkata.
    renew("+442079460001", &["--expires-at", "2032-03-30T18:30:00Z"]).done();
    renew("+442079460001", &["--months", "1", "--zone", "Asia/Kolkata"]).done();
    assert_eq!(expiry(database, "+442079460001").as_deref(), Some("2032-04-29T18:30:00Z"));
    for wrong in
        [&["--months", "0"][..], &["--months", "121"], &["--years", "1", "--months", "1"], &["--zone", "UTC"], &[]]
    {
        renew("+442079460001", wrong).check(2);
    }

    let post = |body: serde_json::Value| {
        server.request("POST", "/api/v1/manage/numbers/+442079460001/renew").auth(&key).json(&body).send()
    };
    post(json!({ "months": 12 })).check(200);
    assert_eq!(expiry(database, "+442079460001").as_deref(), Some("2033-04-29T18:30:00Z"));
    for (body, wrong) in [
        (json!({}), "expires_at"),
        (json!({ "months": 1, "expires_at": null }), "months"),
        (json!({ "months": 0 }), "months"),
        (json!({ "months": 121 }), "months"),
        (json!({ "months": 1.5 }), "months"),
        (json!({ "months": "1" }), "months"),
        (json!({ "months": 1, "zone": "Nowhere/None" }), "zone"),
        (json!({ "expires_at": null, "zone": "UTC" }), "zone"),
    ] {
        let refused = post(body.clone()).check(422).json();
        assert_eq!(refused["error"]["details"]["errors"][0]["field"], wrong, "{body}: {refused}");
    }

    // One that has expired is renewed from now.
    let before = jiff::Timestamp::now();
    let job = [
        "job",
        "create",
        "--partner",
        "PA_L",
        "--verb",
        "renew",
        "--param",
        "months=1",
        "--filter",
        "account_auth_id=MA_1",
    ];
    let ran = database.run(&job).done();
    assert!(ran.stdout.contains("2 changed, 0 unchanged, 0 failed"), "{}", ran.stdout);
    let end: jiff::Timestamp = expiry(database, "+442079460004").expect("an end").parse().expect("a time");
    let days = (end.as_second() - before.as_second()) / 86_400;
    assert!((28..=31).contains(&days), "{days} days");
}

#[test]
fn the_preview_of_a_renewal_says_each_new_expiry_and_lists_what_auto_renews() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let page = pages.page("/numbers?q=has:account");
    assert!(page.contains("value=\"assign\" selected"), "an ordinary list suggests no renewal");
    let page = pages.page("/numbers?q=expiring");
    assert!(page.contains("value=\"renew\" selected") && page.contains(">+1 year</button>"), "{page}");
    // The list's button leads straight to the preview.
    let all = [("renew_by", "12"), ("verb", "assign"), ("all", "4"), ("q", "has:account")];
    let (to, preview) = pages.done("/numbers/bulk/preview", &all);
    assert!(to.contains("/jobs/"), "{to}");
    let text = plain(&preview);
    assert!(text.contains("1 year after the later of each number's expiry and now"), "{text}");
    assert!(text.contains("31 Jan 2031 00:00</time> → <time") && text.contains("31 Jan 2032 00:00</time>"), "{text}");
    assert!(text.contains("auto-renews, so it has no expiry to extend"), "{text}");
    assert!(text.contains("Renew: change 3 numbers"), "{text}");
    // Nothing yet; then all of it.
    assert_eq!(expiry(&server.database, "+442079460001").as_deref(), Some("2031-01-31T00:00:00Z"));
    pages.done(&format!("{to}/run"), &[]);
    let done = server.database.run(&["job", "run", to.rsplit('/').next().expect("an id"), "--partner", "PA_L"]);
    done.done();
    assert_eq!(expiry(&server.database, "+442079460001").as_deref(), Some("2032-01-31T00:00:00Z"));
    assert_eq!(expiry(&server.database, "+442079460003"), None);
    // A day beside another choice is not passed over.
    let both = [("renew_by", "12"), ("n", "+442079460001"), ("expires_at", "2040-01-01")];
    let refused = pages.refused("/numbers/bulk/preview", &both);
    assert!(said(refused.text()).contains("choose On a day"), "{}", said(refused.text()));
}

#[test]
fn tabs_tiles_and_lists_count_alike() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let tiles = pages.page("");
    let tiles: Vec<&str> = tiles.split("<li><a href=\"").skip(1).filter(|one| one.contains("</b> <span>")).collect();
    let names: Vec<&str> = tiles
        .iter()
        .map(|tile| tile.split("<span>").nth(1).and_then(|rest| rest.split('<').next()).expect("a name"))
        .collect();
    let expected =
        ["All", "Active", "Suspended", "Unrouted", "Expiring", "Unassigned", "Available", "Reserved", "Quarantined"];
    assert_eq!(names, expected);
    for tile in tiles {
        let href = plain(tile.split('"').next().expect("an address"));
        let count = tile.split("<b>").nth(1).and_then(|rest| rest.split('<').next()).expect("a count");
        let list = pages.page(&href);
        let rows = listed(&list).len().to_string();
        assert_eq!(rows, count, "{href}");
        let tab = list.split("aria-label=\"Views\"").nth(1).and_then(|rest| rest.split("</nav>").next()).expect("tabs");
        let current = tab.split("aria-current=\"page\"").nth(1).expect("a current tab");
        assert!(current.contains(&format!("<span class=\"count\">{count}</span>")), "{href}: {current}");
    }
}

#[test]
fn every_column_of_names_sorts_and_expiring_is_sorted_by_its_end() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    for (q, expected) in [
        ("sort:customer", ["02", "06", "01", "04", "03", "05"]),
        ("sort:-customer", ["03", "01", "04", "02", "06", "05"]),
        ("sort:application", ["02", "01", "04", "03", "05", "06"]),
        ("sort:-application", ["01", "04", "02", "03", "05", "06"]),
        // What loses calls first.
        ("sort:state", ["03", "01", "02", "04", "06", "05"]),
        ("sort:-state", ["05", "06", "04", "01", "02", "03"]),
    ] {
        let page = pages.page(&format!("/numbers?q={q}"));
        assert_eq!(listed(&page), expected, "{q}");
        let sorted = if q.contains('-') { "descending" } else { "ascending" };
        assert!(page.contains(&format!("aria-sort=\"{sorted}\"")), "{q}");
    }
    assert_eq!(listed(&pages.page("/numbers?q=has:account+sort:expires")), ["04", "02", "01", "03"]);
    // The tab's own order, and another that the line asks for.
    let expiring = pages.page("/numbers?q=expiring");
    assert_eq!(listed(&expiring), ["02"]);
    assert!(expiring.contains("q=expiring%20sort:-expires") || expiring.contains("sort%3A-expires"), "{expiring}");
    assert_eq!(listed(&pages.page("/numbers?q=expiring+sort:-expires")), ["02"]);
    assert!(said(&pages.page("/numbers?q=sort:colour")).contains("is not understood"));
}

#[test]
fn the_size_of_a_page_is_obeyed_kept_and_limited() {
    let database = Database::empty();
    database.partner("PA_L", "Lists", &[]);
    database.import("PA_L", "number,monthly_cost,currency\n+442079461000-+442079461149,1.00,GBP\n");
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let rows = |page: &str| page.split("data-copy=").count() - 1;
    for query in ["?per_page=5000", "?per_page=0", "?per_page=x"] {
        let answer = pages.get(&format!("/numbers{query}")).check(422);
        assert!(answer.text().contains("a whole number from 1 to 100") && answer.header("set-cookie").is_none());
    }
    for (query, expected) in [("", 50), ("?per_page=25", 25), ("?per_page=100", 100), ("?per_page=1", 1)] {
        let page = pages.page(&format!("/numbers{query}"));
        assert_eq!(rows(&page), expected, "{query}");
        assert!(page.len() < 100_000, "{query}: {} bytes", page.len());
    }
    let answer = pages.get("/numbers?per_page=100");
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.starts_with("rollcall-rows=100; Path=/console;"), "{cookie}");
    let kept = format!("{}; {}", pages.cookie(), cookie.split(';').next().expect("a pair"));
    let get =
        |path: &str| server.get(&format!("/console/p/PA_L{path}")).header("Cookie", &kept).check(200).text().to_owned();
    assert_eq!(rows(&get("/numbers")), 100);
    assert_eq!(rows(&get("/numbers?page=2")), 50);
    assert!(get("/numbers").contains("aria-current=\"true\">100</a>"));
}

#[test]
fn a_number_s_page_says_what_its_calls_get_and_how_to_repair_it() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let overview = plain(&pages.page(""));
    let unrouted = "calls to this number hang up at once: they have nowhere to go";
    assert!(overview.contains(unrouted), "{overview}");
    let silent = "calls to this number are refused: neither its application nor its trunk has a destination";
    for (number, said, action) in [
        ("03", unrouted, "href=\"#do-route\">Route</a>"),
        ("04", "calls to this number are refused, and its rental is still owed", "href=\"#do-renew\">Renew</a>"),
        ("01", silent, "/applications/app_1\">Set its destinations</a>"),
    ] {
        let page = plain(&pages.page(&format!("/numbers/+4420794600{number}")));
        assert!(page.contains(said) && page.contains(action), "{number}: {page}");
        assert!(!page.contains("calls get through"), "{number}");
    }
    let destination = ["application", "destination", "add", "app_1", "sip:pbx.example", "--partner", "PA_L"];
    server.database.run(&destination).done();
    let page = once(&pages, "/numbers/+442079460001", |page| page.contains("calls get through"));
    assert!(!page.contains("class=\"error drops\""), "{page}");
}

#[test]
fn a_number_that_is_not_there_can_be_added_to_stock() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let page = pages.get("/numbers/+442079469999");
    assert_eq!(page.status, 404);
    let text = plain(page.text());
    assert!(text.contains("nav class=\"side\"") && text.contains(">Add to stock</a>"), "{text}");
    let form = pages.page("/numbers?new&number=%2B442079469999");
    assert_eq!(super::pages::value(&form, "number").as_deref(), Some("+442079469999"));
}

#[test]
fn the_first_steps_go_when_they_are_done() {
    let database = Database::empty();
    database.partner("PA_L", "Lists", &[]);
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let steps = |page: &str| {
        let list = page.split("id=\"steps\"").nth(1).and_then(|rest| rest.split("</ol>").next()).unwrap_or_default();
        (list.matches("<li>").count(), list.matches("(done)").count())
    };
    assert_eq!(steps(&pages.page("")), (4, 0));
    server.database.import(
        "PA_L",
        "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency\n\
         +442079460001,MA_1,beta,app_1,Zebra,1.00,GBP\n",
    );
    once(&pages, "", |page| steps(page) == (4, 2));
    let user = ["user", "create", "--email", "two@example.com", "--partner", "PA_L", "--role", "viewer"];
    server.database.run(&user).done();
    once(&pages, "", |page| steps(page) == (4, 3));
}

#[test]
fn strangers_see_no_commands_and_the_menu_is_in_groups() {
    let server = Server::start(database(), &[]);
    let sign_in = server.get("/console/sign-in").check(200).text().to_owned();
    assert!(sign_in.contains("Forgotten password?") && !sign_in.contains("rollcall "), "{sign_in}");
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let page = pages.page("/checks/webhooks");
    for group in ["Inventory", "Calls", "Money", "Setup"] {
        assert_eq!(page.matches(&format!("<span>{group}</span>")).count(), 2, "in the menu and in the drawer");
    }
    assert!(page.contains("/checks/webhooks\" aria-current=\"page\">Webhooks</a>"), "{page}");
    assert!(page.contains("<input id=\"find\" name=\"q\" type=\"search\""), "{page}");
    assert!(server.get("/docs").check(200).text().contains("<a href=\"/console\">Back to the console</a>"));
}

#[test]
fn rental_is_grouped_by_currency() {
    let database = Database::empty();
    database.partner("PA_L", "Lists", &[]);
    database.import(
        "PA_L",
        "number,account_auth_id,account_name,monthly_cost,currency\n\
         +442079460001,MA_1,One,9.00,GBP\n+442079460002,MA_1,One,5000,JPY\n+442079460003,MA_2,Two,10.00,GBP\n",
    );
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let page = plain(&pages.page(""));
    let rental = page.split("id=\"rental\"").nth(1).expect("the rental");
    let at = |part: &str| rental.find(part).unwrap_or_else(|| panic!("{part} in {rental}"));
    let order = [
        at("GBP: all customers"),
        at("19.00 GBP"),
        at("10.00 GBP"),
        at("9.00 GBP</tr>"),
        at("JPY: all customers"),
        at("5,000 JPY"),
    ];
    assert!(order.is_sorted(), "{order:?} {rental}");
}

#[test]
fn a_year_by_month_says_what_the_bills_say() {
    let database = Database::empty();
    database.partner("PA_L", "Lists", &[]);
    database.import(
        "PA_L",
        "number,account_auth_id,account_name,monthly_cost,currency,assigned_at\n\
         +442079460001,MA_1,One,9.00,GBP,2020-01-01T00:00:00Z\n\
         +442079460002,MA_1,One,5000,JPY,2020-01-01T00:00:00Z\n\
         +442079460003,MA_2,Two,10.00,GBP,2020-01-01T00:00:00Z\n",
    );
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let page = plain(&pages.page("/costs/trend"));
    assert_eq!(page.matches("<svg").count(), 4, "two charts for each of two currencies");
    for (code, amount, numbers) in [("GBP", "19.00 GBP", "2"), ("JPY", "5,000 JPY", "1")] {
        let year = page.split(&format!("id=\"in-{code}\"")).nth(1).and_then(|rest| rest.split("</section>").next());
        let year = year.expect("a year");
        let rows: Vec<&str> = year.split("<tr>").skip(2).collect();
        assert_eq!(rows.len(), 12, "{year}");
        assert_eq!(rows.iter().filter(|row| row.contains("draft")).count(), 1, "{year}");
        for row in rows {
            assert!(row.contains(&format!("<td class=\"number\">{numbers}<td class=\"number\">{amount}")), "{row}");
            let href = row.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
            assert!(plain(&pages.page(href)).contains(amount), "{href}");
        }
    }
    assert!(pages.page("/costs").contains("/costs/trend\">A year by month</a>"));
}
