//! What the real server tells a service manager, from its first answer to its
//! last.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::harness::{Database, ONE, Server};

/// Somebody in systemd's place.
struct Manager {
    socket: UnixDatagram,
    watchdog: Duration,
}

impl Manager {
    fn new(database: &Database, watchdog: Duration) -> Manager {
        let socket = UnixDatagram::bind(database.file("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Manager { socket, watchdog }
    }

    fn serve(&self, database: Database) -> Server {
        let mut command = database.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", database.file("notify"));
        command.env("WATCHDOG_USEC", self.watchdog.as_micros().to_string());
        Server::start_as(database, command)
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    /// What comes next that is no sign of life.
    fn hears_news(&self) -> String {
        loop {
            let message = self.hears();
            if !message.starts_with("WATCHDOG=1\n") {
                return message;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_that_it_serves_lives_and_stops() {
    let database = Database::sample();
    let manager = Manager::new(&database, Duration::from_millis(400));
    let mut server = manager.serve(database);
    assert_eq!(manager.hears_news(), "READY=1\nSTATUS=163 numbers of 3 partners");
    server.get("/livez").check(200);

    // Often enough, and with what the node holds by then.
    server.database.import("PA_ONE", "number\n+442079460199\n");
    let begun = Instant::now();
    let mut beats = 0;
    while begun.elapsed() < manager.watchdog * 5 || beats < 5 {
        let heard = Instant::now();
        assert!(manager.hears().starts_with("WATCHDOG=1\nSTATUS="));
        assert!(heard.elapsed() < manager.watchdog * 10, "a silence of {:?}", heard.elapsed());
        beats += 1;
    }
    server.get("/api/v1/partner/numbers").auth(&ONE).check(200);
    assert_eq!(manager.hears(), "WATCHDOG=1\nSTATUS=164 numbers of 3 partners");

    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert_eq!(manager.hears_news(), "STOPPING=1\nSTATUS=stopping");
}

#[test]
fn a_service_manager_that_has_gone_holds_nobody_up() {
    let database = Database::sample();
    let manager = Manager::new(&database, Duration::from_millis(100));
    let server = manager.serve(database);
    drop(manager);
    let complaints = |server: &Server| server.log().matches("cannot tell the service manager").count();
    server.within(Duration::from_secs(5), |server| complaints(server) > 0);
    // The time is the test: it would complain each 50 ms of the watchdog's 100.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(complaints(&server), 1, "{}", server.log());
    server.get("/livez").check(200);
}
