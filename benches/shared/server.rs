//! The real server over what the benchmarks make, and clients that ask it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::Record;

use super::{Random, account_id, blocks, record};

/// Numbers in blocks as a file that can be imported.
pub fn csv(numbers: usize) -> String {
    csv_of(&blocks(numbers), record)
}

/// Numbers of accounts as such a file, with the records that `record` makes.
pub fn csv_of(numbers: &[(u64, u64)], record: fn(u64, &mut Random) -> Record) -> String {
    let mut text = "number,account_auth_id,account_name,application_id,application_name,status,number_type,country,\
                    region,monthly_cost,currency,assigned_at,expires_at\n"
        .to_owned();
    let mut random = Random(3);
    for &(digits, holder) in numbers {
        let record = record(holder, &mut random);
        let (application, menu) = match record.application {
            Some(id) => (id.to_string(), format!("Menu {holder}")),
            None => Default::default(),
        };
        let expires_at = record.expires_at.map(|time| time.to_string()).unwrap_or_default();
        let (state, number_type, account) = (record.state, record.number_type, account_id(holder));
        let assigned_at = record.assigned_at.expect("held");
        writeln!(
            text,
            "+{digits},{account},Customer {holder},{application},{menu},{state},{number_type},IN,Mumbai,500.00,INR,\
             {assigned_at},{expires_at}"
        )
        .expect("memory");
    }
    text
}

/// `rollcall` on a database.
pub fn command(database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.args(arguments).env("ROLLCALL_DATABASE", database).env_remove("ROLLCALL_CONFIG");
    command
}

/// Fills a new database from a file with what partner `PA_1` has, and returns
/// a token of its.
pub fn fill(database: &str, file: &Path) -> String {
    let run = |arguments: &[&str]| {
        let output = command(database, arguments).output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&["partner", "create", "--auth-id", "PA_1", "--name", "P"]);
    run(&["import", file.to_str().expect("UTF-8"), "--partner", "PA_1"]);
    let key = run(&["key", "create", "--partner", "PA_1", "--name", "bench", "--json"]);
    let key: serde_json::Value = serde_json::from_slice(&key).expect("JSON");
    key["auth_token"].as_str().expect("a token").to_owned()
}

/// `rollcall serve` on a free port, ended when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    /// What it said until it listened.
    pub log: String,
}

impl Server {
    pub fn start(database: &str) -> Server {
        let mut serve = command(database, &["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"]);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env("NO_COLOR", "1");
        let mut child = serve.spawn().expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut log = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("a log") > 0, "the server did not start: {log}");
            log.push_str(&line);
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.split_whitespace().next().unwrap_or_default().to_owned();
            }
        };
        // Whatever else it has to say must not block it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Server { child, address, log }
    }

    /// The bytes of its memory that are resident.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("our own child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a size") * 1024
    }

    /// How much of the processors it has used, in seconds.
    pub fn processor_s(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("our own child");
        // After the name, which is in brackets: user and system time are the
        // 12th and 13th, in hundredths.
        let rest = text.rsplit_once(") ").expect("a name").1;
        let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse().expect("ticks")).collect();
        (ticks[0] + ticks[1]) / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many answers a second clients get, each with a connection to every
/// server and asking them in turn: as many requests at a time, however many
/// servers there are.
pub fn ask(servers: &[&Server], token: &str, clients: u64, seconds: u64, path: fn(&mut Random) -> String) -> f64 {
    ask_as("PA_1", servers, token, clients, seconds, &path)
}

/// The same for any partner.
pub fn ask_as(
    partner: &str,
    servers: &[&Server],
    token: &str,
    clients: u64,
    seconds: u64,
    path: &(dyn Fn(&mut Random) -> String + Sync),
) -> f64 {
    let answers = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let answers = &answers;
            scope.spawn(move || {
                let mut random = Random(client);
                let connect = |server: &&Server| {
                    let stream = TcpStream::connect(&server.address).expect("a connection");
                    stream.set_nodelay(true).expect("a socket");
                    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
                    stream
                };
                let mut streams: Vec<TcpStream> = servers.iter().map(connect).collect();
                let mut buffer = Vec::new();
                while begun.elapsed() < Duration::from_secs(seconds) {
                    for stream in &mut streams {
                        let request = format!(
                            "GET {} HTTP/1.1\r\nHost: bench\r\nX-Auth-ID: {partner}\r\nX-Auth-Token: {token}\r\n\r\n",
                            path(&mut random),
                        );
                        stream.write_all(request.as_bytes()).expect("a server");
                        answer(stream, &mut buffer);
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    answers.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// Reads one answer, which has to be a list.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| buffer.len() < whole) {
        let before = buffer.len();
        buffer.resize(before + 16_384, 0);
        let read = stream.read(&mut buffer[before..]).expect("an answer");
        assert!(read > 0, "the server hung up");
        buffer.truncate(before + read);
        if whole.is_none()
            && let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            whole = Some(end + 4 + length.parse::<usize>().expect("a length"));
        }
    }
}
