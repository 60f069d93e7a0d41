//! A real PgBouncer between the program and PostgreSQL.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cluster::{self, Cluster, database_name, ordinary, owned};
use crate::process::{command, run};
use crate::until::until;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

struct Pooler {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(server: &str, mode: &str) -> Pooler {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let users = folder.path().join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("written");
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = 10\n",
            users.display()
        );
        std::fs::write(&settings, text).expect("written");
        [folder.path(), &users, &settings].into_iter().for_each(owned);
        let mut process = ordinary(Path::new(PROGRAM));
        process.arg("-q").arg(&settings).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().expect("pgbouncer starts");
        until(
            Duration::from_secs(30),
            || "pgbouncer does not listen".to_owned(),
            || TcpStream::connect(("127.0.0.1", port)).is_ok(),
        );
        Pooler { process, port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_pooler_that_gives_each_transaction_another_session_is_refused() {
    if !Path::new(PROGRAM).exists() {
        cluster::skipped("there is no pgbouncer");
        return;
    }
    let Some(postgres) = Cluster::new(&[]) else { return };
    let address = postgres.database();
    let name = database_name(&address);
    let server = postgres.psql("postgres", "SHOW port");
    let through = |pooler: &Pooler| format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=disable", pooler.port);
    let create = ["partner", "create", "--auth-id", "PA_A", "--name", "A"];

    let pooler = Pooler::start(server.trim(), "transaction");
    for arguments in [&create[..], &["serve", "--listen", "127.0.0.1:0"], &["partner", "list"]] {
        let ran = run(command(&through(&pooler), arguments));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("pool_mode = session"), "{ran:?}");
    }
    drop(pooler);

    let pooler = Pooler::start(server.trim(), "session");
    for arguments in [&create[..], &["partner", "list"], &["verify"]] {
        let ran = run(command(&through(&pooler), arguments));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = run(command(&address, &["partner", "list"]));
    assert!(ran.code == Some(0) && ran.out.contains("PA_A"), "{ran:?}");
}
