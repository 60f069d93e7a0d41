//! Long answers, produced piece by piece as clients read them.
//!
//! What always holds:
//! - A piece is made on one of a few threads of a [`Crew`], never on a thread
//!   that serves requests; so all long answers together have a share of the
//!   processor, and short ones have the rest.
//! - Answers take turns: an answer queues for its next piece after the previous one
//!   was sent, behind all answers that queued earlier.
//! - A client that does not read holds one piece and no thread.
//! - An error during the answer cuts the connection, so that a partial answer does
//!   not look complete.
//!
//! Deliberately absent: the content of the pieces.

use std::future::Future as _;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::places::HeldPlace;

/// Makes the next piece; `None` at the end.
pub type NextPiece = Box<dyn FnMut() -> io::Result<Option<Bytes>> + Send>;

/// Rows of inventories: work for the processor alone, which gets half of it.
pub static ROWS: LazyLock<Crew> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Crew::new("rows", (cores / 2).max(1))
});
/// Files and tables, which may wait for a disk or a database.
pub static FILES: LazyLock<Crew> = LazyLock::new(|| Crew::new("files", 3));

type Job = Box<dyn FnOnce() + Send>;

/// A few threads with one queue.
pub struct Crew(Sender<Job>);

impl Crew {
    fn new(name: &str, threads: usize) -> Crew {
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let jobs = receiver.clone();
            let work = move || {
                loop {
                    let job = jobs.lock().recv();
                    let Ok(job) = job else { return };
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a piece of a long answer panicked");
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
                tracing::error!(%error, "cannot start a thread for long answers: {error}");
            }
        }
        Crew(sender)
    }
}

enum PullState {
    Idle(NextPiece),
    Making(oneshot::Receiver<(io::Result<Option<Bytes>>, NextPiece)>),
    Over,
}

/// A response extension: compresses a long answer where its pieces are made, so
/// that it takes no time from the threads that serve everybody.
#[derive(Clone, Debug, Default)]
pub struct Packing(Arc<AtomicBool>);

impl Packing {
    /// From the first piece on; said before the answer is sent.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The pieces, compressed if that was begun.
    fn pieces(&self, mut next: NextPiece) -> NextPiece {
        let begun = self.0.clone();
        // Made with the first piece: it takes a few hundred kilobytes.
        let mut encoder: Option<GzEncoder<Vec<u8>>> = None;
        let mut over = false;
        Box::new(move || {
            if !begun.load(Ordering::Relaxed) || over {
                return if over { Ok(None) } else { next() };
            }
            let open = encoder.get_or_insert_with(|| GzEncoder::new(Vec::new(), Compression::fast()));
            while let Some(piece) = next()? {
                open.write_all(&piece)?;
                let out = std::mem::take(open.get_mut());
                if !out.is_empty() {
                    return Ok(Some(out.into()));
                }
            }
            over = true;
            encoder.take().map(|last| last.finish().map(Bytes::from)).transpose()
        })
    }
}

/// A long answer as a body.
pub struct Pulled {
    crew: &'static Crew,
    packing: Packing,
    state: PullState,
    /// Given back when the answer is over, or its client has gone.
    place: Option<HeldPlace>,
}

impl Pulled {
    pub fn new(crew: &'static Crew, place: HeldPlace, next: NextPiece) -> Pulled {
        let packing = Packing::default();
        Pulled { crew, state: PullState::Idle(packing.pieces(next)), packing, place: Some(place) }
    }

    /// The extension by which the answer with this body may be compressed.
    pub fn packing(&self) -> Packing {
        self.packing.clone()
    }

    fn end(&mut self) {
        self.state = PullState::Over;
        self.place = None;
    }
}

impl http_body::Body for Pulled {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let PullState::Idle(_) = self.state {
            let PullState::Idle(mut next) = std::mem::replace(&mut self.state, PullState::Over) else { unreachable!() };
            let (sender, receiver) = oneshot::channel();
            let job = Box::new(move || {
                // A client that has gone needs no more.
                if !sender.is_closed() {
                    let piece = next();
                    let _ = sender.send((piece, next));
                }
            });
            if self.crew.0.send(job).is_err() {
                return Poll::Ready(Some(Err(io::Error::other("the threads of long answers have ended"))));
            }
            self.state = PullState::Making(receiver);
        }
        let PullState::Making(receiver) = &mut self.state else { return Poll::Ready(None) };
        let made = ready!(Pin::new(receiver).poll(cx));
        Poll::Ready(match made {
            Ok((Ok(Some(piece)), next)) => {
                self.state = PullState::Idle(next);
                Some(Ok(Frame::data(piece)))
            }
            Ok((Ok(None), _)) => {
                self.end();
                None
            }
            Ok((Err(error), _)) => {
                tracing::error!(%error, "a long answer ends early: {error}");
                self.end();
                Some(Err(error))
            }
            Err(_) => {
                self.end();
                Some(Err(io::Error::other("a piece of a long answer panicked")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn an_answer_arrives_whole_or_not_at_all_and_gives_its_place_back() {
        let places = super::super::places::Places::unlimited();
        let mut left = 1_000;
        let count = move || {
            left -= 1;
            Ok((left >= 0).then(|| Bytes::from_static(b"row\n")))
        };
        let body = Pulled::new(&ROWS, places.test_place(), Box::new(count));
        assert_eq!(body.collect().await.expect("all of it").to_bytes().len(), 4_000);
        let broken = Pulled::new(&ROWS, places.test_place(), Box::new(|| Err(io::ErrorKind::InvalidData.into())));
        assert!(broken.collect().await.is_err());
        let panics = Pulled::new(&ROWS, places.test_place(), Box::new(|| panic!("on purpose")));
        assert!(panics.collect().await.is_err());
        assert_eq!(places.count(), 0);
    }
}
