//! Everything there is, as of one moment: entities by statements, numbers by
//! `COPY` over several connections.
//!
//! The connections share one snapshot. The rows of numbers are cut into ranges of
//! about a hundred thousand; connections take them in turn, each at most one range
//! ahead, so they arrive in order and memory stays bounded however many there
//! are. A load keeps the database in its form until it ends.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::connect::Link;
use super::core::Core;
use super::schema::{FORM_LOCK, TableForm};
use super::trouble::trouble;
use crate::domain::{Dates, PartnerKey};
use crate::store::entities::{ENTITIES, EntityTable};
use crate::store::rows::*;
use crate::store::runs::{OVERLAPS, numbers_of};
use crate::store::{BatchRow, Load, Loaded, NumberBatch, StoreError, numbers_named};

/// How many rows are handed over at a time: enough that their images are
/// few, few enough that they stay in the processor's cache until they are
/// taken.
const BATCH_ROWS: usize = 4_096;
/// How many pages of the table make a range; each has about sixty rows.
const RANGE_PAGES: i64 = 1_600;
/// How many connections read numbers.
const CONNECTIONS: usize = 3;
/// How many batches a connection may be ahead: about a range.
const AHEAD: usize = 32;

type Take<'a> = &'a mut dyn FnMut(Loaded) -> Result<(), StoreError>;

pub(super) fn load(core: &Core, what: Load, take: Take<'_>) -> Result<(), StoreError> {
    let mut link = core.reader()?;
    link.torn = true;
    // It keeps the snapshot while others read, however long they do.
    core.batch(
        &link,
        &format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = '30s'; {FORM_LOCK}"
        ),
    )?;
    entities(core, &link, what, take)?;
    if what.numbers {
        let table = LoadedTable::of(TableForm::of(core, &link)?);
        numbers(core, &link, table, what.only, take)?;
    }
    core.batch(&link, "COMMIT")?;
    link.torn = false;
    Ok(())
}

fn entities(core: &Core, link: &Link, what: Load, take: Take<'_>) -> Result<(), StoreError> {
    let only = what.only.map(|key| key.0);
    let filter = "WHERE $1::bigint IS NULL OR partner = $1";
    for entity in ENTITIES {
        let (EntityTable { table, name, .. }, columns) = (entity, entity.all());
        let sql = format!("SELECT {columns} FROM {table} {filter} ORDER BY partner, {name}");
        for row in core.rows(link, &sql, &[&only])? {
            take(read_entity(table, &row).or_else(|error| poison(error, table, &row, 0))?)?;
        }
    }
    Ok(())
}

/// The table of numbers, and its columns for the first and the last of a row.
#[derive(Clone, Copy)]
struct LoadedTable {
    name: &'static str,
    first: &'static str,
    last: &'static str,
}

impl LoadedTable {
    fn of(form: TableForm) -> LoadedTable {
        match form {
            TableForm::Each => LoadedTable { name: "number", first: "number", last: "number" },
            TableForm::Runs => LoadedTable { name: "number_run", first: "first", last: "last" },
        }
    }
}

/// A partner and a number: a place in the order of the table's key.
type RowPosition = (i64, i64);

/// What a connection has read.
enum LoadPiece {
    Batch(NumberBatch),
    /// A row that was not understood.
    Poison(Loaded),
    /// The range has been read to its end.
    End,
    Failed(StoreError),
}

fn numbers(
    core: &Core,
    link: &Link,
    table: LoadedTable,
    only: Option<PartnerKey>,
    take: Take<'_>,
) -> Result<(), StoreError> {
    let cuts = cuts(core, link, table, only)?;
    let ranges: Vec<(Option<RowPosition>, Option<RowPosition>)> = std::iter::once(None)
        .chain(cuts.iter().copied().map(Some))
        .zip(cuts.iter().copied().map(Some).chain([None]))
        .collect();
    let snapshot = core.rows(link, "SELECT pg_export_snapshot()", &[])?;
    let snapshot = snapshot.first().map_or(Ok(""), |row| row.text(0))?.to_owned();
    // One more keeps the snapshot, one follows, and one is left for requests.
    let count = CONNECTIONS.min(core.address.readers.saturating_sub(3)).clamp(1, ranges.len());
    let mut links = vec![core.reader()?];
    links.extend((1..count).map_while(|_| core.spare_reader()));
    let count = links.len();
    std::thread::scope(|scope| {
        let mut taken: Vec<Receiver<LoadPiece>> = Vec::new();
        for (at, mut link) in links.into_iter().enumerate() {
            let (give, receiver) = sync_channel(AHEAD);
            taken.push(receiver);
            let (ranges, snapshot) = (&ranges, snapshot.as_str());
            scope.spawn(move || {
                link.torn = true;
                let mine = ranges.iter().skip(at).step_by(count);
                match read(core, &link, table, snapshot, only, mine, &give) {
                    Ok(()) => link.torn = false,
                    // Nobody may listen any more.
                    Err(error) => drop(give.send(LoadPiece::Failed(error))),
                }
            });
        }
        let mut overlaps = OverlapFilter::default();
        for at in 0..ranges.len() {
            loop {
                match taken[at % count].recv() {
                    Ok(LoadPiece::Batch(batch)) => overlaps.pass(batch, take)?,
                    Ok(LoadPiece::Poison(poison)) => take(poison)?,
                    Ok(LoadPiece::End) => break,
                    Ok(LoadPiece::Failed(error)) => return Err(error),
                    Err(_) => return Err(corrupt("numbers that were not read to their end".to_owned())),
                }
            }
        }
        overlaps.end(take)
    })
}

/// Leaves out rows of a partner that claim the same numbers: nothing tells which of
/// them is right. Rows come in the order of partners and numbers.
#[derive(Default)]
struct OverlapFilter {
    /// A batch whose last row may overlap the next one.
    kept: NumberBatch,
    /// Of the partner of the last row, the last number of all of its rows.
    claimed: Option<(PartnerKey, u64)>,
}

impl OverlapFilter {
    fn pass(&mut self, mut batch: NumberBatch, take: Take<'_>) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(batch.rows.len());
        for row in std::mem::take(&mut batch.rows) {
            let partner = batch.images[row.image as usize].0;
            let claimed = self.claimed.filter(|(of, _)| *of == partner).map(|(_, last)| last);
            let last = row.last.digits().max(claimed.unwrap_or_default());
            self.claimed = Some((partner, last));
            if claimed.is_none_or(|claimed| claimed < row.first.digits()) {
                rows.push(row);
                continue;
            }
            let (rows_before, images) = match rows.is_empty() {
                true => (&mut self.kept.rows, &self.kept.images),
                false => (&mut rows, &batch.images),
            };
            let reaches =
                |before: &mut BatchRow| before.last >= row.first && images[before.image as usize].0 == partner;
            if let Some(before) = rows_before.pop_if(reaches) {
                take(overlapping(partner, before))?;
            }
            take(overlapping(partner, row))?;
        }
        batch.rows = rows;
        take(Loaded::Numbers(std::mem::replace(&mut self.kept, batch)))
    }

    fn end(self, take: Take<'_>) -> Result<(), StoreError> {
        take(Loaded::Numbers(self.kept))
    }
}

fn overlapping(partner: PartnerKey, row: BatchRow) -> Loaded {
    let numbers = (row.first, row.last);
    let what = format!("{}: {OVERLAPS}", numbers_named(numbers));
    Loaded::Poison { key: Some(partner), table: "number", numbers: Some(numbers), what }
}

/// Where the table is cut into ranges of about the same size: looked up in a
/// sample of its pages, so they are near enough and cost little.
fn cuts(
    core: &Core,
    link: &Link,
    table: LoadedTable,
    only: Option<PartnerKey>,
) -> Result<Vec<RowPosition>, StoreError> {
    let LoadedTable { name, first, .. } = table;
    let pages = core.rows(link, &format!("SELECT pg_relation_size('{name}') / 8192"), &[])?;
    let ranges = pages.first().map_or(Ok(0), |row| row.int(0))? / RANGE_PAGES;
    if ranges < 2 {
        return Ok(Vec::new());
    }
    // Four pages for each range.
    let percent = 100.0 * 4.0 / RANGE_PAGES as f64;
    let sql = format!(
        "SELECT partner, {first} FROM {name} TABLESAMPLE SYSTEM ({percent}) \
         WHERE $1::bigint IS NULL OR partner = $1 ORDER BY partner, {first}"
    );
    let sample = core.rows(link, &sql, &[&only.map(|key| key.0)])?;
    let places = (1..ranges as usize).filter_map(|at| sample.get(sample.len() * at / ranges as usize));
    let mut cuts: Vec<RowPosition> =
        places.map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Result<_, StoreError>>()?;
    cuts.dedup();
    Ok(cuts)
}

/// Reads some ranges in the snapshot that another connection keeps.
fn read<'r>(
    core: &Core,
    link: &Link,
    table: LoadedTable,
    snapshot: &str,
    only: Option<PartnerKey>,
    ranges: impl Iterator<Item = &'r (Option<RowPosition>, Option<RowPosition>)>,
    give: &SyncSender<LoadPiece>,
) -> Result<(), StoreError> {
    // By the key, however little is known of the table: to sort all of it for
    // each range would cost the square.
    core.batch(
        link,
        &format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'; \
             SET LOCAL enable_seqscan = off; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = '30s'"
        ),
    )?;
    let LoadedTable { name, first, last } = table;
    let mut images = CopyImages::default();
    for (from, to) in ranges {
        let mut conditions: Vec<String> = only.iter().map(|key| format!("partner = {}", key.0)).collect();
        conditions.extend(from.map(|(partner, number)| format!("(partner, {first}) >= ({partner}, {number})")));
        conditions.extend(to.map(|(partner, number)| format!("(partner, {first}) < ({partner}, {number})")));
        let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        // What many rows say alike comes last, in one piece.
        let sql = format!(
            "COPY (SELECT partner, {first}, {last}, version, assigned_at, expires_at, since, until, state, account, \
             application, trunk, number_type, country, region, cost, currency, tags FROM {name} {filter} \
             ORDER BY partner, {first}) TO STDOUT (FORMAT binary)"
        );
        let mut batch = NumberBatch::default();
        core.run(async {
            let mut rows = pin!(link.client.copy_out(&sql).await.map_err(trouble)?);
            let mut begun = false;
            while let Some(message) = rows.try_next().await.map_err(trouble)? {
                let tuple = match begun {
                    true => message,
                    false => after_header(message)?,
                };
                begun = true;
                if let Some(poison) = images.tuple(&tuple, &mut batch) {
                    give.send(LoadPiece::Poison(poison)).map_err(|_| unheard())?;
                }
                if batch.rows.len() == BATCH_ROWS {
                    images.clear();
                    give.send(LoadPiece::Batch(std::mem::take(&mut batch))).map_err(|_| unheard())?;
                }
            }
            Ok(())
        })?;
        images.clear();
        give.send(LoadPiece::Batch(batch)).map_err(|_| unheard())?;
        give.send(LoadPiece::End).map_err(|_| unheard())?;
    }
    core.batch(link, "COMMIT")
}

fn unheard() -> StoreError {
    corrupt("nobody takes what is read".to_owned())
}

/// The first message without what comes before its tuple: a signature of 11
/// bytes, flags, and the length of an extension.
///
/// <https://www.postgresql.org/docs/current/sql-copy.html> (Binary Format)
fn after_header(message: Bytes) -> Result<Bytes, StoreError> {
    if message.len() < 19 || &message[..11] != b"PGCOPY\n\xff\r\n\0" {
        return Err(corrupt("what was copied does not begin as it should".to_owned()));
    }
    let extension = u32::from_be_bytes(message[15..19].try_into().expect("four bytes")) as usize;
    let after = 19 + extension;
    match after <= message.len() {
        true => Ok(message.slice(after..)),
        false => Err(corrupt("what was copied ends in its header".to_owned())),
    }
}

/// What a row is called, as far as it was read.
#[derive(Default)]
struct RowName {
    partner: Option<PartnerKey>,
    first: Option<i64>,
    last: Option<i64>,
}

impl RowName {
    /// What is handed over in the place of the row.
    fn poison(&self, why: &str) -> Loaded {
        let one = self.first.and_then(|first| number_of(first).ok());
        let numbers = match self.first.zip(self.last).and_then(|(first, last)| numbers_of(first, last).ok()) {
            Some(numbers) => Some(numbers),
            None => one.map(|number| (number, number)),
        };
        let name = match (numbers, self.first) {
            (Some(numbers @ (first, last)), _) if first < last => numbers_named(numbers),
            (_, Some(first)) => format!("number {first}"),
            (_, None) => "number without a name".to_owned(),
        };
        Loaded::Poison { key: self.partner, table: "number", numbers, what: format!("{name}: {why}") }
    }
}

/// Which of the images of a batch a row has, told by the bytes of its columns:
/// they are compared before anything is made of them.
#[derive(Default)]
struct CopyImages {
    /// Whose rows these are: they come partner by partner.
    partner: Option<PartnerKey>,
    seen: LastValues,
    places: HashMap<Vec<u8>, u32>,
    /// The row before, which is mostly alike; no bytes if there is none.
    last: (Vec<u8>, u32),
}

impl CopyImages {
    /// Adds a row, if this is not the end of all; what is handed over in its
    /// place, if it was not understood.
    fn tuple(&mut self, tuple: &[u8], batch: &mut NumberBatch) -> Option<Loaded> {
        let mut name = RowName::default();
        match self.read(tuple, batch, &mut name) {
            Ok(row) => {
                batch.rows.extend(row);
                None
            }
            Err(error) => {
                let why = match error {
                    StoreError::Corrupt { what } => what,
                    error => error.to_string(),
                };
                Some(name.poison(&why))
            }
        }
    }

    /// Notes partner and numbers before anything can be wrong with the rest.
    fn read(
        &mut self,
        tuple: &[u8],
        batch: &mut NumberBatch,
        name: &mut RowName,
    ) -> Result<Option<BatchRow>, StoreError> {
        let mut fields = CopyFields { rest: tuple };
        match fields.count()? {
            -1 => return Ok(None),
            18 => {}
            count => return Err(corrupt(format!("a row of {count} columns"))),
        }
        name.partner = fields.int()?.map(PartnerKey);
        name.first = fields.int()?;
        name.last = fields.int()?;
        let (first, last) = numbers_of(name.first.ok_or_else(torn)?, name.last.ok_or_else(torn)?)?;
        let version = fields.int()?.ok_or_else(torn)? as u64;
        let dates = Dates {
            assigned_at: time_if(fields.int()?)?,
            expires_at: time_if(fields.int()?)?,
            since: time_of(fields.int()?.ok_or_else(torn)?)?,
            until: time_if(fields.int()?)?,
        };
        let partner = name.partner.ok_or_else(torn)?;
        let image = self.image(partner, fields, dates, batch)?;
        Ok(Some(BatchRow { first, last, version, image, dates }))
    }

    fn image(
        &mut self,
        partner: PartnerKey,
        mut fields: CopyFields<'_>,
        dates: Dates,
        batch: &mut NumberBatch,
    ) -> Result<u32, StoreError> {
        let bytes = fields.rest;
        if self.partner != Some(partner) {
            self.clear();
            self.partner = Some(partner);
        }
        if self.last.0 == bytes {
            return Ok(self.last.1);
        }
        let place = match self.places.get(bytes) {
            Some(place) => *place,
            None => {
                let mut cells = [None; 14];
                for at in [0, 1, 2, 3, 4, 5, 6, 7, 8, 13] {
                    cells[at] = fields.next()?;
                }
                let record = read_record(&Tuple { cells, dates }, 0, &mut self.seen)?;
                let place = batch.images.len() as u32;
                batch.images.push((partner, record));
                self.places.insert(bytes.to_vec(), place);
                place
            }
        };
        self.last.0.clear();
        self.last.0.extend_from_slice(bytes);
        self.last.1 = place;
        Ok(place)
    }

    /// The next batch has images of its own.
    fn clear(&mut self) {
        self.places.clear();
        self.last.0.clear();
    }
}

fn torn() -> StoreError {
    corrupt("a row that ends in the middle, or lacks what it must have".to_owned())
}

/// The columns of a copied row, one after another.
struct CopyFields<'t> {
    rest: &'t [u8],
}

impl<'t> CopyFields<'t> {
    fn count(&mut self) -> Result<i16, StoreError> {
        let (count, rest) = self.rest.split_first_chunk().ok_or_else(torn)?;
        self.rest = rest;
        Ok(i16::from_be_bytes(*count))
    }

    fn next(&mut self) -> Result<Option<&'t [u8]>, StoreError> {
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(torn)?;
        self.rest = rest;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(None) };
        let (cell, rest) = self.rest.split_at_checked(length).ok_or_else(torn)?;
        self.rest = rest;
        Ok(Some(cell))
    }

    fn int(&mut self) -> Result<Option<i64>, StoreError> {
        let int = |cell: &[u8]| cell.try_into().map(i64::from_be_bytes).map_err(|_| torn());
        self.next()?.map(int).transpose()
    }
}

/// A copied row, in the order of [`RECORD`].
struct Tuple<'t> {
    cells: [Option<&'t [u8]>; 14],
    dates: Dates,
}

impl RowCells for Tuple<'_> {
    fn text_if(&self, at: usize) -> Result<Option<&str>, StoreError> {
        let text = |cell| std::str::from_utf8(cell).map_err(|_| corrupt(format!("column {at} is not text")));
        self.cells[at].map(text).transpose()
    }

    fn int_if(&self, at: usize) -> Result<Option<i64>, StoreError> {
        let Dates { assigned_at, expires_at, since, until } = self.dates;
        match at {
            9 => Ok(seconds(assigned_at)),
            10 => Ok(seconds(expires_at)),
            11 => Ok(Some(since.seconds())),
            12 => Ok(seconds(until)),
            _ => {
                let int = |cell: &[u8]| cell.try_into().map(i64::from_be_bytes).map_err(|_| torn());
                self.cells[at].map(int).transpose()
            }
        }
    }

    fn bytes_if(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        Ok(self.cells[at])
    }
}
