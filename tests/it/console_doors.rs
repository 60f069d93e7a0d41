//! What holds for every address of the console, held against the table of its
//! routes: GET answers, a refused form comes back, a form is done once, and what
//! is sensitive asks for the password again.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use rollcall::console::{Guard, Posted, addresses};

use crate::harness::{Answer, Database, Server};
use crate::pages::{PASSWORD, Pages, plain, said};
use crate::until::until;

/// How long a session may be believed by a server that did not change it.
const CACHED: Duration = Duration::from_secs(20);
const FORM: &str = "application/x-www-form-urlencoded";

fn database() -> Database {
    let database = Database::empty();
    database.partner("PA_D", "Doors", &[]);
    database.import(
        "PA_D",
        "number,account_auth_id,account_name,application_id,application_name,trunk_id,monthly_cost,currency\n\
         +442079460001,MA_1,One Customer,app_1,Main IVR,trunk_1,1.00,GBP\n\
         +442079460002-+442079460009,,,,,,1.00,GBP\n",
    );
    database
}

/// An address with things that there are in the place of its parameters.
fn filled(path: &str) -> String {
    let id = match path {
        path if path.contains("/customers/") => "MA_1",
        path if path.contains("/applications/") => "app_1",
        path if path.contains("/trunks/") => "trunk_1",
        _ => "nothing",
    };
    path.replace("{partner}", "PA_D")
        .replace("{number}", "+442079460001")
        .replace("{version}", "1")
        .replace("{verb}", if path.contains("numbers/{number}") { "assign" } else { "rename" })
        .replace("{step}", "run")
        .replace("{link}", "nothing")
        .replace("{*rest}", "nothing")
        .replace("{id}", id)
}

fn sensitive(posted: &Posted) -> Option<String> {
    let path = filled(posted.path);
    match posted.guard {
        Guard::Anybody | Guard::Session => None,
        Guard::Sensitive => Some(path),
        Guard::SensitiveVerbs(verbs) => Some(path.replace("/rename", &format!("/{}", verbs[0]))),
    }
}

#[test]
fn every_address_answers_get() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let (looks, posts) = addresses();
    assert!(looks.len() > 30 && posts.len() > 30);
    for path in looks.iter().copied().chain(posts.iter().map(|posted| posted.path)) {
        let answer = pages.get(&filled(path));
        // A bill is of a customer and a month, which this address does not say.
        let unsaid = path.ends_with("/costs/invoice") && answer.status == 422;
        assert!(unsaid || matches!(answer.status, 200 | 303 | 404), "GET {path}: {}", answer.status);
        assert!(answer.status == 303 || !answer.text().is_empty(), "GET {path} is empty");
        if answer.status == 404 {
            let alone = path.starts_with("/console/set-up");
            assert!(alone || answer.text().contains("nav class=\"side\""), "GET {path} loses the menu");
        }
    }
    for posted in posts.iter().filter(|posted| !looks.contains(&posted.path)) {
        let answer = pages.get(&filled(posted.path)).check(303);
        let to = answer.header("location").expect("a page");
        let page = posted.page.split('?').next().expect("a path");
        assert!(looks.contains(&page), "{} leads to {page}, which is no page", posted.path);
        assert_eq!(to, filled(posted.page), "GET {}", posted.path);
    }
}

#[test]
fn rubbish_in_a_form_is_a_page_or_the_way_back_to_one() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let rubbish = [("name", ""), ("id", "a/b"), ("zone", "nowhere"), ("days", "x"), ("role", "king"), ("email", "x")];
    for posted in addresses().1.iter().filter(|posted| posted.path != "/console/sign-out") {
        let path = filled(posted.path);
        let answer = pages.post(&path, &rubbish);
        assert!(matches!(answer.status, 200 | 303 | 401 | 404 | 422), "POST {path}: {}", answer.status);
        if answer.status != 303 {
            assert!(!answer.text().is_empty(), "POST {path} is empty");
            continue;
        }
        let to = answer.header("location").expect("a way").to_owned();
        let page = pages.get(&to);
        assert!(matches!(page.status, 200 | 303 | 404), "{to} after POST {path}: {}", page.status);
    }
    for (path, field, value) in [
        ("/users", "email", "x"),
        ("/console/me", "zone", "nowhere"),
        ("/settings/quarantine", "days", "x"),
        ("/applications", "id", "a/b"),
        ("/trunks", "id", "a/b"),
    ] {
        let more = [("role", "manager"), ("name", "Kept")];
        let answer = pages.refused(path, &[&rubbish[1..4], &more, &[("email", "x"), (field, value)]].concat());
        let page = plain(answer.text());
        let field = page.split(&format!("name=\"{field}\"")).nth(1).expect("the field").split('>').next();
        let field = field.expect("a tag");
        assert!(field.contains(&format!("value=\"{value}\"")), "{path} loses {field}");
        assert!(field.contains("aria-invalid=\"true\""), "{path} marks nothing: {field}");
    }
    let users = pages.refused("/users", &[("email", "x"), ("role", "manager")]);
    let form = users.text().split("id=\"new\"").nth(1).expect("the form of a new one");
    assert!(form.contains("<option selected>manager</option>"), "the role that was chosen is lost: {form}");
}

fn raw(server: &Server, cookie: &str, path: &str, kind: &str, body: &str) -> Answer {
    let host = server.address();
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {cookie}\r\nOrigin: http://{host}\r\n{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.send("POST", text.as_bytes())
}

#[test]
fn forms_come_in_the_content_types_of_forms() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    for posted in addresses().1 {
        let path = filled(posted.path);
        for kind in ["", "text/plain", "application/json", "image/png", "application/x-www-form-urlencoded2"] {
            let answer = raw(&server, pages.cookie(), &path, kind, "name=x").check(415);
            assert!(answer.text().contains("application/x-www-form-urlencoded"), "POST {path} as {kind:?}");
        }
    }
    let kind = "Application/X-WWW-Form-URLencoded; charset=UTF-8";
    raw(&server, pages.cookie(), "/console/me", kind, "name=Typed+Name&zone=UTC").check(303);
    assert!(pages.page("/console/me").contains("Typed Name"));
    let parts = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nIn Parts\r\n\
                 --b\r\nContent-Disposition: form-data; name=\"zone\"\r\n\r\nUTC\r\n--b--\r\n";
    raw(&server, pages.cookie(), "/console/me", "multipart/form-data; boundary=b", parts).check(303);
    assert!(pages.page("/console/me").contains("In Parts"));
    raw(&server, pages.cookie(), "/console/me", "multipart/form-data", parts).check(422);
}

/// The value by which a page's forms name it.
fn once(html: &str) -> String {
    let begin = "name=\"once\" value=\"";
    html.split(begin).nth(1).expect("a form that names its page").split('"').next().expect("its end").to_owned()
}

#[test]
fn a_double_click_does_a_thing_once() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let page = pages.page("/keys");
    let name = once(&page);
    let fields = [("once", &*name), ("name", "Twice"), ("scope", "read")];
    let start = Barrier::new(4);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let click = || {
            start.wait();
            pages.post("/keys", &fields).check(200)
        };
        let clicks: Vec<_> = (0..4).map(|_| scope.spawn(click)).collect();
        clicks.into_iter().map(|click| click.join().expect("an answer")).collect()
    });
    let token = |answer: &Answer| {
        let token = answer.text().split("id=\"token\">").nth(1).expect("a token").split('<').next();
        token.expect("its end").to_owned()
    };
    assert!(answers.iter().all(|answer| token(answer) == token(&answers[0])), "another token for each click");
    assert_eq!(pages.page("/keys").matches("<th scope=\"row\">Twice<").count(), 1);
    // Later, the same; with other fields or from another page, another.
    assert_eq!(token(&pages.post("/keys", &fields).check(200)), token(&answers[0]));
    pages.post("/keys", &[("once", &*name), ("name", "Other"), ("scope", "read")]).check(200);
    pages.post("/keys", &[("once", &*once(&pages.page("/keys"))), ("name", "Twice"), ("scope", "read")]).check(200);
    assert_eq!(pages.page("/keys").matches("<th scope=\"row\">Twice<").count(), 2);
    assert_eq!(pages.page("/keys").matches("<th scope=\"row\">Other<").count(), 1);
}

#[test]
fn a_click_whose_browser_went_away_is_done_and_answered_to_the_next() {
    use std::io::Write;
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let name = once(&pages.page("/customers?new"));
    let body = format!("once={name}&name=Gone+Away&id=MA_GONE");
    let (host, cookie) = (server.address(), pages.cookie());
    let mut first = std::net::TcpStream::connect(host).expect("connected");
    let head = format!(
        "POST /console/p/PA_D/customers HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nOrigin: http://{host}\r\n\
         Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    first.write_all(head.as_bytes()).expect("sent");
    drop(first);
    let second = raw(&server, cookie, "/console/p/PA_D/customers", FORM, &body).check(303);
    let to = second.header("location").expect("its page");
    assert!(to.starts_with("/console/p/PA_D/customers/MA_GONE"), "{to}");
}

#[test]
fn a_refused_form_may_be_sent_again_as_it_is() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let name = once(&pages.page("/applications?new"));
    let fields = [("once", &*name), ("id", "app_9"), ("name", "Later"), ("account_auth_id", "MA_NEW")];
    pages.refused("/applications", &fields);
    server.database.import("PA_D", "number,account_auth_id,monthly_cost,currency\n+442079460020,MA_NEW,1.00,GBP\n");
    let began = Instant::now();
    while pages.get("/customers/MA_NEW").status != 200 {
        assert!(began.elapsed() < CACHED, "the import is not seen");
    }
    pages.done("/applications", &fields);
}

/// Makes all sessions old.
fn age(server: &Server, pages: &Pages<'_>, seconds: i64) {
    let raw = rusqlite::Connection::open(server.database.path()).expect("the database opens");
    raw.busy_timeout(CACHED).expect("a limit");
    raw.execute("UPDATE session SET created_at = created_at - ?1", [seconds]).expect("written");
    // Sign-ins are trusted for some seconds; the page says how old this one is.
    let asks = || {
        let answer = pages.post("/console/me/sessions/end", &[]);
        answer.header("location").is_some_and(|to| to.contains("said="))
    };
    until(CACHED, || "an old session is taken for a recent one".to_owned(), asks);
}

#[test]
fn what_is_sensitive_asks_for_the_password_again() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    age(&server, &pages, 16 * 60);
    let posts = addresses().1;
    let asked: Vec<String> = posts.iter().filter_map(sensitive).collect();
    for part in
        ["/keys", "/rotate", "/revoke", "/users", "/administrators", "/platform", "/totp", "/sessions", "/webhooks"]
    {
        assert!(asked.iter().any(|path| path.contains(part)), "{part} is not sensitive");
    }
    for path in &asked {
        let fields = [("name", "Kept <b>"), ("scope", "read"), ("email", "new@example.com"), ("role", "owner")];
        let answer = pages.post(path, &fields).check(303);
        let to = answer.header("location").expect("a page").to_owned();
        let page = pages.get(&to).check(200);
        let html = plain(page.text());
        assert!(html.contains("name=\"confirm_password\""), "POST {path} asks for no password: {html}");
        assert!(html.contains(&format!("action=\"{path}\"")), "{path} is not carried on");
        for (name, value) in fields {
            assert!(html.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{path} loses {name}");
        }
    }
    assert!(pages.page("/keys").contains("There are no keys yet"), "a key was made");
    assert!(!pages.page("/users").contains("new@example.com"), "somebody was invited");
    // What is not sensitive is done.
    pages.done("/customers/MA_1/rename", &[("name", "Renamed")]);

    let key = [("name", "Made"), ("scope", "read")];
    for wrong in ["", "wrong password"] {
        let fields = [&key[..], &[("confirm_password", wrong)]].concat();
        let page = pages.refused("/keys", &fields);
        assert!(said(page.text()).contains("the password is wrong"), "{}", said(page.text()));
        assert!(!page.text().contains(wrong) || wrong.is_empty(), "a password is repeated");
    }
    let made = pages.post("/keys", &[&key[..], &[("confirm_password", PASSWORD)]].concat()).check(200);
    assert!(made.text().contains("id=\"token\""), "the key is made with its fields");
    // And for some minutes it is not asked for again.
    pages.post("/keys", &[("name", "Next"), ("scope", "read")]).check(200);
    let trail = pages.page("/users");
    assert!(trail.contains("user.confirm") && trail.contains("wrong password"), "{trail}");
}

#[test]
fn guesses_of_the_password_that_is_asked_for_again_are_counted() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    age(&server, &pages, 16 * 60);
    let guess = |password: &str| {
        let fields = [("name", "x"), ("scope", "read"), ("confirm_password", password)];
        said(pages.refused("/keys", &fields).text())
    };
    let held = (0..7).map(|n| guess(&format!("guess {n}"))).find(|said| said.contains("too many attempts"));
    assert!(held.is_some(), "seven guesses are not held up");
    assert!(
        guess(PASSWORD).contains("too many attempts"),
        "meanwhile the right password is answered unlike a wrong one"
    );
}

#[test]
fn console_url_is_the_address_that_counts() {
    let database = database();
    let file = database.write(
        "url.toml",
        "[console]\nurl = \"https://Numbers.example:443/\"\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
    );
    let server = Server::start(database, &["--config", file.to_str().expect("UTF-8")]);
    let create = ["user", "create", "--email", "a@x.org", "--partner", "PA_D", "--role", "owner", "--json"];
    let link = server.database.run(&create).done().json()["link"].as_str().expect("a link").to_owned();
    let path = &link[link.find("/console/").expect("a path")..];
    let form = format!("password={}&again={0}", PASSWORD.replace(' ', "+"));
    let send = |headers: &str, path: &str, form: &str| {
        let text = format!(
            "POST {path} HTTP/1.1\r\nConnection: close\r\n{headers}Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        server.send("POST", text.as_bytes())
    };
    let host = server.address();
    let through = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    for (headers, why) in [
        (format!("Host: {host}\r\nOrigin: http://{host}\r\n{through}"), "the proxy's own address"),
        (format!("Host: evil.example\r\nOrigin: https://evil.example\r\n{through}"), "a host that a client named"),
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(), "the same without a proxy"),
        (
            format!("Host: {host}\r\nX-Forwarded-Host: evil.example\r\nOrigin: https://evil.example\r\n{through}"),
            "X-Forwarded-Host",
        ),
        (format!("Host: {host}\r\nOrigin: http://numbers.example\r\n{through}"), "another scheme"),
        (
            format!("Host: {host}\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://numbers.example\r\n{through}"),
            "another site",
        ),
    ] {
        assert_eq!(send(&headers, path, &form).status, 403, "{why}");
    }
    let rewritten = format!("Host: {host}\r\nOrigin: https://numbers.example\r\nX-Forwarded-For: 192.0.2.7\r\n");
    let signed = send(&rewritten, path, &form).check(303);
    let cookie = signed.header("set-cookie").expect("a session").to_owned();
    assert!(cookie.starts_with("__Host-rollcall=") && cookie.contains("; Secure"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    let invited = send(&format!("{rewritten}Cookie: {pair}\r\n"), "/console/p/PA_D/users", "email=b@x.org&role=viewer")
        .check(200);
    assert!(invited.text().contains(">https://Numbers.example:443/console/set-up/"), "{}", invited.text());
}

#[test]
fn an_address_to_go_back_to_is_an_address() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    for back in ["/console\u{1}", "/console\u{7f}", "/console\r\nX: y", "/console/\u{e9}", "//evil.example"] {
        let email = "owner.pa_d@example.com";
        let answer = pages.post("/console/sign-in", &[("email", email), ("password", PASSWORD), ("back", back)]);
        assert_eq!(answer.check(303).header("location"), Some("/console"), "{back:?}");
    }
    let mut held = None;
    for _ in 0..40 {
        let answer = pages.post("/console/sign-in", &[("email", "nobody@example.com"), ("password", "wrong")]);
        if answer.status == 429 {
            held = answer.header("retry-after").map(str::to_owned);
            break;
        }
        answer.check(401);
    }
    let seconds: u64 = held.expect("a 429 that says when to come again").parse().expect("seconds");
    assert!((1..=60).contains(&seconds));
}

/// Every page, and every file: a word that is passed over would show what nobody
/// asked for.
#[test]
fn a_word_that_a_page_does_not_read_is_an_error() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let mut asked = 0;
    for path in addresses().0 {
        // Assets have the build in their address; nothing is at the last one; and `/` is
        // below the partner's pages for `Pages`.
        if (path.contains('.') && !path.contains('{')) || path.contains("{*") || path == "/" {
            continue;
        }
        let answer = pages.get(&format!("{}?foo=1", filled(path))).check(422);
        assert!(said(answer.text()).contains("foo is no word of this address"), "{path}: {}", said(answer.text()));
        assert!(answer.text().contains("Show the page without it"), "{path} leads nowhere");
        asked += 1;
    }
    assert!(asked > 35, "{asked}");
    for (path, expected) in [
        ("/numbers?regoin=London", "Did you mean region?"),
        ("/numbers?after=", "after is no word"),
        ("/numbers?per_page=0", "per_page must be a whole number from 1 to 100"),
        ("/numbers?per_page=x", "per_page must be"),
        ("/numbers?page=0", "page must be a whole number from 1"),
        ("/numbers?q=a&q=b", "q is given twice"),
        ("/numbers/export?regoin=London", "Did you mean region?"),
        ("/numbers/+442079460001?do=renw", "Did you mean renew?"),
        ("/changes?what=foo", "what is no word"),
        ("/changes?number=unknown", "number is no word"),
        ("/changes?before=x", "before must be"),
        ("/checks?within=abc", "within is no word"),
        ("/checks?page=two", "page must be"),
        ("/costs/trend?account=nope", "account is no word"),
        ("/jobs?state=foo", "state is no word"),
        ("/jobs/job_1/rows.csv?result=foo", "foo is no result of a row"),
        ("/customers?archived=yes", "yes is no value of archived"),
    ] {
        let answer = pages.get(path).check(422);
        assert!(said(answer.text()).contains(expected), "{path}: {}", said(answer.text()));
        assert!(!answer.text().contains("name=\"verb\"") && answer.header("set-cookie").is_none(), "{path}");
    }
    // The filters of the API are read; what they do not take shows no rows.
    for (path, count) in [
        ("/numbers?expires_before=2020-01-01T00:00:00Z", 0),
        ("/numbers?assigned=true", 1),
        ("/numbers?routed=false&sort=-monthly_cost", 8),
        ("/numbers?page=99999", 9),
    ] {
        let page = pages.page(path);
        assert_eq!(page.matches("data-copy=\"+44").count(), count, "{path}");
    }
    for path in ["/numbers?sort=foo", "/numbers?expires_after=soon", "/numbers?routed=maybe"] {
        let page = pages.page(path);
        assert!(page.contains("No rows are shown") && !page.contains("name=\"verb\""), "{path}");
        pages.get(&path.replace("numbers?", "numbers/export?")).check(422);
    }
    let file = pages.get("/numbers/export?assigned=true").check(200);
    assert_eq!(file.text().lines().count(), 2, "{}", file.text());
}

#[test]
fn a_form_that_comes_without_a_session_is_said_to_be_lost() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    for posted in addresses().1.iter().filter(|posted| posted.guard != Guard::Anybody) {
        let answer = raw(&server, "", &filled(posted.path), FORM, "name=x").check(303);
        let to = answer.header("location").expect("a way").to_owned();
        let query = to.strip_prefix("/console/sign-in?").unwrap_or_else(|| panic!("{}: {to}", posted.path));
        let words: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let page = filled(posted.page);
        assert_eq!(words, [("form".into(), "lost".into()), ("back".into(), page)], "POST {}", posted.path);
    }
    let sign_in = |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
        server.send("GET", text.as_bytes()).check(200).text().to_owned()
    };
    let page = sign_in("/console/sign-in?form=lost&back=%2Fconsole%2Fme");
    assert!(page.contains("the form was not sent. Nothing was changed."), "{page}");
    assert!(page.contains("name=\"back\" value=\"/console/me\""), "{page}");
    assert!(!sign_in("/console/sign-in?back=%2Fconsole%2Fme").contains("was not sent"));
    assert!(sign_in("/console/sign-in?back=https%3A%2F%2Fevil.example").contains("name=\"back\" value=\"/console\""));
    // Somebody who signed in elsewhere meanwhile goes on.
    let answer = pages.get("/console/sign-in?form=lost&back=%2Fconsole%2Fme").check(303);
    assert_eq!(answer.header("location"), Some("/console/me"));
}

/// The hidden version of the form that is sent to an address that ends so.
fn version_of(html: &str, action: &str) -> String {
    let form = html.split(&format!("{action}\"")).nth(1).unwrap_or_else(|| panic!("no form of {action}: {html}"));
    let field = form.split("name=\"version\" value=\"").nth(1).expect("a version");
    field.split('"').next().expect("its end").to_owned()
}

/// Two tabs: the second one's form is refused, mended and sent again. It must not undo
/// what the first one did meanwhile.
#[test]
fn a_refused_form_keeps_the_version_that_it_was_sent_with() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    pages.done("/trunks", &[("id", "trunk_2"), ("name", "Second")]);
    let weekly = [("rhythm", "mon"), ("time", "09:00"), ("zone", "UTC"), ("within", "14d")];
    pages.done("/checks/schedules", &[&weekly[..], &[("name", "Weekly")]].concat());
    let list = pages.page("/checks/schedules");
    let id = list.split("\">Weekly<").next().and_then(|rest| rest.rsplit("/checks/schedules/").next());
    let schedule = format!("/checks/schedules/{}", id.expect("its id"));
    let quarantine = [("days", "30"), ("countries", "")];
    // Page, form, the first tab's fields, the second's that are refused, and mended.
    type Fields<'a> = Vec<(&'a str, &'a str)>;
    let cases: [(&str, String, Fields<'_>, Fields<'_>, Fields<'_>); 4] = [
        (
            "/numbers/+442079460001",
            "/numbers/+442079460001/route".into(),
            vec![("application_id", "app_1"), ("trunk_id", "trunk_2")],
            vec![("application_id", "nowhere"), ("trunk_id", "trunk_1")],
            vec![("application_id", "app_1"), ("trunk_id", "trunk_1")],
        ),
        (
            &schedule,
            format!("{schedule}/edit"),
            [&weekly[..], &[("name", "First tab")]].concat(),
            [&weekly[..], &[("name", "")]].concat(),
            [&weekly[..], &[("name", "Second tab")]].concat(),
        ),
        (
            "/settings",
            "/settings/quarantine".into(),
            vec![("days", "60"), ("countries", "")],
            vec![("days", "many"), ("countries", "")],
            quarantine.to_vec(),
        ),
        (
            "/customers/MA_1",
            "/customers/MA_1/rename".into(),
            vec![("name", "First Tab")],
            vec![("name", "")],
            vec![("name", "Second Tab")],
        ),
    ];
    for (page, form, first, wrong, mended) in &cases {
        let old = version_of(&pages.page(page), form);
        pages.done(form, &[&first[..], &[("version", &old)]].concat());
        let refused = pages.refused(form, &[&wrong[..], &[("version", &old)]].concat());
        assert_eq!(version_of(refused.text(), form), old, "{form} takes the version of a change that nobody told of");
        let told = pages.refused(form, &[&mended[..], &[("version", &old)]].concat());
        assert!(said(told.text()).contains("was changed"), "{form}: {}", said(told.text()));
        // The refused form has the new version, so the user may send it again.
        let new = version_of(told.text(), form);
        assert_ne!(new, old, "{form}");
        pages.done(form, &[&mended[..], &[("version", &new)]].concat());
    }
}

#[test]
fn a_wrong_code_leaves_the_secret_of_an_authenticator() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    let secret = |html: &str| {
        let rest = html.split("id=\"secret\">").nth(1).unwrap_or_else(|| panic!("no secret: {html}"));
        rest.split('<').next().expect("its end").to_owned()
    };
    let offered = secret(pages.post("/console/me/totp/begin", &[]).check(200).text());
    let refused = pages.refused("/console/me/totp", &[("code", "12")]);
    assert_eq!(secret(refused.text()), offered);
    assert!(refused.text().contains("id=\"wrong-code\""), "the field is not marked: {}", refused.text());
}

#[test]
fn a_view_replaces_no_other_without_a_word() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "UTC");
    pages.done("/numbers/views/save", &[("name", "Mine"), ("q", "country:GB")]);
    let refused = pages.refused("/numbers/views/save", &[("name", "mine"), ("q", "no:account")]);
    assert!(said(refused.text()).contains("There is a view Mine already"), "{}", said(refused.text()));
    assert!(refused.text().contains("name=\"replace\"") && refused.text().contains("value=\"mine\""));
    assert!(pages.page("/numbers").contains("q=country%3AGB\">Mine"), "it is as it was");
    pages.done("/numbers/views/save", &[("name", "Mine"), ("q", "no:account"), ("replace", "1")]);
    assert!(pages.page("/numbers").contains("q=no%3Aaccount\""));
    let refused = pages.refused("/numbers/views/save", &[("name", "unrouted"), ("q", "country:GB")]);
    assert!(said(refused.text()).contains("Unrouted is a tab"), "{}", said(refused.text()));
    assert!(!refused.text().contains("name=\"replace\""));
}

#[test]
fn a_refusal_marks_its_field_and_has_the_words_of_the_console() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_D", "Asia/Kolkata");
    for (path, id) in [("/customers", ".."), ("/applications", ".."), ("/trunks", ".")] {
        let answer = pages.refused(path, &[("id", id), ("name", "Dots")]);
        assert!(answer.text().contains("id=\"wrong-id\""), "{path}: {}", said(answer.text()));
    }
    let answer = pages.refused("/numbers/+442079460001/renew", &[("renew_by", "day"), ("expires_at", "2020-01-01")]);
    let text = plain(answer.text());
    assert!(!text.contains("Z)") && !said(answer.text()).contains("expires_at"), "{}", said(answer.text()));
    let bulk = [("verb", "renew"), ("renew_by", "day"), ("expires_at", "2020-01-01"), ("n", "+442079460001")];
    let (preview, _) = pages.done("/numbers/bulk/preview", &bulk);
    let says = || {
        let page = plain(&pages.page(&preview));
        page.contains("the expiry must not be before now (") && !page.contains("Z)")
    };
    until(CACHED, || format!("the preview says {}", plain(&pages.page(&preview))), says);
    // What was chosen stays chosen where nothing was selected.
    let answer = pages.refused("/numbers/bulk", &[("verb", "cost"), ("q", "")]);
    assert!(answer.text().contains("<option value=\"cost\" selected>"), "{}", answer.text());
}
