//! Files that people take away, written while they are read.
//!
//! Invariants: memory is one piece however large the file, and a client that
//! does not read holds no thread (`http::pull`).
//! Deliberately absent: what is in them.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response};

use super::page::{PageResult, Trouble, guard};
use crate::http::places::HeldPlace;
use crate::http::pull::{self, Pulled};
use crate::wire;
use crate::wire::report::CsvCells;

/// An answer that is saved under `name`. `next` makes its pieces, on a thread
/// that may wait, until there is none.
pub fn file(
    name: &str,
    kind: &'static str,
    place: HeldPlace,
    next: impl FnMut() -> io::Result<Option<Bytes>> + Send + 'static,
) -> PageResult {
    let pulled = Pulled::new(&pull::FILES, place, Box::new(next));
    let packing = pulled.packing();
    let mut response = Response::new(Body::new(pulled));
    response.extensions_mut().insert(packing);
    name_it(response.headers_mut(), name, kind)?;
    Ok(response)
}

/// How a report's cells are written: for people, unless `raw=1` asks for the
/// texts as they are.
pub fn cells(query: &str) -> CsvCells {
    CsvCells::raw(wire::parameter(query, "raw").is_some_and(|raw| raw == "1"))
}

fn name_it(headers: &mut HeaderMap, name: &str, kind: &'static str) -> Result<(), Trouble> {
    guard(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
    let text = format!("attachment; filename=\"{plain}\"");
    let value = HeaderValue::try_from(text).map_err(|error| Trouble::Internal(error.to_string()))?;
    headers.insert(header::CONTENT_DISPOSITION, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_plain() {
        let mut headers = HeaderMap::new();
        name_it(&mut headers, "a \"b\".csv", "text/csv").expect("a name");
        assert_eq!(headers[header::CONTENT_DISPOSITION], "attachment; filename=\"a__b_.csv\"");
    }
}
