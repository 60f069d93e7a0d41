//! Files as other products and people write them, through the real program: what
//! each row becomes. The files are in `tests/files/`, made up in columns and
//! forms that each product documents (`tests/files/README.md`).

use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;

use rollcall::domain::Time;
use rollcall::intake;
use serde_json::Value;

use crate::harness::Database;

const PARTNER: &str = "PA_ONE";

/// What is shown of a stored number, where it has a value.
const SHOWN: [&str; 11] = [
    "account_auth_id",
    "account_name",
    "application_id",
    "application_name",
    "trunk_id",
    "monthly_cost",
    "currency",
    "assigned_at",
    "expires_at",
    "tags",
    "state",
];

struct Case {
    file: &'static str,
    /// What the person who imports the file adds to it.
    flags: &'static [&'static str],
    /// Whose export the report says it is.
    export: Option<&'static str>,
    unread: &'static [&'static str],
    stored: &'static [&'static str],
    /// The lines and columns of rejected cells, and the beginning of the reason.
    rejected: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        file: "vobiz.csv",
        flags: &[],
        export: Some("Vobiz"),
        unread: &[],
        stored: &[
            "+912271264217 MA_1 MA_1 app_1 app_1 300.00 INR 2026-03-25T06:58:38Z active",
            "+912271264218 MA_1 MA_1 tg_1 200.00 INR 2026-02-17T10:25:30Z suspended",
        ],
        rejected: &["4 status: is nothing that a number which is here and works has as its status with Vobiz"],
    },
    Case {
        file: "plivo.csv",
        flags: &["--currency", "USD"],
        export: Some("Plivo"),
        unread: &[],
        stored: &[
            "+17609915566 SA1 SA1 299 299 0.80 USD 2023-02-14T00:00:00Z active",
            "+912271264217 1.50 USD available",
        ],
        rejected: &[],
    },
    Case {
        file: "twilio.json",
        flags: &["--currency", "USD", "--monthly-cost", "1.15"],
        export: Some("Twilio"),
        unread: &[],
        stored: &[
            "+15105647903 AC01 AC01 AP01 AP01 TK01 1.15 USD 2015-07-30T23:19:04Z active",
            "+442079460123 AC01 AC01 1.15 USD 2024-08-20T22:09:59Z active",
        ],
        rejected: &[],
    },
    Case {
        file: "telnyx.json",
        flags: &["--map", "status=-", "--map", "connection_id=-", "--map", "connection_name=tags", "--map", "tags=-"],
        export: Some("Telnyx"),
        unread: &[],
        stored: &["+18005550199 available", "+19705555098 office line available", "+19705555099 available"],
        rejected: &[],
    },
    Case {
        file: "didww.json",
        flags: &["--map", "blocked=-"],
        export: Some("DIDWW"),
        unread: &[],
        stored: &["+16091609123 2031-01-27T10:00:04Z available", "+442079460124 available"],
        rejected: &[],
    },
    Case {
        file: "bandwidth.csv",
        flags: &["--currency", "USD", "--monthly-cost", "0.35"],
        export: Some("Bandwidth"),
        unread: &[],
        stored: &["+12025550123 9900012 9900012 0.35 USD active"],
        rejected: &["3 FullNumber: must be the ten digits of a North American number"],
    },
    Case {
        file: "portabilling.csv",
        flags: &["--currency", "GBP"],
        export: Some("PortaBilling"),
        unread: &[],
        stored: &["+442079460123 1.50 GBP available", "+442079460124 2.00 GBP available"],
        rejected: &[],
    },
    Case {
        file: "portabilling.xlsx",
        flags: &["--currency", "GBP", "--assume-plus"],
        export: Some("PortaBilling"),
        unread: &[],
        stored: &["+442079460123 1.50 GBP available", "+442079460124 2.25 GBP available"],
        rejected: &["4 Number: is in scientific notation"],
    },
    Case {
        file: "kazoo.csv",
        flags: &["--currency", "USD", "--monthly-cost", "1"],
        export: Some("Kazoo"),
        unread: &[],
        stored: &[
            "+14155550100 4f2d1a3b5c6e7f8091a2b3c4d5e6f708 Alpha 1.00 USD active",
            "+14155550101 1.00 USD available",
        ],
        rejected: &["4 state: is no state of a number that is here, with Kazoo"],
    },
    Case {
        file: "vonage.json",
        flags: &[],
        export: Some("Vonage"),
        unread: &[],
        stored: &["+12025550125 available", "+447700900000 available"],
        rejected: &[],
    },
    Case {
        file: "freepbx.csv",
        flags: &[],
        export: Some("FreePBX"),
        unread: &[],
        stored: &["+14155550103 available"],
        rejected: &["3 extension: "],
    },
    Case {
        file: "astpp.csv",
        flags: &["--map", "Monthly Fee(USD)=monthly_cost", "--currency", "USD"],
        export: Some("ASTPP"),
        unread: &["Per Minute Cost(USD)", "Setup Fee(USD)"],
        stored: &[
            "+14155550104 2096034879 2096034879 1.50 USD active",
            "+14155550105 2096035512 2096035512 1.50 USD suspended",
        ],
        rejected: &[],
    },
    Case {
        file: "teams.csv",
        flags: &[],
        export: Some("Microsoft Teams"),
        unread: &[],
        stored: &["+12065551000 available", "+14025551234 available"],
        rejected: &[],
    },
    Case {
        file: "yeastar.csv",
        flags: &[],
        export: None,
        unread: &["Extension Matched"],
        stored: &["+442079460125 available"],
        rejected: &["3 DID Number: has no +"],
    },
    Case {
        file: "fusionpbx.csv",
        flags: &["--assume-plus"],
        export: None,
        unread: &[
            "destination_type",
            "destination_prefix",
            "destination_context",
            "destination_enabled",
            "destination_description",
        ],
        stored: &["+14155550106 available", "+14155550107 available"],
        rejected: &[],
    },
    Case {
        file: "spreadsheet.csv",
        flags: &[],
        export: None,
        unread: &[],
        stored: &[
            "+442079460127 00123 Smith; Sons 1.50 GBP 2030-03-01T00:00:00Z active",
            "+442079460128 00124 Jones 2.00 GBP active",
        ],
        rejected: &[],
    },
    Case {
        file: "inventory.xlsx",
        flags: &[],
        export: None,
        unread: &[],
        stored: &[
            "+442079460129 MA_7 Müller & Söhne app_7 app_7 1.10 GBP 2030-03-01T00:00:00Z desk;vip active",
            "+442079460130 MA_7 Müller & Söhne app_7 app_7 0.30 GBP suspended",
        ],
        rejected: &["5 App ID: is an error of the spreadsheet"],
    },
    Case {
        file: "habits.csv",
        flags: &[],
        export: None,
        unread: &["Notes"],
        stored: &[
            "+12122000001 MA_48149cf4 Credresolve 1.15 USD active",
            "+12122000002 MA_48149cf4 Credresolve app_1 app_1 1.15 USD 2030-01-01T00:00:00Z active",
        ],
        rejected: &[],
    },
];

fn path(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    folder.join(file).to_str().expect("UTF-8").to_owned()
}

fn import(database: &Database, file: &str, flags: &[&str]) -> Value {
    let path = path(file);
    let args = [&["import", &path, "--partner", PARTNER, "--on-error", "skip", "--json"], flags].concat();
    let ran = database.run(&args);
    assert!(ran.stdout.starts_with('{'), "{file}: {} {}", ran.stdout, ran.stderr);
    ran.json()
}

/// What the database has, a line for each number. The moment of an assignment is
/// left out where no file says it: it is then after `begun`.
fn stored(database: &Database, begun: &str) -> Vec<String> {
    let export = database.export(PARTNER);
    let mut reader = csv::Reader::from_reader(export.as_bytes());
    let names = reader.headers().expect("a header").clone();
    let line = |row: csv::StringRecord| {
        let cell = |name: &str| names.iter().position(|found| found == name).and_then(|at| row.get(at)).unwrap_or("");
        let shown = SHOWN.iter().map(|name| (name, cell(name)));
        let said = shown.filter(|(name, cell)| **name != "assigned_at" || *cell < begun).map(|(_, cell)| cell);
        std::iter::once(cell("number")).chain(said).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
    };
    reader.records().map(|row| line(row.expect("a row"))).filter(|line| line.starts_with('+')).collect()
}

/// The columns that are not read.
fn unread(case: &Case) -> Vec<String> {
    let mappings = case.flags.iter().filter_map(|flag| flag.parse().ok()).collect();
    let options = intake::ReadOptions { mappings, ..intake::ReadOptions::default() };
    let file = File::open(path(case.file)).expect("the file");
    let summary = intake::read(file, &options, &mut |_| (), &mut |_| ControlFlow::Continue(()));
    summary.expect("readable").unknown
}

#[test]
fn files_of_other_products_become_what_they_say() {
    let mut wrong = Vec::new();
    for case in CASES {
        let database = Database::empty();
        database.partner(PARTNER, "One", &[]);
        let begun = Time::now().to_string();
        let report = import(&database, case.file, case.flags);
        let found = stored(&database, &begun);
        let errors: Vec<String> = report["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| {
                let text = |name: &str| error[name].as_str().unwrap_or_default();
                format!("{} {}: {}", error["line"], text("column"), text("message"))
            })
            .collect();
        let rejected_fit = errors.len() == case.rejected.len()
            && errors.iter().zip(case.rejected).all(|(error, start)| error.starts_with(start));
        let fits = report["export"].as_str() == case.export
            && unread(case) == case.unread
            && found == case.stored
            && rejected_fit;
        if !fits {
            wrong.push(format!("{}: {found:#?}\nerrors: {errors:#?}\n{report:#}", case.file));
        }
        let again = import(&database, case.file, case.flags);
        if again["imported"] != 0 || again["updated"] != 0 {
            wrong.push(format!("{}: a second import changes something: {again:#}", case.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_ends_of_a_block_are_read() {
    let database = Database::empty();
    database.partner(PARTNER, "One", &[]);
    let report = import(&database, "blocks.csv", &[]);
    assert_eq!(report["imported"], 11, "{report:#}");
    let half = database.write("half.csv", "Range Start,Range Finish\n+33142687100,+33142687199\n");
    let ran = database.run(&["import", half.to_str().expect("UTF-8"), "--partner", PARTNER]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("begins a block, and no column ends it"), "{}", ran.stderr);
}

#[test]
fn a_spreadsheet_is_read_from_standard_input_and_its_rejects_are_csv() {
    let database = Database::empty();
    database.partner(PARTNER, "One", &[]);
    let rejects = database.file("rejects.csv");
    let text = rejects.to_str().expect("UTF-8");
    let args = ["import", "-", "--partner", PARTNER, "--on-error", "skip", "--rejects", text];
    let mut command = database.command(&args);
    command.stdin(File::open(path("inventory.xlsx")).expect("the file"));
    let output = command.output().expect("the program ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("App ID"), "{:?} {err}", output.status);
    let file = std::fs::read_to_string(&rejects).expect("the rejected rows");
    assert_eq!(
        file.trim_start_matches('\u{feff}'),
        "DID,Customer ID,Customer Name,App ID,Monthly Cost,Currency,Expires At,Is Blocked,Tags\n\
         +442079460131,MA_7,Müller & Söhne,#N/A,1.1,GBP,,FALSE,\n"
    );
}
