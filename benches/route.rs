//! What an answer to a call costs: `cargo bench --bench route [-- whole]`.
//!
//! The SIP face and the HTTP face answer over loopback in this process; what the
//! client's thread uses of processors is taken off. Kamailio's constant answer
//! (`sl_send_reply`) is measured in the same run, if it is installed. `whole`
//! measures 10 M numbers besides, which takes minutes to make.

#![allow(clippy::print_stdout)]

mod shared;

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rollcall::config::Config;
use rollcall::domain::{Actor, ApplicationId, Destination, Destinations, PartnerId, Time};
use rollcall::face::Faces;
use rollcall::routing::Settings;
use rollcall::service::entities::Changes;
use rollcall::service::import::{ImportOptions, Watch};
use rollcall::service::routing::Asked;
use rollcall::service::{Replica, Service};
use rollcall::sip;
use rollcall::store::{self, Location, Open};
use rustix::time::ClockId;

use shared::{at_least, at_most, heading, micros, reported, skipped};

const CALLS: usize = 100_000;
/// Calls on the way at once; fewer than a receive buffer holds.
const WINDOW: usize = 32;

fn main() {
    let whole = std::env::args().any(|arg| arg == "whole");
    heading("one answer without a socket: read, judge, write");
    let small = World::new(10_000, 1);
    let million = World::new(1_000_000, 1);
    let many = World::new(1_000_000, 100);
    let base = small.answer_micros();
    reported("10 k numbers", base, "µs");
    let one = million.answer_micros();
    reported("1 M numbers", one, "µs");
    at_most("1 M of 100 partners ÷ 1 M of one", many.answer_micros() / one, "times", 1.5, 1.2);
    if whole {
        let large = World::new(10_000_000, 1);
        at_most("10 M ÷ 10 k", large.answer_micros() / base, "times", 1.2, 1.1);
    } else {
        skipped("10 M ÷ 10 k", "cargo bench --bench route -- whole");
    }
    drop(many);

    heading("one answer over loopback, 1 M numbers");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut config = Config::default();
    config.routing.sip = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.routing.http = config.routing.sip.clone();
    let faces = runtime.block_on(async { Faces::start(&million.replica, &config) }).expect("they listen");
    let sip = ours(|| calls(faces.sip_at[0], &million));
    at_least("SIP answers a second of one core", 1e6 / sip, "", 100_000.0, 200_000.0);
    reported("HTTP answers a second of one core", 1e6 / ours(|| requests(faces.http_at[0], &million)), "");
    match kamailio(&million) {
        Ok(constant) => {
            reported("Kamailio's constant answers a second of one core", 1e6 / constant, "");
            at_most("SIP face ÷ Kamailio's constant answer", sip / constant, "times", 0.25, 0.15);
        }
        Err(why) => skipped("SIP face ÷ Kamailio's constant answer", &why),
    }
    runtime.block_on(faces.stop());
}

/// Partners with numbers that are routed to two destinations.
struct World {
    _folder: tempfile::TempDir,
    replica: Arc<Replica>,
    numbers: Vec<u64>,
}

impl World {
    fn new(count: usize, partners: usize) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let store =
            store::open(&Location::Sqlite(folder.path().join("rollcall.db")), Open::Create).expect("a database");
        let service = Service::new(store.clone(), Actor::Command { user: "bench".to_owned() });
        let numbers = shared::blocks(count);
        for (at, some) in numbers.chunks(numbers.len().div_ceil(partners)).enumerate() {
            let auth_id = format!("PA_{at}").parse().expect("an id");
            service.partner_create(auth_id, "P".into()).expect("a partner");
            let mut text = "number,account_auth_id,application_id,monthly_cost,currency\n".to_owned();
            for (digits, _) in some {
                text.push_str(&format!("+{digits},MA_1,app_1,500.00,INR\n"));
            }
            let file = folder.path().join("numbers.csv");
            std::fs::write(&file, text).expect("written");
            let auth_id = format!("PA_{at}").parse().expect("an id");
            let key = service.partner_key(&auth_id).expect("a partner");
            import(&service, &auth_id, &file);
            let uri = |text: &str| Destination::new(text.parse().expect("a URI"));
            let both = vec![uri("sip:ivr-1.example"), uri("sip:ivr-2.example;transport=tcp")];
            let changes = Changes { destinations: Some(Destinations::new(both).expect("two")), ..Changes::default() };
            let application: ApplicationId = "app_1".parse().expect("an id");
            service.application_edit(key, &application, &changes).expect("changed");
        }
        let replica = Arc::new(Replica::load(store).expect("loads"));
        World { _folder: folder, replica, numbers: numbers.into_iter().map(|(digits, _)| digits).collect() }
    }

    fn invite(&self, call: usize, from: SocketAddr) -> String {
        let number = self.numbers[call.wrapping_mul(2_654_435_761) % self.numbers.len()];
        format!(
            "INVITE sip:+{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+33170001234@127.0.0.1>;tag={call}\r\nTo: <sip:+{number}@127.0.0.1>\r\n\
             Call-ID: {call}@127.0.0.1\r\nCSeq: 1 INVITE\r\nContact: <sip:c@{from}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn answer_micros(&self) -> f64 {
        let from = SocketAddr::from(([127, 0, 0, 1], 5_060));
        let invites: Vec<String> = (0..CALLS).map(|call| self.invite(call, from)).collect();
        let (secret, settings) = (sip::Secret([1; 32]), Settings::default());
        let mut out = Vec::new();
        let mut routed = 0;
        let all = shared::best(5, || {
            for invite in &invites {
                let request = sip::read(invite.as_bytes()).ok().expect("a request");
                let asked = Asked { user: request.uri.user, call_id: Some(request.call_id), now: Time::now() };
                self.replica.route(&settings, asked, |answer| {
                    routed += usize::from(answer.line.code == 302);
                    let said = sip::Answer::plain(answer.line.code, answer.line.reason);
                    sip::write(&mut out, &request, from, &secret, &said, answer.routes.iter());
                });
                black_box(&out);
            }
        });
        assert_eq!(routed % CALLS, 0, "a call is not routed");
        all / CALLS as f64
    }
}

fn import(service: &Service, partner: &PartnerId, file: &Path) {
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let open = || Ok(Box::new(File::open(file)?) as _);
    let report = service.import(partner, &open, &ImportOptions::default(), &watch).expect("imported");
    assert!(report.written, "{report:?}");
}

/// Microseconds of this process's processor time a call, without the client's.
fn ours(client: impl Fn()) -> f64 {
    let round = || {
        let used =
            || shared::processor_micros(ClockId::ProcessCPUTime) - shared::processor_micros(ClockId::ThreadCPUTime);
        let before = used();
        client();
        (used() - before) / CALLS as f64
    };
    (0..3).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn calls(at: SocketAddr, world: &World) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let from = socket.local_addr().expect("an address");
    let mut buffer = [0; 4_096];
    for window in 0..CALLS / WINDOW {
        for call in 0..WINDOW {
            socket.send_to(world.invite(window * WINDOW + call, from).as_bytes(), at).expect("sent");
        }
        for _ in 0..WINDOW {
            socket.recv(&mut buffer).expect("an answer");
        }
    }
}

fn requests(at: SocketAddr, world: &World) {
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_nodelay(true).expect("set");
    let mut buffer = [0; 4_096];
    for call in 0..CALLS {
        let number = world.numbers[call.wrapping_mul(2_654_435_761) % world.numbers.len()];
        let text = format!("GET /route/%2B{number}?call_id={call} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(text.as_bytes()).expect("sent");
        // One answer is far smaller than a segment of loopback.
        assert!(stream.read(&mut buffer).expect("an answer") > 0);
    }
}

/// Ends a process of ours.
struct Proxy(Child, tempfile::TempDir);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Microseconds of processor time of a constant answer of Kamailio's.
fn kamailio(world: &World) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let free =
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(|error| error.to_string())?;
    let file = folder.path().join("constant.cfg");
    let text = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:{free}\n\
         mpath=\"/usr/lib/x86_64-linux-gnu/kamailio/modules/\"\nloadmodule \"sl.so\"\n\
         request_route {{ sl_send_reply(\"404\", \"Not Found\"); }}\n"
    );
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(&file).args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"]).arg(folder.path());
    command.arg("-P").arg(folder.path().join("pid")).stdout(Stdio::null()).stderr(Stdio::null());
    let proxy = Proxy(command.spawn().map_err(|error| format!("kamailio: {error}"))?, folder);
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let from = socket.local_addr().map_err(|error| error.to_string())?;
    loop {
        let _ = socket.send_to(world.invite(0, from).as_bytes(), free);
        if socket.recv(&mut [0; 4_096]).is_ok() {
            break;
        }
        if begin.elapsed() > Duration::from_secs(10) {
            return Err("kamailio does not answer".to_owned());
        }
    }
    let round = || {
        let before = family_micros(proxy.0.id());
        micros(|| calls(free, world));
        (family_micros(proxy.0.id()) - before) / CALLS as f64
    };
    Ok((0..3).map(|_| round()).fold(f64::INFINITY, f64::min))
}

/// What a process and its children have used of processors.
fn family_micros(parent: u32) -> f64 {
    let ticks = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let pid: u32 = text.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let of: u32 = fields.get(1)?.parse().ok()?;
        let used = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        (pid == parent || of == parent).then_some(used)
    };
    let all: f64 = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(ticks).sum();
    // Linux counts in hundredths of a second.
    all * 10_000.0
}
