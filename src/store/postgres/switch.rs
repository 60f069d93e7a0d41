//! Brings the numbers of a database from one row each to rows of neighbours, while
//! nodes read and write.
//!
//! Numbers are copied partner by partner in steps, each step in one snapshot. The
//! progress is in the database, so an interrupted copy resumes. The log tells which
//! groups of 10,000 numbers changed since, and these are copied again, the last of
//! them under a lock for which every write waits; so few are left to that lock.
//!
//! Invariants: each copied piece is compared with its source by digest; until the
//! last transaction nothing that a node reads has changed. Rows that this program
//! cannot understand are copied as they are, and so are holders of numbers that have
//! no row: `verify` finds them before and afterwards. A copied row ends with its group, so a
//! group is copied again by itself. Deliberately absent: the way back.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;

use super::PgStore;
use super::address::Address;
use super::connect::RELEASE_MARK;
use super::core::{COMMIT, Core, PooledConnection};
use super::put::values;
use super::schema::{SWITCH, TableForm};
use super::trouble::trouble;
use crate::domain::runs::Group;
use crate::store::rows::*;
use crate::store::runs::{Span, TableDigest};
use crate::store::{Open, StoreError};

/// How many numbers one step copies, about.
const STEP: i64 = 50_000;
/// How many numbers are left to the last transaction, for which writes wait.
const LEFT_MAX: i64 = 20_000;
/// How long the last transaction waits for those that are running; those that
/// begin meanwhile wait as long.
const LOCK_WAIT: &str = "2s";
/// How often the last transaction is tried, and how long is waited in between.
const ATTEMPTS: usize = 60;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a session of this release may be without its mark, on a busy machine.
const UNMARKED_MAX: Duration = Duration::from_secs(3);
/// How often it is looked for such sessions, and for how long at most if there are
/// always others.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const LOOKS_MAX: Duration = Duration::from_secs(10);
/// "Roll", "runs": one process at a time.
const ALONE: i64 = 0x526f_6c6c_7275_6e73;
/// How many numbers a group has.
const GROUP: i64 = Group::SIZE as i64;

/// The copied numbers of a partner: those below `next`, or all if that is null, with
/// the changes up to `version`.
const PROGRESS: &str =
    "CREATE TABLE IF NOT EXISTS number_run_copy (partner BIGINT PRIMARY KEY, version BIGINT NOT NULL, next BIGINT)";

/// Why a database was not switched.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "a node of an earlier release has the lease of {work} ({holder}) and would find no table to write to; upgrade \
         all nodes, and call again"
    )]
    EarlierNode { work: String, holder: String },
    #[error(
        "{0} is not of this release and may write numbers; upgrade all nodes, close the sessions of other programs, and \
         call again"
    )]
    EarlierSession(Session),
    #[error(
        "the copied numbers of partner {partner} differ from its numbers: the digest is {copied} instead of {stored}; \
         nothing was switched"
    )]
    Differs { partner: String, stored: String, copied: String },
    #[error("another `rollcall migrate-schema` is running on this database")]
    Running,
    #[error(
        "after {ATTEMPTS} attempts there was no moment without a long transaction or an import; nothing was switched, \
         and the next call goes on from here"
    )]
    NoMoment,
    #[error("stopped; the same command goes on from there")]
    Stopped,
}

/// A session of the database that is not of this release.
#[derive(Debug, Clone)]
pub struct Session {
    pub role: String,
    pub application: String,
    pub process: i64,
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Session { role, application, process } = self;
        write!(f, "a session of the role {role} (application {application:?}, process {process})")
    }
}

/// What a call did.
#[derive(Debug, Default)]
pub struct SwitchReport {
    /// Whether the database had this form before.
    pub before: bool,
    pub partners: u64,
    /// How many numbers were copied or copied again by this call.
    pub copied: u64,
    /// How many numbers there are, and how many rows they are.
    pub numbers: u64,
    pub rows: u64,
    /// How long writes waited, at most.
    pub locked: Duration,
    /// In a rehearsal, the lease that a node of an earlier release has: its work and
    /// its holder.
    pub earlier_node: Option<(String, String)>,
    /// In a rehearsal, a session that may be a node's of an earlier release.
    pub earlier_session: Option<Session>,
    /// How many numbers have a holder and no row, and the first of them.
    pub only_held: u64,
    pub first_only_held: Option<i64>,
}

/// Copies the numbers of a database, compares the copy, and switches the database to
/// it, unless this is a rehearsal. `progress` hears how many numbers were copied, and
/// how many there are; `stop` is asked between steps.
///
/// # Errors
/// Says what keeps the database from being switched; nothing that nodes read has
/// changed then, and the next call resumes.
pub fn switch(
    address: Address,
    rehearsal: bool,
    progress: &mut dyn FnMut(u64, u64),
    stop: &dyn Fn() -> bool,
) -> Result<SwitchReport, SwitchError> {
    let store = PgStore::open(address, Open::Existing)?;
    let mut link = store.core.writer()?;
    // Closed at the end, with the settings and the lock of its session.
    link.torn = true;
    let mut switch = Switch { core: &store.core, link, report: SwitchReport::default(), total: 0, progress, stop };
    let ended = switch.run(rehearsal);
    // The next call may come before the server has noticed the end of the session.
    let released = store.core.batch(&switch.link, "ROLLBACK; SELECT pg_advisory_unlock_all()");
    ended?;
    released?;
    Ok(switch.report)
}

struct Switch<'s> {
    core: &'s Core,
    link: PooledConnection,
    report: SwitchReport,
    /// How many numbers there are.
    total: u64,
    progress: &'s mut dyn FnMut(u64, u64),
    stop: &'s dyn Fn() -> bool,
}

/// How far the copy of a partner's numbers is.
struct Copied {
    partner: i64,
    /// The partner's version now, and that of the copy.
    now: i64,
    version: Option<i64>,
    /// The first number that is not copied.
    next: Option<i64>,
}

impl Copied {
    fn begun(&self) -> bool {
        self.version.is_some()
    }

    fn complete(&self) -> bool {
        self.begun() && self.next.is_none()
    }
}

impl Switch<'_> {
    fn run(&mut self, rehearsal: bool) -> Result<(), SwitchError> {
        let alone = self.core.rows(&self.link, "SELECT pg_try_advisory_lock($1)", &[&ALONE])?;
        if !alone.first().is_some_and(|row| row.get(0)) {
            return Err(SwitchError::Running);
        }
        self.report.partners = self.count("SELECT count(*) FROM partner")? as u64;
        if TableForm::of(self.core, &self.link)? == TableForm::Runs {
            self.report.before = true;
            return self.count_rows();
        }
        if rehearsal {
            self.report.earlier_node = self.earlier_node()?;
            self.report.earlier_session = self.earlier_session()?;
        } else {
            self.refuse_earlier()?;
        }
        self.core.batch(&self.link, &format!("{PROGRESS}; SET work_mem = '64MB'"))?;
        self.total = self.count("SELECT count(*) FROM number")? as u64;
        self.note_only_held()?;
        self.copy_all()?;
        if rehearsal {
            return self.count_rows();
        }
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
                self.copy_all()?;
            }
            let began = Instant::now();
            let ended = self.end();
            self.report.locked = self.report.locked.max(began.elapsed());
            match ended {
                Ok(true) => {
                    // So that plans are made for what is in the tables.
                    self.core.batch(&self.link, "ANALYZE number_run; ANALYZE holder_run")?;
                    return self.count_rows();
                }
                // Too much is left, or a transaction is in the way.
                Ok(false) | Err(SwitchError::Store(StoreError::Busy | StoreError::Again { .. })) => {
                    self.core.batch(&self.link, "ROLLBACK")?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(SwitchError::NoMoment)
    }

    fn count_rows(&mut self) -> Result<(), SwitchError> {
        self.report.rows = self.count("SELECT count(*) FROM number_run")? as u64;
        let numbers = "SELECT coalesce(sum(last - first + 1), 0)::bigint FROM number_run";
        self.report.numbers = self.count(numbers)? as u64;
        Ok(())
    }

    fn count(&self, sql: &str) -> Result<i64, StoreError> {
        self.core.rows(&self.link, sql, &[])?.first().map_or(Ok(0), |row| row.int(0))
    }

    /// Notes the numbers that have a holder and no row. No write makes such.
    fn note_only_held(&mut self) -> Result<(), SwitchError> {
        let whole = "BEGIN; SET LOCAL enable_seqscan = on";
        self.core.batch(&self.link, &format!("{whole}; {ONLY_HELD}; {COMMIT}"))?;
        let rows = self.core.rows(&self.link, "SELECT count(*), min(number) FROM holder_only_copy", &[])?;
        if let Some(row) = rows.first() {
            self.report.only_held = row.int(0)? as u64;
            self.report.first_only_held = row.int_if(1)?;
        }
        Ok(())
    }

    /// An error if a node of an earlier release may be there.
    fn refuse_earlier(&self) -> Result<(), SwitchError> {
        if let Some((work, holder)) = self.earlier_node()? {
            return Err(SwitchError::EarlierNode { work, holder });
        }
        self.earlier_session()?.map_or(Ok(()), |session| Err(SwitchError::EarlierSession(session)))
    }

    /// A session that is not of this release and whose role may write numbers. A node
    /// asks for changes many times a second, so a session that rests is none. Of
    /// superusers, only a session with the name of this program counts: they also
    /// watch and back up. A session of this release has no mark while it begins and
    /// while it ends, so one look does not decide.
    fn earlier_session(&self) -> Result<Option<Session>, StoreError> {
        let began = Instant::now();
        let mut seen: HashMap<(i64, i64), Instant> = HashMap::new();
        loop {
            let now = Instant::now();
            let rows = self.core.rows(&self.link, EARLIER_SESSION, &[&RELEASE_MARK])?;
            let mut still = HashMap::new();
            for row in &rows {
                let (process, start) = (row.int(2)?, row.int(3)?);
                let since = *seen.get(&(process, start)).unwrap_or(&now);
                if since.elapsed() >= UNMARKED_MAX || began.elapsed() >= LOOKS_MAX {
                    let (role, application) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
                    return Ok(Some(Session { role, application, process }));
                }
                still.insert((process, start), since);
            }
            if still.is_empty() {
                return Ok(None);
            }
            seen = still;
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// A lease of a node that does not know the new form: such a node writes `until`
    /// alone.
    fn earlier_node(&self) -> Result<Option<(String, String)>, StoreError> {
        let sql = "SELECT name, holder FROM lease WHERE until > clock_timestamp() \
                   AND until <= clock_timestamp() + make_interval(secs => $1) AND runs_until IS DISTINCT FROM until \
                   ORDER BY name LIMIT 1";
        let rows = self.core.rows(&self.link, sql, &[&(LEASE_SECONDS_MAX as f64)])?;
        rows.first().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).transpose()
    }

    /// How far the copy is, of one partner or of all.
    fn copied(&self, only: Option<i64>) -> Result<Vec<Copied>, StoreError> {
        let sql = "SELECT partner, partner.version, copied.version, next FROM partner \
                   LEFT JOIN number_run_copy AS copied USING (partner) WHERE $1::bigint IS NULL OR partner = $1 \
                   ORDER BY partner";
        let rows = self.core.rows(&self.link, sql, &[&only])?;
        let read = |row: &tokio_postgres::Row| {
            let (partner, now) = (row.int(0)?, row.int(1)?);
            Ok(Copied { partner, now, version: row.int_if(2)?, next: row.int_if(3)? })
        };
        rows.iter().map(read).collect()
    }

    /// Copies what was not copied, and what changed since it was, step by step.
    fn copy_all(&mut self) -> Result<(), SwitchError> {
        for copied in self.copied(None)? {
            let mut complete = copied.complete();
            while !complete {
                complete = self.step(|switch| switch.copy_next(copied.partner))?;
            }
            if copied.version.is_some_and(|version| version < copied.now) {
                self.step(|switch| switch.copy_changed(copied.partner))?;
            }
        }
        Ok(())
    }

    /// One step, in one snapshot.
    fn step<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, SwitchError>) -> Result<T, SwitchError> {
        if (self.stop)() {
            return Err(SwitchError::Stopped);
        }
        self.core.batch(&self.link, "BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let done = work(self)?;
        self.core.batch(&self.link, COMMIT)?;
        (self.progress)(self.report.copied.min(self.total), self.total);
        Ok(done)
    }

    fn copied_of(&self, partner: i64) -> Result<Copied, StoreError> {
        self.copied(Some(partner))?.pop().ok_or_else(|| corrupt(format!("partner {partner} is gone")))
    }

    /// Copies the next numbers of a partner; whether none is left.
    fn copy_next(&mut self, partner: i64) -> Result<bool, SwitchError> {
        let copied = self.copied_of(partner)?;
        if copied.complete() {
            return Ok(true);
        }
        let from = copied.next.unwrap_or(i64::MIN);
        let sql = "SELECT number FROM number WHERE partner = $1 AND number >= $2 ORDER BY number OFFSET $3 LIMIT 1";
        let beyond = self.core.rows(&self.link, sql, &[&partner, &from, &STEP])?;
        // The beginning of that number's group: the step has whole groups.
        let next = beyond.first().map(|row| row.int(0)).transpose()?.map(|number| number - number.rem_euclid(GROUP));
        self.copy(partner, &[(from, next.map_or(i64::MAX, |next| next - 1))])?;
        let sql = "INSERT INTO number_run_copy (partner, version, next) VALUES ($1, $2, $3) \
                   ON CONFLICT (partner) DO UPDATE SET next = $3";
        self.core.execute(&self.link, sql, &[&partner, &copied.now, &next])?;
        Ok(next.is_none())
    }

    /// Copies the groups of a partner again that changed since they were copied.
    fn copy_changed(&mut self, partner: i64) -> Result<(), SwitchError> {
        let copied = self.copied_of(partner)?;
        let changed = self.changed(&copied)?;
        self.copy(partner, &changed)?;
        let sql = "UPDATE number_run_copy SET version = $2 WHERE partner = $1";
        self.core.execute(&self.link, sql, &[&partner, &copied.now])?;
        Ok(())
    }

    /// The groups that changed since they were copied, as numbers.
    fn changed(&self, copied: &Copied) -> Result<Vec<Span>, StoreError> {
        let Some(version) = copied.version else { return Ok(Vec::new()) };
        let sql = "SELECT DISTINCT CASE WHEN subject < 0 THEN -subject ELSE subject / $4 END FROM change_part \
                   WHERE partner = $1 AND version > $2 AND version <= $3 ORDER BY 1";
        let groups = self.core.rows(&self.link, sql, &[&copied.partner, &version, &copied.now, &GROUP])?;
        groups.iter().map(|row| row.int(0).map(|group| (group * GROUP, group * GROUP + GROUP - 1))).collect()
    }

    /// Copies the numbers of a partner within some ranges of whole groups, in the
    /// place of what was copied before, and compares them.
    fn copy(&mut self, partner: i64, ranges: &[Span]) -> Result<(), SwitchError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let (from, to): (Vec<i64>, Vec<i64>) = ranges.iter().copied().unzip();
        let params: [&(dyn ToSql + Sync); 3] = [&partner, &from, &to];
        for table in ["number_run", "holder_run"] {
            let sql = format!(
                "DELETE FROM {table} USING unnest($2::bigint[], $3::bigint[]) AS t (a, b) \
                 WHERE partner = $1 AND first BETWEEN a AND b"
            );
            self.core.execute(&self.link, &sql, &params)?;
        }
        self.core.execute(&self.link, COPY_NUMBERS, &params)?;
        // Partners that have left numbers to this one since theirs were copied. Their
        // logs say so, and the rest of these rows is copied again.
        self.core.execute(&self.link, &format!("WITH {HOLDERS} {RELEASE_STALE}"), &params)?;
        self.core.execute(&self.link, &format!("WITH {HOLDERS}{HOLD}"), &params)?;
        self.compare(partner, &params)
    }

    fn compare(&mut self, partner: i64, params: &[&(dyn ToSql + Sync); 3]) -> Result<(), SwitchError> {
        let stored = self.digest("number", "number", "number", params)?;
        let copied = self.digest("number_run", "first", "last", params)?;
        if !stored.agrees(&copied) {
            let sql = "SELECT auth_id FROM partner WHERE partner = $1";
            let rows = self.core.rows(&self.link, sql, &[&partner])?;
            let partner = rows.first().map_or(Ok(partner.to_string()), |row| row.text(0).map(str::to_owned))?;
            let named = |digest: &TableDigest| {
                let digests: Vec<String> = digest.digests.values().map(ToString::to_string).collect();
                format!("{} and {} unreadable numbers", digests.join(" "), digest.unreadable)
            };
            return Err(SwitchError::Differs { partner, stored: named(&stored), copied: named(&copied) });
        }
        let numbers: u64 = stored.digests.values().map(|digest| digest.count).sum();
        self.report.copied += numbers + stored.unreadable.max(0) as u64;
        Ok(())
    }

    /// The digest of a partner's numbers within some ranges.
    fn digest(
        &self,
        table: &str,
        first: &str,
        last: &str,
        params: &[&(dyn ToSql + Sync); 3],
    ) -> Result<TableDigest, StoreError> {
        let sql = format!(
            "SELECT {first}, partner, version, {RECORD}, {last} FROM {table} \
             JOIN unnest($2::bigint[], $3::bigint[]) AS t (a, b) ON {first} BETWEEN a AND b WHERE partner = $1"
        );
        let mut digest = TableDigest::default();
        self.core.run(async {
            let statement = self.link.client.prepare_cached(&sql).await.map_err(trouble)?;
            let rows = self.link.client.query_raw(&statement, params.iter().copied()).await.map_err(trouble)?;
            let mut rows = pin!(rows);
            while let Some(row) = rows.try_next().await.map_err(trouble)? {
                digest.add(&row)?;
            }
            Ok(())
        })?;
        Ok(digest)
    }

    /// Copies what is left, and switches; false if too much is left. The caller rolls
    /// back unless it is true.
    fn end(&mut self) -> Result<bool, SwitchError> {
        self.core.batch(
            &self.link,
            &format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{LOCK_WAIT}'; \
                 LOCK TABLE rollcall_schema, number, holder IN ACCESS EXCLUSIVE MODE"
            ),
        )?;
        self.refuse_earlier()?;
        let all = self.copied(None)?;
        let mut left = 0;
        for copied in &all {
            let changed = self.changed(copied)?;
            left += match copied.complete() {
                true => self.size(copied.partner, &changed)?,
                false => self.size(copied.partner, &[(i64::MIN, i64::MAX)])?,
            };
            if left > LEFT_MAX {
                return Ok(false);
            }
        }
        for copied in &all {
            while !copied.complete() && !self.copy_next(copied.partner)? {}
            self.copy_changed(copied.partner)?;
        }
        let progress = "DROP TABLE number_run_copy; DROP TABLE holder_only_copy";
        self.core.batch(&self.link, &format!("{HOLD_ONLY_HELD}; {progress}; {SWITCH}"))?;
        self.core.batch(&self.link, COMMIT)?;
        Ok(true)
    }

    /// How many numbers a partner has within some ranges, counted a little beyond
    /// what is too much.
    fn size(&self, partner: i64, ranges: &[Span]) -> Result<i64, StoreError> {
        let (from, to): (Vec<i64>, Vec<i64>) = ranges.iter().copied().unzip();
        let sql = "SELECT count(*) FROM (SELECT 1 FROM number JOIN unnest($2::bigint[], $3::bigint[]) AS t (a, b) \
                   ON number BETWEEN a AND b WHERE partner = $1 LIMIT $4) AS counted";
        let rows = self.core.rows(&self.link, sql, &[&partner, &from, &to, &(LEFT_MAX + 1)])?;
        rows.first().map_or(Ok(0), |row| row.int(0))
    }
}

/// Numbers of a partner within some ranges, as rows of neighbours: a row begins where
/// a value differs from that of the number before, and with each group.
const COPY_NUMBERS: &str = concat!(
    "INSERT INTO number_run (partner, first, last, version, ",
    values!(),
    ") SELECT partner, number, coalesce(lead(before) OVER (ORDER BY number), top), version, ",
    values!(),
    " FROM (SELECT *, lag(number) OVER w AS before, max(number) OVER () AS top, \
       lag(number) OVER w IS DISTINCT FROM number - 1 OR number % 10000 = 0 \
       OR lag(ROW(version, ",
    values!(),
    ")) OVER w IS DISTINCT FROM ROW(version, ",
    values!(),
    ") AS begins FROM number JOIN unnest($2::bigint[], $3::bigint[]) AS t (a, b) ON number BETWEEN a AND b \
     WHERE partner = $1 WINDOW w AS (ORDER BY number)) AS each WHERE begins"
);
/// The same of who has them.
const HOLDERS: &str = "each AS (SELECT number, lag(number) OVER w AS before, max(number) OVER () AS top, \
       lag(number) OVER w IS DISTINCT FROM number - 1 OR number % 10000 = 0 AS begins \
       FROM number JOIN holder USING (partner, number) \
       JOIN unnest($2::bigint[], $3::bigint[]) AS t (a, b) ON number BETWEEN a AND b \
       WHERE partner = $1 WINDOW w AS (ORDER BY number)), \
     run AS (SELECT number AS first, coalesce(lead(before) OVER (ORDER BY number), top) AS last FROM each WHERE begins)";
/// Rows of others that have numbers of these.
const RELEASE_STALE: &str = "DELETE FROM holder_run WHERE first IN (SELECT other.first FROM run JOIN LATERAL ( \
       (SELECT first, last FROM holder_run WHERE first < run.first ORDER BY first DESC LIMIT 1) \
       UNION ALL SELECT first, last FROM holder_run WHERE first BETWEEN run.first AND run.last \
     ) AS other ON other.last >= run.first)";
/// The numbers that have a holder and no row. Both tables are read once, before the
/// lock.
const ONLY_HELD: &str = "DROP TABLE IF EXISTS holder_only_copy; CREATE TABLE holder_only_copy AS SELECT number, partner \
                         FROM holder WHERE NOT EXISTS (SELECT FROM number \
                           WHERE number.partner = holder.partner AND number.number = holder.number)";
/// Those of them that nobody has repaired since.
const HOLD_ONLY_HELD: &str = "WITH held AS (INSERT INTO holder_run (partner, first, last) \
                                SELECT partner, number, number \
                                FROM holder_only_copy AS held JOIN holder USING (number, partner) \
                                WHERE NOT EXISTS (SELECT FROM number \
                                  WHERE number.partner = held.partner AND number.number = held.number) \
                                RETURNING first) \
                              INSERT INTO holder_group SELECT DISTINCT first / 10000 FROM held ON CONFLICT DO NOTHING";
/// See [`Switch::earlier_session`]. What the role of this session may not see of
/// another is null.
const EARLIER_SESSION: &str = "\
    SELECT usename::text, application_name, pid::bigint, \
      coalesce(extract(epoch FROM backend_start) * 1000000, 0)::bigint FROM pg_stat_activity AS session \
    JOIN pg_roles ON pg_roles.oid = usesysid \
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND leader_pid IS NULL \
    AND coalesce(backend_type, 'client backend') = 'client backend' \
    AND (state IS DISTINCT FROM 'idle' OR state_change > clock_timestamp() - interval '60 s') \
    AND (application_name IN ('rollcall', current_setting('application_name')) \
      OR NOT rolsuper AND has_table_privilege(usesysid, 'number', 'INSERT')) \
    AND NOT EXISTS (SELECT FROM pg_locks AS mark WHERE mark.pid = session.pid AND locktype = 'advisory' \
      AND mode = 'ShareLock' AND (classid::bigint << 32 | objid::bigint) = $1) \
    ORDER BY pid";
const HOLD: &str = ", held AS (INSERT INTO holder_run (partner, first, last) SELECT $1, first, last FROM run \
                    RETURNING first) \
                    INSERT INTO holder_group SELECT DISTINCT first / 10000 FROM held ON CONFLICT DO NOTHING";
