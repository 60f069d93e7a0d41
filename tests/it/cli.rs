//! The command line: what is typed, what is answered, and where.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{CUSTOMER, Database, GLOBAL, Key, ONE, SEED, Server, TWO, keys, run};

const HEADER: &str = "number,account_auth_id,account_name,number_type,country,region,status,application_id,\
    application_name,trunk_id,monthly_cost,currency,assigned_at,expires_at,tags,state,since,quarantine_ends_at,\
    reserved_until,reserved_for\r\n";

/// One row that is good and two that are not.
const MIXED: &str = "number,region\n+442079460201,London\n+44207946e7,London\n12,Leeds\n";

// Exit codes, and which stream says what.

#[test]
fn what_is_done_exits_with_0() {
    let database = Database::sample();
    let good = database.write("good.csv", "number\n+442079460201\n");
    let (good, copy) = (good.to_str().expect("a path"), database.file("copy.db"));
    for args in [
        &["--version"][..],
        &["--help"],
        &["help", "import"],
        &["partner", "list"],
        &["partner", "create", "--auth-id", "PA_NEW", "--name", "New"],
        &["partner", "suspend", "--auth-id", "PA_NEW"],
        &["partner", "suspend", "--auth-id", "PA_NEW"],
        &["partner", "resume", "--auth-id", "PA_NEW"],
        &["account", "create", "--partner", "PA_NEW", "--auth-id", "MA_1", "--name", "One"],
        &["account", "list", "--partner", "PA_ONE"],
        &["key", "create", "--partner", "PA_NEW", "--name", "k"],
        &["key", "list", "--partner", "PA_NEW"],
        &["key", "revoke", "--partner", "PA_ONE", &ONE.key_id],
        &["key", "revoke", "--partner", "PA_ONE", &ONE.key_id],
        &["import", good, "--partner", "PA_ONE", "--dry-run"],
        &["import", good, "--partner", "PA_ONE"],
        &["export", "--partner", "PA_ONE"],
        &["verify"],
        &["backup", copy.to_str().expect("a path")],
        &["config", "check"],
        &["config", "defaults"],
        &["completions", "bash"],
        &["openapi"],
    ] {
        let ran = database.run(args).check(0);
        assert!(!ran.stdout.is_empty(), "{args:?} says what it did");
    }
}

#[test]
fn what_fails_exits_with_1_and_says_so_on_stderr() {
    let database = Database::sample();
    let here = database.path().to_str().expect("a path").to_owned();
    let good = database.write("good.csv", "number\n+442079460201\n");
    let good = good.to_str().expect("a path");
    for (args, expected) in [
        (&["account", "list", "--partner", "PA_NONE"][..], "PA_NONE"),
        (&["key", "create", "--partner", "PA_NONE", "--name", "k"], "PA_NONE"),
        (&["key", "revoke", "--partner", "PA_ONE", "key_none"], "key_none"),
        (&["key", "revoke", "--partner", "PA_ONE", &TWO.key_id], &TWO.key_id),
        (&["partner", "create", "--auth-id", "PA_ONE", "--name", "Again"], "PA_ONE"),
        (&["partner", "suspend", "--auth-id", "PA_NONE"], "PA_NONE"),
        (&["account", "create", "--partner", "PA_ONE", "--auth-id", "MA_1", "--name", "Again"], "MA_1"),
        (&["import", "nowhere.csv", "--partner", "PA_ONE"], "nowhere.csv"),
        (&["import", ".", "--partner", "PA_ONE"], "folder"),
        (&["import", good, "--partner", "PA_NONE"], "PA_NONE"),
        (&["export", "--partner", "PA_NONE"], "PA_NONE"),
        (&["backup", &here], "exists"),
        (&["verify", "--database", "sqlite:nowhere.db"], "nowhere.db"),
        (&["partner", "list", "--database", "sqlite:nowhere/at/all.db"], "nowhere/at/all.db"),
        (&["serve", "--database", "sqlite:nowhere.db"], "rollcall serve --create"),
        (&["backup", "copy.db", "--database", "sqlite:nowhere.db"], "nowhere.db"),
        (&["restore", "nowhere.db"], "nowhere.db"),
        (&["verify", "--url", "http://127.0.0.1:1"], "127.0.0.1:1"),
        (&["serve", "--listen", "192.0.2.1:1"], "192.0.2.1:1"),
    ] {
        let ran = database.run(args).check(1);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(ran.stderr.starts_with("error: ") || ran.stderr.contains("\nerror: "), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{expected} in: {}", ran.stderr);
    }
    assert!(!database.file("nowhere.db").exists(), "a command that reads makes no database");
}

#[test]
fn what_is_not_understood_exits_with_2() {
    let database = Database::sample();
    for args in [
        &[][..],
        &["nonsense"],
        &["partner"],
        &["partner", "create"],
        &["partner", "create", "--auth-id", "", "--name", "x"],
        &["partner", "create", "--auth-id", "PA/X", "--name", "x"],
        &["partner", "create", "--auth-id", "PA_X", "--name", ""],
        &["partner", "create", "--auth-id", "PA_X", "--name", "a\nb"],
        &["account", "list"],
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--scope", "write"],
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--expires", "tomorrow"],
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--expires", "2001-01-01T00:00:00Z"],
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--network", "192.0.2.0/33"],
        &["import"],
        &["import", "x.csv"],
        &["import", "x.csv", "--partner", "PA_ONE", "--on-error", "ignore"],
        &["import", "x.csv", "--partner", "PA_ONE", "--map", "nonsense"],
        &["import", "x.csv", "--partner", "PA_ONE", "--map", "a=nonsense"],
        &["import", "x.csv", "--partner", "PA_ONE", "--currency", "XAU"],
        &["import", "x.csv", "--partner", "PA_ONE", "--monthly-cost", "5"],
        &["import", "x.csv", "--partner", "PA_ONE", "--monthly-cost", "5.5", "--currency", "JPY"],
        &["import", "x.csv", "--partner", "PA_ONE", "--default-country", "ZZ"],
        &["import", "x.csv", "--partner", "PA_ONE", "--default-country", "IN", "--assume-plus"],
        &["export", "--partner", "PA_ONE", "--status", "expired"],
        &["export", "--partner", "PA_ONE", "--sort", "name"],
        &["export", "--partner", "PA_ONE", "--format", "xml"],
        &["export", "--partner", "PA_ONE", "--nonsense", "1"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--rate-limit", "-1"],
        &["serve", "--database", "mysql:x"],
        &["completions", "nonsense"],
        &["config"],
        // Secrets are not for the command line.
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--token", "secret"],
        &["key", "create", "--partner", "PA_ONE", "--name", "k", "--auth-token", "secret"],
        &["verify", "--token", "secret"],
        &["serve", "--auth-token", "secret"],
    ] {
        let ran = database.run(args).check(2);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn rejected_rows_exit_with_3_in_either_mode() {
    for (flags, imported, written) in [(&[][..], 1, 0), (&["--on-error", "skip"], 1, 1), (&["--dry-run"], 1, 0)] {
        let database = Database::sample();
        let before = database.export("PA_ONE");
        let ran =
            database.run_with(&[&["import", "-", "--partner", "PA_ONE", "--json"], flags].concat(), MIXED).check(3);
        let report = ran.json();
        assert_eq!(
            (&report["rows"], &report["imported"], &report["rejected"]),
            (&json!(3), &json!(imported), &json!(2))
        );
        let after = database.export("PA_ONE");
        assert_eq!(after.lines().count() - before.lines().count(), written, "{flags:?}");
        // In words: the result on stdout, what is wrong on stderr.
        let ran = database.run_with(&[&["import", "-", "--partner", "PA_ONE"], flags].concat(), MIXED).check(3);
        assert!(ran.stdout.starts_with("3 rows: "), "{}", ran.stdout);
        assert!(ran.stderr.contains("line 3, number: \"+44207946e7\""), "{}", ran.stderr);
        assert!(ran.stderr.contains("line 4, number: \"12\""), "{}", ran.stderr);
    }
}

#[test]
fn a_difference_exits_with_3() {
    let database = Database::sample();
    let ran = database.run(&["verify", "--json"]).check(0);
    assert_eq!(ran.json()["differences"], json!([]));
    tamper(&database);
    let ran = database.run(&["verify", "--json"]).check(3);
    let report = ran.json();
    assert_eq!(keys(&report), ["partners", "changes", "numbers", "differences"]);
    let difference = report["differences"][0].as_str().expect("a sentence").to_owned();
    assert!(difference.contains("PA_ONE"), "{difference}");
    let ran = database.run(&["verify"]).check(3);
    assert!(ran.stdout.contains(&difference), "{}", ran.stdout);
}

/// Changes a row behind the program's back.
fn tamper(database: &Database) {
    let file = rusqlite::Connection::open(database.path()).expect("the database");
    file.execute("UPDATE number SET cost = cost + 1 WHERE number = 912271265108", []).expect("changed");
    let changed = "SELECT count(*) FROM number_run WHERE first = 912271265108 AND last = first";
    assert_eq!(file.query_row(changed, [], |row| row.get::<_, i64>(0)), Ok(1));
}

// Shapes.

#[test]
fn json_has_these_shapes() {
    let database = Database::empty();
    let json = |args: &[&str]| {
        let ran = database.run(&[args, &["--json"]].concat()).done();
        assert_eq!(ran.stderr, "", "{args:?}");
        ran.json()
    };
    let partner = json(&["partner", "create", "--auth-id", "PA_X", "--name", "X"]);
    assert_eq!(keys(&partner), ["auth_id", "name", "created_at", "suspended_at"]);
    assert_eq!((&partner["auth_id"], &partner["suspended_at"]), (&json!("PA_X"), &Value::Null));
    assert!(json(&["partner", "suspend", "--auth-id", "PA_X"])["suspended_at"].is_string());
    assert!(json(&["partner", "resume", "--auth-id", "PA_X"])["suspended_at"].is_null());
    assert_eq!(json(&["partner", "list"])["data"][0], partner);

    let key = json(&[
        "key",
        "create",
        "--partner",
        "PA_X",
        "--name",
        "k",
        "--scope",
        "manage,read",
        "--network",
        "192.0.2.9",
    ]);
    assert_eq!(keys(&key), ["auth_id", "auth_token", "key_id"]);
    assert_eq!(key["auth_id"], "PA_X");
    let listed = json(&["key", "list", "--partner", "PA_X"])["data"][0].clone();
    let expected =
        ["key_id", "name", "scopes", "networks", "dialect", "created_at", "expires_at", "revoked_at", "last_used_at"];
    assert_eq!(keys(&listed), expected);
    assert_eq!(listed["key_id"], key["key_id"]);
    assert_eq!(listed["scopes"], json!(["read", "manage"]));
    assert_eq!(listed["networks"], json!(["192.0.2.9/32"]));
    let id = key["key_id"].as_str().expect("an id");
    assert_eq!(keys(&json(&["key", "revoke", "--partner", "PA_X", id])), ["key_id", "revoked_at"]);

    let account = json(&["account", "create", "--partner", "PA_X", "--auth-id", "MA_1", "--name", "One"]);
    assert_eq!(keys(&account), ["account_auth_id", "account_name", "created_at"]);
    let listed = json(&["account", "list", "--partner", "PA_X"])["data"][0].clone();
    assert_eq!(keys(&listed), ["account_auth_id", "account_name", "created_at", "numbers"]);
    assert_eq!(listed["numbers"], json!({ "total": 0, "active": 0, "suspended": 0 }));

    let file = database.write("rows.csv", "number\n+442079460201\n+442079460202-+442079460204\n");
    let report = json(&["import", file.to_str().expect("a path"), "--partner", "PA_X"]);
    let text = r#"{"rows":2,"imported":4,"updated":0,"unchanged":0,"rejected":0,"warnings":0,"errors":[],"cautions":[],"cautions_total":0,"losses":{"route":0,"trunk":0,"expiry":0,"account":0,"tags":0},"losses_route_active":0,"money":{},"changed":[],"entities":[],"entities_total":0}"#;
    assert_eq!(report.to_string(), text);
    let ran = database.run_with(&["import", "-", "--partner", "PA_X", "--json"], MIXED).check(3);
    let error = &ran.json()["errors"][0];
    assert_eq!(keys(error), ["line", "column", "value", "message"]);
    assert_eq!(
        (&error["line"], &error["column"], &error["value"]),
        (&json!(3), &json!("number"), &json!("+44207946e7"))
    );

    assert_eq!(json(&["verify"]).to_string(), r#"{"partners":1,"changes":7,"numbers":4,"differences":[]}"#);
    let backup = json(&["backup", "copy.db"]);
    assert_eq!(keys(&backup), ["file", "bytes"]);
    assert_eq!(backup["bytes"], std::fs::metadata(database.file("copy.db")).expect("the copy").len());
    assert_eq!(keys(&json(&["config", "check"])), ["valid", "database"]);
}

#[test]
fn an_import_says_what_is_doubtful_and_what_is_lost() {
    let database = Database::empty();
    database.partner("PA_X", "X", &[]);
    let stored = "number,account_auth_id,application_id,application_name,monthly_cost,currency\n\
                  +442079460201,MA_1,app_1,Main IVR,2.50,GBP\n";
    database.import("PA_X", stored);
    let file = "number,account_auth_id,application_id,monthly_cost,currency,colour\n\
                +442079460201,MA_1,,3.00,GBP,red\n\
                +9991234567,ma_1,,2.00,GBP,red\n";
    let import =
        |flags: &[&str]| database.run_with(&[&["import", "-", "--partner", "PA_X", "--dry-run"], flags].concat(), file);
    let ran = import(&["--json"]).done();
    // Money has its currency's own decimals, which a parsed number would lose.
    assert!(ran.stdout.contains(r#""money":{"GBP":{"down":0.00,"up":2.50}}"#), "{}", ran.stdout);
    let report = ran.json();
    assert_eq!(report["losses"], json!({ "route": 1, "trunk": 0, "expiry": 0, "account": 0, "tags": 0 }));
    assert_eq!((&report["cautions_total"], &report["warnings"]), (&json!(3), &json!(3)));
    let cautions = report["cautions"].as_array().expect("a list");
    assert_eq!(keys(&cautions[1]), ["line", "column", "value", "reason"]);
    let place = |at: usize| (&cautions[at]["line"], &cautions[at]["column"], &cautions[at]["value"]);
    assert_eq!(place(0), (&json!(1), &json!("colour"), &json!("")));
    assert_eq!(place(1), (&json!(3), &json!("account_auth_id"), &json!("ma_1")));
    assert_eq!(place(2), (&json!(3), &json!("number"), &json!("+9991234567")));
    let change = &report["changed"][0];
    assert_eq!((&change["line"], &change["number"]), (&json!(2), &json!("+442079460201")));
    assert_eq!(
        change["changes"][0],
        json!({ "field": "application_id", "before": "Main IVR", "after": null, "lost": true })
    );

    // In words: the result on stdout, what is doubtful on stderr.
    let ran = import(&[]).done();
    for part in ["3 cautions", "clears routing of 1 live number", "application Main IVR -> unrouted (lost)"] {
        assert!(ran.stdout.contains(part), "{part:?} is not in {}", ran.stdout);
    }
    for part in ["caution: line 1, colour: is not read", "caution: line 3, number: \"+9991234567\" is not valid"] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {}", ran.stderr);
    }
    let kept = import(&["--json", "--keep-empty"]).done().json();
    assert_eq!(kept["losses"]["route"], 0);
    // Strict: the row is rejected, and the file for its column.
    let strict = import(&["--json", "--strict"]).check(3).json();
    assert_eq!((&strict["rejected"], &strict["cautions_total"]), (&json!(1), &json!(0)));
    let ran = database.run_with(&["import", "-", "--partner", "PA_X", "--strict", "--on-error", "skip"], file).check(3);
    assert!(ran.stderr.contains("nothing was written; say what the columns mean"), "{}", ran.stderr);
    let ignored = ["import", "-", "--partner", "PA_X", "--strict", "--on-error", "skip", "--map", "colour=-", "--json"];
    assert_eq!(database.run_with(&ignored, file).check(3).json()["updated"], 1);
}

#[test]
fn at_most_a_hundred_errors_are_reported() {
    let database = Database::sample();
    let bad: String = (0..150).map(|row| format!("bad{row}\n")).collect();
    let ran = database.run_with(&["import", "-", "--partner", "PA_ONE", "--json"], &format!("number\n{bad}")).check(3);
    let report = ran.json();
    let errors = report["errors"].as_array().expect("errors");
    assert_eq!((errors.len(), &report["rejected"]), (100, &json!(150)));
    let lines: Vec<u64> = errors.iter().filter_map(|error| error["line"].as_u64()).collect();
    assert_eq!(lines, (2..102).collect::<Vec<_>>());
}

// Settings.

#[test]
fn a_flag_goes_before_the_environment_a_file_and_the_default() {
    let database = Database::empty();
    let file = database.write("rollcall.toml", "database = \"sqlite:from-file.db\"\n");
    let file = file.to_str().expect("a path");
    let check = |flag: Option<&str>, environment: Option<&str>, file: Option<&str>, expected: &str| {
        let flag = flag.into_iter().flat_map(|flag| ["--database", flag]);
        let named = file.into_iter().flat_map(|file| ["--config", file]);
        let args: Vec<&str> = ["config", "check", "--json"].into_iter().chain(flag).chain(named).collect();
        let mut command = database.command(&args);
        match environment {
            Some(value) => command.env("ROLLCALL_DATABASE", value),
            None => command.env_remove("ROLLCALL_DATABASE"),
        };
        let ran = run(command, "").done();
        assert_eq!(ran.json(), json!({ "valid": true, "database": expected }), "{args:?} {environment:?}");
    };
    check(Some("sqlite:flag.db"), Some("sqlite:environment.db"), Some(file), "sqlite:flag.db");
    check(None, Some("sqlite:environment.db"), Some(file), "sqlite:environment.db");
    check(None, None, Some(file), "sqlite:from-file.db");
    check(None, None, None, "sqlite:rollcall.db");
    check(Some("sqlite:flag.db"), None, Some(file), "sqlite:flag.db");
    // The file itself may be named by the environment; the flag goes before it.
    let other = database.write("other.toml", "database = \"sqlite:other.db\"\n");
    for (args, expected) in [
        (&["config", "check", "--json"][..], "other.db"),
        (&["config", "check", "--json", "--config", file], "from-file.db"),
    ] {
        let mut command = database.command(args);
        command.env_remove("ROLLCALL_DATABASE").env("ROLLCALL_CONFIG", &other);
        assert_eq!(run(command, "").done().json()["database"], format!("sqlite:{expected}"), "{args:?}");
    }
    // What is written goes to the same place.
    let mut command = database.command(&["partner", "create", "--auth-id", "PA_X", "--name", "X", "--config", file]);
    command.env_remove("ROLLCALL_DATABASE");
    run(command, "").done();
    assert!(database.file("from-file.db").exists());
}

#[test]
fn the_address_to_listen_on_has_the_same_precedence() {
    let database = Database::sample();
    // Nobody has this address, so a server that used it would not start.
    let file = database.write("listen.toml", "[http]\nlisten = \"192.0.2.1:1\"\n[limits]\nrequests_per_second = 1\n");
    let server = Server::start(database, &["--config", file.to_str().expect("a path"), "--rate-limit", "0"]);
    assert!(server.address().ip().is_loopback());
    for _ in 0..20 {
        server.get(GLOBAL).auth(&ONE).check(200);
    }
}

#[test]
fn wrong_settings_are_named_with_value_file_and_line() {
    let database = Database::sample();
    for (text, expected) in [
        ("# x\nlissten = \"127.0.0.1:1\"\n", &["line 2", "lissten", "127.0.0.1:1"][..]),
        ("[limits]\nrequests_per_secnd = 7\n", &["line 2", "requests_per_secnd", "7"]),
        ("[limits]\n\n\nrequests_per_second = \"many\"\n", &["line 4", "requests_per_second", "many"]),
        ("[limits]\nrequests_per_second = -1\n", &["line 2", "requests_per_second", "-1"]),
        ("[limits]\nrequests_per_second = 1.5\n", &["line 2", "requests_per_second", "1.5"]),
        ("[http]\nlisten = 8080\n", &["line 2", "listen", "8080"]),
        ("[http]\ntrusted_proxies = [\"nowhere\"]\n", &["line 2", "trusted_proxies", "nowhere"]),
        ("[http]\nlisten = \"127.0.0.1:0\"\nconnections_max = 0\n", &["line 3", "connections_max", "0"]),
        ("[http]\nheader_bytes_max = 10\n", &["line 2", "header_bytes_max", "10"]),
        ("[follow]\n# often\ninterval_ms = 0\n", &["line 3", "interval_ms", "0"]),
        ("[log]\nfilter = \"info,=,=\"\n", &["line 2", "filter", "info,=,="]),
        ("[log]\nfilter = \"inof\"\n", &["line 2", "inof", "a level"]),
        ("[log]\nfilter = \"info,rollcall=loud\"\n", &["line 2", "rollcall=loud", "a level"]),
        ("[log]\nfilter = \"info,[request{id}]=debug\"\n", &["line 2", "[request{id}]=debug", "a level"]),
        ("[log]\nformat = \"xml\"\n", &["line 2", "format", "xml"]),
        ("[loging]\nfilter = \"info\"\n", &["line 1", "loging"]),
        ("database = \"mysql:x\"\n", &["line 1", "database", "mysql:x"]),
        ("database = \"sqlite:a\"\ndatabase = \"sqlite:b\"\n", &["line 2", "database"]),
        ("[http\n", &["line 1", "[http"]),
    ] {
        let file = database.write("bad.toml", text);
        let file = file.to_str().expect("a path");
        for command in [&["config", "check"][..], &["serve", "--listen", "127.0.0.1:0"], &["partner", "list"]] {
            let ran = database.run(&[command, &["--config", file]].concat()).check(78);
            assert_eq!(ran.stdout, "", "{command:?}");
            for part in expected.iter().chain(&["bad.toml"]) {
                assert!(ran.stderr.contains(part), "{part} in: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let database = Database::empty();
    let defaults = database.run(&["config", "defaults"]).done().stdout;
    assert_eq!(defaults, include_str!("../../rollcall.default.toml"));
    let file = database.write("defaults.toml", &defaults);
    database.run(&["config", "check", "--config", file.to_str().expect("a path")]).done();
}

#[test]
fn completions_for_every_shell() {
    let database = Database::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = database.run(&["completions", shell]).done();
        assert!(ran.stdout.contains("rollcall") && ran.stdout.contains("import"), "{shell}");
        assert_eq!(ran.stderr, "", "{shell}");
    }
}

/// What Bash offers after these words, the last of which is being typed.
fn completed(database: &Database, line: &str) -> Vec<String> {
    let script = database.run(&["completions", "bash"]).done().stdout;
    let script = database.write("completion.bash", &script);
    let program = env!("CARGO_BIN_EXE_rollcall");
    let ask = format!(
        "source {}\nCOMP_LINE={line:?}\nread -ra COMP_WORDS <<<\"$COMP_LINE\"\n\
         if [[ $COMP_LINE == *' ' ]]; then COMP_WORDS+=(\"\"); fi\nCOMP_WORDS[0]={program:?}\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))\nCOMP_POINT=${{#COMP_LINE}}\n\
         _rollcall_names \"${{COMP_WORDS[0]}}\" \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let out = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .env("ROLLCALL_DATABASE", database.address())
        .env_remove("ROLLCALL_PARTNER")
        .output()
        .expect("bash runs");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text").lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_ids_and_names() {
    let database = Database::empty();
    database.run(&["partner", "create", "--auth-id", "PA_ONE", "--name", "One Telecom"]).done();
    let header = "number,account_auth_id,account_name,application_id,application_name,trunk_id,monthly_cost,currency\n";
    let rows = "+33123456789,MA_1,Globex Field Services,app_1,Main IVR,trunk_a,1,EUR\n\
                +33123456790,MA_2,Acme,app_2,Main IVR,trunk_b,1,EUR\n\
                +33123456791,MA_3,Globex & Sons,app_3,Sales,trunk_b,1,EUR\n";
    database.import("PA_ONE", &format!("{header}{rows}"));
    let made = database.run(&["--json", "schedule", "create", "--name", "Weekly"]).done();
    let weekly = made.json()["id"].as_str().expect("an id").to_owned();
    let table: &[(&str, &[&str])] = &[
        ("rollcall number assign +33123456789 --account Glo", &["Globex\\ Field\\ Services", "Globex\\ \\&\\ Sons"]),
        ("rollcall number assign +33123456789 --account globex\\", &[]),
        ("rollcall number assign +33123456789 --account MA_", &["MA_1", "MA_2", "MA_3"]),
        // Two applications are called so.
        ("rollcall number route +33123456789 --application ", &["Sales", "app_1", "app_2"]),
        ("rollcall number route +33123456789 --trunk trunk_", &["trunk_a", "trunk_b"]),
        ("rollcall application rename S", &["Sales"]),
        ("rollcall number list --partner PA", &["PA_ONE"]),
        ("rollcall number list --partner PA_ZZZ", &[]),
        ("rollcall number list --account Ac", &["Acme"]),
        ("rollcall export --trunk-id trunk_", &["trunk_a", "trunk_b"]),
        ("rollcall number list --status a", &["active"]),
        ("rollcall schedule run ", &[weekly.as_str()]),
        // The rest is what it was.
        ("rollcall manp", &["manpages"]),
    ];
    for (line, expected) in table {
        let mut found = completed(&database, line);
        found.sort();
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{line}");
    }
    // Several partners: one has to be named. Nothing is said of it.
    database.run(&["partner", "create", "--auth-id", "PA_TWO", "--name", "Two"]).done();
    assert!(completed(&database, "rollcall number assign +33123456789 --account Glo").is_empty());
    let named = completed(&database, "rollcall number assign --partner PA_ONE --account Ac");
    assert_eq!(named, ["Acme"]);
    assert!(completed(&database, "rollcall number assign --partner PA_TWO --account Ac").is_empty(), "another tenant");
    let missing = database.run(&["complete", "--", "rollcall", "--database", "sqlite:/nowhere/x.db", "account", ""]);
    let ran = missing.done();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn an_undo_looks_before_it_asks() {
    let database = Database::sample();
    for version in ["99", "0"] {
        let ran = database.run(&["undo", version, "--partner", "PA_ONE"]).check(1);
        assert!(ran.stderr.contains(&format!("change {version} of partner PA_ONE not found")), "{}", ran.stderr);
    }
    let ran = database.run(&["undo", "1", "--partner", "PA_ONE"]).check(2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
}

// Pipes.

/// Runs a command whose reader goes away, after reading this much.
fn closed_after(mut command: Command, bytes: usize) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut vec![0; bytes]).expect("some output");
    drop(out);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    (child.wait().expect("the program ends").code(), stderr)
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let database = Database::sample();
    database.import("PA_ONE", "number,country,region,number_type\n+3312000000-+3312009999,FR,Paris,local\n");
    for (args, bytes) in [
        (&["export", "--partner", "PA_ONE"][..], 100),
        (&["export", "--partner", "PA_ONE", "--format", "ndjson"], 100),
        (&["export", "--partner", "PA_ONE"], 0),
        (&["completions", "bash"], 0),
        (&["config", "defaults"], 0),
        (&["openapi"], 0),
        (&["openapi"], 10),
        (&["partner", "list"], 0),
        (&["partner", "list", "--json"], 0),
        (&["key", "list", "--partner", "PA_ONE"], 0),
        (&["account", "list", "--partner", "PA_ONE"], 0),
        (&["verify"], 0),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        let (code, stderr) = closed_after(database.command(args), bytes);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_closed_stderr_is_no_failure() {
    let database = Database::sample();
    let silent = |args: &[&str]| {
        let mut command = database.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        drop(child.stderr.take());
        child.wait().expect("the program ends").code()
    };
    assert_eq!(silent(&["account", "list", "--partner", "PA_NONE"]), Some(1));
    assert_eq!(silent(&["nonsense"]), Some(2));
    assert_eq!(silent(&["key", "create", "--partner", "PA_ONE", "--name", "k"]), Some(0));
    let bad = database.write("mixed.csv", MIXED);
    assert_eq!(silent(&["import", bad.to_str().expect("a path"), "--partner", "PA_ONE"]), Some(3));
}

#[test]
fn a_log_filter_of_the_environment_is_refused_as_one_of_the_settings() {
    let database = Database::sample();
    for (text, wrong) in [
        ("foo", "foo"),
        ("error,foo", "foo"),
        ("info,rollcall::store=loud", "rollcall::store=loud"),
        ("info[request{id}]=debug", "info[request{id}]=debug"),
    ] {
        let with = |args: &[&str]| {
            let mut command = database.command(args);
            command.env("RUST_LOG", text);
            run(command, "")
        };
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["demo", "--listen", "127.0.0.1:0"]] {
            let ran = with(command).check(78);
            assert!(ran.stderr.contains("RUST_LOG") && ran.stderr.contains(wrong), "{text}: {}", ran.stderr);
        }
        let said = with(&["doctor"]).stdout;
        assert!(said.contains("RUST_LOG") && said.contains(wrong), "{text}: {said}");
        // What keeps no log goes on.
        with(&["partner", "list"]).done();
    }
}

#[test]
fn a_server_outlives_the_reader_of_its_log() {
    let database = Database::sample();
    let mut command = database.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "debug");
    let mut server = Server::start_unread(database, command);
    for _ in 0..5 {
        server.get(GLOBAL).auth(&ONE).check(200);
        server.get(GLOBAL).check(401);
    }
    server.database.import("PA_ONE", "number\n+442079460201\n");
    server.within(Duration::from_secs(2), |server| server.get(GLOBAL).auth(&ONE).send().numbers().len() == 13);
    server.database.verify(Some(&server.url()));
    assert_eq!(server.stop(), Some(0));
}

// Secrets.

#[test]
fn a_token_is_shown_once() {
    let database = Database::sample();
    let mut command = database.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "trace");
    let server = Server::start_as(database, command);
    let database = &server.database;
    let key = database.key("PA_ONE", &[]);
    let told = database.run(&["key", "create", "--partner", "PA_ONE", "--name", "in words"]).done();
    let spoken = told.stdout.lines().find_map(|line| line.strip_prefix("X-Auth-Token: ")).expect("a token").to_owned();
    assert!(!told.stderr.contains(&spoken));
    server.within(Duration::from_secs(2), |server| server.get(GLOBAL).auth(&key).send().status == 200);
    let wrong = format!("{}x", key.auth_token);
    server.get(CUSTOMER).header("X-Auth-ID", "PA_ONE").header("X-Auth-Token", &wrong).check(401);
    server.get(CUSTOMER).auth(&key).header("X-Auth-Token", "again").check(400);
    server.get(CUSTOMER).auth(&key).header("Authorization", &format!("Bearer {spoken}")).check(200);
    server.get(&format!("{CUSTOMER}?nonsense=1")).auth(&key).check(422);
    let shown = [
        database.run(&["key", "list", "--partner", "PA_ONE"]).done().stdout,
        database.run(&["key", "list", "--partner", "PA_ONE", "--json"]).done().stdout,
        database.run(&["key", "revoke", "--partner", "PA_ONE", &key.key_id]).done().stdout,
        database.run(&["partner", "list", "--json"]).done().stdout,
        database.run(&["export", "--partner", "PA_ONE", "--format", "ndjson"]).done().stdout,
        server.get("/metrics").check(200).text().to_owned(),
        server.log(),
    ];
    assert!(server.log().contains("TRACE") || server.log().contains("DEBUG"), "the log says a lot");
    for secret in [&key.auth_token, &spoken] {
        // Not even the better part of one.
        let part = &secret["rollcall_".len()..][..16];
        for text in &shown {
            assert!(!text.contains(part), "{text}");
        }
        let kept =
            ["rollcall.db", "rollcall.db-wal"].map(|name| std::fs::read(database.file(name)).unwrap_or_default());
        for file in &kept {
            assert!(!file.windows(16).any(|bytes| bytes == part.as_bytes()), "the token is in the database");
        }
    }
}

#[test]
fn when_a_key_was_last_used_is_written_down_at_the_end() {
    let mut server = Server::sample();
    server.get(GLOBAL).auth(&ONE).check(200);
    assert_eq!(server.stop(), Some(0));
    let used = |key: &Key| {
        let list = server.database.run(&["key", "list", "--partner", &key.auth_id, "--json"]).done().json();
        list["data"][0]["last_used_at"].clone()
    };
    assert!(used(&ONE).is_string());
    assert!(used(&TWO).is_null());
}

// Copies.

#[test]
fn a_backup_made_while_serving_can_be_served() {
    let server = Server::sample();
    let bodies = |server: &Server| [&*ONE, &*TWO, &*SEED].map(|key| server.get(GLOBAL).auth(key).check(200).body);
    let copy = Database::empty();
    server.database.run(&["backup", copy.path().to_str().expect("a path")]).done();
    let before = bodies(&server);
    server.database.import("PA_ONE", "number\n+442079460201\n");
    copy.verify(None);
    assert_eq!(bodies(&Server::start(copy, &[])), before);
    // A copy never replaces a file.
    let taken = server.database.write("taken.db", "mine");
    server.database.run(&["backup", taken.to_str().expect("a path")]).check(1);
    assert_eq!(std::fs::read_to_string(taken).expect("a file"), "mine");
}

#[test]
fn one_server_on_one_database() {
    let server = Server::sample();
    let ran = server.database.run(&["serve", "--listen", "127.0.0.1:0"]).check(1);
    assert!(ran.stderr.contains("another server is using"), "{}", ran.stderr);
    assert!(ran.stderr.contains(server.database.path().to_str().expect("a path")), "{}", ran.stderr);
    server.get(GLOBAL).auth(&ONE).check(200);
    // Once it is gone, the place is free.
    let mut first = Server::sample();
    assert_eq!(first.stop(), Some(0));
    let copy = Database::empty();
    std::fs::copy(first.database.path(), copy.path()).expect("a copy");
    Server::start(copy, &[]).get(GLOBAL).auth(&ONE).check(200);
}

#[test]
fn ctrl_c_stops_a_server_cleanly() {
    let mut server = Server::sample();
    server.signal("INT");
    assert_eq!(server.wait(), Some(0));
}

// Import and export.

#[test]
fn import_reads_stdin() {
    let database = Database::sample();
    let ran = database.run_with(&["import", "-", "--partner", "PA_TWO", "--json"], "number\n+442079460201\n").done();
    assert_eq!(ran.json()["imported"], 1);
    let again = database.run_with(&["import", "-", "--partner", "PA_TWO", "--json"], "number\n+442079460201\n").done();
    assert_eq!((&again.json()["imported"], &again.json()["unchanged"]), (&json!(0), &json!(1)));
    assert!(database.export("PA_TWO").contains("\r\n+442079460201,"));
}

#[test]
fn rejected_rows_come_back_corrected() {
    let database = Database::sample();
    let rows =
        "number,region,tags\n+442079460201,London,a\n+44207946e7,\"Leeds, West\",b\n+442079460203,York,c\n12,Bath,d\n";
    let file = database.write("rows.csv", rows);
    let rejects = database.file("rejects.csv");
    let rejects_arg = rejects.to_str().expect("a path");
    let args = [
        "import",
        file.to_str().expect("a path"),
        "--partner",
        "PA_ONE",
        "--json",
        "--on-error",
        "skip",
        "--rejects",
        rejects_arg,
    ];
    let report = database.run(&args).check(3).json();
    assert_eq!((&report["imported"], &report["rejected"]), (&json!(2), &json!(2)));
    let left = std::fs::read_to_string(&rejects).expect("the rejected rows");
    assert_eq!(left.lines().count(), 3, "a header and two rows: {left}");
    let corrected = left.replace("+44207946e7", "+442079460202").replace("12,Bath", "+442079460204,Bath");
    std::fs::write(&rejects, corrected).expect("written");
    let report = database.run(&["import", rejects_arg, "--partner", "PA_ONE", "--json"]).done().json();
    assert_eq!((&report["rows"], &report["imported"]), (&json!(2), &json!(2)));
    let whole = rows.replace("+44207946e7", "+442079460202").replace("12,Bath", "+442079460204,Bath");
    assert_eq!(database.import("PA_ONE", &whole)["unchanged"], 4, "as if it had been right at once");
}

#[test]
fn rejected_rows_may_take_the_place_of_the_file_and_never_of_the_database() {
    let database = Database::sample();
    let rows = "number,region\n+442079460201,London\n12,Bath\n";
    let file = database.write("rows.csv", rows);
    let file_arg = file.to_str().expect("a path");
    let import = |more: &[&str], rejects: &str| {
        let args = ["import", file_arg, "--partner", "PA_ONE", "--on-error", "skip", "--rejects", rejects];
        database.run(&[&args[..], more].concat())
    };
    // A file that cannot be made is said before anything is written.
    let version = database.run(&["partner", "list", "--json"]).done().stdout;
    let folder = database.file("no folder");
    for bad in [folder.join("x.csv"), database.file(""), database.file("rollcall.db")] {
        let ran = import(&[], bad.to_str().expect("a path"));
        assert!([1, 2].contains(&ran.code), "{bad:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(bad.to_str().expect("a path").trim_end_matches('/')), "{bad:?}: {}", ran.stderr);
        assert_eq!(database.run(&["partner", "list", "--json"]).done().stdout, version, "{bad:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), rows);
    let report = import(&["--dry-run", "--json"], file_arg).check(3).json();
    assert_eq!((&report["imported"], &report["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(std::fs::read_to_string(&file).expect("the rejected rows"), "number,region\n12,Bath\n");
    std::fs::write(&file, rows).expect("written");
    let report = import(&["--json"], file_arg).check(3).json();
    assert_eq!((&report["imported"], &report["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(std::fs::read_to_string(&file).expect("the rejected rows"), "number,region\n12,Bath\n");
    // None is rejected: the file stays.
    let good = "number,region\n+442079460201,London\n";
    std::fs::write(&file, good).expect("written");
    import(&[], file_arg).done();
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), good);
    let left = std::fs::read_dir(database.file("")).expect("a folder").filter_map(Result::ok);
    let left: Vec<_> = left.filter(|one| one.file_name().to_string_lossy().contains("rejects")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_export_imports_to_the_same_export() {
    let database = Database::sample();
    for partner in ["PA_ONE", "PA_TWO", "PA_SEED"] {
        for format in ["csv", "ndjson"] {
            let export =
                |database: &Database| database.run(&["export", "--partner", partner, "--format", format]).done().stdout;
            let first = export(&database);
            let copy = Database::empty();
            copy.partner(partner, "Copy", &[]);
            let ran = copy.run_with(&["import", "-", "--partner", partner, "--json"], &first).done();
            assert_eq!(ran.json()["rejected"], 0, "{partner} {format}");
            assert!(export(&copy) == first, "{partner} {format}: {first}\n{}", export(&copy));
            // And where it came from, it changes nothing.
            let again = database.run_with(&["import", "-", "--partner", partner, "--json"], &first).done().json();
            assert_eq!((&again["imported"], &again["updated"]), (&json!(0), &json!(0)), "{partner} {format}: {again}");
        }
    }
    assert!(database.export("PA_ONE").starts_with(HEADER));
}

#[test]
fn export_takes_the_filters_of_the_api() {
    let server = Server::sample();
    for (flags, query) in [
        (&["--status", "active"][..], "status=active"),
        (&["--search", "+9122"], "search=%2B9122"),
        (&["--application-id", "app_1", "--country", "IN"], "application_id=app_1&country=IN"),
        (&["--account-auth-id", "MA_2"], "account_auth_id=MA_2"),
        (&["--routed", "false", "--assigned", "true"], "routed=false&assigned=true"),
        (&["--tag", "night", "--sort", "-monthly_cost"], "tag=night&sort=-monthly_cost"),
        (&["--region", "Zürich, West"], "region=Z%C3%BCrich,+West"),
    ] {
        let args = [&["export", "--partner", "PA_ONE", "--format", "ndjson"], flags].concat();
        let exported = server.database.run(&args).done().stdout;
        let numbers: Vec<String> = exported
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).expect("a row")["number"].as_str().expect("a number").to_owned()
            })
            .collect();
        assert_eq!(numbers, server.get(&format!("{GLOBAL}?{query}")).auth(&ONE).check(200).numbers(), "{flags:?}");
    }
}

#[test]
fn anothers_number_is_refused_in_the_words_of_any_conflict() {
    let database = Database::sample();
    let message = |number: &str| {
        let rows = format!("number,account_auth_id,monthly_cost,currency\n{number},MA_2,1.00,EUR\n");
        let report = database.run_with(&["import", "-", "--partner", "PA_TWO", "--json"], &rows).check(3).json();
        let error = &report["errors"][0];
        (error["column"].clone(), error["message"].clone())
    };
    // Held by another account of its own, by a foreign one, and foreign stock.
    let own = message("+4989100001");
    assert_eq!(message("+912271265108"), own);
    assert_eq!(message("+442079460105"), own);
}

// Names.

#[test]
fn a_region_or_a_tag_that_no_number_has_is_no_empty_list() {
    let database = Database::sample();
    let rows = "number,region,tags\n+442079460201,London,wholesale\n";
    assert_eq!(database.import("PA_ONE", rows)["imported"], 1);
    for command in [&["number", "list"][..], &["export"]] {
        let list = |flag: &str, value: &str| database.run(&[command, &["--partner", "PA_ONE", flag, value]].concat());
        for (flag, value) in [("--region", "London"), ("--tag", "wholesale")] {
            assert!(list(flag, value).done().stdout.contains("442079460201"), "{command:?} {flag} {value}");
        }
        for (flag, value, meant) in [
            ("--region", "Londn", "\"London\""),
            ("--tag", "wholesal", "\"wholesale\""),
            ("--region", "Atlantis", "no number has the region \"Atlantis\""),
            ("--tag", "nowhere", "no number has the tag \"nowhere\""),
        ] {
            let ran = list(flag, value).check(1);
            assert!(ran.stdout.is_empty() && ran.stderr.contains(meant), "{command:?}: {ran:?}");
        }
    }
}

#[test]
fn a_partner_is_named_by_flag_by_environment_or_by_being_the_only_one() {
    let database = Database::sample();
    let commands: [&[&str]; 3] = [&["number", "list"], &["account", "list"], &["check"]];
    for args in commands {
        // Of several, none is guessed.
        let none = database.run(args).check(2);
        assert!(none.stderr.contains("--partner"), "{none:?}");
        let named = |name: &str| {
            let mut command = database.command(args);
            command.env("ROLLCALL_PARTNER", name);
            run(command, "")
        };
        let by_flag = database.run(&[args, &["--partner", "PA_TWO"]].concat());
        let by_environment = named("PA_TWO");
        assert_eq!((by_environment.code, by_environment.stdout), (by_flag.code, by_flag.stdout), "{args:?}");
        named("PA_NOBODY").check(1);
        // A flag says more than the environment.
        let mut command = database.command(&[args, &["--partner", "PA_TWO"]].concat());
        command.env("ROLLCALL_PARTNER", "PA_NOBODY");
        assert_eq!(run(command, "").code, by_flag.code, "{args:?}");
    }
    let alone = Database::empty();
    alone.partner("PA_ONLY", "Only", &[]);
    alone.import("PA_ONLY", "number\n+442079460201\n");
    commands.iter().for_each(|args| assert!([0, 3].contains(&alone.run(args).code), "{args:?}"));
}

// Amounts, dry runs and refusals.

/// A partner with a customer that holds two numbers, and one number in stock.
fn small() -> Database {
    let database = Database::empty();
    for args in [
        &["partner", "create", "--auth-id", "PA_X", "--name", "X"][..],
        &["account", "create", "--auth-id", "MA_1", "--name", "One"],
        &["application", "create", "app_1", "--name", "A"],
        &["trunk", "create", "trunk_1", "--name", "T"],
        &["number", "add", "+912271264200", "--to", "+912271264202", "--monthly-cost", "500", "--currency", "INR"],
        &["number", "assign", "+912271264200", "--account", "MA_1"],
        &["number", "assign", "+912271264201", "--account", "MA_1"],
    ] {
        database.run(args).done();
    }
    database
}

#[test]
fn an_amount_is_printed_with_the_currency_s_own_decimals() {
    let database = small();
    for (amount, currency, printed) in [
        ("500", "INR", "500.00"),
        ("9007199254740993.01", "INR", "9007199254740993.01"),
        ("1.25", "KWD", "1.250"),
        ("9007199254740993", "JPY", "9007199254740993"),
    ] {
        let number = "+912271264202";
        let cost =
            database.run(&["number", "cost", number, "--monthly-cost", amount, "--currency", currency, "--json"]);
        let show = database.run(&["number", "show", number, "--json"]);
        let list = database.run(&["number", "list", "--search", number, "--json"]);
        for ran in [cost, show, list] {
            let expected = format!("\"monthly_cost\":{printed},\"currency\":\"{currency}\"");
            assert!(ran.stdout.contains(&expected), "{expected} in {}", ran.stdout);
        }
    }
}

/// Every command with `--dry-run`: what it prints is not taken for the real thing.
#[test]
fn a_dry_run_says_so_in_its_json() {
    let database = small();
    let rows = database.write("rows.csv", "number,monthly_cost,currency\n+912271264209,5,INR\n");
    let file = database.write("apply.toml", "[[partner]]\nauth_id = \"PA_X\"\nsuspended = true\n");
    let (rows, file) = (rows.to_str().expect("a path"), file.to_str().expect("a path"));
    let job = database.run(&["job", "create", "--verb", "suspend", "--all", "--preview", "--json"]).done().json();
    assert_eq!(job["dry_run"], true);
    let job = job["id"].as_str().expect("an id").to_owned();
    let before = database.export("PA_X");
    let (held, stock) = ("+912271264200", "+912271264202");
    for args in [
        &["number", "add", "+912271264203", "--monthly-cost", "5", "--currency", "INR"][..],
        &["number", "add", "+912271264203..205", "--monthly-cost", "5", "--currency", "INR"],
        &["number", "assign", stock, "--account", "MA_1"],
        &["number", "release", held],
        &["number", "suspend", held],
        &["number", "resume", held],
        &["number", "route", held, "--application", "app_1"],
        &["number", "renew", held, "--never"],
        &["number", "reserve", stock, "--account", "MA_1", "--until", "2099-01-01T00:00:00Z"],
        &["number", "unreserve", stock],
        &["number", "retire", stock],
        &["number", "tag", held, "--add", "vip"],
        &["number", "cost", held, "--monthly-cost", "7", "--currency", "INR"],
        &["account", "create", "--auth-id", "MA_2", "--name", "Two"],
        &["account", "rename", "--auth-id", "MA_1", "--name", "Uno"],
        &["account", "archive", "--auth-id", "MA_1"],
        &["account", "restore", "--auth-id", "MA_1"],
        &["application", "create", "app_2", "--name", "B"],
        &["application", "rename", "app_1", "--name", "B"],
        &["application", "archive", "app_1"],
        &["application", "restore", "app_1"],
        &["application", "destination", "add", "app_1", "sip:pbx.example.com"],
        &["trunk", "create", "trunk_2", "--name", "B"],
        &["trunk", "rename", "trunk_1", "--name", "B"],
        &["trunk", "archive", "trunk_1"],
        &["undo", "7"],
        &["job", "run", &job],
        &["job", "cancel", &job],
        &["import", rows],
        &["apply", file],
    ] {
        let ran = database.run(&[args, &["--dry-run", "--json"]].concat());
        assert!(matches!(ran.code, 0 | 3), "{args:?}: {ran:?}");
        assert_eq!(ran.json()["dry_run"], true, "{args:?}: {}", ran.stdout);
    }
    assert_eq!(database.export("PA_X"), before);
    let real = database.run(&["number", "suspend", held, "--json"]).done().json();
    assert!(real["dry_run"].is_null(), "{real}");
}

#[test]
fn archiving_an_account_says_how_many_numbers_it_releases() {
    let database = small();
    let archive = |flags: &[&str]| database.run(&[&["account", "archive", "--auth-id", "MA_1"], flags].concat());
    let shown = archive(&["--dry-run", "--json"]).done().json();
    assert_eq!((&shown["releases"], &shown["auth_id"]), (&json!(2), &json!("MA_1")));
    assert!(archive(&["--dry-run"]).done().stdout.contains("2 numbers would be released"));
    assert!(archive(&[]).check(2).stderr.contains("release its 2 numbers"));
    assert!(archive(&["--yes"]).done().stdout.contains("2 numbers were released"));
}

#[test]
fn a_refusal_names_options_with_their_values() {
    let database = small();
    database.run(&["application", "archive", "app_1"]).done();
    database.run(&["number", "release", "+912271264200"]).check(2);
    database.run(&["number", "release", "+912271264200", "--yes"]).done();
    let (held, stock) = ("+912271264201", "+912271264202");
    let long = "x".repeat(201);
    let tags: Vec<String> = (0..51).map(|at| format!("--tag=t{at}")).collect();
    let add = ["number", "add", "+912271264203", "--monthly-cost", "5", "--currency", "INR"];
    let add_tags = [&add[..], &tags.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    let with = |flags: &[&'static str]| [&add[..], flags].concat();
    for (args, code, expected) in [
        (vec!["number", "release", held, "--yes"], 1, "release it with --confirm-last if"),
        (
            vec!["number", "assign", stock, "--account", "MA_1", "--application", "app_1"],
            1,
            "--application app_1 is archived",
        ),
        (
            vec!["number", "assign", held, "--account", "MA_1", "--monthly-cost", "7", "--currency", "INR"],
            1,
            "change it with cost, route or renew",
        ),
        (
            vec!["account", "create", "--auth-id", "NULL", "--name", "N"],
            1,
            "--auth-id NULL is a word for nothing; choose",
        ),
        (vec!["number", "renew", held, "--expires-at", "9999-12-31T00:00:00Z"], 2, "give --never instead"),
        (
            vec!["number", "reserve", stock, "--account", "MA_1", "--until", "9999-12-31T00:00:00Z"],
            2,
            "must be earlier than 9999-12-31",
        ),
        (
            vec!["number", "routing", held, "--as-of", "2099-01-01T00:00:00Z"],
            1,
            "--as-of 2099-01-01T00:00:00Z must not be",
        ),
        (
            vec!["webhook", "create", "--name", "w", "--url", "https://x.example.com/", "--event", "nope"],
            2,
            "--event nope is not a kind",
        ),
        (vec!["schedule", "create", "--name", "s", "--to", "nope"], 1, "--to nope must be"),
        (
            vec!["job", "create", "--verb", "suspend", "--filter", "status=active", "--filter", "status=suspended"],
            2,
            "status=active,suspended",
        ),
        (vec!["job", "create", "--verb", "renew", "--param", "months=x", "--all"], 2, "--param months"),
        (vec!["partner", "list", "--database", "none.db"], 2, "\"none.db\" is not a database"),
        (vec!["restore", "nowhere.db"], 1, "there is no backup at nowhere.db"),
        (vec!["check", "--idle-for", "5d"], 2, "add --check idle"),
        (vec!["check", "--check", "expired", "--within", "5d"], 2, "add --check expiring"),
        (with(&["--region", "a\nb\u{1b}[31m"]), 2, "without control characters"),
        (with(&["--region", "NULL"]), 1, "--region NULL is a word for nothing"),
        (with(&["--tag", "n/a"]), 1, "--tag n/a is a word for nothing"),
        (add_tags, 1, "must be at most 50 tags"),
        (vec!["number", "tag", held, "--add", "NULL"], 1, "--add NULL is a word for nothing"),
    ] {
        let ran = database.run(&args).check(code);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
    database.run(&[&add[..], &["--region", &long]].concat()).check(2);
    // Likely mistakes are said where the number is accepted.
    let odd = database.run(&["number", "add", "+912271264999999", "--monthly-cost", "5", "--currency", "INR"]).done();
    assert!(odd.stderr.contains("caution: +912271264999999 is not valid by the numbering plan"), "{}", odd.stderr);
}

#[test]
fn the_last_page_names_no_next_one() {
    let database = small();
    let page = |page: &str| database.run(&["number", "list", "--limit", "2", "--page", page]).done();
    for (number, expected) in [
        ("1", "2 of 3 numbers; --page 2 shows the next"),
        ("2", "1 of 3 numbers; this is the last page"),
        ("3", "--page 3 is beyond the last page, which is 2"),
    ] {
        assert!(page(number).stderr.contains(expected), "{number}: {}", page(number).stderr);
    }
}
