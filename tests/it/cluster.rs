//! Real PostgreSQL servers, for tests: Debian's, in temporary folders, each
//! one's data its own.
//!
//! ```ignore
//! let Some(primary) = Cluster::new(&[]) else { return };   // says that it skips
//! let uri = primary.database();                            // a fresh database
//! let standby = primary.standby(Replication::Synchronous);
//! primary.kill9();
//! standby.promote();
//! ```
//!
//! What always holds:
//! - PostgreSQL refuses root, so root's servers are those of an ordinary user.
//! - Databases sort text as a language does, as most servers' do: a program
//!   that takes for granted that they sort bytes is found out.
//! - Servers are ended by their id, and only if that process works in a folder
//!   of ours. What is left when the tests end, however they end, is ended and
//!   removed by a keeper: a shell that waits for our end of its pipe to close.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a server may take to start, stop or catch up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What holds for all of them. Ports and folders are given at the start, so
/// that a standby's copy of these needs no edit.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 32MB
wal_level = replica
max_wal_senders = 5
hot_standby = on
wal_keep_size = 128MB
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_retrieve_retry_interval = 100ms
recovery_init_sync_method = syncfs
log_line_prefix = '%m [%p] %a '
log_timezone = UTC
";

/// For what is not about losing things.
pub const QUICK: &[&str] = &["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

/// Who may come in: this machine, and the namespaces of `network.rs`.
const ACCESS: &str = "
local all all trust
host all all 127.0.0.1/32 trust
host all all 10.213.0.0/16 trust
local replication all trust
host replication all 127.0.0.1/32 trust
";

/// Where the newest of the installed versions has its programs.
pub fn programs() -> Option<&'static Path> {
    static PROGRAMS: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let debian = versions.map(|entry| entry.path());
        let newest = debian.max_by_key(|path| path.file_name().and_then(OsStr::to_str)?.parse::<u32>().ok());
        let asked = || {
            let output = Command::new("pg_config").arg("--bindir").output().ok()?;
            Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
        };
        let found = newest.map(|path| path.join("bin")).or_else(asked)?;
        found.join("initdb").exists().then_some(found)
    });
    PROGRAMS.as_deref()
}

/// Says that a test is not run, and why. `scripts/test` repeats it at its end,
/// from the file that `ROLLCALL_TEST_SKIPS` names.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    eprint!("skipped: {line}");
    let Some(list) = std::env::var_os("ROLLCALL_TEST_SKIPS") else { return };
    let mut list = std::fs::File::options().append(true).create(true).open(list).expect("the list of skipped tests");
    // In one write, since other tests append to it.
    list.write_all(line.as_bytes()).expect("noted");
}

/// The user whose servers they are; `None` is ourselves.
fn user() -> Option<(u32, u32)> {
    static USER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        if std::fs::metadata("/proc/self").expect("proc").uid() != 0 {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("users");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
            Some((ids.next()??, ids.next()??))
        };
        Some(find("postgres").or_else(|| find("nobody")).expect("an ordinary user"))
    });
    *USER
}

/// A program of PostgreSQL's as that user.
fn program(name: &str) -> Command {
    ordinary(&programs().expect("PostgreSQL is installed").join(name))
}

/// A program as the user whose servers they are.
pub fn ordinary(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command.current_dir(&KEPT.folder).stdin(Stdio::null());
    command
}

#[track_caller]
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}

#[track_caller]
fn until(what: &str, wanted: impl FnMut() -> bool) {
    crate::until::until(PATIENCE, || what.to_owned(), wanted);
}

/// The folder that all servers of this process are in.
pub struct Kept {
    pub folder: PathBuf,
    /// Closed by our end. The keeper is never waited for: it outlives us.
    _open: ChildStdin,
}

pub static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let folder = tempfile::Builder::new().prefix("rollcall-pg-").tempdir().expect("a folder").keep();
    if let Some((user, group)) = user() {
        std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("its owner");
    }
    // In a group of its own, so that Ctrl-C ends the tests and not the keeper.
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).process_group(0);
    let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Kept { folder, _open: keeper.expect("a shell").stdin.expect("a pipe") }
});

/// Ends what is left in a folder, which may be nothing, and the folder. A
/// file's content may be an old server's id, and that id somebody else's now.
const KEEPER: &str = r#"
cat >/dev/null
cd "$1" || exit
for file in */data/postmaster.pid; do
    [ -f "$file" ] || continue
    read -r pid <"$file"
    [ "$(readlink "/proc/$pid/cwd")" = "$1/${file%/*}" ] && kill -CONT "$pid" && kill -QUIT "$pid"
done
for name in */namespace; do
    [ -f "$name" ] && ip netns del "$(cat "$name")"
done
for try in 1 2 3 4 5 6 7 8 9 10; do
    for small in */small; do
        [ -d "$small" ] && umount "$small"
    done
    rm -rf "$1" && exit
    sleep 1
done
"#;

/// A folder below [`KEPT`]'s that nobody has yet.
pub fn place(kind: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = KEPT.folder.join(format!("{kind}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).expect("a folder");
    owned(&folder);
    folder
}

pub fn owned(folder: &Path) {
    if let Some((user, group)) = user() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).expect("its owner");
    }
}

/// Made once, then copied.
static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let data = place("template").join("data");
    let options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "-D"];
    must(program("initdb").args(options).arg(&data));
    let append = |file: &str, text: &str| {
        let mut file = std::fs::File::options().append(true).open(data.join(file)).expect("a file of initdb's");
        file.write_all(text.as_bytes()).expect("written");
    };
    append("postgresql.conf", SETTINGS);
    std::fs::write(data.join("pg_hba.conf"), ACCESS).expect("written");
    data
});

/// A port that nobody listens on, below those that the system gives away.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 10_000;
    loop {
        let port = 20_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Clients are cut off.
    Fast,
    /// Without a checkpoint.
    Immediate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    /// A commit returns when it is on the standby's disk too.
    Synchronous,
    Asynchronous,
}

/// Whether the tests of this run are on PostgreSQL. Read here and nowhere else.
pub fn on_postgres() -> Option<&'static Cluster> {
    match std::env::var("ROLLCALL_TEST_ENGINE").as_deref() {
        Ok("postgres") => Some(Cluster::shared().expect("PostgreSQL is installed")),
        Ok("sqlite") | Err(_) => None,
        Ok(other) => panic!("ROLLCALL_TEST_ENGINE is sqlite or postgres, not {other}"),
    }
}

/// One server; what PostgreSQL calls a cluster, of databases. Where it is
/// stays the same when it is ended, started and made anew.
pub struct Cluster {
    pub folder: PathBuf,
    pub port: u16,
    process: Mutex<Option<Child>>,
}

impl Cluster {
    /// A server of its own, with further settings; `None` where PostgreSQL is
    /// not installed, and then says so.
    pub fn new(settings: &[&str]) -> Option<Cluster> {
        if programs().is_none() {
            skipped("PostgreSQL is not installed (Debian: postgresql)");
            return None;
        }
        let cluster = Cluster::nowhere();
        must(Command::new("cp").arg("-a").arg(&*TEMPLATE).arg(cluster.data()));
        let mut conf = std::fs::File::options().append(true).open(cluster.data().join("postgresql.conf"));
        for setting in settings {
            writeln!(conf.as_mut().expect("its settings"), "{setting}").expect("written");
        }
        cluster.start();
        Some(cluster)
    }

    /// One for all tests that need no more than a database. Ended by the keeper.
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: LazyLock<Option<Cluster>> =
            LazyLock::new(|| Cluster::new(&[QUICK, &["max_connections=300"]].concat()));
        if programs().is_none() {
            skipped("PostgreSQL is not installed (Debian: postgresql)");
        }
        SHARED.as_ref()
    }

    /// A place for a server, and no server.
    fn nowhere() -> Cluster {
        Cluster { folder: place("cluster"), port: free_port(), process: Mutex::new(None) }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    // ---- where it is

    /// A database as `rollcall --database` takes it, over TCP.
    pub fn address(&self, database: &str) -> String {
        addresses(&[self], database)
    }

    /// A fresh and empty database's address.
    pub fn database(&self) -> String {
        self.address(&self.fresh("TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"))
    }

    /// A database as another is now, and its name. Whoever is connected to the
    /// other is cut off.
    pub fn copy(&self, database: &str) -> String {
        let others = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        self.psql("postgres", &others);
        self.fresh(&format!("TEMPLATE {database}"))
    }

    /// The name of a fresh database; `how` is what follows in its making.
    pub fn fresh(&self, how: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} {how}"));
        name
    }

    /// Removes a database, whoever uses it.
    pub fn forget(&self, database: &str) {
        self.psql("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"));
    }

    /// Runs a packed dump in an empty database.
    pub fn restore(&self, database: &str, dump: &[u8]) {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(dump).read_to_end(&mut text).expect("unpacked");
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql");
        psql.stdin.take().expect("a pipe").write_all(&text).expect("read");
        assert!(psql.wait().expect("it ends").success());
    }

    // ---- SQL

    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(programs().expect("PostgreSQL is installed").join(name));
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "postgres"]);
        command.env("PGCONNECT_TIMEOUT", "5").env("PGAPPNAME", "test").stdin(Stdio::null());
        command
    }

    fn statement(&self, database: &str, sql: &str) -> Command {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        command
    }

    /// What a statement returns: a line for each row, `|` between columns.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        must(&mut self.statement(database, sql)).trim_end().to_owned()
    }

    /// The same where it may fail: the error's text.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self.statement(database, sql).output().expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A connection that is kept, for transactions.
    pub fn session(&self, database: &str) -> Session {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Session { process, input: Some(input), output }
    }

    // ---- life

    /// Starts it and waits until it answers.
    pub fn start(&self) {
        let mut process = self.process();
        assert!(process.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut server = program("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).args(["-p", &self.port.to_string()]);
        server.process_group(0).stdout(log.try_clone().expect("a log")).stderr(log);
        let server = process.insert(server.spawn().expect("postgres"));
        until("PostgreSQL starts", || {
            if let Some(status) = server.try_wait().expect("our own child") {
                panic!("PostgreSQL ended with {status}: {}", self.log());
            }
            self.try_psql("postgres", "SELECT 1").is_ok()
        });
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends it, and returns when none of its processes is left.
    pub fn stop(&self, how: Stop) {
        self.end(match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        });
    }

    /// Ends all of its processes at once, as a lost machine would; its data stays.
    pub fn kill9(&self) {
        self.processes().into_iter().for_each(|id| send("KILL", id));
        self.end("KILL");
    }

    fn end(&self, signal: &str) {
        let Some(mut server) = self.process().take() else { return };
        self.resume();
        send(signal, server.id());
        server.wait().expect("our own child");
        // Its children notice, a moment later.
        until("PostgreSQL's processes end", || self.processes().is_empty());
    }

    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.start();
    }

    /// All of its processes: those that work in its data.
    fn processes(&self) -> Vec<u32> {
        let data = self.data();
        let all = std::fs::read_dir("/proc").expect("proc").flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|folder| folder == data)).collect()
    }

    /// Stops all of its processes where they are: it is there, and says nothing.
    pub fn freeze(&self) {
        self.processes().into_iter().for_each(|id| send("STOP", id));
    }

    pub fn resume(&self) {
        self.processes().into_iter().for_each(|id| send("CONT", id));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    // ---- settings

    /// Sets something for good, and has it read; `None` is its default.
    pub fn set(&self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.psql("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'")),
            None => self.psql("postgres", &format!("ALTER SYSTEM RESET {name}")),
        };
        self.psql("postgres", "SELECT pg_reload_conf()");
    }

    /// Listens at one more address; restarts for it.
    pub fn listen(&self, address: &str) {
        self.psql("postgres", &format!("ALTER SYSTEM SET listen_addresses = '127.0.0.1,{address}'"));
        self.restart(Stop::Fast);
    }

    /// Whether new transactions may write; those of open connections too.
    pub fn read_only(&self, wanted: bool) {
        self.set("default_transaction_read_only", wanted.then_some("on"));
    }

    /// Takes every connection that there is, those of `rollcall` too, until
    /// what is returned is dropped.
    pub fn exhaust(&self) -> Taken {
        let mut taken = Vec::new();
        let mut cut = self.session("postgres");
        let rollcall = "FROM pg_stat_activity WHERE application_name LIKE 'rollcall%'";
        let begun = Instant::now();
        loop {
            while let Some(connection) = self.connect() {
                taken.push(connection);
            }
            cut.run(&format!("SELECT pg_terminate_backend(pid) {rollcall}"));
            while let Some(connection) = self.connect() {
                taken.push(connection);
            }
            if cut.run(&format!("SELECT count(*) {rollcall}")) == "0" {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "rollcall gets its connections back faster than they are taken");
        }
        // The session keeps its own connection: given back, it could be the
        // nodes' before this takes it.
        Taken { _connections: taken, _session: cut }
    }

    /// A connection by the protocol's first two messages; `None` if there is
    /// no room for it.
    fn connect(&self) -> Option<std::net::TcpStream> {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let parameters = b"\0\x03\0\0user\0postgres\0database\0postgres\0application_name\0taken\0\0";
        stream.write_all(&(parameters.len() as u32 + 4).to_be_bytes()).ok()?;
        stream.write_all(parameters).ok()?;
        let mut kind = [0];
        stream.read_exact(&mut kind).ok()?;
        (kind == *b"R").then_some(stream)
    }

    // ---- a small disk

    /// A fresh database on a disk of `megabytes`; `None` where none can be
    /// mounted, and then says so.
    pub fn small_database(&self, megabytes: u32) -> Option<(String, SmallDisk)> {
        let small = self.folder.join("small");
        std::fs::create_dir(&small).expect("a folder");
        let options = format!("size={megabytes}m,mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&small).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skipped("a small disk cannot be mounted here");
            return None;
        }
        let disk = SmallDisk { folder: small.clone() };
        let place = small.join("space");
        std::fs::create_dir(&place).expect("a folder");
        owned(&place);
        self.psql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
        let name = self.fresh("TEMPLATE template0 TABLESPACE small");
        Some((self.address(&name), disk))
    }

    // ---- replication

    /// A standby of it, which has everything when this returns.
    pub fn standby(&self, replication: Replication) -> Cluster {
        let standby = Cluster::nowhere();
        standby.follow(self, replication);
        standby
    }

    /// Makes this, which does not run, anew as a standby of another.
    pub fn follow(&self, primary: &Cluster, replication: Replication) {
        assert!(self.process().is_none(), "it runs");
        let name = format!("standby_{}", self.port);
        if self.data().exists() {
            std::fs::remove_dir_all(self.data()).expect("its old data");
        }
        // Nobody waits for a standby that is in the making.
        primary.set("synchronous_standby_names", None);
        let from =
            format!("host={} port={} user=postgres application_name={name}", primary.folder.display(), primary.port);
        let options = ["-R", "-X", "stream", "-c", "fast", "--no-sync"];
        must(program("pg_basebackup").args(options).args(["-d", &from]).arg("-D").arg(self.data()));
        self.start();
        if replication == Replication::Synchronous {
            primary.set("synchronous_standby_names", Some(&name));
        }
        let wanted = if replication == Replication::Synchronous { "sync" } else { "async" };
        let state = format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{name}'");
        until("the standby follows", || primary.psql("postgres", &state) == wanted);
        primary.psql("postgres", "CHECKPOINT");
        self.caught_up(primary);
    }

    /// Waits until it has replayed all that the primary has written.
    pub fn caught_up(&self, primary: &Cluster) {
        let written = primary.psql("postgres", "SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        until("the standby catches up", || self.psql("postgres", &replayed) == "t");
    }

    /// The standby receives nothing from now on.
    pub fn hear_nothing(&self) {
        self.set("primary_conninfo", None);
        until("the receiver ends", || self.psql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    }

    /// Makes a standby the primary, and returns when it takes writes.
    pub fn promote(&self) {
        must(program("pg_ctl").args(["promote", "-w", "-t", "60", "-D"]).arg(self.data()));
        until("the standby takes over", || self.psql("postgres", "SELECT pg_is_in_recovery()") == "f");
    }
}

/// Several servers' database as one address, of which one is the primary.
pub fn addresses(clusters: &[&Cluster], database: &str) -> String {
    let hosts: Vec<String> = clusters.iter().map(|cluster| format!("127.0.0.1:{}", cluster.port)).collect();
    format!("postgres://postgres@{}/{database}", hosts.join(","))
}

/// The name of the database in an address.
pub fn database_name(address: &str) -> &str {
    let path = address.split('?').next().and_then(|base| base.rsplit('/').next());
    path.filter(|name| !name.is_empty()).unwrap_or_else(|| panic!("no database in {address}"))
}

fn send(signal: &str, id: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).stderr(Stdio::null()).status();
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of PostgreSQL on port {}:\n{}", self.port, self.log());
        }
        if let Some(mut server) = self.process().take() {
            self.resume();
            send("QUIT", server.id());
            let _ = server.wait();
        }
        // What is left, the keeper sees to.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A mounted disk, taken down when it goes.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.folder.join("full")).expect("a file");
        while file.write_all(&[1; 65_536]).is_ok() {}
        while file.write_all(&[1; 512]).is_ok() {}
    }

    pub fn empty(&self) {
        std::fs::remove_file(self.folder.join("full")).expect("it was full");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a server may still have files open on it.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// All connections that a server of PostgreSQL has, until it is dropped.
pub struct Taken {
    _connections: Vec<std::net::TcpStream>,
    _session: Session,
}

/// One connection of `psql`'s.
pub struct Session {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Runs a statement and returns what it returns.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> String {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{sql};\n\\echo -- done").expect("psql reads");
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("text") > 0, "psql ended: {sql}: {text}");
            if line == "-- done\n" {
                return text.trim_end().to_owned();
            }
            text.push_str(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_is_ended_and_comes_back() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let address = cluster.database();
    let name = database_name(&address);
    cluster.psql(name, "CREATE TABLE word (word text); INSERT INTO word VALUES ('a'), ('B'), ('c')");
    for end in [Cluster::kill9, |cluster: &Cluster| cluster.stop(Stop::Immediate)] {
        end(&cluster);
        assert!(cluster.try_psql(name, "SELECT 1").is_err());
        cluster.start();
        assert_eq!(cluster.psql(name, "SELECT word FROM word ORDER BY word"), "a\nB\nc", "in a language's order");
    }
    cluster.read_only(true);
    until("nothing is written", || cluster.try_psql(name, "INSERT INTO word VALUES ('d')").is_err());
    cluster.read_only(false);
    until("it is written", || cluster.try_psql(name, "INSERT INTO word VALUES ('d')").is_ok());
    let taken = cluster.exhaust();
    assert!(cluster.try_psql(name, "SELECT 1").expect_err("no room").contains("too many clients"));
    drop(taken);
    until("there is room", || cluster.try_psql(name, "SELECT 1").is_ok());
    if let Some((small, disk)) = cluster.small_database(24) {
        let name = database_name(&small);
        cluster.psql(name, "CREATE TABLE word AS SELECT 'word' AS word");
        disk.fill();
        let more = "INSERT INTO word SELECT repeat('x', 1000) FROM generate_series(1, 100)";
        assert!(cluster.try_psql(name, more).expect_err("full").contains("No space left"));
        disk.empty();
        cluster.psql(name, more);
        cluster.forget(name);
    }
    let data = cluster.data();
    drop(cluster);
    assert!(!data.exists());
}

#[test]
fn a_standby_takes_over_and_is_replaced() {
    let Some(mut primary) = Cluster::new(&[]) else { return };
    let mut standby = primary.standby(Replication::Synchronous);
    primary.psql("postgres", "CREATE TABLE row (at int)");
    for at in 0..3 {
        primary.psql("postgres", &format!("INSERT INTO row VALUES ({at})"));
        primary.kill9();
        standby.promote();
        (primary, standby) = (standby, primary);
        assert_eq!(primary.psql("postgres", "SELECT count(*) FROM row"), (at + 1).to_string());
        standby.follow(&primary, Replication::Synchronous);
    }
    standby.stop(Stop::Fast);
    standby.follow(&primary, Replication::Asynchronous);
    standby.hear_nothing();
    primary.psql("postgres", "INSERT INTO row VALUES (3)");
    primary.kill9();
    standby.promote();
    assert_eq!(standby.psql("postgres", "SELECT count(*) FROM row"), "3", "one is lost");
}
