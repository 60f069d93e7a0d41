//! The same pages and searches through HTTP and against PostgreSQL asked
//! directly: `cargo bench --bench postgres`.
//!
//! PostgreSQL gets what it likes best: one table with everything an answer
//! says, an index for each question and trigrams for the search, all of it in
//! its memory, one prepared statement for page and exact total, and no server
//! in front of it. We answer as we always do: HTTP, credentials, JSON. Both
//! have a million numbers in blocks and eight clients on the same machine.
//!
//! The cluster is made in a folder of its own, listens on a socket in it only,
//! and is stopped at the end. Skipped where PostgreSQL is not installed
//! (Debian: postgresql, postgresql-contrib).

#![allow(clippy::print_stdout)]

mod shared;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shared::{ACCOUNTS, Random, aimed, heading, record, reported, skipped};

const NUMBERS: usize = 1_000_000;
const CLIENTS: u64 = 8;
/// How long each question is asked, in seconds.
const SPAN_S: u64 = 5;

/// A question as either side is asked it.
struct Question {
    what: &'static str,
    /// For `pgbench`: sets `:x`, if it is needed, and asks.
    sql: &'static str,
    /// The path, of a random number.
    path: fn(&mut Random) -> String,
    /// How many times as many answers a second we aim at.
    aim: Option<f64>,
}

/// All that a row of an answer says.
macro_rules! page {
    ($filter:literal, $rest:literal) => {
        concat!(
            "SELECT (SELECT count(*) FROM number ",
            $filter,
            ") AS total, e164, account, account_name, application, application_name, status, number_type, country, \
             region, cost, currency, assigned_at, expires_at FROM number ",
            $filter,
            " ORDER BY number LIMIT 20 ",
            $rest,
            ";\n"
        )
    };
}

const QUESTIONS: [Question; 6] = [
    Question {
        what: "account page",
        sql: concat!("\\set x random(0, 429)\n", page!("WHERE account = 'MA_' || :x::text", "")),
        path: |random| format!("/api/v1/partner/accounts/MA_{}/numbers?per_page=20", random.below(ACCOUNTS)),
        aim: Some(12.0),
    },
    Question {
        what: "application filter",
        sql: concat!("\\set x random(0, 429)\n", page!("WHERE application = 'app_' || :x::text", "")),
        path: |random| format!("/api/v1/partner/numbers?application_id=app_{}&per_page=20", random.below(ACCOUNTS)),
        aim: None,
    },
    Question {
        what: "first page",
        sql: page!("", ""),
        path: |_| "/api/v1/partner/numbers?per_page=20".to_owned(),
        aim: None,
    },
    Question {
        what: "random deep page",
        sql: concat!("\\set x random(0, 49999)\n", page!("", "OFFSET :x * 20")),
        path: |random| format!("/api/v1/partner/numbers?per_page=20&page={}", 1 + random.below(50_000)),
        aim: None,
    },
    Question {
        what: "search of 4 digits",
        sql: concat!("\\set x random(1000, 9999)\n", page!("WHERE e164 LIKE '%' || :x::text || '%'", "")),
        path: |random| format!("/api/v1/partner/numbers?per_page=20&search={}", 1_000 + random.below(9_000)),
        aim: None,
    },
    Question {
        what: "search of 7 digits",
        sql: concat!("\\set x random(1000000, 9999999)\n", page!("WHERE e164 LIKE '%' || :x::text || '%'", "")),
        path: |random| format!("/api/v1/partner/numbers?per_page=20&search={}", 1_000_000 + random.below(9_000_000)),
        aim: None,
    },
];

fn main() {
    heading(&format!("through HTTP against PostgreSQL asked directly, 1 M numbers, {CLIENTS} clients"));
    let Some(programs) = programs() else {
        return skipped("PostgreSQL", "it is not installed");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ours = ours(folder.path());
    let cluster = match Cluster::start(&programs, folder.path()) {
        Ok(cluster) => cluster,
        Err(why) => return skipped("PostgreSQL", &why),
    };
    for question in &QUESTIONS {
        let theirs = cluster.ask(question.sql);
        let ours = ours.ask(question.path);
        reported(&format!("{}, PostgreSQL", question.what), theirs, "/s");
        reported(&format!("{}, Rollcall", question.what), ours, "/s");
        let what = format!("{}: Rollcall ÷ PostgreSQL", question.what);
        match question.aim {
            Some(aim) => aimed(&what, ours / theirs, "times", aim),
            None => reported(&what, ours / theirs, "times"),
        }
    }
}

/// Runs a command that has to succeed.
fn must(command: &mut Command) -> Result<Output, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

// ---- PostgreSQL

/// Where the newest of the installed versions has its programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists() && bin.join("pgbench").exists()).max()
}

struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    server: Child,
}

impl Cluster {
    /// Starts a cluster with the numbers in it.
    fn start(programs: &Path, parent: &Path) -> Result<Cluster, String> {
        let folder = parent.join("postgres");
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        // It refuses to run as root.
        let root = std::fs::metadata(&folder).map_err(|error| error.to_string())?.uid() == 0;
        let as_nobody = |program: &str| {
            let mut command = Command::new(programs.join(program));
            if root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.current_dir(&folder);
            command
        };
        if root {
            let give = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
            give(parent).and_then(|()| give(&folder)).map_err(|error| error.to_string())?;
        }
        let data = folder.join("data");
        must(as_nobody("initdb").args(["-A", "trust", "-U", "bench", "--no-sync", "-E", "UTF8", "-D"]).arg(&data))?;
        let settings = [
            "listen_addresses=",
            "shared_buffers=1GB",
            "work_mem=64MB",
            "maintenance_work_mem=512MB",
            "fsync=off",
            "jit=off",
            "random_page_cost=1.1",
        ];
        let mut server = as_nobody("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&folder);
        server.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = server.map_err(|error| error.to_string())?;
        let cluster = Cluster { programs: programs.to_owned(), folder, server };
        let begun = Instant::now();
        while cluster.sql("SELECT 1").is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err("the cluster did not start".to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster.fill(&parent.join("numbers.csv"))?;
        Ok(cluster)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-h").arg(&self.folder).args(["-U", "bench"]);
        command
    }

    fn sql(&self, sql: &str) -> Result<Output, String> {
        must(self.client("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql]))
    }

    fn fill(&self, file: &Path) -> Result<(), String> {
        self.sql("CREATE EXTENSION pg_trgm")?;
        self.sql(
            "CREATE TABLE number (e164 text NOT NULL, account text, account_name text, application text, \
             application_name text, status text NOT NULL, number_type text NOT NULL, country text, region text, \
             cost numeric(12,2), currency text, assigned_at timestamptz, expires_at timestamptz)",
        )?;
        self.sql(&format!("\\copy number FROM '{}' WITH (FORMAT csv, HEADER)", file.display()))?;
        // The number as an integer is the smaller and faster key.
        for sql in [
            "ALTER TABLE number ADD number bigint GENERATED ALWAYS AS (substr(e164, 2)::bigint) STORED",
            "ALTER TABLE number ADD PRIMARY KEY (number)",
            "CLUSTER number USING number_pkey",
            "CREATE INDEX number_account ON number (account, number)",
            "CREATE INDEX number_application ON number (application, number)",
            "CREATE INDEX number_digits ON number USING gin (e164 gin_trgm_ops)",
            "VACUUM ANALYZE number",
        ] {
            self.sql(sql)?;
        }
        Ok(())
    }

    /// How many answers a second it gives.
    fn ask(&self, sql: &str) -> f64 {
        let script = self.folder.join("question.sql");
        std::fs::write(&script, sql).expect("written");
        let mut command = self.client("pgbench");
        command.args(["-n", "-M", "prepared", "-j", "2", "-c", &CLIENTS.to_string(), "-T", &SPAN_S.to_string(), "-f"]);
        let output = must(command.arg(script).arg("postgres")).expect("pgbench runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap_or_default();
        rate.split(' ').next().and_then(|rate| rate.parse().ok()).expect("a rate")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A fast shutdown: clients are cut, nothing is left behind.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let begun = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(30) {
                let _ = self.server.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Who owns what nobody owns.
const NOBODY: u32 = 65_534;

// ---- Rollcall

struct Server {
    child: Child,
    address: String,
    token: String,
}

/// Writes the file for both, imports it, and serves it.
fn ours(folder: &Path) -> Server {
    let file = folder.join("numbers.csv");
    let mut text = "number,account_auth_id,account_name,application_id,application_name,status,number_type,country,\
                    region,monthly_cost,currency,assigned_at,expires_at\n"
        .to_owned();
    let mut random = Random(3);
    for (digits, holder) in shared::blocks(NUMBERS) {
        let record = record(holder, &mut random);
        let (application, menu) = match record.application {
            Some(id) => (id.to_string(), format!("Menu {holder}")),
            None => Default::default(),
        };
        let expires_at = record.expires_at.map(|time| time.to_string()).unwrap_or_default();
        let (state, number_type, account) = (record.state, record.number_type, shared::account_id(holder));
        let assigned_at = record.assigned_at.expect("held");
        writeln!(
            text,
            "+{digits},{account},Customer {holder},{application},{menu},{state},{number_type},IN,Mumbai,500.00,INR,\
             {assigned_at},{expires_at}"
        )
        .expect("memory");
    }
    std::fs::write(&file, text).expect("written");
    let database = format!("sqlite:{}", folder.join("rollcall.db").display());
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(arguments).env("ROLLCALL_DATABASE", &database).env_remove("ROLLCALL_CONFIG");
        command
    };
    let run = |arguments: &[&str]| must(&mut command(arguments)).expect("the command works").stdout;
    run(&["partner", "create", "--auth-id", "PA_1", "--name", "P"]);
    run(&["import", file.to_str().expect("UTF-8"), "--partner", "PA_1"]);
    let key = run(&["key", "create", "--partner", "PA_1", "--name", "bench", "--json"]);
    let key: serde_json::Value = serde_json::from_slice(&key).expect("JSON");
    let token = key["auth_token"].as_str().expect("a token").to_owned();

    let mut serve = command(&["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"]);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = serve.spawn().expect("the program runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).expect("a log") > 0, "the server did not start");
        if let Some((_, address)) = line.split_once("listening on http://") {
            break address.split_whitespace().next().unwrap_or_default().to_owned();
        }
    };
    // Whatever else it has to say must not block it.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Server { child, address, token }
}

impl Server {
    /// How many answers a second it gives, on a connection for each client.
    fn ask(&self, path: fn(&mut Random) -> String) -> f64 {
        let answers = AtomicU64::new(0);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let answers = &answers;
                scope.spawn(move || {
                    let mut random = Random(client);
                    let mut stream = TcpStream::connect(&self.address).expect("a connection");
                    stream.set_nodelay(true).expect("a socket");
                    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
                    let mut buffer = Vec::new();
                    while begun.elapsed() < Duration::from_secs(SPAN_S) {
                        let request = format!(
                            "GET {} HTTP/1.1\r\nHost: bench\r\nX-Auth-ID: PA_1\r\nX-Auth-Token: {}\r\n\r\n",
                            path(&mut random),
                            self.token
                        );
                        stream.write_all(request.as_bytes()).expect("a server");
                        answer(&mut stream, &mut buffer);
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        answers.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
