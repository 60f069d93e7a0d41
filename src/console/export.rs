//! The rows of a filter line as CSV: all of them, in its order, as one moment
//! has them.
//!
//! The columns are those of `rollcall export`, so that importing the file makes
//! the same inventory. Made for a spreadsheet, it begins with a byte order mark
//! and protects what would be taken for formulas.
//! Invariant: a line that is not understood has no rows.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};

use super::ConsoleState;
use super::gate::Visit;
use super::line::{self, AddressLine, FilterLine};
use super::page::{PageResult, Trouble, guard};
use crate::http::places::PlaceKind;
use crate::http::pull::{self, Pulled};
use crate::inventory::{NumberWalk, Snapshot};
use crate::wire::{self, RowWriter, TextForm};

/// How many rows a chunk has.
const CHUNK_ROWS: usize = 256;

/// GET /console/p/{partner}/numbers/export
pub async fn csv(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let spreadsheet = wire::parameter(query, "for").is_some_and(|kind| kind == "spreadsheet");
    let form = if spreadsheet { TextForm::Spreadsheet } else { TextForm::Csv };
    let AddressLine { q, problems } = line::of_address(query);
    let line = FilterLine::read(&q, &visit.snapshot, &visit.clock);
    if let Some(problem) = problems.first().or(line.problems.first()) {
        let why = format!("A part of the filter is not understood, so there is no file: {}", problem.sentence());
        return Err(Trouble::Bad(why));
    }
    let walk = visit.snapshot.walk(line.filter, line.order, None, visit.clock.now);
    let mut rows = Rows { snapshot: visit.snapshot.clone(), walk, form, begun: false };
    let place = visit.place(PlaceKind::Export)?;
    let pulled = Pulled::new(&pull::ROWS, place, Box::new(move || Ok(rows.next())));
    let packing = pulled.packing();
    let mut response = Response::new(Body::new(pulled));
    response.extensions_mut().insert(packing);
    let headers = response.headers_mut();
    guard(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    let name = file_name(visit.snapshot.partner.auth_id.as_str(), &visit.clock.iso_day(visit.clock.now), form);
    let name = format!("attachment; filename=\"{name}\"");
    let name = HeaderValue::try_from(name).map_err(|_| Trouble::Internal("a file without a name".into()))?;
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// `PA_1-2026-11-23.csv`. Ids are any text, file names are not.
fn file_name(partner: &str, day: &str, form: TextForm) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let partner: String = partner.chars().map(plain).collect();
    let kind = if form == TextForm::Spreadsheet { "-spreadsheet" } else { "" };
    format!("{partner}-{day}{kind}.csv")
}

/// The file, made as it is read; it holds its snapshot.
struct Rows {
    snapshot: Arc<Snapshot>,
    walk: NumberWalk,
    form: TextForm,
    begun: bool,
}

impl Rows {
    /// The next chunk; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        let rows = self;
        let mut out = Vec::with_capacity(CHUNK_ROWS * wire::ROW_BYTES);
        if !rows.begun {
            if rows.form == TextForm::Spreadsheet {
                // Or else it is read in whatever encoding the machine has.
                out.extend_from_slice("\u{feff}".as_bytes());
            }
            wire::csv_header(&mut out, wire::EXPORT);
            rows.begun = true;
        }
        let next = if rows.walk.done() { Vec::new() } else { rows.walk.next(&rows.snapshot, CHUNK_ROWS) };
        let mut writer = RowWriter::new(&rows.snapshot, rows.form, wire::EXPORT);
        next.into_iter().for_each(|row| writer.row(&mut out, row));
        (!out.is_empty()).then(|| out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain() {
        assert_eq!(file_name("PA_1", "2026-11-23", TextForm::Csv), "PA_1-2026-11-23.csv");
        assert_eq!(file_name("a\"b\r\n;é", "2026-11-23", TextForm::Spreadsheet), "a_b____-2026-11-23-spreadsheet.csv");
    }
}
