//! `rollcall apply` with the real program: a diff first, the same file twice,
//! refusals that change nothing, and secrets in files.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::harness::Database;
use super::process::{Place, Ran};

const FILE: &str = r#"
[[partner]]
auth_id = "PA_NEW"
name = "New Telecom"

[[partner.account]]
id = "MA_1"
name = "Globex"

[[partner.trunk]]
id = "trunk_1"
name = "Main"
destinations = [{ uri = "sip:sbc-1.example.net" }, { uri = "sip:sbc-2.example.net", priority = 20, enabled = false }]

[[partner.application]]
id = "app_1"
name = "IVR"
account = "MA_1"
answer_url = "https://answer.example.net/x"

[[partner.key]]
name = "billing"
scopes = ["manage"]
networks = ["127.0.0.0/8"]
token_file = "FOLDER/billing.token"

[[partner.webhook]]
name = "crm"
url = "https://crm.example.net/hook"
events = ["assign"]
secret_file = "FOLDER/crm.secret"

[[partner.schedule]]
name = "Monday"
cron = "0 9 * * 1"
zone = "Asia/Kolkata"
recipients = ["noc@example.net"]
within_days = 30

[[partner.user]]
email = "Owner@example.net"
role = "owner"
link_file = "FOLDER/owner.link"

[[administrator]]
email = "admin@example.net"
link_file = "FOLDER/admin.link"
"#;

fn apply(place: &Place, text: &str, dry_run: bool) -> Ran {
    let folder = place.database.parent().expect("a folder").display().to_string();
    let file = place.path("apply.toml");
    std::fs::write(&file, text.replace("FOLDER", &folder)).expect("written");
    let mut arguments = vec!["apply", file.to_str().expect("UTF-8"), "--json"];
    arguments.extend(dry_run.then_some("--dry-run"));
    place.run(&arguments)
}

/// The changes as `action kind name`.
fn changes(ran: &Ran) -> Vec<String> {
    let value: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let word = |change: &Value, field: &str| change[field].as_str().expect("a word").to_owned();
    let one = |change: &Value| [word(change, "action"), word(change, "kind"), word(change, "name")].join(" ");
    value["changes"].as_array().expect("changes").iter().map(one).collect()
}

/// Everything that is stored, as the commands show it.
fn state(place: &Place) -> String {
    let lists: [&[&str]; 7] = [
        &["partner", "list", "--json"],
        &["user", "list", "--json"],
        &["application", "list", "--partner", "PA_NEW", "--json"],
        &["trunk", "list", "--partner", "PA_NEW", "--json"],
        &["key", "list", "--partner", "PA_NEW", "--json"],
        &["webhook", "list", "--partner", "PA_NEW", "--json"],
        &["schedule", "list", "--partner", "PA_NEW", "--json"],
    ];
    lists.iter().map(|list| place.run(list).out).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_is_shown_then_applied_and_then_there_is_nothing_to_do() {
    let place = Place::new();
    let before = state(&place);
    let expected = [
        "create partner PA_NEW",
        "create account MA_1",
        "create application app_1",
        "create trunk trunk_1",
        "create key billing",
        "create webhook crm",
        "create schedule Monday",
        "create user owner@example.net",
        "create user admin@example.net",
    ];
    let ran = apply(&place, FILE, true);
    assert_eq!((ran.code, changes(&ran)), (Some(3), expected.map(str::to_owned).to_vec()), "{ran:?}");
    assert_eq!(state(&place), before);
    assert!(!place.path("billing.token").exists());
    // A person reads the same.
    let file = place.path("apply.toml");
    let text = place.run(&["apply", file.to_str().expect("UTF-8"), "--dry-run"]).out;
    assert!(text.contains("+ key billing of PA_NEW") && text.contains("9 changes would be made"), "{text}");

    let ran = apply(&place, FILE, false);
    assert_eq!((ran.code, changes(&ran)), (Some(0), expected.map(str::to_owned).to_vec()), "{ran:?}");
    let secret = |name: &str| {
        let path = place.path(name);
        let mode = std::fs::metadata(&path).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        std::fs::read_to_string(path).expect(name).trim().to_owned()
    };
    let token = secret("billing.token");
    assert!(secret("crm.secret").starts_with("whsec_"));
    assert!(secret("owner.link").contains("/console/set-up/") && secret("admin.link").contains("/console/set-up/"));
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains(&token) && !text.contains("whsec_") && !text.contains("/set-up/"), "{text}");
    }

    let after = state(&place);
    for dry_run in [true, false] {
        let ran = apply(&place, FILE, dry_run);
        assert_eq!((ran.code, changes(&ran)), (Some(0), Vec::new()), "{ran:?}");
    }
    assert_eq!(state(&place), after);

    // The key opens the partner, whose entities are those of the file.
    let server = place.serve();
    let get = |path: &str| {
        let call = ureq::get(server.url(path)).header("X-Auth-ID", "PA_NEW").header("X-Auth-Token", &token).call();
        let text = call.expect("an answer").body_mut().read_to_string().expect("text");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let application = get("/api/v1/partner/applications/app_1");
    assert_eq!(application["data"]["account_auth_id"], "MA_1", "{application}");
    let trunk = get("/api/v1/partner/trunks/trunk_1");
    assert_eq!(trunk["data"]["destinations"][1]["enabled"], false, "{trunk}");
    assert_eq!(server.stop().1, Some(0));

    // Some fields differ; a lost file of a secret changes nothing.
    let edited = FILE
        .replace("\"IVR\"", "\"Menu\"")
        .replace(", priority = 20, enabled = false", "")
        .replace("[\"assign\"]", "[\"assign\", \"release\"]")
        .replace("within_days = 30", "within_days = 7\nenabled = false")
        .replace("role = \"owner\"", "role = \"owner\"\nzone = \"Europe/Berlin\"");
    std::fs::remove_file(place.path("crm.secret")).expect("removed");
    let ran = apply(&place, &edited, true);
    let expected = [
        "change application app_1",
        "change trunk trunk_1",
        "change webhook crm",
        "change schedule Monday",
        "change user owner@example.net",
    ];
    assert_eq!((ran.code, changes(&ran)), (Some(3), expected.map(str::to_owned).to_vec()), "{ran:?}");
    let value: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        value["changes"][0]["fields"],
        serde_json::json!([{ "field": "name", "before": "IVR", "after": "Menu" }])
    );
    assert_eq!(apply(&place, &edited, false).code, Some(0));
    assert_eq!(changes(&apply(&place, &edited, true)), Vec::<String>::new());

    // Removal is written down.
    let gone = edited
        .replace("name = \"billing\"", "name = \"billing\"\nabsent = true")
        .replace("name = \"crm\"", "name = \"crm\"\nabsent = true")
        .replace("name = \"Monday\"", "name = \"Monday\"\nabsent = true")
        .replace("id = \"app_1\"", "id = \"app_1\"\narchived = true");
    let ran = apply(&place, &gone, false);
    let expected = ["change application app_1", "remove key billing", "remove webhook crm", "remove schedule Monday"];
    assert_eq!((ran.code, changes(&ran)), (Some(0), expected.map(str::to_owned).to_vec()), "{ran:?}");
    assert_eq!(changes(&apply(&place, &gone, false)), Vec::<String>::new());
    // A revoked token opens nothing again, and one in a file is that of a new key.
    let again = edited.replace("name = \"crm\"", "name = \"crm\"\nabsent = true");
    let ran = apply(&place, &again, false);
    assert!(ran.code == Some(1) && ran.err.contains("perhaps a revoked one"), "{ran:?}");
    place.verify(None);
    let other = Place::new();
    std::fs::copy(place.path("billing.token"), other.path("billing.token")).expect("copied");
    assert_eq!(apply(&other, FILE, false).code, Some(0));
    let server = other.serve();
    let call = ureq::get(server.url("/api/v1/partner/accounts")).header("X-Auth-ID", "PA_NEW");
    assert_eq!(call.header("X-Auth-Token", &token).call().expect("an answer").status(), 200);
    assert_eq!(server.stop().1, Some(0));
}

#[test]
fn a_file_that_the_rules_refuse_changes_nothing() {
    let place = Place::new();
    assert_eq!(apply(&place, FILE, false).code, Some(0));
    let before = state(&place);
    // Each at the end of a file whose beginning would change something.
    let begin = FILE.replace("\"IVR\"", "\"Menu\"").replace("\"Globex\"", "\"Globex Two\"");
    let wrong = [
        ("[[partner]]\nauth_id = \"PA_A\"\nname = \"Other\"\n", 1, "cannot be renamed"),
        ("[[partner]]\nauth_id = \"PA_B\"\n", 1, "partner PA_B does not exist yet, so its entry needs a name"),
        (
            "[[partner]]\nauth_id = \"PA_A\"\n[[partner.account]]\nid = \"MA_9\"\n",
            1,
            "account MA_9 of PA_A does not exist yet, so its entry needs a name",
        ),
        ("[[partner]]\nauth_id = \"PA_A\"\nnome = \"A\"\n", 2, "unknown field `nome`"),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.application]]\nid = \"a\"\nname = \"A\"\n\
          destinations = [{ uri = \"sip:127.0.0.1\" }]\n",
            1,
            "not a public address",
        ),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.trunk]]\nid = \"a\"\nname = \"A\"\naccount = \"MA_9\"\n",
            1,
            "trunk \"a\" of PA_B: account_auth_id MA_9 is not one of yours",
        ),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.webhook]]\nname = \"w\"\nurl = \"http://x\"\nsecret_file = \"FOLDER/w\"\n",
            1,
            "https",
        ),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.schedule]]\nname = \"s\"\ncron = \"99 * * * *\"\n",
            1,
            "cron",
        ),
        ("[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.key]]\nname = \"k\"\n", 1, "token_file"),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.key]]\nname = \"k\"\ntoken_file = \"FOLDER/none/k\"\n",
            1,
            "none/k",
        ),
        (
            "[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.user]]\nemail = \"owner@example.net\"\nrole = \"viewer\"\n",
            2,
            "twice",
        ),
        ("[[partner]]\nauth_id = \"PA_NEW\"\nname = \"New Telecom\"\n", 2, "PA_NEW"),
        ("[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\ncolour = 1\n", 2, "colour"),
        ("[[partner]]\nauth_id = \"PA_B\"\nname = \"B\"\n[[partner.user]]\nemail = \"nobody\"\n", 2, "email address"),
        ("[[partner]]\nauth_id = \"PA_B\"\nname = \"NULL\"\n", 1, "word for nothing"),
    ];
    for (text, code, words) in wrong {
        for dry_run in [true, false] {
            let ran = apply(&place, &format!("{begin}\n{text}"), dry_run);
            assert_eq!(ran.code, Some(code), "{text}: {ran:?}");
            assert!(ran.err.contains(words), "{text}: {}", ran.err);
        }
        assert_eq!(state(&place), before, "{text}");
    }
    // A key's rights never change, and a file with another token is refused.
    let ran = apply(&place, &begin.replace("[\"manage\"]", "[\"read\"]"), false);
    assert!(ran.code == Some(1) && ran.err.contains("rights never change"), "{ran:?}");
    let token = place.key();
    std::fs::write(place.path("billing.token"), token).expect("written");
    let ran = apply(&place, &begin, false);
    assert!(ran.code == Some(1) && ran.err.contains("another token"), "{ran:?}");
    std::fs::write(place.path("billing.token"), "nonsense").expect("written");
    let ran = apply(&place, &begin, false);
    assert!(ran.code == Some(1) && ran.err.contains("no token of Rollcall's"), "{ran:?}");
    assert_eq!(state(&place), before);
    // The last owner cannot be disabled, as everywhere else.
    std::fs::remove_file(place.path("billing.token")).expect("removed");
    let ran = apply(&place, &begin.replace("role = \"owner\"", "role = \"owner\"\ndisabled = true"), false);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(state(&place), before);
}

#[test]
fn the_example_of_the_document_is_usable_on_both_engines() {
    let document = include_str!("../../docs/apply.md");
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let database = Database::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let text = example.replace("/etc/rollcall/secrets", &folder.path().display().to_string());
    let file = database.write("apply.toml", &text);
    let path = file.to_str().expect("UTF-8").to_owned();
    let run = |more: &[&str]| database.run(&[&["apply", &path][..], more].concat());
    run(&["--dry-run"]).check(3);
    run(&[]).check(0);
    run(&["--dry-run"]).check(0);
    assert!(folder.path().join("billing.token").is_file());
}
