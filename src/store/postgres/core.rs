//! The runtime of the connections, and the callers that wait for them.
//!
//! The store is blocking, the driver is not. Connections live on a runtime of
//! their own; a caller parks its thread until the answer is there, so futures may
//! borrow, and the thread may belong to another runtime.
//!
//! Once a poll has found that the database does not answer, waiting callers get an
//! error at once, and so do new callers, until it answers again. No caller waits
//! for a database that is known to be down.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Object, Pool, PoolError, Timeouts};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage};

use super::address::Address;
use super::connect::{Dialer, Link, PrimaryServer};
use super::put::{Prepared, Put};
use super::trouble::trouble;
use crate::store::StoreError;
use crate::store::health::Health;
use crate::store::waiting::may_wait;

/// How long a write waits for a connection while others have them all.
const WRITER_WAIT: Duration = Duration::from_secs(30);
/// The same of a read.
const READER_WAIT: Duration = Duration::from_secs(2);
/// How long a read waits for a lock on a table, which `VACUUM FULL` or an
/// administrator's `ALTER TABLE` holds. A write outside the log, on the same
/// connections, waits as long as writes do.
const READER_LOCK: &str = "SET lock_timeout = '700ms'";
/// A write looks up a few rows by their keys, whatever the values of its statements:
/// a plan for each execution would take longer than that.
const WRITER_PLANS: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
/// How long making a connection may take, over all servers that are named.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How often it is asked whether the database answers, and how soon it has to.
const PULSE: Duration = Duration::from_millis(500);
const PULSE_PATIENCE: Duration = Duration::from_millis(1_000);

/// Ends a transaction, if nothing in it has failed: alone, `COMMIT` takes a
/// failed one back and says nothing of it.
pub(in crate::store) const COMMIT: &str = "SELECT 1; COMMIT";

/// What a statement is given.
pub(in crate::store) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

pub(in crate::store) struct Core {
    pub address: Address,
    /// None once it is being dropped.
    runtime: Option<Runtime>,
    writers: Pool<Dialer, PooledConnection>,
    readers: Pool<Dialer, PooledConnection>,
    pub known: Arc<PrimaryServer>,
    /// Why the database is known not to answer.
    gone: watch::Sender<Option<Arc<str>>>,
    /// Whether it was last known to take no writes.
    read_only: AtomicBool,
    pub health: Health,
}

impl Core {
    pub fn new(address: Address) -> Result<Core, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(StoreError::Io)?;
        let known = Arc::new(PrimaryServer::default());
        let pool = |size: usize, wait: Duration, settings: &'static str| {
            let timeouts =
                Timeouts { wait: Some(wait), create: Some(CONNECT_WAIT), recycle: Some(Duration::from_secs(1)) };
            let pool =
                Pool::<Dialer, PooledConnection>::builder(Dialer::new(address.clone(), known.clone())?.with(settings))
                    .max_size(size)
                    .timeouts(timeouts);
            pool.runtime(deadpool::Runtime::Tokio1)
                .build()
                .map_err(|error| StoreError::Unreachable { reason: error.to_string().into() })
        };
        Ok(Core {
            writers: pool(address.writers, WRITER_WAIT, WRITER_PLANS)?,
            readers: pool(address.readers, READER_WAIT, READER_LOCK)?,
            known,
            address,
            runtime: Some(runtime),
            gone: watch::Sender::new(None),
            read_only: AtomicBool::new(false),
            health: Health::default(),
        })
    }

    /// Waits for what the database says.
    pub fn run<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let gone = self.gone.subscribe();
        self.block_on(async {
            let work = pin!(work);
            let gone = pin!(until_gone(gone));
            match futures_util::future::select(work, gone).await {
                futures_util::future::Either::Left((result, _)) => result,
                futures_util::future::Either::Right((error, _)) => Err(error),
            }
        })
    }

    /// The same for the pulse, which finds out whether the database answers:
    /// within `patience`, or it does not.
    pub fn pulse<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = self.block_on(async {
            let late = |_| StoreError::Unreachable { reason: format!("no answer within {patience:?}").into() };
            tokio::time::timeout(patience, work).await.map_err(late)?
        });
        let gone = match &result {
            Err(StoreError::Unreachable { reason }) => Some(reason.clone()),
            _ => None,
        };
        self.gone.send_if_modified(|known| {
            let differs = known.is_some() != gone.is_some();
            *known = gone;
            differs
        });
        result
    }

    /// Notes whether the database takes writes.
    pub(in crate::store) fn note_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    pub(in crate::store) fn writable(&self) -> bool {
        self.gone.borrow().is_none() && !self.read_only.load(Ordering::Relaxed) && self.health.writable()
    }

    /// From now on, asks whether the database answers, however long the
    /// follower is at something else; that it does again is the follower's to
    /// find.
    pub(in crate::store) fn start_pulse(self: &Arc<Core>) {
        let core = Arc::downgrade(self);
        let Some(runtime) = &self.runtime else { return };
        runtime.spawn(async move {
            let mut link: Option<Link> = None;
            loop {
                tokio::time::sleep(PULSE).await;
                let Some(core) = core.upgrade() else { return };
                let asked = tokio::time::timeout(PULSE_PATIENCE, core.beat(link.take())).await;
                let reason: Arc<str> = match asked {
                    Ok(Ok(kept)) => {
                        link = Some(kept);
                        continue;
                    }
                    // It answers, and has its reasons.
                    Ok(Err(StoreError::Unreachable { reason })) => reason,
                    Ok(Err(_)) => continue,
                    Err(_) => format!("no answer within {PULSE_PATIENCE:?}").into(),
                };
                core.gone.send_if_modified(|gone| gone.replace(reason).is_none());
            }
        });
    }

    async fn beat(&self, link: Option<Link>) -> Result<Link, StoreError> {
        let link = match link.filter(|link| !link.client.is_closed()) {
            Some(link) => link,
            None => Dialer::new(self.address.clone(), self.known.clone())?.create().await?,
        };
        link.client.batch_execute("SELECT 1").await.map_err(trouble)?;
        Ok(link)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        may_wait();
        let runtime = self.runtime.as_ref().expect("nobody asks a core that is being dropped");
        let _entered = runtime.enter();
        pollster::block_on(work)
    }

    pub fn writer(&self) -> Result<PooledConnection, StoreError> {
        self.run(async { self.writers.get().await.map_err(pool_trouble) })
    }

    pub fn reader(&self) -> Result<PooledConnection, StoreError> {
        self.run(self.reader_now())
    }

    /// Returns an idle connection, or `None` at once if all are in use.
    pub fn spare_reader(&self) -> Option<PooledConnection> {
        let timeouts = Timeouts { wait: Some(Duration::ZERO), ..self.readers.timeouts() };
        self.run(async { self.readers.timeout_get(&timeouts).await.map_err(pool_trouble) }).ok()
    }

    pub async fn reader_now(&self) -> Result<PooledConnection, StoreError> {
        self.readers.get().await.map_err(pool_trouble)
    }

    /// A short read, on a connection that is kept for the next one.
    pub fn read<T>(&self, work: impl FnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut link = self.reader()?;
        link.torn = true;
        let result = work(&link);
        link.torn = result.is_err();
        result
    }

    /// The rows that a statement finds, or what it returns.
    pub fn rows(&self, link: &Link, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        self.run(rows(link, sql, params))
    }

    /// How many rows a statement changed.
    pub fn execute(&self, link: &Link, sql: &str, params: Params<'_>) -> Result<u64, StoreError> {
        self.run(execute(link, sql, params))
    }

    /// Sends statements together, behind what waits, checks what each has changed, and
    /// returns the sum.
    pub(super) fn puts(&self, link: &Link, puts: Vec<Put<'_>>) -> Result<u64, StoreError> {
        self.run(async {
            let prepared = Prepared::of(&link.client, puts).await?;
            link.behind(prepared.send(&link.client)).await
        })
    }

    /// The first cell that a statement without parameters finds, as text.
    /// Nothing is prepared for it.
    pub fn simple(&self, link: &Link, sql: &str) -> Result<String, StoreError> {
        let found = self.run(async { link.client.simple_query(sql).await.map_err(trouble) })?;
        let cell = found.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(cell.unwrap_or_default().to_owned())
    }

    /// Several statements without parameters, or one that ends a transaction.
    pub fn batch(&self, link: &Link, sql: &str) -> Result<(), StoreError> {
        self.run(link.behind(async { link.client.batch_execute(sql).await.map_err(trouble) }))
    }

    /// Runs housekeeping: a small write outside the log that gives way to
    /// writers and is tried again later.
    pub fn housekeep<T>(&self, work: impl FnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.aside_after("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'", work)
    }

    fn aside_after<T>(&self, begin: &str, work: impl FnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut link = self.reader()?;
        link.torn = true;
        let begun = self.batch(&link, begin);
        let result = begun.and_then(|()| work(&link));
        let ended = match &result {
            Ok(_) => self.batch(&link, COMMIT),
            Err(_) => self.batch(&link, "ROLLBACK"),
        };
        link.torn = ended.is_err();
        self.health.wrote_unless(result.as_ref().err().or(ended.as_ref().err()));
        let value = result?;
        ended.map(|()| value)
    }
}

/// A connection of a pool's. One that is torn is closed when it is let go, and
/// what it was in the middle of ends with it.
pub(in crate::store) struct PooledConnection(Option<Object<Dialer>>);

impl From<Object<Dialer>> for PooledConnection {
    fn from(object: Object<Dialer>) -> PooledConnection {
        PooledConnection(Some(object))
    }
}

impl std::ops::Deref for PooledConnection {
    type Target = Link;

    fn deref(&self) -> &Link {
        self.0.as_ref().expect("held until it is dropped")
    }
}

impl std::ops::DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Link {
        self.0.as_mut().expect("held until it is dropped")
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take().filter(|link| link.torn) {
            drop(Object::take(object));
        }
    }
}

impl Drop for Core {
    /// Without waiting: it may be dropped within another runtime.
    fn drop(&mut self) {
        self.writers.close();
        self.readers.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn until_gone(mut gone: watch::Receiver<Option<Arc<str>>>) -> StoreError {
    let reason = match gone.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone(),
        Err(_) => None,
    };
    StoreError::Unreachable { reason: reason.unwrap_or_else(|| "it is being closed".into()) }
}

/// The rows that a statement finds, behind what waits to be sent.
pub(in crate::store) async fn rows(link: &Link, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
    link.behind(found(link, sql, params)).await
}

/// The rows that a statement finds now.
pub(super) async fn found(link: &Link, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
    let statement = link.client.prepare_cached(sql).await.map_err(trouble)?;
    link.client.query(&statement, params).await.map_err(trouble)
}

pub(in crate::store) async fn execute(link: &Link, sql: &str, params: Params<'_>) -> Result<u64, StoreError> {
    let asked = async {
        let statement = link.client.prepare_cached(sql).await.map_err(trouble)?;
        link.client.execute(&statement, params).await.map_err(trouble)
    };
    link.behind(asked).await
}

fn pool_trouble(error: PoolError<StoreError>) -> StoreError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(deadpool::managed::TimeoutType::Wait) => StoreError::Busy,
        error => StoreError::Unreachable { reason: error.to_string().into() },
    }
}
