//! Telling systemd how the server is: that it serves, what it holds, that it
//! lives, that it stops (`sd_notify(3)`).
//!
//! Nothing is said unless `NOTIFY_SOCKET` names somebody to say it to, and
//! nobody who does not listen holds the server up.
//!
//! The server lives while its runtime still gets to what it is given and the
//! thread that follows the log has not ended. A database that is away, or a
//! partner that takes minutes to load afresh, is no reason to be restarted:
//! the node answers reads, and would have to load them again from a database
//! that does not answer. That is what `rollcall_age_seconds` is watched for.
//! Deliberately absent: asking its own port. Where all connections are taken,
//! a restart would end those that are served.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::warn;

/// How often the status is told where no watchdog wants to hear more often.
const STATUS: Duration = Duration::from_secs(30);
/// How long a message may wait for room.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who is told, if anybody is.
#[derive(Clone)]
pub struct Notify {
    manager: Option<Arc<Manager>>,
    /// How long a silence the watchdog takes for death.
    watchdog: Option<Duration>,
}

struct Manager {
    socket: UnixDatagram,
    /// Whether the last message did not get there.
    deaf: AtomicBool,
}

impl Notify {
    pub fn from_environment() -> Notify {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Notify { manager: None, watchdog: None };
        };
        let text = |name| std::env::var(name).ok();
        let watchdog = silence(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        match connect(&address) {
            Ok(manager) => Notify { manager: Some(Arc::new(manager)), watchdog },
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, ?address, "cannot tell the service manager anything");
                Notify { manager: None, watchdog: None }
            }
        }
    }

    /// From now on requests are answered.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    fn tell(&self, message: &str) {
        let Some(Manager { socket, deaf }) = self.manager.as_deref() else { return };
        match socket.send(message.as_bytes()) {
            Ok(_) => deaf.store(false, Ordering::Relaxed),
            // Once, not at every beat.
            Err(_) if deaf.swap(true, Ordering::Relaxed) => {}
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot tell the service manager {message:?}")
            }
        }
    }
}

/// `@name` is an abstract socket, everything else a path.
fn connect(address: &OsStr) -> io::Result<Manager> {
    let address = match address.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => abstract_address(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Manager { socket, deaf: AtomicBool::new(false) })
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the watchdog asks of this process, if it means this process.
fn silence(microseconds: Option<&str>, meant: Option<&str>, own: u32) -> Option<Duration> {
    if meant.is_some_and(|meant| meant.parse() != Ok(own)) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|&microseconds| microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

/// Says at regular times that the server lives, and how it is.
pub struct Heart {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    /// `alive` is what must hold beside an answer of the runtime; `status` is
    /// a line for people.
    pub fn start(
        notify: Notify,
        runtime: Handle,
        alive: impl Fn() -> bool + Send + 'static,
        status: impl Fn() -> String + Send + 'static,
    ) -> Heart {
        let (stop, stopped) = mpsc::channel();
        if notify.manager.is_none() {
            return Heart { stop, thread: None };
        }
        let every = notify.watchdog.map_or(STATUS, |silence| (silence / 2).min(STATUS));
        let thread = std::thread::spawn(move || {
            let answered = Arc::new(AtomicBool::new(true));
            let mut dead = false;
            loop {
                // A question that is not answered yet is not asked again.
                if answered.swap(false, Ordering::SeqCst) {
                    let answer = answered.clone();
                    runtime.spawn(async move { answer.store(true, Ordering::SeqCst) });
                }
                match stopped.recv_timeout(every) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                let lives = answered.load(Ordering::SeqCst) && alive();
                if lives {
                    notify.tell(&format!("WATCHDOG=1\nSTATUS={}", status()));
                } else if !dead {
                    warn!("the server does not get to its work; the watchdog is not told that it lives");
                }
                dead = !lives;
            }
        });
        Heart { stop, thread: Some(thread) }
    }

    pub fn stop(self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who listens, and what they heard within a time.
    struct Ear(UnixDatagram);

    impl Ear {
        fn hears(&self, within: Duration) -> Option<String> {
            self.0.set_read_timeout(Some(within)).expect("a timeout");
            let mut buffer = [0; 1024];
            let length = self.0.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).expect("text"))
        }
    }

    fn notify(address: &OsStr, watchdog: Duration) -> Notify {
        let manager = connect(address).expect("connected");
        Notify { manager: Some(Arc::new(manager)), watchdog: Some(watchdog) }
    }

    #[test]
    fn a_path_and_an_abstract_name_are_both_heard() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let named = Ear(UnixDatagram::bind(&path).expect("bound"));
        notify(path.as_os_str(), STATUS).ready("3 numbers");
        assert_eq!(named.hears(PATIENCE).as_deref(), Some("READY=1\nSTATUS=3 numbers"));

        #[cfg(target_os = "linux")]
        {
            let name = format!("rollcall-test-{}", std::process::id());
            let address = abstract_address(name.as_bytes()).expect("an address");
            let unnamed = Ear(UnixDatagram::bind_addr(&address).expect("bound"));
            notify(format!("@{name}").as_ref(), STATUS).stopping();
            assert_eq!(unnamed.hears(PATIENCE).as_deref(), Some("STOPPING=1\nSTATUS=stopping"));
        }
    }

    #[test]
    fn a_runtime_that_hangs_is_not_said_to_live() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let ear = Ear(UnixDatagram::bind(&path).expect("bound"));
        let watchdog = Duration::from_millis(100);
        let notify = notify(path.as_os_str(), watchdog);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let alive = Arc::new(AtomicBool::new(true));
        let following = alive.clone();
        let heart =
            Heart::start(notify, runtime.handle().clone(), move || following.load(Ordering::SeqCst), || "fine".into());
        let beat = Some("WATCHDOG=1\nSTATUS=fine".to_owned());
        assert_eq!(ear.hears(PATIENCE * 10), beat);

        // The only worker does something that takes for ever.
        let (release, released) = mpsc::channel::<()>();
        runtime.spawn(async move { released.recv() });
        while ear.hears(watchdog * 3).is_some() {}
        release.send(()).expect("the worker waits");
        assert_eq!(ear.hears(PATIENCE * 10), beat);

        alive.store(false, Ordering::SeqCst);
        while ear.hears(watchdog * 3).is_some() {}
        heart.stop();
    }

    #[test]
    fn the_watchdog_has_to_mean_this_process() {
        assert_eq!(silence(Some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(silence(Some("3000000"), Some("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(silence(Some("3000000"), Some("8"), 7), None);
        assert_eq!(silence(Some("0"), None, 7), None);
        assert_eq!(silence(Some("soon"), None, 7), None);
        assert_eq!(silence(None, Some("7"), 7), None);
    }
}
