//! Importing: what a file makes of what is stored.

use crate::fixture::next_second;
use std::io::{Cursor, Read};
use std::sync::atomic::AtomicBool;

use rollcall::domain::change::Edit;
use rollcall::domain::{EntityChange, PartnerKey, Record, State, Tags, Time, Verb};
use rollcall::inventory::{NumberRef, Snapshot};
use rollcall::service::Service;
use rollcall::service::verbs::import::{FieldChange, ImportError, ImportOptions, ImportReport, OnError, Watch};
use rollcall::store::{Store, WriteTarget};
use rollcall::wire;

use super::fixture::*;

fn options() -> ImportOptions {
    ImportOptions::default()
}

fn skip() -> ImportOptions {
    ImportOptions { on_error: OnError::Skip, ..options() }
}

fn moving() -> ImportOptions {
    ImportOptions { move_held: true, ..options() }
}

struct Desk {
    database: Database,
    service: Service,
    key: PartnerKey,
}

impl Desk {
    fn new() -> Desk {
        let database = Database::new();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        new_partner(&*store, "PA_2");
        Desk { service: Service::new(store, entry(Verb::Import).actor), database, key }
    }

    /// One that has what this file says.
    fn with(text: &str) -> Desk {
        let desk = Desk::new();
        let report = desk.import(text, &options());
        assert_eq!((report.rejected, report.written), (0, true), "{report:?}");
        desk
    }

    fn store(&self) -> &dyn Store {
        &**self.service.store()
    }

    fn import_for(&self, partner: &str, bytes: &[u8], options: &ImportOptions) -> Result<ImportReport, ImportError> {
        let bytes = bytes.to_vec();
        let source = move || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read>);
        let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
        self.service.import(&partner.parse().expect("an id"), &source, options, &watch)
    }

    /// Imports for PA_1, and checks that a dry run tells the same and does nothing.
    #[track_caller]
    fn import(&self, text: &str, options: &ImportOptions) -> ImportReport {
        let before = self.snapshot().digest();
        let dry = ImportOptions { dry_run: true, ..options.clone() };
        let told = self.import_for("PA_1", text.as_bytes(), &dry).expect("a report");
        assert!(!told.written);
        assert_eq!(self.snapshot().digest(), before, "a dry run wrote");
        let report = self.import_for("PA_1", text.as_bytes(), options).expect("a report");
        assert_eq!(figures(&told), figures(&report), "a dry run tells otherwise");
        assert_eq!(told.errors, report.errors);
        assert_eq!((&told.cautions, told.cautions_total), (&report.cautions, report.cautions_total));
        assert_eq!((told.losses, &told.money), (report.losses, &report.money));
        assert_eq!(lasting(&told), lasting(&report));
        assert_eq!((told.warnings, &told.entities), (told.cautions_total, &report.entities));
        assert_eq!((&told.unknown, &told.rejected_lines), (&report.unknown, &report.rejected_lines));
        if !report.written {
            assert_eq!(self.snapshot().digest(), before, "a refused import wrote");
        }
        report
    }

    fn snapshot(&self) -> Snapshot {
        self.service.snapshot(&"PA_1".parse().expect("an id"), true).expect("loads")
    }

    #[track_caller]
    fn record(&self, digits: u64) -> Record {
        self.snapshot().get(number(digits), Time::now()).expect("the number").record()
    }

    fn version(&self) -> u64 {
        self.snapshot().version
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(differences(&*self.database.open()), [] as [&str; 0]);
        }
    }
}

/// What is shown before and after, but for the time of the import itself.
fn lasting(report: &ImportReport) -> Vec<(u64, &str, Vec<&FieldChange>)> {
    let timeless = |change: &&FieldChange| !matches!(&*change.field, "assigned_at" | "since");
    report.changed.iter().map(|one| (one.line, &*one.number, one.changes.iter().filter(timeless).collect())).collect()
}

/// Rows, new, changed, unchanged, rejected.
fn figures(report: &ImportReport) -> [u64; 5] {
    [report.rows, report.imported, report.updated, report.unchanged, report.rejected]
}

#[track_caller]
fn check(report: &ImportReport, expected: [u64; 5]) {
    assert_eq!(figures(report), expected, "rows, new, changed, unchanged, rejected of {report:#?}");
}

const HELD: &str = "number,account_auth_id,account_name,application_id,application_name,trunk_id,monthly_cost,currency,expires_at,tags,region
+912271264217,MA_1,One,app_1,Support,trunk_1,500.00,INR,2030-01-01T00:00:00Z,b;a,Pune
";

#[test]
fn a_row_is_new_then_unchanged_then_changed() {
    let desk = Desk::new();
    check(&desk.import(HELD, &options()), [1, 1, 0, 0, 0]);
    let version = desk.version();
    assert_eq!(version, 2, "an import is one version");
    check(&desk.import(HELD, &options()), [1, 0, 0, 1, 0]);
    assert_eq!(desk.version(), version, "the same file twice changes nothing");
    check(&desk.import(&HELD.replace("500.00", "500.01"), &options()), [1, 0, 1, 0, 0]);
    assert_eq!(desk.version(), version + 1);

    let record = desk.record(912_271_264_217);
    assert_eq!(record.state, State::Active);
    assert_eq!(record.cost, Some(money(50_001, "INR")));
    assert_eq!(record.tags, Tags::new(["a", "b"]));
    let snapshot = desk.snapshot();
    let row = snapshot.get(number(912_271_264_217), Time::now()).expect("there");
    assert_eq!(row.account().map(|account| &*account.name), Some("One"));
    let application = row.application().expect("created");
    assert_eq!((&*application.name, &application.account), ("Support", &None), "created for the whole partner");
    assert_eq!(row.trunk().map(|trunk| (trunk.id.as_str(), &trunk.account)), Some(("trunk_1", &None)));
}

#[test]
fn what_is_derived_is_derived_once() {
    let desk = Desk::with("number\n+912271264217\n+33142345678\n+18005550123\n");
    let record = desk.record(912_271_264_217);
    assert_eq!(
        (record.country.map(|country| country.to_string()), record.region.as_deref()),
        (Some("IN".into()), Some("Mumbai"))
    );
    assert_eq!(record.state, State::Available);
    assert_eq!(desk.record(18_005_550_123).number_type.as_str(), "tollfree");
    // Given once, kept afterwards, also by an empty cell.
    check(
        &desk.import("number,number_type,country,region\n+912271264217,mobile,FR,Lyon\n", &options()),
        [1, 0, 1, 0, 0],
    );
    check(&desk.import("number,number_type,country,region\n+912271264217,,,\n", &options()), [1, 0, 0, 1, 0]);
    check(&desk.import("number\n+912271264217\n", &options()), [1, 0, 0, 1, 0]);
    let record = desk.record(912_271_264_217);
    assert_eq!((record.number_type.as_str(), record.region.as_deref()), ("mobile", Some("Lyon")));
}

#[test]
fn an_absent_column_keeps() {
    let desk = Desk::with(HELD);
    let before = desk.record(912_271_264_217);
    check(&desk.import("number\n+912271264217\n", &options()), [1, 0, 0, 1, 0]);
    check(&desk.import("number,account_auth_id\n+912271264217,MA_1\n", &options()), [1, 0, 0, 1, 0]);
    assert_eq!(desk.record(912_271_264_217), before);
}

#[test]
fn an_empty_cell_clears_or_keeps_by_its_column() {
    let desk = Desk::with(HELD);
    let before = desk.record(912_271_264_217);
    let keeps = "number,account_auth_id,number_type,country,region,status,assigned_at,monthly_cost,currency\n+912271264217,MA_1,,,,,,,\n";
    check(&desk.import(keeps, &options()), [1, 0, 0, 1, 0]);
    assert_eq!(desk.record(912_271_264_217), before);
    let clears = "number,application_id,trunk_id,expires_at,tags\n+912271264217,,,,\n";
    check(&desk.import(clears, &options()), [1, 0, 1, 0, 0]);
    let expected = Record { application: None, trunk: None, expires_at: None, tags: Tags::default(), ..before };
    assert_eq!(desk.record(912_271_264_217), expected);
}

#[test]
fn a_status_is_kept_until_the_file_says_otherwise() {
    let desk = Desk::with(HELD);
    let status = |status: &str| format!("number,status\n+912271264217,{status}\n");
    check(&desk.import(&status("active"), &options()), [1, 0, 0, 1, 0]);
    check(&desk.import(&status("suspended"), &options()), [1, 0, 1, 0, 0]);
    check(&desk.import(&status(""), &options()), [1, 0, 0, 1, 0]);
    check(&desk.import(HELD, &options()), [1, 0, 0, 1, 0]);
    assert_eq!(desk.record(912_271_264_217).state, State::Suspended);
    check(&desk.import(&status("active"), &options()), [1, 0, 1, 0, 0]);
    assert_eq!(desk.record(912_271_264_217).state, State::Active);
}

#[test]
fn another_account_needs_move() {
    let desk = Desk::with(HELD);
    let other = "number,account_auth_id\n+912271264217,MA_2\n";
    let none = "number,account_auth_id\n+912271264217,\n";
    for text in [other, none] {
        let report = desk.import(text, &options());
        check(&report, [1, 0, 0, 0, 1]);
        let error = &report.errors[0];
        assert_eq!((error.line, error.column.as_str(), error.value.as_str()), (2, "number", "+912271264217"));
    }
    assert!(desk.snapshot().accounts.get("MA_2").is_none(), "a refused import creates no account");

    let before = desk.record(912_271_264_217);
    check(&desk.import(other, &moving()), [1, 0, 1, 0, 0]);
    let record = desk.record(912_271_264_217);
    assert_eq!(record.account.as_ref().map(|id| id.as_str()), Some("MA_2"));
    let expected = Record { account: record.account.clone(), assigned_at: record.assigned_at, ..before };
    assert_eq!(record, expected, "a move is a transfer: all but the account goes along");
    check(&desk.import(other, &moving()), [1, 0, 0, 1, 0]);
    check(&desk.import(none, &moving()), [1, 0, 1, 0, 0]);
    let record = desk.record(912_271_264_217);
    assert_eq!((record.state, &record.account, record.assigned_at), (State::Available, &None, None));
    check(&desk.import(other, &options()), [1, 0, 1, 0, 0]);
}

#[test]
fn a_foreign_number_is_refused_with_the_words_of_any_conflict() {
    let desk = Desk::with(HELD);
    let foreign = "number,account_auth_id,monthly_cost,currency\n+912271264218,MA_9,1,INR\n+912271264219,,1,INR\n";
    desk.import_for("PA_2", foreign.as_bytes(), &options()).expect("theirs");
    let attempt = "number,account_auth_id,monthly_cost,currency
+912271264217,MA_2,1,INR
+912271264218,MA_2,1,INR
+912271264219,MA_2,1,INR
";
    let report = desk.import(attempt, &options());
    check(&report, [3, 0, 0, 0, 3]);
    let mut said: Vec<(&str, &str)> =
        report.errors.iter().map(|error| (error.column.as_str(), error.message.as_str())).collect();
    said.dedup();
    assert_eq!(said.len(), 1, "held by us, held by them, their stock: {said:?}");
    // Even --move moves nothing of another partner's.
    check(&desk.import(attempt, &ImportOptions { move_held: true, ..skip() }), [3, 0, 1, 0, 2]);
    let theirs = desk.service.snapshot(&"PA_2".parse().expect("an id"), true).expect("loads");
    assert_eq!(theirs.len(), 2);
}

#[test]
fn abort_writes_nothing_and_skip_the_rest() {
    let text = "number,account_auth_id,monthly_cost,currency
+912271264217,MA_1,500.00,INR
+912271264218,MA_2,500.001,INR
9.1227E+11,MA_3,500.00,INR
+912271264219,MA_4,,
+912271264220,MA_5,500.00,INR
";
    let desk = Desk::new();
    let report = desk.import(text, &options());
    check(&report, [5, 2, 0, 0, 3]);
    assert!(!report.written);
    assert_eq!((desk.version(), desk.snapshot().accounts.len()), (1, 0));

    let report = desk.import(text, &skip());
    check(&report, [5, 2, 0, 0, 3]);
    assert!(report.written);
    assert_eq!(report.rejected_lines, [3, 4, 5]);
    assert_eq!(report.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [3, 4, 5]);
    let snapshot = desk.snapshot();
    let accounts: Vec<&str> = snapshot.accounts.sorted().map(|account| account.auth_id.as_str()).collect();
    assert_eq!(accounts, ["MA_1", "MA_5"], "only good rows create accounts");
    check(&desk.import(text, &skip()), [5, 0, 0, 2, 3]);
}

#[test]
fn a_block_is_one_row_and_many_numbers() {
    let desk = Desk::new();
    let block = |tag: &str| format!("start,end,tags\n+912271260000,+912271269999,{tag}\n");
    check(&desk.import(&block("a"), &options()), [1, 10_000, 0, 0, 0]);
    check(&desk.import(&block("a"), &options()), [1, 0, 0, 10_000, 0]);
    check(&desk.import("number,tags\n+912271269990-+912271270009,b\n", &options()), [1, 10, 10, 0, 0]);
    desk.import_for("PA_2", b"number\n+912271280000\n+912271280005\n", &options()).expect("theirs");
    let report = desk.import("start,end\n+912271280000,+912271280009\n", &skip());
    check(&report, [1, 8, 0, 0, 2]);
    assert_eq!((report.errors.len(), &report.rejected_lines[..]), (1, &[2][..]), "one error says enough of a row");
}

#[test]
fn overlapping_rejected_blocks_say_so_once_each() {
    let desk = Desk::new();
    desk.import_for("PA_2", b"start,end\n+912271260000,+912271260199\n", &options()).expect("theirs");
    let report = desk.import(
        "start,end\n+912271260000,+912271260199\n+912271260000,+912271260199\n+912271260100,+912271260199\n",
        &skip(),
    );
    check(&report, [3, 0, 0, 0, 500]);
    assert_eq!(report.rejected_lines, [2, 3, 4]);
    assert_eq!(report.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn flags_stand_in_for_what_the_row_lacks() {
    let text = "number,account_auth_id\n+912271264217,MA_1\n";
    let desk = Desk::new();
    let report = desk.import(text, &options());
    check(&report, [1, 0, 0, 0, 1]);
    assert!(report.errors[0].message.contains("--monthly-cost"), "{}", report.errors[0].message);
    let mut flags = options();
    flags.intake.currency = Some("INR".parse().expect("a currency"));
    check(&desk.import(text, &flags), [1, 0, 0, 0, 1]);
    flags.monthly_cost = Some("12.50".into());
    check(&desk.import(text, &flags), [1, 1, 0, 0, 0]);
    assert_eq!(desk.record(912_271_264_217).cost, Some(money(1_250, "INR")));
    check(&desk.import(text, &flags), [1, 0, 0, 1, 0]);
    // The row has the last word.
    let row = "number,account_auth_id,monthly_cost,currency\n+912271264218,MA_1,7,JPY\n+912271264219,MA_1,8,\n+912271264217,MA_1,,\n";
    check(&desk.import(row, &flags), [3, 2, 0, 1, 0]);
    assert_eq!(desk.record(912_271_264_218).cost, Some(money(7, "JPY")));
    assert_eq!(desk.record(912_271_264_219).cost, Some(money(800, "INR")));
}

#[test]
fn another_currency_is_never_guessed() {
    let desk = Desk::with(HELD);
    for (row, rejected) in [
        ("number,currency\n+912271264217,USD\n", 1),
        ("number,currency\n+912271264217,INR\n", 0),
        ("number,monthly_cost\n+912271264217,500\n", 0),
        ("number,monthly_cost\n+912271264217,500.001\n", 1),
        ("number,monthly_cost\n+912271264218,500\n", 1),
        ("number,monthly_cost,currency\n+912271264217,500,XAU\n", 1),
        ("number,monthly_cost,currency\n+912271264217,-1,INR\n", 1),
    ] {
        assert_eq!(desk.import(row, &options()).rejected, rejected, "{row}");
    }
    assert_eq!(desk.record(912_271_264_217).cost, Some(money(50_000, "INR")));
}

#[test]
fn the_same_number_in_two_rows() {
    let rows = |second: &str| {
        format!("number,account_auth_id,monthly_cost,currency,status\n+912271264217,MA_1,5,INR,active\n{second}\n")
    };
    let same = rows("+912271264217,MA_1,5,INR,active");
    let desk = Desk::new();
    check(&desk.import(&same, &options()), [2, 1, 0, 1, 0]);
    check(&desk.import(&same, &options()), [2, 0, 0, 2, 0]);

    // Rows that contradict each other cannot both be so; the first counts.
    let contradictions = ["MA_2,5,INR,active", "MA_1,5,INR,suspended", "MA_1,6,INR,active"];
    let hows = [skip(), ImportOptions { move_held: true, ..skip() }];
    let cases = contradictions.iter().flat_map(|second| hows.iter().map(move |how| (second, how)));
    let desks: Vec<_> = cases
        .map(|(second, how)| {
            let desk = Desk::new();
            let text = rows(&format!("+912271264217,{second}"));
            check(&desk.import(&text, how), [2, 1, 0, 0, 1]);
            assert_eq!(desk.snapshot().accounts.len(), 1);
            (desk, text, how)
        })
        .collect();
    // By now a change would have another time.
    next_second();
    for (desk, text, how) in desks {
        let digest = desk.snapshot().digest();
        check(&desk.import(&text, how), [2, 0, 0, 1, 1]);
        assert_eq!(desk.snapshot().digest(), digest, "importing it twice changed something: {text}");
    }
}

#[test]
fn an_accounts_application_serves_no_other() {
    let desk = Desk::with(HELD);
    desk.store()
        .write(
            WriteTarget::Partner(desk.key),
            entry(Verb::Import),
            draft(|transaction| {
                transaction
                    .put_entity(EntityChange::Application(Edit::created(application("app_own", Some("MA_1")))))?;
                Ok(transaction.put_entity(EntityChange::Trunk(Edit::created(trunk("trunk_own", Some("MA_1")))))?)
            }),
        )
        .expect("written");
    let row = |digits: u64, account: &str, column: &str, id: &str| {
        format!("number,account_auth_id,monthly_cost,currency,{column}\n+{digits},{account},5,INR,{id}\n")
    };
    for (column, id) in [("application_id", "app_own"), ("trunk_id", "trunk_own")] {
        check(
            &desk.import(&row(912_271_264_218, "MA_1", column, id), &skip()),
            [1, u64::from(column == "application_id"), u64::from(column != "application_id"), 0, 0],
        );
        let report = desk.import(&row(912_271_264_219, "MA_2", column, id), &options());
        check(&report, [1, 0, 0, 0, 1]);
        assert_eq!(report.errors[0].column, column);
        check(&desk.import(&row(912_271_264_219, "", column, id), &options()), [1, 0, 0, 0, 1]);
    }
    // What the new account may not use is said, with both of them; an empty cell clears it.
    let report = desk.import("number,account_auth_id\n+912271264218,MA_2\n", &moving());
    check(&report, [1, 0, 0, 0, 1]);
    let told: Vec<String> =
        report.errors.iter().map(|error| format!("{} {} {}", error.column, error.value, error.message)).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, column, id) in [(&told[0], "application_id", "app_own"), (&told[1], "trunk_id", "trunk_own")] {
        let begin = format!("{column} {id} belongs to account MA_1, so account MA_2 may not use it; give another");
        assert!(told.starts_with(&begin), "{told}");
    }
    let clears = "number,account_auth_id,application_id,trunk_id\n+912271264218,MA_2,,\n";
    let report = desk.import(clears, &moving());
    check(&report, [1, 0, 1, 0, 0]);
    assert_eq!((report.losses.route, report.losses.trunk), (1, 1));
}

#[test]
fn names_come_from_the_file_and_stay() {
    let desk = Desk::with(HELD);
    let name = |desk: &Desk| desk.snapshot().accounts.get("MA_1").expect("there").name.to_string();
    desk.import("number,account_auth_id\n+912271264217,MA_1\n", &options());
    assert_eq!(name(&desk), "One");
    desk.import("number,account_auth_id,account_name\n+912271264217,MA_1,\n", &options());
    assert_eq!(name(&desk), "One");
    desk.import("number,account_auth_id,account_name\n+912271264217,MA_1,Renamed\n", &options());
    assert_eq!(name(&desk), "Renamed");
    let report =
        desk.import("number,account_auth_id,account_name,state\n,MA_7,Seven,no_number\n,MA_8,,no_number\n", &options());
    assert_eq!((report.rejected, report.written), (0, true), "{report:?}");
    let snapshot = desk.snapshot();
    assert_eq!(&*snapshot.accounts.get("MA_7").expect("there").name, "Seven");
    assert_eq!(&*snapshot.accounts.get("MA_8").expect("there").name, "MA_8");
}

#[test]
fn a_rejected_row_names_nothing() {
    let desk = Desk::with(HELD);
    desk.import_for("PA_2", b"number\n+912271264218\n", &options()).expect("theirs");
    let text = "number,account_auth_id,account_name,monthly_cost,currency
+912271264218,MA_1,Wrong,5,INR
+912271264217,MA_1,,,
";
    check(&desk.import(text, &skip()), [2, 0, 0, 1, 1]);
    assert_eq!(&*desk.snapshot().accounts.get("MA_1").expect("there").name, "One");
}

#[test]
fn a_file_can_be_interrupted() {
    let desk = Desk::new();
    let text = HELD.as_bytes().to_vec();
    let source = move || Ok(Box::new(Cursor::new(text.clone())) as Box<dyn Read>);
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(true) };
    let result = desk.service.import(&"PA_1".parse().expect("an id"), &source, &options(), &watch);
    assert!(matches!(result, Err(ImportError::Cancelled)));
    assert_eq!(desk.version(), 1);
}

/// What `export` writes of a snapshot.
fn exported(snapshot: &Snapshot, now: Time) -> Vec<u8> {
    let mut out = Vec::new();
    wire::csv_header(&mut out, wire::EXPORT);
    let mut writer = wire::RowWriter::new(snapshot, wire::TextForm::Csv, wire::EXPORT);
    snapshot.iter(now).for_each(|row| writer.row(&mut out, row));
    out
}

#[test]
fn export_and_import_make_the_same_inventory() {
    let odd = [
        "Crédit, \"Inc\"; Sons",
        "'quoted",
        "=1+1",
        "- x",
        "0",
        "null and void",
        "日本",
        "=\"a  b\"",
        "\u{feff}mark",
        "MA_1",
    ];
    let desk = Desk::new();
    let now = Time::now();
    let past = time(NOW);
    let mut numbers = Vec::new();
    let states = [State::Active, State::Suspended, State::Available, State::Quarantined, State::Reserved];
    for (at, name) in odd.iter().enumerate() {
        for (state_at, state) in states.into_iter().enumerate() {
            let id: String = format!("id {at},\"");
            numbers.push(created(
                912_271_264_000 + (at * 10 + state_at) as u64,
                Record {
                    state,
                    account: (state.held() || state == State::Reserved).then(|| id.parse().expect("an id")),
                    application: state.held().then(|| id.parse().expect("an id")),
                    trunk: (at % 2 == 0).then(|| id.parse().expect("an id")),
                    country: Some("FR".parse().expect("a country")),
                    region: Some((*name).into()),
                    cost: (state.held() || at % 2 == 0).then(|| money(1_250, ["INR", "JPY", "KWD"][at % 3])),
                    assigned_at: state.held().then_some(past.plus(at as i64)),
                    expires_at: [None, Some(past), Some(now.plus(9_999))][at % 3],
                    since: past.plus(77),
                    until: matches!(state, State::Quarantined | State::Reserved).then(|| now.plus(86_400)),
                    tags: Tags::new([*name].into_iter().filter(|name| !name.contains(';'))),
                    ..stock("")
                },
            ));
        }
    }
    desk.store()
        .write(
            WriteTarget::Partner(desk.key),
            entry(Verb::Import),
            draft(|transaction| {
                for (at, name) in odd.iter().enumerate() {
                    let id = format!("id {at},\"");
                    let mut account = account(&id);
                    account.name = (*name).into();
                    transaction.put_entity(EntityChange::Account(Edit::created(account)))?;
                    let mut application = application(&id, None);
                    application.name = (*name).into();
                    transaction.put_entity(EntityChange::Application(Edit::created(application)))?;
                    transaction.put_entity(EntityChange::Trunk(Edit::created(trunk(&id, None))))?;
                }
                Ok(transaction.put_numbers(&numbers)?)
            }),
        )
        .expect("written");
    let original = desk.snapshot();
    let file = exported(&original, now);
    let text = String::from_utf8(file).expect("UTF-8");

    let copy = Desk::new();
    let report = copy.import(&text, &options());
    check(&report, [50, 50, 0, 0, 0]);
    let copied = copy.snapshot();
    let records = |snapshot: &Snapshot| snapshot.iter(now).map(NumberRef::record).collect::<Vec<_>>();
    for (row, (copied, original)) in records(&copied).into_iter().zip(records(&original)).enumerate() {
        assert_eq!(copied, original, "row {row}");
    }
    for account in original.accounts.iter() {
        assert_eq!(copied.accounts.get(account.auth_id.as_str()).map(|a| &a.name), Some(&account.name));
    }
    for application in original.applications.iter() {
        assert_eq!(copied.applications.get(application.id.as_str()).map(|a| &a.name), Some(&application.name));
    }
    assert_eq!(exported(&copied, now), text.as_bytes());
    // And once more, into the original itself.
    check(&desk.import(&text, &options()), [50, 0, 0, 50, 0]);
}

#[test]
fn a_quarantined_number_is_not_assigned_by_accident() {
    let until = Time::now().plus(86_400);
    let quarantined = format!("number,state,quarantine_ends_at\n+912271264217,quarantined,{until}\n");
    let desk = Desk::with(&quarantined);
    check(&desk.import(&quarantined, &options()), [1, 0, 0, 1, 0]);
    check(&desk.import("number\n+912271264217\n", &options()), [1, 0, 0, 1, 0]);
    let assign = "number,account_auth_id,monthly_cost,currency\n+912271264217,MA_1,5,INR\n";
    check(&desk.import(assign, &options()), [1, 0, 0, 0, 1]);
    check(&desk.import(assign, &moving()), [1, 0, 1, 0, 0]);

    let over = quarantined.replace(&until.to_string(), "2020-01-01T00:00:00Z").replace("217", "218");
    check(&desk.import(&over, &options()), [1, 1, 0, 0, 0]);
    check(&desk.import(&assign.replace("217", "218"), &options()), [1, 0, 1, 0, 0]);
}

#[test]
fn a_reserved_number_is_for_its_account() {
    let until = Time::now().plus(86_400);
    let desk = Desk::with(&format!("number,state,reserved_until,reserved_for\n+912271264217,reserved,{until},MA_1\n"));
    assert!(desk.snapshot().accounts.get("MA_1").is_some());
    let assign =
        |account: &str| format!("number,account_auth_id,monthly_cost,currency\n+912271264217,{account},5,INR\n");
    check(&desk.import(&assign("MA_2"), &options()), [1, 0, 0, 0, 1]);
    check(&desk.import(&assign("MA_1"), &options()), [1, 0, 1, 0, 0]);
    for incomplete in [
        "state\n+912271264218,reserved",
        "state,reserved_for\n+912271264218,reserved,MA_1",
        "state\n+912271264218,quarantined",
        "state\n+912271264218,active",
    ] {
        check(&desk.import(&format!("number,{incomplete}\n"), &options()), [1, 0, 0, 0, 1]);
    }
}

/// A slice of a regulator's file, where the data folder is at hand.
#[test]
fn regulator_blocks_become_an_inventory() {
    let folder = std::env::var("ROLLCALL_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let path = std::path::Path::new(&folder).join("blocks_fr_arcep.csv.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        crate::cluster::skipped(&format!("there is no {}", path.display()));
        return;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).take(1_000_000).read_to_string(&mut text).unwrap_or_default();
    let whole: Vec<&str> = text.lines().collect();
    // Blocks of up to 10,000 keep the test quick.
    let size = |line: &str| {
        let mut cells = line.split(',').map(|cell| cell.trim_start_matches('+').parse::<u64>().unwrap_or(0));
        let (start, end) = (cells.next().unwrap_or(0), cells.next().unwrap_or(0));
        end.saturating_sub(start) + 1
    };
    let blocks: Vec<&str> =
        whole[1..whole.len() - 1].iter().copied().filter(|line| size(line) <= 10_000).take(3).collect();
    let numbers: u64 = blocks.iter().map(|line| size(line)).sum();
    assert!(numbers > 0);
    let slice = format!("{}\n{}\n", whole[0], blocks.join("\n"));
    let mut options = options();
    options.intake.mappings = vec!["operator=account_auth_id".parse().expect("a mapping")];
    options.intake.currency = Some("EUR".parse().expect("a currency"));
    options.monthly_cost = Some("0.10".into());
    let desk = Desk::new();
    let report = desk.import(&slice, &options);
    check(&report, [blocks.len() as u64, numbers, 0, 0, 0]);
    assert!(report.unknown.contains(&"block_status".to_owned()), "{:?}", report.unknown);
    let snapshot = desk.snapshot();
    let operator = blocks[0].split(',').nth(3).expect("an operator");
    let first = snapshot.iter(Time::now()).next().expect("a number");
    assert!(snapshot.accounts.get(operator).is_some(), "{operator}");
    assert_eq!(first.cost(), Some(money(10, "EUR")));
    assert!(first.account().is_some());
    check(&desk.import(&slice, &options), [blocks.len() as u64, 0, 0, numbers, 0]);
}

#[test]
fn a_products_export_becomes_accounts_and_stock() {
    let desk = Desk::new();
    let text = "number,sub_account,added_on,application,monthly_rental_rate,renewal_date\n\
                17609915566,/v1/Account/MAXX/Subaccount/SAYY/,2023-02-14,/v1/Account/MAXX/Application/299/,0.80000,2023-05-10\n\
                442079460123,,2023-02-15,,1.50000,2023-05-15\n";
    let refused = desk.import(text, &options());
    assert_eq!(refused.errors[0].message, "the monthly_cost 0.8 needs a currency, here or as --currency");

    let mut options = options();
    options.intake.currency = "USD".parse().ok();
    let report = desk.import(text, &options);
    check(&report, [2, 2, 0, 0, 0]);
    assert_eq!(report.export.as_deref(), Some("Plivo"));
    let told = serde_json::to_value(&report).expect("JSON");
    assert_eq!(told["export"], "Plivo");
    let record = desk.record(17_609_915_566);
    assert_eq!(record.holder().map(|id| id.as_str()), Some("SAYY"));
    assert_eq!(record.application.as_ref().map(|id| id.as_str()), Some("299"));
    assert_eq!(record.cost, Some(money(80, "USD")));
    assert_eq!(record.assigned_at.map(|at| at.to_string()).as_deref(), Some("2023-02-14T00:00:00Z"));
    assert_eq!(record.expires_at, None, "a rental renews itself");
    let stock = desk.record(442_079_460_123);
    assert_eq!((stock.state, stock.assigned_at, stock.cost), (State::Available, None, Some(money(150, "USD"))));
    check(&desk.import(text, &options), [2, 0, 0, 2, 0]);
    // A file of ours says nothing of it.
    let ours = desk.import("number\n+442079460124\n", &options);
    assert_eq!(ours.export, None);
    assert!(!serde_json::to_string(&ours).expect("JSON").contains("export"));

    let blocked = "e164,account_id,status,is_blocked,monthly_fee,currency\n+912271264217,MA_1,active,true,300,INR\n";
    check(&desk.import(blocked, &options), [1, 1, 0, 0, 0]);
    assert_eq!(desk.record(912_271_264_217).state, State::Suspended);
}

/// Line, column, value and the beginning of the reason of each caution.
#[track_caller]
fn cautions(report: &ImportReport, expected: &[(u64, &str, &str, &str)]) {
    let found: Vec<(u64, &str, &str, &str)> =
        report.cautions.iter().map(|one| (one.line, &*one.column, &*one.value, &*one.reason)).collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            (found.0, found.1, found.2) == (expected.0, expected.1, expected.2) && found.3.contains(expected.3)
        });
    assert!(fits, "expected {expected:#?}, found {found:#?}");
    assert_eq!(report.cautions_total, expected.len() as u64);
}

fn strict() -> ImportOptions {
    ImportOptions { strict: true, ..skip() }
}

fn keeping() -> ImportOptions {
    ImportOptions { keep_empty: true, ..options() }
}

#[test]
fn cautions_name_line_column_value_and_reason() {
    let stored = "number,account_auth_id,account_name,application_id,trunk_id,monthly_cost,currency
+912271264217,MA_1,Globex,app_1,trunk_1,5,INR
";
    let row = |digits: &str, cells: &str| format!("{digits},{cells},5,INR\n");
    let head = "number,account_auth_id,account_name,application_id,trunk_id,monthly_cost,currency\n";
    // A row, and its one caution: column, value, reason. None: there is none.
    type Expected = Option<(&'static str, &'static str, &'static str)>;
    let cases: &[(String, Expected)] = &[
        (row("+912271264218", "MA_1,Globex,app_1,trunk_1"), None),
        (row("+912271264218", "MA_9,Other,app_9,trunk_9"), None),
        (row("+912271264218", "ma_1,One,,"), Some(("account_auth_id", "ma_1", "differs from MA_1 by case only"))),
        (row("+912271264218", "MA_9,GLOBEX,,"), Some(("account_name", "GLOBEX", "differs from Globex, the name of"))),
        (row("+912271264218", "globex,,,"), Some(("account_auth_id", "globex", "differs from Globex, the name of"))),
        (row("+912271264218", "MA_1,,APP_1,"), Some(("application_id", "APP_1", "differs from app_1"))),
        (row("+912271264218", "MA_1,,,Trunk_1"), Some(("trunk_id", "Trunk_1", "differs from trunk_1"))),
        (row("+9991234567", ",,,"), Some(("number", "+9991234567", "is not valid by the numbering plan"))),
        (row("+91227126420099", ",,,"), Some(("number", "+91227126420099", "probably a block, which is written"))),
        // A name without its id goes nowhere, and is said; where it is known, with the id.
        (row("+912271264218", ",Globex,,"), Some(("account_name", "Globex", "write MA_1 in account_auth_id"))),
        (row("+912271264218", ",Nowhere,,"), Some(("account_name", "Nowhere", "write the customer's id in"))),
        // The name of the same customer in other letters is a new name.
        (row("+912271264218", "MA_1,GLOBEX,,"), None),
    ];
    for (row, expected) in cases {
        let desk = Desk::with(stored);
        let text = format!("{head}{row}");
        let report = desk.import(&text, &options());
        assert_eq!((report.rejected, report.written), (0, true), "{row}{report:#?}");
        let expected: Vec<_> = expected.iter().map(|(column, value, reason)| (2, *column, *value, *reason)).collect();
        cautions(&report, &expected);
        assert_eq!(report.caution_lines.len(), expected.len());

        // Strict, they are errors; and the rest is written.
        let desk = Desk::with(stored);
        let report = desk.import(&text, &strict());
        let told: Vec<(u64, &str, &str)> =
            report.errors.iter().map(|error| (error.line, &*error.column, &*error.value)).collect();
        assert_eq!(told, expected.iter().map(|&(line, column, value, _)| (line, column, value)).collect::<Vec<_>>());
        assert_eq!((report.rejected, report.cautions_total), (expected.len() as u64, 0));
        // And what was imported once is doubtful no more, the plan aside.
        let desk = Desk::with(&text);
        let again = desk.import(&text, &options());
        check(&again, [1, 0, 0, 1, 0]);
    }
}

#[test]
fn a_file_is_doubtful_within_itself() {
    let text = "number,account_auth_id,account_name,monthly_cost,currency
+912271264217,MA_1,Globex,5,INR
+912271264216,ma_1,Other,5,INR
+912271264215,ma_1,Other,5,INR
+912271264214,MA_2,globex,5,INR
";
    let desk = Desk::new();
    let report = desk.import(text, &strict());
    check(&report, [4, 1, 0, 0, 3]);
    // By the order of the file, not of the numbers: the first spelling stands.
    assert_eq!(report.rejected_lines, [3, 4, 5]);
    let report = Desk::new().import(text, &options());
    cautions(
        &report,
        &[
            (3, "account_auth_id", "ma_1", "differs from MA_1"),
            (4, "account_auth_id", "ma_1", "differs from MA_1"),
            (5, "account_name", "globex", "differs from Globex, the name of customer MA_1"),
        ],
    );
}

#[test]
fn a_block_is_one_caution_and_a_thousand_are_listed() {
    let desk = Desk::new();
    let report = desk.import("number\n+999000000000-+999000009999\n+912271264217\n", &options());
    check(&report, [2, 10_001, 0, 0, 0]);
    cautions(&report, &[(2, "number", "+999000000000", "like all 10000 numbers of the block")]);

    let many: String = (0..1_500).map(|at| format!("+9991{at:06}\n")).collect();
    let report = desk.import(&format!("number,colour\n{}", many.replace('\n', ",red\n")), &options());
    assert_eq!((report.cautions.len(), report.cautions_total, report.warnings), (1_000, 1_501, 1_501));
    assert_eq!(&*report.cautions[0].column, "colour", "what concerns the whole file comes first");
    assert_eq!(report.caution_lines.len(), 1_500);
    let report = desk.import(&format!("number,colour\n{}", many.replace('\n', ",red\n")), &strict());
    assert!(report.refused && !report.written && report.errors[0].column == "colour", "{:?}", report.errors[0]);
}

#[test]
fn a_column_that_is_not_read_is_a_caution_and_refuses_a_strict_file() {
    let text = "number,colour\n+912271264217,red\n";
    let desk = Desk::new();
    let report = desk.import(text, &strict());
    assert!(report.refused && !report.written, "{report:#?}");
    assert_eq!((report.errors[0].line, &*report.errors[0].column), (1, "colour"));
    let ignored = ImportOptions { strict: true, ..ignoring("colour=-") };
    let report = desk.import(text, &ignored);
    assert_eq!((report.written, report.cautions_total), (true, 0));
    cautions(&desk.import(text, &options()), &[(1, "colour", "", "is not read")]);
}

fn ignoring(mapping: &str) -> ImportOptions {
    let mut options = options();
    options.intake.mappings = vec![mapping.parse().expect("a mapping")];
    options
}

#[test]
fn losses_are_counted_apart_and_shown_with_names() {
    let head = "number,account_auth_id,application_id,trunk_id,expires_at,tags,monthly_cost,currency";
    let row = |cells: &str| format!("{head}\n+912271264217,{cells}\n");
    let full = "MA_1,app_1,trunk_1,2030-01-01T00:00:00Z,b;a,500.00,INR";
    // What the row says: route, trunk, expiry, account, tags lost; money up, down.
    let cases: &[(&str, [u64; 5], (i64, i64))] = &[
        (full, [0; 5], (0, 0)),
        ("MA_1,,trunk_1,2030-01-01T00:00:00Z,b;a,500.00,INR", [1, 0, 0, 0, 0], (0, 0)),
        ("MA_1,app_1,,2030-01-01T00:00:00Z,b;a,500.00,INR", [0, 1, 0, 0, 0], (0, 0)),
        ("MA_1,app_1,trunk_1,,b;a,500.00,INR", [0, 0, 1, 0, 0], (0, 0)),
        ("MA_1,app_1,trunk_1,2030-01-01T00:00:00Z,b,500.00,INR", [0, 0, 0, 0, 1], (0, 0)),
        ("MA_1,app_1,trunk_1,2030-01-01T00:00:00Z,,510.00,INR", [0, 0, 0, 0, 1], (1_000, 0)),
        ("MA_1,app_2,trunk_2,2031-01-01T00:00:00Z,a;b;c,400.00,INR", [0; 5], (0, 10_000)),
        ("MA_2,,,,,500.00,INR", [1, 1, 1, 0, 1], (0, 0)),
        (",,,,,,", [1, 1, 1, 1, 1], (0, 50_000)),
    ];
    for (cells, expected, (up, down)) in cases {
        let desk = Desk::with(&row(full));
        let report = desk.import(&row(cells), &moving());
        let losses = report.losses;
        let found = [losses.route, losses.trunk, losses.expiry, losses.account, losses.tags];
        assert_eq!(&found, expected, "{cells}");
        let money = report.money.values().next().copied().unwrap_or_default();
        assert_eq!((money.up, money.down), (i128::from(*up), i128::from(*down)), "{cells}");
        let lost: Vec<&str> = report
            .changed
            .iter()
            .flat_map(|one| &one.changes)
            .filter(|change| change.lost)
            .map(|change| &*change.field)
            .collect();
        assert_eq!(lost.len() as u64, expected.iter().sum::<u64>(), "{cells}: {lost:?}");
        assert_eq!(report.losses_route_active, expected[0], "{cells}");
        // With empty cells kept, nothing is ever lost but by another value.
        let desk = Desk::with(&row(full));
        let kept = desk.import(&row(cells), &ImportOptions { move_held: true, ..keeping() });
        let value = u64::from(cells.contains(",b,500"));
        assert_eq!(
            kept.losses,
            rollcall::service::verbs::import::Losses { tags: value, ..Default::default() },
            "{cells}"
        );
    }
}

#[test]
fn changes_are_shown_before_and_after_by_name() {
    let text = "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency
+912271264217,MA_1,Globex,app_1,Main IVR,5,INR
+912271264218,MA_1,Globex,app_2,Main IVR,5,INR
+912271264219,MA_1,Globex,app_3,Sales,5,INR
";
    let desk = Desk::with(text);
    let change = "number,application_id,expires_at
+912271264217,app_3,2030-01-01
+912271264218,app_1,
+912271264219,,
";
    let report = desk.import(change, &options());
    let told: Vec<String> = report
        .changed
        .iter()
        .flat_map(|one| {
            one.changes.iter().map(move |change| {
                let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
                let (before, after) = (value(&change.before), value(&change.after));
                format!(
                    "{} {} {} {before} -> {after}{}",
                    one.line,
                    one.number,
                    change.field,
                    if change.lost { " lost" } else { "" }
                )
            })
        })
        .collect();
    assert_eq!(
        told,
        [
            "2 +912271264217 application_id Main IVR (app_1) -> Sales",
            "2 +912271264217 expires_at none -> 2030-01-01T00:00:00Z",
            "3 +912271264218 application_id Main IVR (app_2) -> Main IVR (app_1)",
            "4 +912271264219 application_id Sales -> none lost",
        ]
    );
    // A block that changes alike is one entry, and the list has an end.
    let desk = Desk::with("number\n+912271260000-+912271269999\n");
    let report = desk.import("number,tags\n+912271260000-+912271269999,x\n", &options());
    assert_eq!((report.changed.len(), report.changed[0].numbers), (1, 10_000));
    let rows: String = (0..2_000).rev().map(|at| format!("+91227126{at:04},\n")).collect();
    let report = desk.import(&format!("number,tags\n{rows}"), &options());
    assert_eq!((report.changed.len(), report.losses.tags), (1_000, 2_000));
    assert_eq!(report.changed[0].line, 2, "the first of the file, whatever the order of the numbers");
}

#[test]
fn a_move_keeps_what_the_file_does_not_say() {
    let desk = Desk::with(&HELD.replace("tags,region", "tags,region,status").replace("b;a,Pune", "b;a,Pune,suspended"));
    let before = desk.record(912_271_264_217);
    let dated = "number,account_auth_id,assigned_at\n+912271264217,MA_2,2025-05-05T05:05:05Z\n";
    check(&desk.import(dated, &moving()), [1, 0, 1, 0, 0]);
    let expected =
        Record { account: "MA_2".parse().ok(), assigned_at: "2025-05-05T05:05:05Z".parse().ok(), ..before.clone() };
    assert_eq!(desk.record(912_271_264_217), expected);
    let back = desk.import("number,account_auth_id\n+912271264217,MA_1\n", &moving());
    assert!(!back.losses.any(), "{back:#?}");
    let record = desk.record(912_271_264_217);
    assert_eq!((record.state, record.expires_at, record.cost), (State::Suspended, before.expires_at, before.cost));
    assert!(record.assigned_at > before.assigned_at.map(|at| at.plus(-1)), "assigned now");
}

#[test]
fn the_last_active_number_of_a_customer_is_a_caution() {
    let text = "number,account_auth_id,account_name,monthly_cost,currency
+912271264217,MA_1,One,5,INR
+912271264218,MA_1,One,5,INR
";
    let move_of = |digits: &[u64]| {
        let rows: String = digits.iter().map(|digits| format!("+{digits},MA_2\n")).collect();
        format!("number,account_auth_id\n{rows}")
    };
    let both = [912_271_264_217, 912_271_264_218];
    let desk = Desk::with(text);
    cautions(&desk.import(&move_of(&both[..1]), &moving()), &[]);
    cautions(
        &desk.import(&move_of(&both[1..]), &moving()),
        &[(2, "account_auth_id", "+912271264218", "customer One is left without an active number")],
    );
    let desk = Desk::with(text);
    let report = desk.import(&move_of(&both), &ImportOptions { move_held: true, ..strict() });
    assert!(report.refused && !report.written, "{report:#?}");
    let report = desk.import(&move_of(&both), &moving());
    assert_eq!((report.cautions_total, report.written), (1, true));
}

#[test]
fn archived_customers_and_routes_get_no_numbers() {
    let archive = |desk: &Desk, what: &str| {
        let draft = draft(|transaction| {
            let at = Some(time(NOW));
            let change = match what {
                "MA_2" => {
                    EntityChange::Account(Edit::created(rollcall::domain::Account { archived_at: at, ..account(what) }))
                }
                "app_2" => EntityChange::Application(Edit::created(rollcall::domain::Application {
                    archived_at: at,
                    ..application(what, None)
                })),
                _ => {
                    EntityChange::Trunk(Edit::created(rollcall::domain::Trunk { archived_at: at, ..trunk(what, None) }))
                }
            };
            Ok(transaction.put_entity(change)?)
        });
        desk.store().write(WriteTarget::Partner(desk.key), entry(Verb::Import), draft).expect("written");
    };
    let head = "number,account_auth_id,application_id,trunk_id,monthly_cost,currency";
    for (what, column, cells) in [
        ("MA_2", "account_auth_id", "MA_2,app_1,trunk_1"),
        ("app_2", "application_id", "MA_1,app_2,trunk_1"),
        ("trunk_2", "trunk_id", "MA_1,app_1,trunk_2"),
    ] {
        for number in ["+912271264218", "+912271264217"] {
            let desk = Desk::with(HELD);
            archive(&desk, what);
            let report = desk.import(&format!("{head}\n{number},{cells},5,INR\n"), &moving());
            check(&report, [1, 0, 0, 0, 1]);
            let error = &report.errors[0];
            assert_eq!((&*error.column, &*error.value), (column, what));
            assert!(error.message.starts_with("is archived"), "{}", error.message);
        }
    }
}

#[test]
fn a_column_of_ids_takes_ids_only() {
    let stored = "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency
+912271264217,MA_1,Globex,app_1,Main IVR,5,INR
+912271264218,MA_1,Globex,app_2,Main IVR,5,INR
";
    let head = "number,account_auth_id,application_id,monthly_cost,currency\n";
    for (cells, column, message) in [
        ("Globex,app_1", "account_auth_id", "is the name of a customer; write its id, MA_1"),
        ("MA_1,Main IVR", "application_id", "is the name of 2 applications; write the id of one of them: app_1, app_2"),
    ] {
        let desk = Desk::with(stored);
        let report = desk.import(&format!("{head}+912271264219,{cells},5,INR\n"), &options());
        check(&report, [1, 0, 0, 0, 1]);
        assert_eq!((&*report.errors[0].column, &*report.errors[0].message), (column, message));
    }
    // An exact id wins, though it is a name as well.
    let desk = Desk::with(
        "number,account_auth_id,account_name,monthly_cost,currency
+912271264217,Globex,Other,5,INR
+912271264218,MA_2,Globex,5,INR
",
    );
    let report = desk.import("number,account_auth_id,monthly_cost,currency\n+912271264219,Globex,5,INR\n", &options());
    check(&report, [1, 1, 0, 0, 0]);
}

#[test]
fn a_misspelt_number_is_no_new_number() {
    for (text, meant) in [("+4402079460958", "+442079460958"), ("+9102271264217", "+912271264217")] {
        let desk = Desk::new();
        let report = desk.import(&format!("number\n{text}\n"), &options());
        check(&report, [1, 0, 0, 0, 1]);
        assert!(report.errors[0].message.contains(meant), "{:?}", report.errors);
        assert_eq!(report.cautions_total, 0, "an error needs no caution beside it");
    }
}
