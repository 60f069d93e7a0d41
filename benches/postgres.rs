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

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use shared::server::{self, Server};
use shared::{ACCOUNTS, Random, aimed, heading, reported, skipped};

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
    // One file for both.
    let file = folder.path().join("numbers.csv");
    std::fs::write(&file, server::csv(NUMBERS)).expect("written");
    let database = format!("sqlite:{}", folder.path().join("rollcall.db").display());
    let token = server::fill(&database, &file);
    let ours = Server::start(&database);
    let cluster = match Cluster::start(&programs, folder.path()) {
        Ok(cluster) => cluster,
        Err(why) => return skipped("PostgreSQL", &why),
    };
    for question in &QUESTIONS {
        let theirs = cluster.ask(question.sql);
        let ours = server::ask(&[&ours], &token, CLIENTS, SPAN_S, question.path);
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
