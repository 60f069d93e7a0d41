//! `rollcall doctor` over real databases, certificates, mail servers and
//! receivers: a table of faults, each found with what to do about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::authority::{Authority, write};
use super::process::{PARTNER, Place, Ran, run};
use super::smtp::{Manners, Receiver};

fn doctor(place: &Place, settings: &str) -> (Ran, Value) {
    let file = place.path("doctor.toml");
    std::fs::write(&file, settings).expect("written");
    let ran = place.run(&["doctor", "--json", "--config", file.to_str().expect("UTF-8")]);
    let value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran, value)
}

/// Whether a check has a line of this status with these words; anything but OK
/// comes with advice.
#[track_caller]
fn check(answer: &Value, check: &str, status: &str, words: &str) {
    let lines = answer["checks"].as_array().expect("checks");
    let fits = |line: &&Value| {
        line["check"] == check
            && line["status"] == status
            && line["text"].as_str().is_some_and(|text| text.contains(words))
    };
    assert!(lines.iter().any(|line| fits(&line)), "no {check} {status} {words:?}: {answer:#}");
    for line in lines {
        assert_eq!(line["status"] == "ok", line["advice"].is_null(), "{line}");
    }
}

/// Every file of a folder with its bytes.
fn files(folder: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect()
}

#[test]
fn a_sound_place_has_no_error_and_is_not_written_to() {
    let place = Place::new();
    let (_, _) = doctor(&place, "");
    let folder = place.database.parent().expect("a folder");
    let before = files(folder);
    let (ran, answer) = doctor(&place, "");
    assert_eq!(ran.code, Some(0), "{answer:#}");
    assert_eq!(files(folder), before);
    for (name, status, words) in [
        ("settings", "ok", "doctor.toml is well formed"),
        ("descriptors", "ok", "http.connections_max"),
        ("certificates", "ok", "plain HTTP"),
        ("database", "ok", "its structure is whole"),
        ("database", "ok", "1 partners"),
        ("clock", "ok", "after the last change"),
        ("dns", "ok", "localhost"),
        ("mail", "ok", "no mail server"),
        ("webhooks", "ok", "no webhook"),
    ] {
        // A machine with few descriptors or little space is warned of, not failed.
        if !(name == "descriptors" && answer.to_string().contains("raise the hard limit")) {
            check(&answer, name, status, words);
        }
    }
    // For people, and beside a running server.
    let server = place.serve();
    let ran = place.run(&["doctor"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("OK       database") && ran.out.contains("0 errors"), "{}", ran.out);
    assert_eq!(server.stop().1, Some(0));
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    let place = Place::new();
    let (ran, answer) = doctor(&place, "[limits]\nrequests_per_secnd = 1\n");
    assert_eq!(ran.code, Some(78));
    check(&answer, "settings", "error", "requests_per_secnd");

    // An unsafe listener, a key that everybody can read, and a broken certificate.
    let authority = Authority::new();
    authority.issue("here");
    let (cert, key) = (authority.cert(), authority.key());
    set_mode(&key, 0o644);
    let tls = format!("[http]\nlisten = \"0.0.0.0:8080\"\ntls_cert = {cert:?}\ntls_key = {key:?}\n");
    let (ran, answer) = doctor(&place, &tls);
    assert_eq!(ran.code, Some(0), "{answer:#}");
    check(&answer, "settings", "warning", "every user can read");
    check(&answer, "settings", "warning", "/metrics is public");
    check(&answer, "certificates", "ok", "expires at");
    for (not_after, status, words) in
        [((2020, 1, 1), "error", "expired at 2020-01-01"), (soon(), "warning", "expires at")]
    {
        let (pem, secret) = certificate(not_after);
        write(&cert, &pem);
        write(&key, &secret);
        let (ran, answer) = doctor(&place, &tls);
        assert_eq!(ran.code, Some(i32::from(status == "error")), "{answer:#}");
        check(&answer, "certificates", status, words);
    }
    write(&cert, "no certificate\n");
    let (ran, answer) = doctor(&place, &tls);
    assert_eq!(ran.code, Some(1));
    check(&answer, "certificates", "error", "there is no certificate in");
    let (_, answer) = doctor(&place, "[http]\nlisten = \"0.0.0.0:8080\"\n");
    check(&answer, "settings", "warning", "without TLS");

    // Mail: a port where nothing listens, then a server that takes connections.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let mail =
        |port: u16| format!("[mail]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"a@b.example\"\n");
    let (ran, answer) = doctor(&place, &mail(closed));
    assert_eq!(ran.code, Some(1));
    check(&answer, "mail", "error", "cannot be reached");
    let receiver = Receiver::start(Manners::default());
    let (_, answer) = doctor(&place, &mail(receiver.address.port()));
    check(&answer, "mail", "ok", "connected");
    assert!(receiver.taken().is_empty(), "no email is sent");

    // Names that do not resolve.
    let (_, answer) = doctor(&place, "[console]\nurl = \"https://nowhere.invalid\"\n");
    check(&answer, "dns", "error", "nowhere.invalid");

    // A database of another kind, and none.
    let other = place.path("other.db");
    std::fs::write(&other, "no database at all, but long enough to be read as one").expect("written");
    for (path, words) in [(other, "not a Rollcall database"), (place.path("none.db"), "no database at")] {
        let ran = run(super::process::command(&format!("sqlite:{}", path.display()), &["doctor", "--json"]));
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        check(&answer, "database", "error", words);
    }
}

#[test]
fn receivers_of_webhooks_are_connected_to_and_get_no_event() {
    let place = Place::new();
    let authority = Authority::new();
    authority.issue("receiver");
    let ca = place.path("ca.pem");
    write(&ca, &authority.pem());
    let settings = format!("[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\nca_file = {ca:?}\n");
    let file = place.path("hooks.toml");
    std::fs::write(&file, &settings).expect("written");
    // A server of our own is a receiver that speaks TLS.
    let (cert, key) = (authority.cert(), authority.key());
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--tls-cert"].map(str::to_owned);
    let other = Place::new();
    let mut command = other.command(&[]);
    command.args(arguments).arg(&cert).arg("--tls-key").arg(&key).env("RUST_LOG", "info,rollcall::http=debug");
    let receiver = Listening::start(command);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for (name, address) in [("good", receiver.address.clone()), ("closed", closed.to_string())] {
        let url = format!("https://{address}/hook/secret-path");
        place.must(&[
            "webhook",
            "create",
            "--partner",
            PARTNER,
            "--name",
            name,
            "--url",
            &url,
            "--config",
            file.to_str().expect("UTF-8"),
        ]);
    }
    let (ran, answer) = doctor(&place, &settings);
    assert_eq!(ran.code, Some(0), "{answer:#}");
    check(&answer, "webhooks", "ok", &format!("{}: accepts connections", receiver.address));
    check(&answer, "webhooks", "warning", "accepts a connection");
    assert!(!answer.to_string().contains("secret-path"));
    let (_, answer) = doctor(&place, "");
    check(&answer, "webhooks", "warning", "refused: the address is private");
    // The receiver has answered no request.
    assert!(!receiver.stop().contains("answered"), "an event was sent");
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

/// Five days from now.
fn soon() -> (i32, u8, u8) {
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5 * 24);
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
    (i32::from(day.year()), day.month() as u8, day.day() as u8)
}

fn certificate((year, month, day): (i32, u8, u8)) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let key = rcgen::KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// A server over TLS, and its log.
struct Listening {
    child: std::process::Child,
    address: String,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Listening {
    fn start(mut command: std::process::Command) -> Listening {
        use std::io::BufRead;
        let mut child = command.spawn().expect("the program runs");
        let log = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let (give, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(give.send(line))));
        let address = loop {
            let line = lines.recv_timeout(std::time::Duration::from_secs(20)).expect("it listens");
            if let Some((_, address)) = line.split_once("listening on https://") {
                break address.split_whitespace().next().expect("an address").to_owned();
            }
        };
        Listening { child, address, lines }
    }

    /// Ends it; all that it logged since.
    fn stop(mut self) -> String {
        super::process::signal(&self.child, "TERM");
        super::process::ended(&mut self.child, std::time::Duration::from_secs(40));
        self.lines.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_database_that_this_user_may_not_write_is_an_error_and_stays_as_it_is() {
    let place = Place::new();
    if std::os::unix::fs::chown(&place.database, Some(65_534), None).is_err() {
        crate::cluster::skipped("this user may not give files away");
        return;
    }
    let (_, _) = doctor(&place, "");
    let folder = place.database.parent().expect("a folder");
    let before = files(folder);
    let (ran, answer) = doctor(&place, "");
    check(&answer, "database", "error", "belongs to the user");
    assert_eq!(ran.code, Some(1), "{answer:#}");
    assert_eq!(files(folder), before);
}
