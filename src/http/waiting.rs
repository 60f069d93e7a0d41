//! Threads that may block on a database, a disk or a password's hash.
//!
//! What always holds:
//! - Requests call stores through here and nowhere else: a store asserts it
//!   (`store::waiting`), and `tests/architecture.rs` forbids other ways.
//! - Each kind of work has places of its own, so that one kind cannot take the
//!   threads of another. Their sum is far below the runtime's 512.
//! - Nothing here waits for a client: forms are read before, and bodies are
//!   pulled piece by piece (`http::pull`).
//! - A queue is bounded in time: work that finds no place is refused with a 503
//!   and `Retry-After`.
//! - What a page asks for is done on the page's own thread, in a place of its kind:
//!   waking another thread costs more than most such work.
//!
//! Deliberately absent: the work itself.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::error::ApiError;
pub use crate::service::SERVING;
use crate::service::{ServiceError, StoreError};
use crate::trace;

/// A kind of work, with its places.
pub struct WorkPool {
    places: Semaphore,
    patience: Duration,
}

impl WorkPool {
    const fn new(places: usize, patience: Duration) -> WorkPool {
        WorkPool { places: Semaphore::const_new(places), patience }
    }
}

/// Session cookies that are not in the cache. Fewer than a store has
/// connections: made-up cookies cost strangers nothing.
pub static SESSIONS: WorkPool = WorkPool::new(2, Duration::from_millis(500));
/// Passwords, codes and set-up links.
pub static SIGN_INS: WorkPool = WorkPool::new(16, Duration::from_secs(5));
/// Short reads.
pub static READS: WorkPool = WorkPool::new(32, Duration::from_secs(2));
/// Pages of the console.
pub static PAGES: WorkPool = WorkPool::new(32, Duration::from_secs(2));
/// Writes, which may wait for an import of the same partner.
pub static WRITES: WorkPool = WorkPool::new(64, Duration::from_secs(10));
/// Pieces of files that come in.
pub static UPLOADS: WorkPool = WorkPool::new(8, Duration::from_secs(30));
/// Looks at whole inventories: checks, bills, digests.
pub static LOOKS: WorkPool = WorkPool::new(8, Duration::from_secs(30));

/// The kinds of work, as `/metrics` names them.
static ALL: [(&str, &WorkPool); 7] = [
    ("sessions", &SESSIONS),
    ("sign_ins", &SIGN_INS),
    ("reads", &READS),
    ("pages", &PAGES),
    ("writes", &WRITES),
    ("uploads", &UPLOADS),
    ("scans", &LOOKS),
];

/// Sets the gauges of `/metrics`: how many places of each kind are free.
pub fn measure() {
    for (name, pool) in &ALL {
        metrics::gauge!("rollcall_pool_free", "pool" => *name).set(pool.places.available_permits() as f64);
    }
}

/// Why work was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotDone {
    #[error("the server has more to do than it can; try again in a second")]
    Busy,
    #[error("something broke inside; it is in the log")]
    Panicked,
}

impl From<NotDone> for ApiError {
    fn from(error: NotDone) -> ApiError {
        match error {
            NotDone::Busy => ApiError::unavailable(&error.to_string()),
            NotDone::Panicked => ApiError::internal("work on a thread that may wait panicked".to_owned()),
        }
    }
}

impl From<NotDone> for ServiceError {
    fn from(error: NotDone) -> ServiceError {
        match error {
            NotDone::Busy => ServiceError::Store(StoreError::Busy),
            NotDone::Panicked => ServiceError::Refused(error.to_string()),
        }
    }
}

/// Does work on a thread that may wait.
pub fn work<T: Send + 'static>(
    pool: &'static WorkPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, NotDone>> + Send {
    boxed(pool, Box::new(work))
}

/// Makes a page on a thread that may wait: its handler may call stores.
pub fn page<T: Send + 'static>(
    page: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = Result<T, NotDone>> + Send {
    boxed_page(Box::pin(page))
}

tokio::task_local! {
    /// Set while a page is made: its thread may wait, and serves nobody else.
    static ON_PAGE: ();
}

/// Boxed, so that the machinery of a task is compiled for each kind of result and not
/// for each of two hundred callers.
async fn boxed<T: Send + 'static>(pool: &'static WorkPool, work: Box<dyn FnOnce() -> T + Send>) -> Result<T, NotDone> {
    let place = tokio::time::timeout(pool.patience, pool.places.acquire()).await;
    let place = place.map_err(|_| NotDone::Busy)?.map_err(|_| NotDone::Busy)?;
    if ON_PAGE.try_with(|()| ()).is_ok() {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| NotDone::Panicked);
    }
    let trace = trace::carry();
    let done = tokio::task::spawn_blocking(move || {
        let done = trace.within(work);
        // Kept to here, also if the client has gone meanwhile.
        drop(place);
        done
    });
    done.await.map_err(|_| NotDone::Panicked)
}

async fn boxed_page<T: Send + 'static>(page: BoxFuture<'static, T>) -> Result<T, NotDone> {
    let runtime = Handle::current();
    boxed(&PAGES, Box::new(move || runtime.block_on(ON_PAGE.scope((), page)))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_that_is_full_refuses_and_holds_up_no_other() {
        static SMALL: WorkPool = WorkPool::new(1, Duration::from_millis(20));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn(work(&SMALL, move || wait.recv()));
        while SMALL.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(work(&SMALL, || 1).await, Err(NotDone::Busy));
        assert_eq!(work(&READS, || 1).await, Ok(1));
        drop(release);
        first.await.expect("joins").expect("is done").expect_err("the sender is gone");
        assert_eq!(work(&SMALL, || 2).await, Ok(2));
        assert_eq!(work(&SMALL, || panic!("on purpose")).await.map(|()| 0), Err(NotDone::Panicked));
    }

    #[tokio::test]
    async fn a_page_works_on_its_own_thread_in_places_of_the_kind() {
        static ONE: WorkPool = WorkPool::new(1, Duration::from_millis(20));
        let here = || std::thread::current().id();
        let serving = here();
        let made = page(async move {
            let (page, worked) = (here(), work(&ONE, here).await.expect("is done"));
            let free = work(&ONE, || ONE.places.available_permits()).await;
            let broken = work(&ONE, || panic!("on purpose")).await.map(|()| 0);
            let taken = ONE.places.acquire().await.expect("given back");
            let full = work(&ONE, || 1).await;
            drop(taken);
            (page, worked, free, broken, full)
        });
        let (page, worked, free, broken, full) = made.await.expect("a page");
        assert_ne!(page, serving);
        assert_eq!(worked, page);
        assert_eq!(free, Ok(0), "a place is taken");
        assert_eq!(broken, Err(NotDone::Panicked));
        assert_eq!(full, Err(NotDone::Busy));
    }
}
