//! The client of the Partner API: against the real server, and against one
//! that does everything a server should not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rollcall::client::{Client, ClientError, ListScope, Patience, WalkStep, Walked};
use rollcall::domain::{Money, NumberType, Status, UpstreamNumber};

use crate::harness::{Database, Key, ONE, SEED, Server};

fn patience() -> Patience {
    Patience {
        attempts: 3,
        walks: 3,
        wait_first: Duration::from_millis(1),
        wait_max: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        per_page: 5,
    }
}

fn client(url: &str, key: &Key) -> Client {
    Client::new(url, &key.auth_id, &key.auth_token, patience()).expect("an address")
}

/// The rows of a walk that came to its end, how often it began, and its end.
fn walk(client: &Client, list: &ListScope) -> Result<(Vec<UpstreamNumber>, u32, Walked), ClientError> {
    let (mut rows, mut begun) = (Vec::new(), 0);
    let walked = client.numbers(list, &mut |step| {
        match step {
            WalkStep::Begin => {
                begun += 1;
                rows.clear();
            }
            WalkStep::Rows(page) => {
                assert!(!page.is_empty(), "a page without rows is not handed on");
                rows.extend(page);
            }
        }
        ControlFlow::Continue(())
    })?;
    assert_eq!(walked.total, rows.len() as u64);
    Ok((rows, begun, walked))
}

fn numbers(rows: &[UpstreamNumber]) -> Vec<String> {
    rows.iter().map(|row| row.number.to_string()).collect()
}

// The real server.

#[test]
fn the_whole_inventory_comes_page_by_page() {
    let server = Server::sample();
    let expected = server.get("/api/v1/partner/numbers?per_page=100").auth(&ONE).check(200);
    let client = client(&server.url(), &ONE);
    let (rows, begun, walked) = walk(&client, &ListScope::All).expect("walked");
    assert_eq!(numbers(&rows), expected.numbers());
    assert_eq!((begun, walked.pages), (1, 3));
    assert_eq!(walked.etag.as_deref(), expected.header("etag"), "one moment");

    let row = rows.iter().find(|row| row.number.to_string() == "+12025550102").expect("b");
    let time = |text: &str| Some(text.parse().expect("a time"));
    let id = |text: Option<&str>| text.map(str::to_owned);
    assert_eq!(id(row.said.account.as_ref().map(|id| id.as_str())), id(Some("MA_1")));
    assert_eq!(row.said.account_name.as_deref(), Some("Primus, One"));
    assert_eq!(id(row.said.application.as_ref().map(|id| id.as_str())), id(Some("app_1")));
    assert_eq!(row.said.application_name.as_deref(), Some("Primus \"IVR\", main"));
    assert_eq!(id(row.said.trunk.as_ref().map(|id| id.as_str())), id(Some("trunk_1")));
    assert_eq!(row.said.cost, Some(Money { minor: 150, currency: "USD".parse().expect("a currency") }));
    assert_eq!((row.assigned_at, row.expires_at), (time("2026-01-10T08:00:00Z"), time("2099-01-02T00:00:00Z")));
    assert_eq!((row.said.status, row.said.number_type), (Status::Active, Some(NumberType::Local)));
    assert_eq!(
        (row.said.country.map(|country| country.to_string()).as_deref(), row.said.region.as_deref()),
        (Some("US"), Some("Washington"))
    );
    assert_eq!(row.said.tags, None);

    let kuwait = rows.iter().find(|row| row.number.to_string() == "+80012345103").expect("c");
    assert_eq!(kuwait.said.cost.map(|cost| (cost.minor, cost.currency.to_string())), Some((1250, "KWD".to_owned())));
}

#[test]
fn both_dialects_say_the_same() {
    let database = Database::sample();
    let items = database.key("PA_ONE", &["--dialect", "items"]);
    let server = Server::start(database, &[]);
    for list in [ListScope::All, ListScope::Of("MA_1".parse().expect("an id"))] {
        let (data, ..) = walk(&client(&server.url(), &ONE), &list).expect("walked");
        let (mut items, begun, walked) = walk(&client(&server.url(), &items), &list).expect("walked");
        assert_eq!((begun, walked.etag.is_some()), (1, true));
        for (item, data) in items.iter_mut().zip(&data) {
            assert!(item.said.tags.take().is_some(), "tags are in this one only");
            // This one names the account also in its own list, and has no names.
            item.said.account = if list == ListScope::All { item.said.account.take() } else { None };
            item.said.account_name = data.said.account_name.clone();
            item.said.application_name = data.said.application_name.clone();
            item.said.number_type = data.said.number_type;
            item.expires_at = data.expires_at;
        }
        assert_eq!(items, data);
    }
    assert_eq!(client(&server.url(), &items).accounts().expect("listed").len(), 4);
}

#[test]
fn one_accounts_numbers_and_all_accounts() {
    let server = Server::sample();
    let client = client(&server.url(), &SEED);
    let (rows, ..) = walk(&client, &ListScope::Of("MA_48149cf4".parse().expect("an id"))).expect("walked");
    assert_eq!(numbers(&rows), ["+912271264217", "+912271264219", "+912271264220"]);
    assert_eq!(rows[0].said.account, None, "its own list does not repeat whose it is");

    let accounts = client.accounts().expect("listed");
    let shown: Vec<_> = accounts.iter().map(|one| (one.auth_id.as_str(), &*one.name, one.numbers)).collect();
    assert_eq!(shown, [("MA_48149cf4", "Credresolve", Some(3)), ("MA_99ab12c3", "Acme Outbound", Some(144))]);
    assert!(accounts[0].created_at.is_some());
}

#[test]
fn refusals_name_page_and_status() {
    let server = Server::sample();
    let wrong = Key { auth_token: "rollcall_wrong".to_owned(), ..ONE.clone() };
    let error = walk(&client(&server.url(), &wrong), &ListScope::All).expect_err("wrong").to_string();
    assert!(
        error.starts_with("page 1 of /api/v1/partner/numbers: the server answers 401 (INVALID_CREDENTIALS"),
        "{error}"
    );
    assert!(!error.contains("wrong"), "the token is not repeated: {error}");
    let unknown = ListScope::Of("MA_un known".parse().expect("an id"));
    let error = walk(&client(&server.url(), &ONE), &unknown).expect_err("unknown").to_string();
    assert!(
        error.starts_with("page 1 of /api/v1/partner/accounts/MA_un%20known/numbers: the server answers 404"),
        "{error}"
    );
}

#[test]
fn nobody_there_is_an_error() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = walk(&client(&format!("http://{gone}"), &ONE), &ListScope::All).expect_err("nobody").to_string();
    assert_eq!(error, "page 1 of /api/v1/partner/numbers: no answer in 3 attempts");
}

// The other one.

/// What it answers, by the count of the request and its target.
type Script = Box<dyn FnMut(usize, &str) -> String + Send>;

/// A server of one answer a connection, and what it was asked.
pub struct Odd {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Odd {
    pub fn new(script: impl FnMut(usize, &str) -> String + Send + 'static) -> Odd {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (noted, stopped) = (asked.clone(), stop.clone());
        let mut script: Script = Box::new(script);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = stream.expect("a connection");
                let Some(target) = target(&mut stream) else { continue };
                let count = {
                    let mut noted = noted.lock().expect("the notes");
                    noted.push(target.clone());
                    noted.len() - 1
                };
                let _ = stream.write_all(script(count, &target).as_bytes());
            }
        });
        Odd { address, asked, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn walk(&self) -> Result<(Vec<UpstreamNumber>, u32, Walked), ClientError> {
        walk(&self.client(), &ListScope::All)
    }

    fn client(&self) -> Client {
        Client::new(&self.url(), "PA_ODD", "secret", patience()).expect("an address")
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the notes").clone()
    }

    #[track_caller]
    fn check_error(&self, expected: &str) {
        let error = self.walk().expect_err(expected).to_string();
        assert!(error.contains(expected), "expected: {expected}, got: {error}");
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the script failed");
        }
    }
}

/// Reads a request's head; the target it asks for.
fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.to_ascii_lowercase().contains("x-auth-id: pa_odd"), "{head}");
    head.split(' ').nth(1).map(str::to_owned)
}

pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

pub fn parameter(target: &str, name: &str) -> Option<usize> {
    let query = target.split_once('?')?.1;
    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))?.parse().ok())
}

pub fn page(numbers: &[u64], target: &str, total: usize) -> String {
    let (page, per_page) = (parameter(target, "page").expect("a page"), parameter(target, "per_page").expect("a size"));
    let rows: Vec<String> = numbers
        .iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .map(|number| format!("{{\"number\":\"+{number}\",\"status\":\"active\"}}"))
        .collect();
    let meta = format!("\"meta\":{{\"total\":{total},\"page\":{page},\"per_page\":{per_page}}}");
    format!("{{\"data\":[{}],{meta}}}", rows.join(","))
}

/// A server that has nothing wrong with it.
pub fn good(numbers: &[u64], target: &str) -> String {
    answer("200 OK", "", &page(numbers, target, numbers.len()))
}

pub fn some(count: u64) -> Vec<u64> {
    (0..count).map(|at| 912_271_264_000 + at).collect()
}

#[test]
fn pages_are_counted_where_there_are_no_links() {
    let odd = Odd::new(|_, target| good(&some(12), target));
    let (rows, begun, walked) = odd.walk().expect("walked");
    assert_eq!((rows.len(), begun, walked.pages, walked.etag), (12, 1, 3, None));
    assert_eq!(odd.asked()[2], "/api/v1/partner/numbers?page=3&per_page=5");
}

#[test]
fn a_full_last_page_is_not_followed_by_another_question() {
    let odd = Odd::new(|_, target| good(&some(10), target));
    assert_eq!(odd.walk().expect("walked").0.len(), 10);
    assert_eq!(odd.asked().len(), 2);
    let odd = Odd::new(|_, target| good(&[], target));
    assert_eq!(odd.walk().expect("walked").2.total, 0);
}

#[test]
fn it_waits_as_long_as_it_is_told() {
    let odd = Odd::new(|count, target| match count {
        1 => answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        _ => good(&some(12), target),
    });
    let started = Instant::now();
    assert_eq!(odd.walk().expect("walked").0.len(), 12);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(odd.asked()[1], odd.asked()[2]);
}

#[test]
fn who_asks_for_too_much_patience_is_given_up() {
    let odd = Odd::new(|_, _| answer("503 Service Unavailable", "Retry-After: 3600\r\n", ""));
    odd.check_error("page 1 of /api/v1/partner/numbers: the server answers 503 and asks for 3600 seconds");
    assert_eq!(odd.asked().len(), 1);
}

#[test]
fn a_failure_that_passes_is_passed_over() {
    let odd = Odd::new(|count, target| match count {
        0 => answer("500 Internal Server Error", "", "oops"),
        2 => answer("502 Bad Gateway", "", "<html>"),
        // Cut off in the middle.
        4 => good(&some(12), target)[..120].to_owned(),
        5 => String::new(),
        _ => good(&some(12), target),
    });
    let (rows, begun, _) = odd.walk().expect("walked");
    assert_eq!((rows.len(), begun, odd.asked().len()), (12, 1, 7));
}

#[test]
fn a_failure_that_stays_is_an_error_with_page_and_status() {
    let envelope = r#"{"status":"error","error":{"code":"INTERNAL","message":"internal error"}}"#;
    let odd = Odd::new(move |count, target| match count {
        0 => good(&some(12), target),
        _ => answer("500 Internal Server Error", "", envelope),
    });
    odd.check_error("page 2 of /api/v1/partner/numbers: the server answers 500 (INTERNAL: internal error)");
    assert_eq!(odd.asked().len(), 1 + 3);
    let odd = Odd::new(|_, target| good(&some(12), target)[..120].to_owned());
    odd.check_error("page 1 of /api/v1/partner/numbers: no answer in 3 attempts");
}

#[test]
fn a_total_that_moves_begins_the_walk_again() {
    let odd = Odd::new(|count, target| match count {
        0 => good(&some(12), target),
        _ => good(&some(13), target),
    });
    let (rows, begun, walked) = odd.walk().expect("walked");
    assert_eq!((rows.len(), begun, walked.total), (13, 2, 13));
    let odd = Odd::new(|count, target| good(&some(12 + count as u64), target));
    odd.check_error("changed during each of 3 walks, the last time so: the total went from");
}

#[test]
fn rows_that_come_twice_or_not_at_all_are_noticed() {
    // One is taken out before and one put in behind what came: a row is missed.
    let odd = Odd::new(|count, target| {
        let mut numbers = some(12);
        if count == 1 {
            numbers.insert(0, 912_271_263_000);
            numbers.pop();
        }
        answer("200 OK", "", &page(&numbers, target, 12))
    });
    let (rows, begun, _) = odd.walk().expect("walked");
    assert_eq!((rows.len(), begun), (12, 2), "the last of page 1 came again on page 2");
    // The same page for ever.
    let odd = Odd::new(|_, target| {
        let first = target.replace("page=2", "page=1");
        answer("200 OK", "", &page(&some(12), &first, 12).replace("\"page\":1,", ""))
    });
    odd.check_error("+912271264000 came twice, the second time on page 2");
    // An answer without rows is not an inventory without numbers.
    let odd = Odd::new(|_, target| answer("200 OK", "", &page(&[], target, 5)));
    odd.check_error("0 rows came, and the total is 5");
}

#[test]
fn rows_in_no_order_are_told_apart_all_the_same() {
    let odd = Odd::new(|_, target| {
        let mut numbers = some(12);
        numbers.reverse();
        good(&numbers, target)
    });
    let (rows, begun, _) = odd.walk().expect("walked");
    assert_eq!((rows.len(), begun), (12, 2), "begun again to remember them");
    let odd = Odd::new(|_, target| good(&[912_271_264_001, 912_271_264_000, 912_271_264_001], target));
    odd.check_error("+912271264001 came twice");
}

#[test]
fn what_is_no_answer_is_named() {
    let odd = Odd::new(|count, target| match count {
        0 => good(&some(12), target),
        _ => answer("200 OK", "", "{\"data\":[{\"number\":\"+91227126"),
    });
    odd.check_error("page 2 of /api/v1/partner/numbers: the answer (200) is not to be used: it is not a list in JSON");
    let odd = Odd::new(|_, _| answer("200 OK", "", "<html>please log in</html>"));
    odd.check_error("(200) is not to be used");
    let odd = Odd::new(|_, _| answer("204 No Content", "", ""));
    odd.check_error("the server answers 204");
    let odd = Odd::new(|count, target| match count {
        0 => good(&some(12), target),
        _ => answer("200 OK", "", r#"{"items":[],"page":2,"per_page":5,"total":12,"account_auth_id":"MA_1"}"#),
    });
    odd.check_error(
        "page 2 of /api/v1/partner/numbers: the answer (200) is not to be used: its keys are another dialect's",
    );
    let odd = Odd::new(|_, target| good(&some(12), &target.replace("page=2", "page=1")));
    odd.check_error("it says that it is page 1");
    let odd = Odd::new(|_, target| good(&some(3), target).replace("+912271264002", "912271264002."));
    odd.check_error("row 3: number");
}

#[test]
fn credentials_go_nowhere_else() {
    let other = Odd::new(|_, target| good(&some(3), target));
    let to = format!("http://{}/api/v1/partner/numbers?page=2&per_page=5", other.address);
    let location = format!("Location: {to}\r\n");
    let odd = Odd::new(move |_, _| answer("302 Found", &location, ""));
    odd.check_error(&format!("the server answers 302, a redirect to {to:?}"));
    // A link says which page is next, and never where.
    let link = format!("Link: <{to}>; rel=\"next\"\r\n");
    let odd = Odd::new(move |_, target| {
        let body = page(&some(10), target, 10);
        answer("200 OK", &link, &body)
    });
    assert_eq!(odd.walk().expect("walked").0.len(), 10);
    let odd = Odd::new(|_, target| {
        answer(
            "200 OK",
            "Link: <http://other.example/elsewhere?page=2>; rel=\"next\"\r\n",
            &page(&some(10), target, 10),
        )
    });
    odd.check_error("its Link leads to \"http://other.example/elsewhere?page=2\"");
    assert_eq!(other.asked().len(), 0);
}

#[test]
fn who_takes_the_rows_may_stop() {
    let odd = Odd::new(|_, target| good(&some(12), target));
    let mut rows = 0;
    let stopped = odd.client().numbers(&ListScope::All, &mut |step| match step {
        WalkStep::Begin => ControlFlow::Continue(()),
        WalkStep::Rows(page) => {
            rows += page.len();
            ControlFlow::Break(())
        }
    });
    assert!(matches!(stopped, Err(ClientError::Stopped { .. })), "{stopped:?}");
    assert_eq!((rows, odd.asked().len()), (5, 1));
}

#[test]
fn the_platforms_own_list_of_accounts_is_read() {
    let odd = Odd::new(|_, target| {
        let accounts = [("MA_2", "Two"), ("MA_1", "One"), ("MA_3", "Three")];
        let at = parameter(target, "page").expect("a page");
        let rows: Vec<String> = accounts[(at - 1) * 2..(at * 2).min(3)]
            .iter()
            .map(|(id, name)| {
                format!(r#"{{"auth_id":"{id}","name":"{name}","created_at":"2026-03-25T10:00:00Z","enabled":true}}"#)
            })
            .collect();
        answer("200 OK", "", &format!("{{\"accounts\":[{}],\"total\":3,\"page\":{at},\"size\":2}}", rows.join(",")))
    });
    let accounts = odd.client().accounts().expect("listed");
    let shown: Vec<_> = accounts.iter().map(|one| (one.auth_id.as_str(), &*one.name, one.numbers)).collect();
    assert_eq!(shown, [("MA_2", "Two", None), ("MA_1", "One", None), ("MA_3", "Three", None)]);
}
