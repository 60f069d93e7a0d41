//! Importing: what a file makes of what is stored.

use std::io::{Cursor, Read};
use std::sync::atomic::AtomicBool;

use rollcall::domain::change::Edit;
use rollcall::domain::{EntityChange, PartnerKey, Record, State, Tags, Time, Verb};
use rollcall::inventory::{NumberRef, Snapshot};
use rollcall::service::Service;
use rollcall::service::import::{ImportError, ImportOptions, ImportReport, OnError, Watch};
use rollcall::store::{Store, Target};
use rollcall::{intake, wire};

use super::fixture::*;

fn options() -> ImportOptions {
    ImportOptions {
        intake: intake::Options::default(),
        monthly_cost: None,
        on_error: OnError::Abort,
        move_held: false,
        dry_run: false,
    }
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

    check(&desk.import(other, &moving()), [1, 0, 1, 0, 0]);
    let record = desk.record(912_271_264_217);
    assert_eq!(record.account.as_ref().map(|id| id.as_str()), Some("MA_2"));
    assert_eq!((&record.application, &record.trunk, record.expires_at), (&None, &None, None), "not the old one's");
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
    std::thread::sleep(std::time::Duration::from_millis(1_100));
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
            Target::Partner(desk.key),
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
    // Moving a number keeps no application that would then be another's.
    check(&desk.import("number,account_auth_id\n+912271264218,MA_2\n", &moving()), [1, 0, 1, 0, 0]);
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
    let mut writer = wire::Writer::new(snapshot, wire::Form::Csv, wire::EXPORT);
    snapshot.iter(now).for_each(|row| writer.row(&mut out, row));
    out
}

#[test]
fn export_and_import_make_the_same_inventory() {
    let odd =
        ["Crédit, \"Inc\"; Sons", "'quoted", "=1+1", "-", "0", "null", "日本", "=\"a  b\"", "\u{feff}mark", "MA_1"];
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
            Target::Partner(desk.key),
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
