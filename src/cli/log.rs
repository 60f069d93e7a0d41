//! The log's way to stderr: a queue and a thread that writes.
//!
//! What always holds: no thread that logs waits for the reader of the log. The
//! queue is bounded; lines that do not fit are dropped and counted, and the
//! count is the next line that is written.
//! Deliberately absent: what a line looks like ([`super::output`]).

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// How many lines wait for the reader.
const LINES_MAX: usize = 8_192;
/// How long the end of the program waits for the reader.
const PATIENCE: Duration = Duration::from_secs(1);

enum Piece {
    Line(Vec<u8>),
    /// Answered once all lines before it are written.
    Flush(SyncSender<()>),
}

/// The queue of one log.
struct Queue {
    pieces: SyncSender<Piece>,
    dropped: &'static AtomicU64,
}

static STDERR: OnceLock<Queue> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

fn stderr() -> &'static Queue {
    STDERR.get_or_init(|| Queue::start(io::stderr(), LINES_MAX, &DROPPED))
}

/// Hands a line over; it is written soon, or counted as dropped.
pub fn line(line: Vec<u8>) {
    stderr().line(line);
}

/// Waits until what was logged is written, or a second has passed.
pub fn flush() {
    if let Some(queue) = STDERR.get() {
        queue.flush(PATIENCE);
    }
}

impl Queue {
    fn start(out: impl Write + Send + 'static, lines_max: usize, dropped: &'static AtomicU64) -> Queue {
        let (pieces, queued) = sync_channel(lines_max);
        std::thread::spawn(move || write(out, &queued, dropped));
        Queue { pieces, dropped }
    }

    fn line(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.pieces.try_send(Piece::Line(line)) {
            metrics::counter!("rollcall_log_lines_dropped_total").increment(1);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.pieces.try_send(Piece::Flush(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

fn write(mut out: impl Write, queued: &Receiver<Piece>, dropped: &AtomicU64) {
    for piece in queued {
        match piece {
            // A reader that has gone is no error: the program goes on.
            Piece::Line(line) => drop(out.write_all(&line)),
            Piece::Flush(done) => drop((out.flush(), done.try_send(()))),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ =
                out.write_all(format!("{lost} lines of the log were dropped, because they were not read\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use parking_lot::{Mutex, MutexGuard};

    use super::*;

    /// A reader that reads once its lock is free.
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_is_not_read_stops_nothing_and_counts_what_it_dropped() {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let read = Arc::new(Mutex::new(Vec::new()));
        let queue = Queue::start(Reader(read.clone()), 4, &LOST);
        let stuck: MutexGuard<'_, Vec<u8>> = read.lock();
        let began = Instant::now();
        for at in 0..1_000 {
            queue.line(format!("line {at}\n").into_bytes());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nothing waited");
        drop(stuck);
        let began = Instant::now();
        let text = loop {
            queue.flush(Duration::from_secs(5));
            let text = String::from_utf8(read.lock().clone()).expect("text");
            if text.contains("dropped") {
                break text;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{text}");
        };
        let lines = text.lines().filter(|line| line.starts_with("line ")).count();
        let dropped: usize = text
            .lines()
            .filter(|line| line.contains("dropped"))
            .map(|line| line.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count"))
            .sum();
        assert!(text.starts_with("line 0\n") && lines + dropped == 1_000, "{lines} and {dropped}: {text}");
    }
}
