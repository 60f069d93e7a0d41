//! One tenant's slow clients and long answers, and what another tenant notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Database, Key, Server};
use crate::pages::{PASSWORD, Pages};
use crate::until::until;

use super::{limit, whole};

/// Both partners, each with a key; the noisy one has many numbers.
fn made(numbers: u64) -> (Server, Key, Key) {
    let database = Database::empty();
    database.partner("PA_NOISY", "Noisy", &[]);
    database.partner("PA_QUIET", "Quiet", &[]);
    let rows: String = (0..numbers).map(|at| format!("+9122{:08}\n", 30_000_000 + at)).collect();
    database.import("PA_NOISY", &format!("number\n{rows}"));
    database.import("PA_QUIET", "number\n+912271264217\n+912271264218\n");
    let keys = (database.key("PA_NOISY", &[]), database.key("PA_QUIET", &["--scope", "manage"]));
    (Server::start(database, &["--rate-limit", "0"]), keys.0, keys.1)
}

/// The middle of how long something takes.
fn middle(work: impl FnMut()) -> Duration {
    middle_of(if whole() { 101 } else { 31 }, work)
}

fn middle_of(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn check(what: &str, alone: Duration, beside: Duration, times: f64) {
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!("{what}: alone {alone:.1?}, beside {beside:.1?}, {ratio:.1} times");
    assert!(ratio <= limit(times), "{what}: {ratio:.1} times as long");
}

fn page(server: &Server, key: &Key) -> Duration {
    middle(|| drop(server.get("/api/v1/partner/numbers").auth(key).check(200)))
}

fn write(server: &Server, key: &Key) -> Duration {
    let mut at = 0;
    middle(|| {
        at += 1;
        let id =
            format!("MA_{:?}_{at}", Instant::now()).chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let body = json!({ "account_auth_id": id, "name": "One" });
        server.request("POST", "/api/v1/manage/accounts").auth(key).json(&body).check(201);
    })
}

/// Whole lists, read to their ends again and again.
fn readers<T>(server: &Server, key: &Key, many: usize, work: impl FnOnce() -> T) -> T {
    let (over, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        for at in 0..many {
            let (over, bytes) = (&over, &bytes);
            let accept = if at % 2 == 0 { "text/csv" } else { "application/x-ndjson" };
            scope.spawn(move || {
                let ask = format!(
                    "GET /api/v1/partner/numbers HTTP/1.1\r\nHost: x\r\nX-Auth-ID: {}\r\nX-Auth-Token: {}\r\nAccept: \
                     {accept}\r\nConnection: close\r\n\r\n",
                    key.auth_id, key.auth_token
                );
                while !over.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(server.address()).expect("a connection");
                    stream.write_all(ask.as_bytes()).expect("sent");
                    let mut buffer = [0; 64 << 10];
                    while !over.load(Ordering::Relaxed) {
                        let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
                        bytes.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        // Each reader has begun to get its rows.
        let patience = Duration::from_secs(60);
        until(patience, || "nobody gets rows".to_owned(), || bytes.load(Ordering::Relaxed) > 1 << 20);
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    });
    let bytes = bytes.into_inner();
    println!("{many} readers got {bytes} bytes");
    assert!(bytes > 10_000_000, "the lists did not flow: {bytes} bytes");
    done
}

#[test]
fn whole_lists_leave_a_neighbours_page_its_share() {
    let (server, noisy, quiet) = made(if whole() { 200_000 } else { 20_000 });
    let alone = page(&server, &quiet);
    let beside = readers(&server, &noisy, if whole() { 50 } else { 20 }, || page(&server, &quiet));
    check("a page beside whole lists", alone, beside, 3.0);
    // Clients that ask for many and read nothing.
    let ask = format!(
        "GET /api/v1/partner/numbers HTTP/1.1\r\nHost: x\r\nX-Auth-ID: {}\r\nX-Auth-Token: {}\r\nAccept: \
         text/csv\r\n\r\n",
        noisy.auth_id, noisy.auth_token
    );
    let mut open = Vec::new();
    for _ in 0..if whole() { 300 } else { 100 } {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        stream.write_all(ask.repeat(20).as_bytes()).expect("sent");
        open.push(stream);
    }
    let beside = page(&server, &quiet);
    check("a page beside clients that read nothing", alone, beside, 5.0);
}

#[test]
fn slow_clients_of_one_tenant_hold_up_no_other() {
    let (server, _, quiet) = made(2_000);
    let noisy = Pages::owner(&server, "PA_NOISY", "UTC");
    let own = Pages::owner(&server, "PA_QUIET", "UTC");
    let overview = || middle(|| drop(own.get("/console/p/PA_QUIET").check(200)));
    // A person has 50 sessions at most, and this one must not end `own`.
    let sign_in = || {
        middle_of(15, || {
            let fields = [("email", "owner.pa_quiet@example.com"), ("password", PASSWORD)];
            own.post("/console/sign-in", &fields).check(303);
        })
    };
    let (page_alone, write_alone, sign_in_alone) = (overview(), write(&server, &quiet), sign_in());
    let many = if whole() { 520 } else { 120 };
    let host = server.address();
    let mut open = Vec::new();
    let mut refused = 0;
    for at in 0..2 * many {
        let mut stream = TcpStream::connect(host).expect("a connection");
        let cookie = noisy.cookie();
        let text = if at % 2 == 0 {
            format!("GET /console/p/PA_NOISY/numbers/export HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n")
        } else {
            format!(
                "POST /console/p/PA_NOISY/import HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nOrigin: \
                 http://{host}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n\
                 Content-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nnumber\r\n"
            )
        };
        stream.write_all(text.as_bytes()).expect("sent");
        open.push(stream);
    }
    // The last upload is one too many for its session, and hears of it.
    let last = open.last_mut().expect("a connection");
    last.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = [0; 2_000];
    let read = last.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase();
    if answer.starts_with("http/1.1 429") && answer.contains("retry-after: ") {
        refused += 1;
    }
    assert_eq!(refused, 1, "{answer}");
    check("a neighbour's page beside slow clients", page_alone, overview(), 3.0);
    check("a neighbour's write beside slow clients", write_alone, write(&server, &quiet), 3.0);
    check("a neighbour's sign-in beside slow clients", sign_in_alone, sign_in(), 3.0);
}

#[test]
fn searches_of_one_tenant_leave_a_neighbours_page_its_share() {
    let (server, _, quiet) = made(10);
    let names: String = (0..if whole() { 200_000 } else { 20_000 })
        .map(|at| format!("+9133{at:08},MA_{at},Customer {at},1.00,EUR\n"))
        .collect();
    server.database.import("PA_NOISY", &format!("number,account_auth_id,account_name,monthly_cost,currency\n{names}"));
    let noisy = Pages::owner(&server, "PA_NOISY", "UTC");
    let path = "/console/p/PA_NOISY/search?q=Kustomrr&part";
    server.within(Duration::from_secs(60), |_| noisy.get(path).check(200).text().contains("Customer"));
    let alone = page(&server, &quiet);
    let (over, answered, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let beside = std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = noisy.get(path);
                    match answer.status {
                        200 => answered.fetch_add(1, Ordering::Relaxed),
                        429 => {
                            // Sooner than it says, and not so soon that the clients are the load.
                            std::thread::sleep(Duration::from_millis(100));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        other => panic!("{other}: {}", answer.text()),
                    };
                }
            });
        }
        server.within(Duration::from_secs(60), |_| answered.load(Ordering::Relaxed) > 0);
        let beside = page(&server, &quiet);
        over.store(true, Ordering::Relaxed);
        beside
    });
    println!("{} searches were answered, {} refused", answered.into_inner(), refused.load(Ordering::Relaxed));
    assert!(refused.into_inner() > 0, "none of 40 at once is too many");
    check("a page beside searches", alone, beside, 10.0);
}
