//! The two CSV files of the console: one to keep, one to open in a
//! spreadsheet. Both come back as what they were made of.

use std::io::{Cursor, Read};
use std::sync::atomic::AtomicBool;

use rollcall::domain::{Time, Verb};
use rollcall::inventory::{NumberRef, Snapshot};
use rollcall::service::Service;
use rollcall::service::verbs::import::{ImportOptions, ImportReport, Watch};
use rollcall::wire;
use rollcall::wire::TextForm;

use super::fixture::*;

/// Names that a spreadsheet would calculate, or that look as if an apostrophe
/// had been put before them already.
const NAMES: [&str; 10] =
    ["=1+1", "+1", "-1", "@here", "'=1+1", "''+1", "'quoted", "Crédit, \"Inc\"", "a;=b", "=cmd|' /C calc'!A0"];

fn desk() -> (Database, Service) {
    let database = Database::new();
    let store = database.open();
    new_partner(&*store, "PA_1");
    (database, Service::new(store, entry(Verb::Import).actor))
}

fn import(service: &Service, bytes: &[u8]) -> ImportReport {
    let bytes = bytes.to_vec();
    let source = move || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read>);
    let options = ImportOptions::default();
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    service.import(&"PA_1".parse().expect("an id"), &source, &options, &watch).expect("a report")
}

fn snapshot(service: &Service) -> Snapshot {
    service.snapshot(&"PA_1".parse().expect("an id"), true).expect("loads")
}

fn written(snapshot: &Snapshot, form: TextForm) -> String {
    let mut out = Vec::new();
    wire::csv_header(&mut out, wire::EXPORT);
    let mut writer = wire::RowWriter::new(snapshot, form, wire::EXPORT);
    snapshot.iter(Time::now()).for_each(|row| writer.row(&mut out, row));
    String::from_utf8(out).expect("UTF-8")
}

fn odd_names() -> String {
    let mut file = "number,account_auth_id,account_name,application_id,application_name,trunk_id,region,tags,\
                    monthly_cost,currency\n"
        .to_owned();
    for (at, name) in NAMES.iter().enumerate() {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        // An id has no `/`, and `;` divides tags.
        let id = if name.contains('/') { "id_1" } else { &quoted };
        let tag = if name.contains(['/', ';', '|']) { "plain" } else { &quoted };
        file += &format!("+9122712642{at:02},{id},{quoted},{id},{quoted},{id},{quoted},{tag},5.00,INR\n");
    }
    file
}

#[track_caller]
fn check_comes_back(form: TextForm) {
    let (_database, service) = desk();
    let file = odd_names();
    let report = import(&service, file.as_bytes());
    assert_eq!((report.imported, report.rejected), (10, 0), "{report:?}");
    let original = snapshot(&service);

    let text = written(&original, form);
    let (_copy_database, copy) = desk();
    let report = import(&copy, text.as_bytes());
    assert_eq!((report.imported, report.rejected), (10, 0), "{report:?}");
    let copied = snapshot(&copy);
    let now = Time::now();
    let records = |snapshot: &Snapshot| snapshot.iter(now).map(NumberRef::record).collect::<Vec<_>>();
    assert_eq!(records(&copied), records(&original));
    for account in original.accounts.iter() {
        assert_eq!(copied.accounts.get(account.auth_id.as_str()).map(|a| &a.name), Some(&account.name));
    }
    // And once more, into the original itself.
    assert_eq!(import(&service, text.as_bytes()).unchanged, 10);
}

#[test]
fn the_raw_file_comes_back() {
    check_comes_back(TextForm::Csv);
}

#[test]
fn the_file_for_spreadsheets_comes_back() {
    check_comes_back(TextForm::Spreadsheet);
}

#[test]
fn only_the_file_for_spreadsheets_is_protected() {
    let (_database, service) = desk();
    let file = "number,account_auth_id,account_name,monthly_cost,currency\n+912271264217,=x,\"@SUM(A1)\",5,INR\n";
    import(&service, file.as_bytes());
    let snapshot = snapshot(&service);
    let row = |form| written(&snapshot, form).lines().nth(1).expect("a row").to_owned();
    assert!(row(TextForm::Csv).starts_with("+912271264217,=x,@SUM(A1),"), "{}", row(TextForm::Csv));
    assert!(row(TextForm::Spreadsheet).starts_with("'+912271264217,'=x,'@SUM(A1),"), "{}", row(TextForm::Spreadsheet));
    let protected = row(TextForm::Spreadsheet);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(protected.as_bytes());
    for cell in &reader.records().next().expect("a record").expect("valid CSV") {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
    }
}
