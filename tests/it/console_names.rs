//! Names where people name customers, applications and trunks, in the console
//! and by command; forms that are refused; days.

use super::harness::{Database, Server};
use super::pages::{Pages, plain, said, value};

/// Two customers called Twin, one that is archived, and a number for each of
/// the others; one more is free.
fn database() -> Database {
    let database = Database::empty();
    database.partner("PA_N", "Names", &[]);
    database.import(
        "PA_N",
        "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency,expires_at\n\
         +442079460001,MA_1,Globex Field Services,,,1.00,GBP,2031-02-28T18:30:00Z\n\
         +442079460002,MA_2,Twin,app_1,Main IVR,1.00,GBP,2031-03-01T12:00:00Z\n\
         +442079460003,MA_3,Twin,app_2,Main IVR,1.00,GBP,\n\
         +442079460004,,,,,1.00,GBP,\n",
    );
    for args in [
        &["account", "create", "--auth-id", "MA_4", "--name", "Gone"][..],
        &["account", "archive", "--auth-id", "Gone", "--yes"],
        &["application", "create", "app_3", "--name", "Support", "--account", "Globex Field Services"],
    ] {
        database.run(&[args, &["--partner", "PA_N"]].concat()).done();
    }
    database
}

const GLOBEX: &str = "Customer Globex not found. Did you mean Globex Field Services (MA_1)?";
const TWIN: &str = "Twin is the name of 2 customers: MA_2, MA_3; choose one by its id";
const GONE: &str = "Customer Gone not found. The archived customer MA_4 has that name; choose it by its id";

#[test]
fn a_command_takes_a_name_or_says_who_may_be_meant() {
    let database = database();
    for (name, expected) in [("Globex", GLOBEX), ("Twin", TWIN), ("Gone", GONE)] {
        for args in [
            &["check", "--account"][..],
            &["export", "--account"],
            &["costs", "--month", "2026-01", "--account"],
            &["number", "assign", "+442079460004", "--account"],
            &["number", "reserve", "+442079460004", "--until", "2090-01-01T00:00:00Z", "--account"],
            &["application", "create", "app_9", "--name", "x", "--account"],
            &["account", "rename", "--name", "x", "--auth-id"],
        ] {
            let ran = database.run(&[args, &[name, "--partner", "PA_N"]].concat()).check(1);
            assert_eq!((ran.stdout.as_str(), ran.stderr.trim()), ("", &*format!("error: {expected}")), "{args:?}");
        }
        let filter = format!("account_auth_id={name}");
        let job = ["job", "create", "--verb", "suspend", "--filter", &filter, "--partner", "PA_N"];
        assert!(database.run(&job).check(1).stderr.contains(expected), "{name}");
    }
    let ran = database.run(&["export", "--application", "Main IVR", "--partner", "PA_N"]).check(1);
    assert!(ran.stderr.contains("Main IVR is the name of 2 applications: app_1, app_2; choose one by its id"));
    let ran = database.run(&["export", "--account", "Globex Field Services", "--partner", "PA_N"]).done();
    assert!(ran.stdout.contains("+442079460001") && ran.stdout.lines().count() == 2, "{}", ran.stdout);
    let to = ["--account", "Globex Field Services", "--application", "Support", "--partner", "PA_N", "--json"];
    let row = database.run(&[&["number", "assign", "+442079460004"][..], &to].concat()).done().json();
    assert_eq!((&row["account_auth_id"], &row["application_id"]), (&"MA_1".into(), &"app_3".into()), "{row}");
}

#[test]
fn an_unknown_name_is_never_an_empty_page() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_N", "Asia/Kolkata");
    for (name, expected) in [("Globex", GLOBEX), ("Twin", TWIN), ("Gone", GONE)] {
        for path in ["/checks?account=", "/costs?account="] {
            let answer = pages.get(&format!("{path}{name}")).check(422);
            assert_eq!(said(answer.text()), expected, "{path}{name}");
            assert_eq!(value_of(answer.text(), "account"), name, "what was typed is kept");
            assert!(!plain(answer.text()).contains("No open findings") && !answer.text().contains("never held"));
        }
        let page = plain(&pages.page(&format!("/numbers?q=account:{name}")));
        assert!(page.contains(expected) && !page.contains("0 numbers"), "{page}");
        let bulk = [("verb", "assign"), ("n", "+442079460004"), ("account_auth_id", name)];
        let answer = pages.refused("/numbers/bulk/preview", &bulk);
        assert_eq!(said(answer.text()), expected);
    }
    let page = plain(&pages.page("/numbers?q=Globex"));
    assert!(page.contains("is in no number") && page.contains("account:MA_1") && !page.contains("0 numbers"));
    for (line, count) in [("unrouted", "1 number"), ("available", "1 number"), ("account:MA_1", "1 number")] {
        assert!(pages.page(&format!("/numbers?q={line}")).contains(&format!("<b>{count}</b>")), "{line}");
    }
    let page = pages.page("/checks?account=Globex+Field+Services");
    assert!(page.contains("<b>1 finding</b>") && page.contains("Globex Field Services"));
    assert!(pages.page("/costs?account=Globex+Field+Services").contains("<small>MA_1</small>"));
}

/// Every word of an address that a page reads: what is unknown is said, with what
/// may be meant where something is alike, and is no empty list.
#[test]
fn an_unknown_word_of_an_address_is_said() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_N", "UTC");
    for (path, expected) in [
        ("/checks?check=expring", "expring is no check. Did you mean expiring?"),
        ("/checks?check=%3Cb%3E", "<b> is no check. There are "),
        ("/checks?acknowledged=yes", "yes is no value of acknowledged"),
        ("/checks?check=idle&idle_for=soon", "“soon” is no number of days from 1 to 90"),
        ("/checks?account=Globex&check=unrouted", GLOBEX),
        ("/costs?currency=EURO", "“EURO” is no currency code such as EUR"),
        ("/costs?proration=dayz", "dayz is no way to charge partial months. Did you mean days?"),
        ("/costs?month=tomorrow", "“tomorrow” is not a month such as 2026-02"),
        ("/costs?account=Globex", GLOBEX),
        ("/changes?verb=relase", "relase is no kind of change. Did you mean release?"),
        ("/changes?who=nobody", "nobody is nobody who makes changes"),
        ("/changes?account=Globex", GLOBEX),
        ("/changes?from=yesterday", "yesterday is not a day"),
    ] {
        let answer = pages.get(path).check(422);
        assert!(said(answer.text()).contains(expected), "{path}: {}", said(answer.text()));
        assert!(!answer.text().contains("<b> is no") && !plain(answer.text()).contains("No open findings"), "{path}");
        assert!(!answer.text().contains("held a number in") && !answer.text().contains("held no number"), "{path}");
    }
    // The line of the numbers says it beside itself.
    for (path, expected) in [
        ("/numbers?q=region:Lundon", "no number has this region"),
        ("/numbers?region=Lundon", "no number has this region"),
        ("/numbers?tag=vib", "no number has this tag"),
        ("/numbers?account=Globex", GLOBEX),
        ("/numbers?account_auth_id=MA_9", "Customer MA_9 not found"),
        ("/numbers?application_id=Suport", "Application Suport not found. Did you mean Support (app_3)?"),
        ("/numbers?trunk=none", "Trunk none not found"),
        ("/numbers?status=actve", "actve"),
        ("/numbers?country=XX", "XX"),
        ("/numbers?routed=maybe", "maybe"),
    ] {
        let page = plain(&pages.page(path));
        assert!(page.contains(expected), "{path}: {page}");
        assert!(!page.contains("No numbers match"), "{path}");
    }
    // What is known goes on as it was.
    assert!(pages.page("/numbers?region=London").contains("<b>4 numbers</b>"));
    assert!(pages.page("/numbers?routed=true&account=MA_2").contains("<b>1 number</b>"));
    assert!(pages.page("/costs?currency=gbp").contains("In GBP"));
    let nothing = pages.page("/costs?currency=CHF");
    assert!(nothing.contains("Nothing is charged in CHF") && !nothing.contains("held a number"), "{nothing}");
}

/// What the field has that the page shows of this name.
fn value_of(html: &str, field: &str) -> String {
    let rest = html.split_once(&format!(" name=\"{field}\"")).expect("a field").1;
    let tag = rest.split_once('>').expect("a tag").0;
    plain(tag.split_once(" value=\"").expect("a value").1.split_once('"').expect("its end").0)
}

#[test]
fn a_refused_form_keeps_what_was_typed_and_marks_what_is_wrong() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_N", "Asia/Kolkata");
    let typed = [
        ("account_auth_id", "Globex"),
        ("application_id", "Support"),
        ("expires_at", "2031-05-01"),
        ("monthly_cost", "7.50"),
        ("currency", "GBP"),
    ];
    for (path, more, wrong) in [
        ("/numbers/+442079460004/assign", &[][..], "account_auth_id"),
        ("/numbers/bulk/preview", &[("verb", "assign"), ("n", "+442079460004")], "account_auth_id"),
        ("/customers", &[("name", "New"), ("number", "+442079460004"), ("trunk_id", "nowhere")], "trunk_id"),
    ] {
        let answer = pages.refused(path, &[&typed[..], more].concat());
        let html = answer.text();
        for (field, value) in typed.iter().skip(usize::from(path == "/customers")) {
            let kept = html
                .split(&format!("name=\"{field}\""))
                .any(|rest| rest.split('>').next().is_some_and(|tag| tag.contains(&format!("value=\"{value}\""))));
            assert!(kept, "{path} loses {field}");
        }
        assert_eq!(html.matches("aria-invalid").count(), 1, "{path}");
        assert!(html.contains(&format!("id=\"wrong-{wrong}\"")), "{path}");
    }
    for (path, fields, wrong) in [
        ("/numbers", &[("number", "22"), ("monthly_cost", "1.00"), ("currency", "GBP")][..], "number"),
        ("/applications", &[("id", "a/b"), ("name", "kept")], "id"),
        ("/trunks", &[("id", "t"), ("name", "kept"), ("account_auth_id", "Globex")], "account_auth_id"),
        ("/keys", &[("name", "kept"), ("scope", "manage"), ("expires", "2001-01-01")], "expires"),
        ("/settings/quarantine", &[("days", "many"), ("countries", "IN=180")], "days"),
        ("/customers/MA_1/rename", &[("name", "")], "name"),
    ] {
        let answer = pages.refused(path, fields);
        assert!(answer.text().contains(&format!("id=\"wrong-{wrong}\"")), "{path}: {}", answer.text());
        for (field, value) in fields.iter().filter(|(field, _)| !matches!(*field, "scope")) {
            assert_eq!(value_of(answer.text(), field), *value, "{path} loses {field}");
        }
    }
}

#[test]
fn a_renewal_never_shortens_by_accident() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_N", "Asia/Kolkata");
    let expiry = |number: &str| {
        let row = server.database.run(&["number", "show", number, "--partner", "PA_N", "--json"]).done().json();
        row["expires_at"].as_str().map(str::to_owned)
    };
    let renew = |number: &str, fields: &[(&str, &str)]| pages.post(&format!("/numbers/{number}/renew"), fields);
    // No day is filled in that a thoughtless click would take.
    let form = |number: &str| {
        let page = pages.page(&format!("/numbers/{number}?do=renew"));
        let form =
            page.split("/renew\"").nth(1).expect("the form").split("</form>").next().expect("its end").to_owned();
        assert!(form.contains("Expires on (00:00 Asia/Kolkata)") && form.contains("Auto-renew"), "{form}");
        assert!(form.contains("+1 month") && form.contains("value=\"12\" checked"), "{form}");
        value(&form, "expires_at").expect("a day")
    };
    assert_eq!(form("+442079460001"), "");
    renew("+442079460001", &[("expires_at", "2031-03-01")]).check(303);
    assert_eq!(expiry("+442079460001").as_deref(), Some("2031-02-28T18:30:00Z"));
    assert_eq!(form("+442079460002"), "");
    pages.refused("/numbers/+442079460002/renew", &[("expires_at", "")]);
    assert_eq!(expiry("+442079460002").as_deref(), Some("2031-03-01T12:00:00Z"));
    let bulk = [("verb", "renew"), ("n", "+442079460002"), ("expires_at", "")];
    let refused = pages.refused("/numbers/bulk/preview", &bulk);
    assert!(said(refused.text()).contains("choose Auto-renew"), "{}", said(refused.text()));
    renew("+442079460002", &[("renew_by", "auto")]).check(303);
    assert_eq!(expiry("+442079460002"), None);
    // One that auto-renews has nothing to extend: a day is offered.
    let page = pages.page("/numbers/+442079460003?do=renew");
    assert!(page.contains("Auto-renews now.") && page.contains("value=\"day\" checked"), "{page}");
}
