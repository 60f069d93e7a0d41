//! How a PostgreSQL server is reached: as libpq reaches it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::authority::{Authority, write};
use super::cluster::{Cluster, QUICK, owned};
use super::harness::{Database, Ran, run};

/// Who comes in how: `secret` with a password, `private` over TLS alone.
const ACCESS: &str = "\
host all secret 127.0.0.1/32 scram-sha-256
hostssl all private 127.0.0.1/32 trust
hostnossl all private 127.0.0.1/32 reject
";

struct Guarded {
    cluster: Cluster,
    database: Database,
    authority: Authority,
    name: String,
}

impl Guarded {
    fn start() -> Option<Guarded> {
        let cluster = Cluster::new(QUICK)?;
        let authority = Authority::new();
        authority.issue_for("database", &["localhost"]);
        for (from, to) in [(authority.cert(), "server.crt"), (authority.key(), "server.key")] {
            let to = cluster.data().join(to);
            std::fs::copy(from, &to).expect("copied");
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).expect("set");
            owned(&to);
        }
        let access = cluster.data().join("pg_hba.conf");
        let all = std::fs::read_to_string(&access).expect("its access");
        std::fs::write(&access, format!("{ACCESS}{all}")).expect("written");
        cluster.set("ssl", Some("on"));
        cluster.psql("postgres", "CREATE ROLE secret LOGIN SUPERUSER PASSWORD 's3cret'");
        cluster.psql("postgres", "CREATE ROLE private LOGIN SUPERUSER");
        let name = cluster.fresh("");
        let database = Database::empty();
        let guarded = Guarded { cluster, database, authority, name };
        guarded.as_user("postgres", "127.0.0.1", "", &["partner", "create", "--auth-id", "PA_1", "--name", "P"]).done();
        Some(guarded)
    }

    fn as_user(&self, user: &str, host: &str, query: &str, args: &[&str]) -> Ran {
        let address = format!("postgres://{user}@{host}:{}/{}{query}", self.cluster.port, self.name);
        let mut command = self.database.command(args);
        command.env("ROLLCALL_DATABASE", address).env_remove("PGPASSFILE").env("HOME", self.database.file(""));
        run(command, "")
    }

    #[track_caller]
    fn refused(&self, user: &str, host: &str, query: &str, why: &str) {
        let ran = self.as_user(user, host, query, &["partner", "list"]).check(1);
        assert!(ran.stderr.contains(why), "{why:?} is not in: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }

    #[track_caller]
    fn taken(&self, user: &str, host: &str, query: &str) {
        let ran = self.as_user(user, host, query, &["partner", "list"]).done();
        assert!(ran.stdout.contains("PA_1"), "{}", ran.stdout);
    }
}

fn query(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

#[test]
fn passwords_come_from_files() {
    let Some(guarded) = Guarded::start() else { return };
    guarded.refused("secret", "127.0.0.1", "", "password");
    guarded.refused("secret:wr0ng", "127.0.0.1", "", "password authentication failed");
    guarded.taken("secret:s3cret", "127.0.0.1", "");
    // As libpq's.
    let passfile = guarded.database.write("passfile", "other:*:*:*:no\n*:*:*:secret:s3cret\n");
    let named = format!("?{}", query("passfile", &passfile));
    guarded.refused("secret", "127.0.0.1", &named, "chmod it to 0600");
    std::fs::set_permissions(&passfile, PermissionsExt::from_mode(0o600)).expect("set");
    guarded.taken("secret", "127.0.0.1", &named);
    guarded.refused("secret", "127.0.0.1", "?passfile=/nowhere", "/nowhere");
    std::fs::copy(&passfile, guarded.database.file(".pgpass")).expect("copied");
    guarded.taken("secret", "127.0.0.1", "");
    std::fs::remove_file(guarded.database.file(".pgpass")).expect("removed");
    // And of the settings: nothing but the password.
    let file = guarded.database.write("password", "s3cret\n");
    let settings = format!("[postgres]\npassword_file = \"{}\"\n", file.display());
    let settings = guarded.database.write("rollcall.toml", &settings);
    let args = ["partner", "list", "--config", settings.to_str().expect("UTF-8")];
    guarded.as_user("secret", "127.0.0.1", "", &args).done();
    write(&file, "changed");
    guarded.as_user("secret", "127.0.0.1", "", &args).check(1);
}

#[test]
fn the_modes_of_tls_are_libpqs() {
    let Some(guarded) = Guarded::start() else { return };
    let ca = guarded.database.write("ca.pem", &guarded.authority.pem());
    let other = guarded.database.write("other.pem", &Authority::new().pem());
    let (ca, other) = (query("sslrootcert", &ca), query("sslrootcert", &other));
    for host in ["127.0.0.1", "localhost"] {
        guarded.refused("private", host, "?sslmode=disable", "pg_hba.conf");
        guarded.taken("private", host, "");
        for mode in ["allow", "prefer", "require"] {
            guarded.taken("private", host, &format!("?sslmode={mode}"));
        }
        guarded.taken("private", host, &format!("?sslmode=verify-ca&{ca}"));
        guarded.taken("private", host, &format!("?sslmode=require&{ca}"));
        guarded.refused("private", host, &format!("?sslmode=require&{other}"), "certificate");
        guarded.refused("private", host, &format!("?sslmode=verify-ca&{other}"), "certificate");
        guarded.refused("private", host, "?sslmode=verify-full", "certificate");
    }
    guarded.taken("private", "localhost", &format!("?sslmode=verify-full&{ca}"));
    guarded.refused("private", "127.0.0.1", &format!("?sslmode=verify-full&{ca}"), "certificate");
    guarded.refused("private", "localhost", "?sslmode=verify-full&sslrootcert=/nowhere.pem", "sslrootcert");
    // A server without TLS.
    guarded.cluster.set("ssl", Some("off"));
    guarded.taken("postgres", "127.0.0.1", "?sslmode=prefer");
    guarded.refused("postgres", "127.0.0.1", "?sslmode=require", "TLS");
}

#[test]
fn a_server_is_reached_by_its_socket_and_told_from_a_standby() {
    let Some(guarded) = Guarded::start() else { return };
    let socket = format!("?host={}&port={}", guarded.cluster.folder.display(), guarded.cluster.port);
    let mut command = guarded.database.command(&["partner", "list"]);
    command.env("ROLLCALL_DATABASE", format!("postgres://postgres@/{}{socket}", guarded.name));
    run(command, "").done();
    let standby = guarded.cluster.standby(super::cluster::Replication::Asynchronous);
    let address = super::cluster::addresses(&[&standby], &guarded.name);
    let mut command = guarded.database.command(&["partner", "list"]);
    let alone = run(
        {
            command.env("ROLLCALL_DATABASE", address);
            command
        },
        "",
    )
    .check(1);
    assert!(alone.stderr.contains("standby"), "{}", alone.stderr);
    let both = super::cluster::addresses(&[&standby, &guarded.cluster], &guarded.name);
    let mut command = guarded.database.command(&["partner", "list"]);
    run(
        {
            command.env("ROLLCALL_DATABASE", both);
            command
        },
        "",
    )
    .done();
}
