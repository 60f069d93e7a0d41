//! Finding: the search page that Ctrl-K and the choosers show, the filter line's
//! names, lists and national forms, the change log of a customer, and previews.

use super::harness::{Database, Server};
use super::pages::{Pages, plain, said};

fn database() -> Database {
    let database = Database::empty();
    for (id, name) in [("PA_F", "Finding"), ("PA_G", "Other")] {
        database.partner(id, name, &[]);
    }
    database.import(
        "PA_F",
        "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency,region,tags\n\
         +912271264217,MA_1,Globex Field Services,app_1,Main IVR,1500.00,INR,Mumbai,support\n\
         +912271264218,MA_1,Globex Field Services,,,1500.00,INR,Mumbai,\n\
         +442079460001,MA_2,Twin,app_2,Main IVR,1.00,GBP,London,\n\
         +442079460002,MA_3,Twin,app_3,Support,1.00,GBP,London,\n\
         +12125550100,,,,,1.00,USD,,\n\
         +12125550101,MA_4,Mobile Works,app_3,Support,1.00,USD,,\n",
    );
    database.import(
        "PA_G",
        "number,account_auth_id,account_name,monthly_cost,currency\n+442079469999,MA_H,Hidden Globex,1.00,GBP\n",
    );
    database
}

fn line(pages: &Pages<'_>, text: &str) -> String {
    pages.page(&format!("/numbers?q={}", form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()))
}

#[test]
fn the_filter_line_finds_names_lists_and_national_forms() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_F", "UTC");
    for (text, found) in [
        ("Globex Field Services", 2),
        ("globex field services", 2),
        ("MA_1", 2),
        ("Globex Field Services unrouted", 1),
        ("account:\"Globex Field Services\" 4217", 1),
        ("account:\"globex field services\"", 2),
        ("app_2", 1),
        ("Support", 2),
        ("Mobile Works", 1),
        ("available", 1),
        ("active", 5),
        ("+912271264217 +442079460001", 2),
        ("+912271264217,+442079460001", 2),
        ("+91 22 7126 4217, +44 20 7946 0001;+1 212 555 0100", 3),
        ("+91 22 7126 4217\n+44 20 7946 0001\n", 2),
        ("+912271264217+442079460001", 2),
        ("912271264217 442079460001", 2),
        ("022 7126 4217, 020 7946 0002", 2),
        ("+912271264217, +12125550100 available", 1),
        ("022 7126", 2),
        ("020 7946 0002", 1),
        ("00 44 20 7946", 2),
        ("+44 (0)20 7946", 2),
        ("22 7126 4217", 1),
        ("(212) 555-0100", 1),
    ] {
        let page = line(&pages, text);
        let numbers = if found == 1 { "1 number".to_owned() } else { format!("{found} numbers") };
        assert!(page.contains(&format!("<b>{numbers}</b>")), "{text}: {}", said(&page));
    }
    for (text, words) in [
        ("Globex", "Did you mean"),
        ("Main IVR", "is the name of 2"),
        ("Twin", "MA_3"),
        ("Suport", "application:app_3"),
        ("+912271264217, 12", "12 is no whole number"),
        ("+912271264217, 12345678901234567890", "12345678901234567890 is no whole number"),
        ("account:Globex", "Did you mean Globex Field Services (MA_1)?"),
        ("0207946, Globex", "is in no number"),
    ] {
        let page = plain(&line(&pages, text)).replace("</code>", "");
        assert!(page.contains(words) && !page.contains("0 numbers"), "{text}: {}", said(&page));
        assert!(!page.contains("Hidden"), "{text} names another partner's customer");
    }
    for (text, words) in [
        ("region:Mumbay", "no number has this region. Did you mean"),
        ("tag:suport", "no number has this tag. Did you mean"),
        ("+912271264217, +12125559999", "+12125559999 is not in the inventory"),
        ("+12125559998, +12125559999", "are not in the inventory"),
        ("+912271264217, 022 7126 9999", "022 7126 9999 is not in the inventory"),
        ("+12125559998, 020 7946 9999", "+12125559998, 020 7946 9999 are not in the inventory"),
    ] {
        let page = plain(&line(&pages, text)).replace("</code>", "");
        assert!(page.contains(words), "{text}: {page}");
    }
    // A list is a selection for a bulk action as well.
    let chosen = [("verb", "suspend"), ("all", "2"), ("q", "+912271264217, 022 7126 4218")];
    let (_, job) = pages.done("/numbers/bulk/preview", &chosen);
    assert!(job.contains("Suspend 2 numbers"), "{job}");
}

#[test]
fn the_search_page_finds_everything_of_one_partner() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_F", "UTC");
    let found = |query: &str| pages.page(&format!("/search?{query}"));
    for (query, words) in [
        ("q=4217", "/numbers/+912271264217"),
        ("q=022+7126+4217", "/numbers/+912271264217"),
        ("q=globex", "/customers/MA_1"),
        ("q=MA_1", "2 numbers"),
        ("q=ivr", "/applications/app_2"),
        ("q=invoice", "/costs"),
        ("q=import", "/import"),
        ("q=new+cust", "/customers?new"),
        ("q=nothing+like+it", "No matches"),
        ("q=", "Overview"),
    ] {
        assert!(found(query).contains(words), "{query} does not find {words}");
    }
    let part = found("q=twin&kind=customer&part=1");
    assert!(!part.contains("<html") && part.contains("data-value=\"Twin (MA_2)\""), "{part}");
    assert_eq!(part.matches("data-value").count(), 2);
    let exact = found("q=Globex+Field+Services+(MA_1)&kind=customer&part=1");
    assert_eq!(exact.matches("data-exact").count(), 1, "{exact}");
    // Nothing of another partner, and no more than a few of each kind.
    assert!(!found("q=hidden").contains("MA_H") && !found("q=9999").contains("+442079469999"));
    assert!(found("q=&kind=application&part=1").matches("data-value").count() <= 8);
    assert_eq!(pages.get("/console/p/PA_G/search?q=globex").status, 404);
}

#[test]
fn what_a_form_shows_it_accepts() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_F", "UTC");
    let assign = [("account_auth_id", "Twin (MA_3)"), ("application_id", "main ivr (app_2)")];
    pages.refused("/numbers/+12125550100/assign", &assign);
    let assign = [("account_auth_id", "Twin (MA_3)"), ("application_id", "Main IVR (app_2)")];
    let (_, page) = pages.done("/numbers/+12125550100/assign", &assign);
    let page = plain(&page);
    // By name, with the id where the name alone would not tell.
    assert!(page.contains("assigned to Twin (MA_3); routed to Main IVR (app_2)"), "{page}");
    assert!(page.contains("value=\"Main IVR (app_2)\""), "the form of a route shows the name");
    let page = pages.page("/numbers/+442079460002");
    assert!(plain(&page).contains("value=\"Support (app_3)\""), "{page}");
}

#[test]
fn changes_of_a_customer_and_of_days() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_F", "Asia/Kolkata");
    let chosen = [("verb", "suspend"), ("all", "4"), ("q", "status:active")];
    let (to, _) = pages.done("/numbers/bulk/preview", &chosen);
    let job = to.rsplit('/').next().expect("an id").to_owned();
    pages.post(&format!("/jobs/{job}/run"), &[]).check(303);
    let ended = |id: &str| {
        let show = ["job", "show", id, "--partner", "PA_F", "--json"];
        server.database.run(&show).done().json()["state"] == "done"
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !ended(&job) {
        assert!(std::time::Instant::now() < until, "the job does not end");
        std::thread::yield_now();
    }
    pages.done("/numbers/+442079460001/tags", &[("add", "vip")]);
    pages.done("/numbers/+912271264217/release", &[]);
    let undone = pages.page("/changes");
    assert_eq!(undone.matches(&format!("/jobs/{job}")).count(), 1, "one job is one entry: {undone}");
    assert!(undone.contains("Suspend 5 numbers"), "{undone}");

    let of = |query: &str| plain(&pages.page(&format!("/changes?{query}")));
    let globex = of("account=globex+field+services");
    assert!(
        globex.contains("released") && globex.contains("Suspend 5 numbers") && !globex.contains("tagged"),
        "{globex}"
    );
    assert!(globex.contains("2 of 5 numbers"), "{globex}");
    let twin = of("account=MA_2&from=2000-01-01&to=2090-01-01");
    assert!(twin.contains("tagged vip") && !twin.contains("released"), "{twin}");
    assert!(of("to=2000-01-01").contains("No changes match"));
    for (query, words) in [
        ("account=Globex", "Did you mean Globex Field Services (MA_1)?"),
        ("from=yesterday", "yesterday is not a day"),
        ("from=2026-02-02&to=2026-02-01", "is after the last"),
        ("verb=nonsense", "nonsense is no kind of change"),
        ("who=bob", "bob is nobody"),
    ] {
        let answer = pages.get(&format!("/changes?{query}")).check(422);
        assert!(said(answer.text()).contains(words), "{query}: {}", said(answer.text()));
        assert!(!answer.text().contains("No changes"), "{query} is shown as empty");
    }
    // An undo is called one, in the list, in the history and in the message.
    let (to, page) = pages.done("/numbers/+442079460001/tags", &[("add", "gold")]);
    let version = to.rsplit("done=").next().expect("a version").to_owned();
    assert!(page.contains("tagged gold"));
    let (_, page) = pages.done(&format!("/changes/{version}/undo"), &[]);
    assert!(plain(&page).contains("Undo: no longer tagged gold"), "{page}");
    assert!(of("verb=undo").contains("Undo: no longer tagged gold"));
    let history = plain(&pages.page("/numbers/+442079460001"));
    assert!(history.contains("<b>Undo: no longer tagged gold</b>"), "{history}");
    let release = of("verb=release");
    assert!(!release.contains("T18:30:00Z until") && release.contains("in quarantine until <time"), "{release}");
}

#[test]
fn a_preview_shows_before_and_after_by_customer() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_F", "UTC");
    let clear = [
        ("verb", "route"),
        ("all", "5"),
        ("q", "status:active"),
        ("application_id", ""),
        ("trunk_id", ""),
        ("leave", "1"),
        ("clear_application_id", "1"),
    ];
    let (to, page) = pages.done("/numbers/bulk/preview", &clear);
    let page = plain(&page);
    let change =
        "<li class=\"lost\"><span>application</span> Support → <span class=\"none\">unrouted</span> <b>lost</b>";
    assert!(page.contains(change), "{page}");
    let customers =
        page.split("By customer").nth(1).expect("a table").split("Number by number").next().expect("its end");
    assert!(customers.contains("Globex Field Services") && customers.contains("Mobile Works"), "{customers}");
    assert_eq!(customers.matches("application of 1 number").count(), 4, "{customers}");
    // Once it has run, the same page says what it did.
    pages.post(&format!("{to}/run"), &[]).check(303);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let done = loop {
        let page = plain(&pages.page(&to));
        if page.contains("Undo…") {
            break page;
        }
        assert!(std::time::Instant::now() < until, "the job does not end");
        std::thread::yield_now();
    };
    assert!(done.contains(change), "{done}");
    let (_, undo) = pages.done(&format!("{to}/undo"), &[]);
    assert!(plain(&undo).contains("<span>application</span> <span class=\"none\">unrouted</span> → Support"), "{undo}");
}
