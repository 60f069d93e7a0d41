//! Destinations, what becomes of a call, and why: over the real server, the
//! command, and a replica of either engine.

use std::sync::Arc;
use std::time::Duration;

use rollcall::domain::change::Edit;
use rollcall::domain::{Destination, Destinations, EntityChange, NumberChange, Record, State, Time, Verb};
use rollcall::routing::{Case, RoutingSettings};
use rollcall::service::Replica;
use rollcall::service::replica::routing::RouteRequest;
use rollcall::store::{Store, WriteTarget};
use serde_json::{Value, json};

use crate::cluster;
use crate::fixture::next_second;
use crate::fixture::{
    self, Database as Files, account, application, created, draft, entry, held, new_partner, number, put, stock, time,
    trunk,
};
use crate::harness::{Answer, Database, Key, ONE, ONE_CSV, Server, TWO, keys};
use crate::pages::Pages;
use crate::switch;
use crate::until::until;

const APPLICATION: &str = "/api/v1/manage/applications/app_1";
const TRUNK: &str = "/api/v1/manage/trunks/trunk_1";
/// Of `ONE`: routed to `app_1`, on `trunk_1`, active.
const ROUTED: &str = "+912271265108";

struct Routed {
    server: Server,
    key: Key,
}

impl Routed {
    fn start(flags: &[&str]) -> Routed {
        let database = Database::sample();
        let key = database.key("PA_ONE", &["--scope", "manage"]);
        Routed { server: Server::start(database, flags), key }
    }

    fn patch(&self, path: &str, body: Value) -> Answer {
        self.server.request("PATCH", path).auth(&self.key).json(&body).send()
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.server.request("POST", path).auth(&self.key).json(&body).send()
    }

    /// The version of the inventory.
    fn version(&self) -> u64 {
        let changes = self.server.get("/api/v1/partner/changes?per_page=100").auth(&self.key).check(200).json();
        changes["meta"]["version"].as_u64().expect("a version")
    }

    /// The destinations of what a path of the management API names.
    fn shown(&self, path: &str) -> Value {
        let shown = self.server.get(&path.replace("manage", "partner")).auth(&self.key).check(200).json();
        shown["data"]["destinations"].clone()
    }

    fn explain(&self, number: &str) -> Value {
        let path = format!("/api/v1/partner/numbers/{number}/routing");
        self.server.get(&path).auth(&self.key).check(200).json()["data"].clone()
    }

    fn cause(&self, number: &str) -> (u64, String) {
        let data = self.explain(number);
        (data["code"].as_u64().expect("a code"), data["cause"].as_str().expect("a cause").to_owned())
    }
}

fn uris(data: &Value) -> Vec<&str> {
    data["routes"].as_array().expect("routes").iter().map(|route| route["uri"].as_str().expect("a URI")).collect()
}

#[test]
fn destinations_are_given_as_a_whole_list_shown_logged_and_undone() {
    let routed = Routed::start(&[]);
    assert_eq!(routed.cause(ROUTED), (404, "no_destination".to_owned()));
    let list = json!([
        { "uri": "sip:ivr-1.example" },
        { "uri": "SIP:Desk@IVR-2.example:5080;Transport=TCP", "priority": 20, "weight": 3, "enabled": false },
    ]);
    let kept = json!([
        { "uri": "sip:ivr-1.example", "priority": 10, "weight": 10, "enabled": true },
        { "uri": "sip:Desk@ivr-2.example:5080;transport=tcp", "priority": 20, "weight": 3, "enabled": false },
    ]);
    let answer = routed.patch(APPLICATION, json!({ "destinations": list, "answer_url": "https://voice.example/a" }));
    let data = answer.check(200).json()["data"].clone();
    assert_eq!((&data["destinations"], &data["answer_url"]), (&kept, &json!("https://voice.example/a")));
    let shown = routed.server.get("/api/v1/partner/applications/app_1").auth(&routed.key).check(200).json();
    assert_eq!(
        (&shown["data"]["destinations"], &shown["data"]["answer_url"]),
        (&kept, &json!("https://voice.example/a"))
    );
    let listed = routed.server.get("/api/v1/partner/applications?search=app_1").auth(&routed.key).check(200).json();
    assert_eq!(listed["data"][0]["destinations"], kept);
    let data = routed.explain(ROUTED);
    assert_eq!((&data["code"], &data["cause"], &data["q850"]), (&json!(302), &json!("routed"), &Value::Null));
    assert_eq!(uris(&data), [format!("sip:{ROUTED}@ivr-1.example")]);
    let changes = routed.server.get("/api/v1/partner/changes?per_page=100").auth(&routed.key).check(200).json();
    let last = changes["data"].as_array().and_then(|all| all.last()).expect("a change").clone();
    assert_eq!(last["entities"][0]["after"]["destinations"], kept);
    assert_eq!(last["entities"][0]["before"]["destinations"], json!([]));
    // What is not named stays; an empty list takes all out.
    let named = routed.patch(APPLICATION, json!({ "name": "Front desk" })).check(200).json();
    assert_eq!(named["data"]["destinations"], kept);
    let emptied = routed.patch(APPLICATION, json!({ "destinations": [], "answer_url": null })).check(200).json();
    assert_eq!((&emptied["data"]["destinations"], &emptied["data"]["answer_url"]), (&json!([]), &Value::Null));
    routed.post(&format!("/api/v1/manage/changes/{}/undo", routed.version()), json!({})).check(200);
    let shown = routed.server.get("/api/v1/partner/applications/app_1").auth(&routed.key).check(200).json();
    assert_eq!(shown["data"]["destinations"], kept);
    // Created with them; a trunk has no answer URL.
    let body = json!({ "application_id": "app_new", "name": "New", "destinations": [{ "uri": "sip:pbx.example" }] });
    let made = routed.post("/api/v1/manage/applications", body).check(201).json();
    assert_eq!(made["data"]["destinations"][0]["uri"], "sip:pbx.example");
    let body = json!({ "trunk_id": "trunk_new", "name": "New", "destinations": [{ "uri": "sip:pbx.example" }] });
    let made = routed.post("/api/v1/manage/trunks", body).check(201).json();
    assert_eq!(made["data"]["destinations"][0]["weight"], 10);
    assert_eq!(
        routed.patch(TRUNK, json!({ "name": "T", "answer_url": "https://a.example" })).check(422).fields(),
        ["answer_url UNKNOWN"]
    );
    // The other partner's application of the same id has none.
    let foreign = routed.server.get("/api/v1/partner/applications/app_1").auth(&TWO).check(200).json();
    assert_eq!(foreign["data"]["destinations"], json!([]));
}

#[test]
fn what_is_wrong_with_destinations_is_named_and_nothing_is_done() {
    let routed = Routed::start(&[]);
    let port = routed.server.address().port();
    for (uri, field) in [
        ("sips:pbx.example".to_owned(), "destinations[1].uri INVALID"),
        ("sip:10.0.0.1".to_owned(), "destinations[1].uri INVALID"),
        ("sip:localhost".to_owned(), "destinations[1].uri INVALID"),
        ("sip:[::1]".to_owned(), "destinations[1].uri INVALID"),
        (format!("sip:127.0.0.1:{port}"), "destinations[1].uri INVALID"),
        ("sip:ok.example".to_owned(), "destinations[1].uri REPEATED"),
    ] {
        for path in [APPLICATION, TRUNK] {
            let list = json!([{ "uri": "sip:ok.example" }, { "uri": uri }]);
            let answer = routed.patch(path, json!({ "name": "Changed", "destinations": list })).check(422);
            assert_eq!(answer.fields(), [field], "{uri}");
        }
    }
    let shown = routed.server.get("/api/v1/partner/applications/app_1").auth(&routed.key).check(200).json();
    assert_eq!(
        (&shown["data"]["destinations"], &shown["data"]["application_name"]),
        (&json!([]), &json!("Primus \"IVR\", main"))
    );
    for url in ["http://a.example", "https://", "https://a b.example"] {
        assert_eq!(routed.patch(APPLICATION, json!({ "answer_url": url })).check(422).fields(), ["answer_url INVALID"]);
    }
}

#[test]
fn the_settings_say_which_networks_and_which_are_refused() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let own = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let settings = format!(
        "[routing]\nsip = [\"{own}\"]\ndestination_networks = [\"127.0.0.0/8\", \"10.1.0.0/16\"]\n\
         refused_destinations = [\"proxy.example\", \"10.1.9.0/24\"]\n"
    );
    let file = database.write("routing.toml", &settings);
    let server = Server::start(database, &["--config", file.to_str().expect("text")]);
    let routed = Routed { server, key };
    let ask = |uri: &str| routed.patch(APPLICATION, json!({ "destinations": [{ "uri": uri }] })).status;
    for (uri, status) in [
        ("sip:127.0.0.2:6000", 200),
        ("sip:10.1.2.3", 200),
        ("sip:other.example", 200),
        ("sip:10.2.0.1", 422),
        ("sip:10.1.9.7", 422),
        ("sip:Proxy.Example", 422),
        (&format!("sip:{own}"), 422),
    ] {
        assert_eq!(ask(uri), status, "{uri}");
    }
}

/// An undo by a key or by the command restores no destination that the settings refuse
/// today.
#[test]
fn an_undo_restores_no_destination_that_is_refused_today() {
    let database = Arc::new(Database::sample());
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let mut routed = Routed { server: Server::start(database.clone(), &[]), key };
    let list = |enabled: bool| json!({ "destinations": [{ "uri": "sip:later.example", "enabled": enabled }] });
    let mut undone = Vec::new();
    for path in [APPLICATION, TRUNK] {
        for body in [list(true), list(false), json!({ "destinations": [] })] {
            routed.patch(path, body).check(200);
            undone.push((path, routed.version()));
        }
    }
    assert_eq!(routed.server.stop(), Some(0));
    let file = database.write("routing.toml", "[routing]\nrefused_destinations = [\"later.example\"]\n");
    let file = file.to_str().expect("text");
    routed.server = Server::start(database.clone(), &["--config", file]);
    for (path, version) in undone {
        // Back to none is the only way that is left.
        let before = routed.shown(path);
        let undo = format!("/api/v1/manage/changes/{version}/undo");
        let answer = routed.post(&undo, json!({})).check(409);
        let stays = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        let changed_since = "was changed since";
        let refused = stays.contains("sip:later.example") && stays.contains("refused_destinations");
        assert!(refused || stays.contains(changed_since), "{stays}");
        assert_eq!(routed.shown(path), before, "{path} at {version}");
        let args = ["undo", &version.to_string(), "--partner", "PA_ONE", "--yes", "--config", file];
        let ran = database.run(&args).check(1);
        assert!(ran.stderr.contains("stays"), "{}", ran.stderr);
        assert_eq!(routed.shown(path), before, "{path} at {version} by command");
    }
}

#[test]
fn an_explanation_has_every_step_and_stops_at_one() {
    let routed = Routed::start(&[]);
    let data = routed.explain("+912271265109");
    assert_eq!(
        keys(&data),
        ["number", "code", "reason", "cause", "q850", "routes", "steps", "inventory_version", "age", "as_of"]
    );
    assert_eq!(
        (&data["code"], &data["reason"], &data["cause"]),
        (&json!(480), &json!("Temporarily Unavailable"), &json!("suspended"))
    );
    let steps = data["steps"].as_array().expect("steps");
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().expect("a name")).collect();
    assert_eq!(names, ["held_by", "partner", "expires", "status", "application", "destinations"]);
    for step in steps {
        assert_eq!(keys(step), ["step", "ok", "stops", "text", "since", "by", "remedy"]);
        assert_eq!(step["stops"] == true, step["step"] == "status", "{step}");
        assert_eq!(step["ok"] == true, step["remedy"].is_null(), "{step}");
    }
    assert_eq!((&steps[3]["ok"], &steps[3]["remedy"]), (&json!(false), &json!("resume it")));
    assert_eq!((&steps[4]["ok"], &steps[5]["ok"]), (&json!(false), &json!(false)));
    // Who and when, from the log.
    routed.post("/api/v1/manage/numbers/+912271265108/suspend", json!({})).check(200);
    let status = routed.explain(ROUTED)["steps"][3].clone();
    assert_eq!(status["by"], format!("key:{}", routed.key.key_id));
    assert!(status["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{status}");
    for (number, code, cause) in [
        ("+6837101", 404, "unrouted"),
        ("+442079460105", 404, "unassigned"),
        ("+442079460106", 404, "unassigned"),
        ("+442079460107", 404, "unassigned"),
        ("+912271265110", 480, "expired"),
        ("+912271265109", 480, "suspended"),
        ("+919820000111", 404, "no_destination"),
    ] {
        assert_eq!(routed.cause(number), (code, cause.to_owned()), "{number}");
    }
    // Another partner's number, an unknown one, and no number are answered alike.
    let [foreign, unknown, none] = ["+4989100001", "+4989199999", "nonsense"].map(|number| {
        routed.server.get(&format!("/api/v1/partner/numbers/{number}/routing")).auth(&ONE).check(404).masked()
    });
    assert_eq!((&foreign, &foreign), (&unknown, &none));
    // A retired number is explained by those who had it.
    routed.post("/api/v1/manage/numbers/+442079460105/retire", json!({})).check(200);
    let data = routed.explain("+442079460105");
    assert_eq!(
        (&data["code"], &data["cause"], &data["steps"][0]["remedy"]),
        (&json!(404), &json!("unknown"), &json!("bring it into stock again"))
    );
    let path = format!("/api/v1/partner/numbers/{ROUTED}/routing");
    for (query, field) in
        [("as_of=yesterday", "as_of INVALID"), ("at=1", "at UNKNOWN"), ("as_of=&as_of=", "as_of REPEATED")]
    {
        assert_eq!(routed.server.get(&format!("{path}?{query}")).auth(&ONE).check(422).fields(), [field]);
    }
}

/// A moment that is over: what is done from now on is after it.
fn a_second_that_is_over() -> Time {
    let second = Time::now();
    next_second();
    second
}

#[test]
fn a_call_of_the_past_is_explained_as_it_was() {
    let routed = Routed::start(&[]);
    routed.patch(APPLICATION, json!({ "destinations": [{ "uri": "sip:ivr-1.example" }] })).check(200);
    let then = a_second_that_is_over();
    routed.patch(APPLICATION, json!({ "destinations": [{ "uri": "sip:ivr-1.example", "enabled": false }] })).check(200);
    assert_eq!(routed.cause(ROUTED), (480, "destinations_off".to_owned()));
    let path = format!("/api/v1/partner/numbers/{ROUTED}/routing?as_of={then}");
    let data = routed.server.get(&path).auth(&ONE).check(200).json()["data"].clone();
    assert_eq!((&data["code"], &data["as_of"]), (&json!(302), &json!(then.to_string())));
    assert_eq!(uris(&data), [format!("sip:{ROUTED}@ivr-1.example")]);
    let before = format!("/api/v1/partner/numbers/{ROUTED}/routing?as_of=2001-01-01T00:00:00Z");
    routed.server.get(&before).auth(&ONE).check(404);
    let ran = routed.server.database.run(&[
        "number",
        "routing",
        ROUTED,
        "--partner",
        "PA_ONE",
        "--as-of",
        &then.to_string(),
        "--json",
    ]);
    let told = ran.check(0).json();
    assert_eq!((&told["data"]["code"], &told["data"]["steps"]), (&data["code"], &data["steps"]));
    // Each list of destinations has its own moment, and its author.
    let listed = &data["steps"][5];
    assert_eq!(listed["by"], format!("key:{}", routed.key.key_id), "{listed}");
    assert!(listed["since"].as_str().is_some_and(|since| *since <= *then.to_string()), "{listed}");
    let now = routed.explain(ROUTED)["steps"][5].clone();
    assert!(now["since"].as_str().is_some_and(|since| *since > *then.to_string()), "{now}");
}

#[test]
fn the_command_changes_destinations_and_explains() {
    let database = Database::sample();
    let run = |args: &[&str]| database.run(&[args, &["--partner", "PA_ONE"]].concat());
    let made = run(&[
        "application",
        "create",
        "app_new",
        "--name",
        "New",
        "--answer-url",
        "https://voice.example/a",
        "--destination",
        "sip:a.example",
        "--destination",
        "sip:b.example",
        "--json",
    ]);
    let made = made.done().json();
    assert_eq!(made["answer_url"], "https://voice.example/a");
    assert_eq!(made["destinations"][1]["priority"], 20, "{made}");
    run(&["trunk", "create", "trunk_new", "--name", "New", "--destination", "sip:a.example"]).done();
    run(&["application", "create", "app_bad", "--name", "Bad", "--answer-url", "ftp://x"]).check(2);
    run(&["application", "destination", "add", "app_1", "sip:ivr-1.example"]).done();
    let added =
        run(&["application", "destination", "add", "app_1", "sip:ivr-2.example", "--priority", "20", "--weight", "5"]);
    assert!(added.done().stdout.contains("sip:ivr-2.example (20/5)"));
    run(&["application", "destination", "disable", "app_1", "SIP:ivr-1.example"]).done();
    let listed = run(&["application", "list"]).done().stdout;
    assert!(listed.contains("sip:ivr-1.example (10/10, off), sip:ivr-2.example (20/5)"), "{listed}");
    let told = run(&["number", "routing", ROUTED]).done().stdout;
    assert!(told.starts_with(&format!("{ROUTED}  →  302 Moved Temporarily (routed)\n")), "{told}");
    assert!(told.contains(&format!("sip:{ROUTED}@ivr-2.example")), "{told}");
    run(&["application", "destination", "enable", "app_1", "sip:ivr-1.example"]).done();
    run(&["application", "destination", "remove", "app_1", "sip:ivr-2.example"]).done();
    let again = run(&["application", "destination", "remove", "app_1", "sip:ivr-2.example"]).check(1);
    assert!(
        again.stderr.contains("sip:ivr-2.example") && again.stderr.contains("sip:ivr-1.example"),
        "{}",
        again.stderr
    );
    let refused = run(&["application", "destination", "add", "app_1", "sip:10.0.0.1"]).check(1);
    assert!(refused.stderr.contains("destination_networks"), "{}", refused.stderr);
    run(&["application", "destination", "add", "app_1", "tel:+1"]).check(2);
    run(&["trunk", "destination", "add", "trunk_1", "sip:trunk.example", "--weight", "0"]).check(2);
    run(&["trunk", "destination", "add", "trunk_1", "sip:trunk.example"]).done();
    let told = run(&["number", "routing", "+912271265109"]).done().stdout;
    assert!(
        told.contains("480 Temporarily Unavailable (suspended)") && told.contains("stops here: resume it"),
        "{told}"
    );
    let changes = run(&["changes"]).done().stdout;
    for words in ["destination sip:ivr-1.example (10/10) added", "switched off", "removed"] {
        assert!(changes.contains(words), "{words}: {changes}");
    }
}

#[test]
fn numbers_without_a_destination_are_found_once_there_are_destinations() {
    let routed = Routed::start(&[]);
    let found = || {
        let answer = routed.server.get("/api/v1/partner/checks?check=no_destination").auth(&ONE).check(200).json();
        let rows = answer["data"].as_array().expect("rows").clone();
        rows.iter().map(|row| row["number"].as_str().expect("a number").to_owned()).collect::<Vec<_>>()
    };
    assert!(found().is_empty());
    routed.patch(TRUNK, json!({ "destinations": [{ "uri": "sip:trunk.example" }] })).check(200);
    // Those on `trunk_1` have its destinations; these have neither.
    assert_eq!(found(), ["+81312345104", "+883510000012112"]);
}

// A replica, asked as the faces ask it.

struct World {
    files: Files,
    store: Arc<dyn Store>,
    replica: Replica,
}

fn calls(uris: &[&str]) -> Destinations {
    let one = |uri: &&str| Destination::new(uri.parse().expect("a URI"));
    Destinations::new(uris.iter().map(one).collect()).expect("a list")
}

fn routed_to(record: Record, application: Option<&str>, trunk: Option<&str>) -> Record {
    let application = application.map(|id| id.parse().expect("an id"));
    Record { application, trunk: trunk.map(|id| id.parse().expect("an id")), ..record }
}

/// Numbers of one partner by their last digit, each with the case it is.
fn numbers() -> Vec<(NumberChange, Case)> {
    let now = Time::now().seconds();
    let active = || held("MA_1");
    let at = |seconds: i64| Some(time(seconds));
    let all = vec![
        (
            Record {
                until: at(now + 1_000),
                ..Record { state: State::Reserved, account: active().account, ..stock("t") }
            },
            Case::Unassigned,
        ),
        (stock("t"), Case::Unassigned),
        (Record { state: State::Quarantined, until: at(now + 1_000), ..stock("t") }, Case::Unassigned),
        (routed_to(Record { expires_at: at(now - 1), ..active() }, Some("app_1"), None), Case::Expired),
        (
            routed_to(Record { expires_at: at(now - 1), state: State::Suspended, ..active() }, Some("app_1"), None),
            Case::Expired,
        ),
        (routed_to(Record { state: State::Suspended, ..active() }, Some("app_1"), None), Case::Suspended),
        (routed_to(active(), None, Some("trunk_1")), Case::Unrouted),
        (routed_to(active(), Some("app_none"), None), Case::NoDestination),
        (routed_to(active(), Some("app_off"), Some("trunk_1")), Case::DestinationsOff),
        (routed_to(Record { expires_at: at(now + 10_000), ..active() }, Some("app_1"), Some("trunk_1")), Case::Routed),
        (routed_to(active(), Some("app_none"), Some("trunk_1")), Case::Routed),
    ];
    (0..).zip(all).map(|(at, (record, case))| (created(912_271_264_000 + at, record), case)).collect()
}

impl World {
    fn new() -> World {
        let files = Files::chosen();
        let store = files.open();
        let key = new_partner(&*store, "PA_X");
        let off = Destination { enabled: false, ..Destination::new("sip:off.example".parse().expect("a URI")) };
        let entities = [
            EntityChange::Account(Edit::created(account("MA_1"))),
            EntityChange::Application(Edit::created(rollcall::domain::Application {
                destinations: calls(&["sip:app.example"]),
                ..application("app_1", None)
            })),
            EntityChange::Application(Edit::created(application("app_none", None))),
            EntityChange::Application(Edit::created(rollcall::domain::Application {
                destinations: Destinations::new(vec![off]).expect("a list"),
                ..application("app_off", None)
            })),
            EntityChange::Trunk(Edit::created(rollcall::domain::Trunk {
                destinations: calls(&["sip:desk@trunk.example"]),
                ..trunk("trunk_1", None)
            })),
        ];
        let write = draft(|transaction| {
            entities.iter().try_for_each(|one| transaction.put_entity(one.clone()))?;
            Ok(())
        });
        store.write(WriteTarget::Partner(key), entry(Verb::ApplicationCreate), write).expect("written");
        let changes: Vec<NumberChange> = numbers().into_iter().map(|(change, _)| change).collect();
        put(&*store, key, &changes);
        let replica = Replica::load(store.clone()).expect("loaded");
        World { files, store, replica }
    }
}

fn ask(replica: &Replica, user: &str) -> (Case, Vec<String>) {
    let asked = RouteRequest { user: user.as_bytes(), call_id: Some(b"call@host"), now: Time::now() };
    replica.route(&RoutingSettings::default(), asked, |answer| {
        (answer.case(), answer.routes.iter().map(|route| route.to_string()).collect())
    })
}

#[test]
fn every_state_has_its_case_and_the_explanation_says_the_same() {
    let World { files: _files, store, replica } = World::new();
    let snapshot = replica.nodes()[0].snapshot();
    for (change, case) in numbers() {
        let (got, routes) = ask(&replica, &change.number.to_string());
        assert_eq!(got, case, "{}", change.number);
        let explained = replica.explain_route(&RoutingSettings::default(), &snapshot, change.number, Time::now());
        let explained = explained.expect("read").expect("explained");
        assert_eq!((explained.line.case, explained.routes.len()), (case, routes.len()), "{}", change.number);
        let stops: Vec<&str> = explained.steps.iter().filter(|step| step.stops).map(|step| step.step).collect();
        assert_eq!(stops.is_empty(), case == Case::Routed, "{}: {stops:?}", change.number);
    }
    assert_eq!(ask(&replica, "912271264009").1, ["sip:+912271264009@app.example"]);
    assert_eq!(ask(&replica, "00912271264010").1, ["sip:desk@trunk.example"]);
    assert_eq!(ask(&replica, "+912271269999").0, Case::Unknown);
    assert_eq!(ask(&replica, "alice").0, Case::NotANumber);
    // As a moment decides.
    let now = Time::now();
    let end = now.plus(10_000);
    let at = |now: Time| {
        let asked = RouteRequest { user: b"+912271264009", call_id: None, now };
        replica.route(&RoutingSettings { expired_is_gone: true, ..RoutingSettings::default() }, asked, |answer| {
            answer.line.code
        })
    };
    assert_eq!((at(now), at(end.plus(1))), (302, 410));
    drop(store);
}

#[test]
fn news_of_all_partners_are_followed_and_a_suspended_partner_is_not_called() {
    let World { files: _files, store, replica } = World::new();
    let other = new_partner(&*store, "PA_Y");
    put(&*store, other, &[created(912_271_264_500, stock("t")), created(4_420_794_601, stock("t"))]);
    assert_eq!(ask(&replica, "+912271264500").0, Case::Unknown);
    replica.follow();
    assert_eq!(ask(&replica, "+912271264500").0, Case::Unassigned);
    assert_eq!(ask(&replica, "+4420794601").0, Case::Unassigned);
    assert_eq!(ask(&replica, "+912271264009").0, Case::Routed);
    let gone = NumberChange { number: number(4_420_794_601), before: Some(stock("t")), after: None };
    put(&*store, other, &[gone]);
    replica.follow();
    assert_eq!(ask(&replica, "+4420794601").0, Case::Unknown);
    let service = rollcall::service::Service::new(store.clone(), fixture::operator());
    service.partner_suspend(&"PA_X".parse().expect("an id"), true).expect("suspended");
    replica.follow();
    for (change, case) in numbers() {
        let expected = if case == Case::Unassigned { case } else { Case::PartnerSuspended };
        assert_eq!(ask(&replica, &change.number.to_string()).0, expected, "{}", change.number);
    }
}

#[test]
fn a_number_whose_row_cannot_be_understood_is_not_unknown() {
    let world = World::new();
    drop((world.replica, world.store));
    let (_files, store) = world.files.tampered("UPDATE number SET state = 'nonsense' WHERE number = 912271264009");
    let replica = Replica::load(store).expect("loaded");
    assert_eq!(ask(&replica, "+912271264009").0, Case::RowUnreadable);
    assert_eq!(ask(&replica, "+912271264010").0, Case::Routed);
    assert_eq!(ask(&replica, "+912271269999").0, Case::Unknown);
    let snapshot = replica.nodes()[0].snapshot();
    let explained = replica.explain_route(&RoutingSettings::default(), &snapshot, number(912_271_264_009), Time::now());
    assert_eq!(explained.expect("read").map(|explained| explained.line.code), Some(500));
}

#[test]
fn an_index_that_is_too_old_answers_nobody() {
    let World { files: _files, replica, .. } = World::new();
    let settings = RoutingSettings { stale_max: Some(Duration::from_millis(1)), ..RoutingSettings::default() };
    until(Duration::from_secs(10), || "it is never too old".to_owned(), || !replica.can_route(&settings));
    let asked = RouteRequest { user: b"+912271264009", call_id: None, now: Time::now() };
    let line = replica.route(&settings, asked, |answer| *answer.line);
    assert_eq!((line.case, line.code), (Case::NotReady, 503));
    assert!(replica.can_route(&RoutingSettings::default()));
}

/// Entries of before there were destinations have the bytes that they had.
#[test]
fn what_has_no_destination_is_logged_as_before() {
    let text = serde_json::to_string(&application("app_1", None)).expect("JSON");
    assert!(!text.contains("destinations") && !text.contains("answer_url"), "{text}");
    let text = serde_json::to_string(&trunk("trunk_1", None)).expect("JSON");
    assert!(!text.contains("destinations"), "{text}");
    let old = r#"{"id":"app_1","name":"Main","created_at":"2026-01-01T00:00:00Z"}"#;
    let read: Result<rollcall::domain::Application, _> = serde_json::from_str(old);
    assert!(read.is_ok_and(|one| one.destinations.is_empty()));
}

/// The page of an application or a trunk counts the numbers whose calls use its
/// destinations, before one is saved.
#[test]
fn the_console_counts_the_calls_that_a_change_is_about() {
    let database = Database::sample();
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_ONE", "UTC");
    let check = |path: &str, calls: &str, others: &str| {
        let page = pages.page(path);
        let sentence = format!("routes <b>{calls}</b>; a change holds from the next call on.");
        let not_counted = match others {
            "" => "</p>".to_owned(),
            others => format!(" Not counted: {others}"),
        };
        assert!(page.contains(&format!("{sentence}{not_counted}")), "{path} {calls} {others}: {page}");
        page
    };
    let (application, trunk) = ("/applications/app_1", "/trunks/trunk_1");
    // The trunk has the three numbers of app_1, and one without an application.
    check(application, "3 numbers", "");
    check(trunk, "3 numbers", "1 number (not active, without an application");
    server.database.run(&["number", "suspend", "+919820000111", "--partner", "PA_ONE"]).done();
    let suspended = || pages.page(application).contains("routes <b>2 numbers</b>");
    until(Duration::from_secs(10), || "not suspended".to_owned(), suspended);
    check(application, "2 numbers", "1 number (not active).");
    check(trunk, "2 numbers", "2 numbers (not active");
    // The application's destinations come first, also where they are off.
    let uri = [("uri", "sip:ivr-1.example")];
    let page = pages.done(&format!("{application}/destination-add"), &uri).1;
    assert!(
        page.contains("The application routes 2 numbers; a change holds"),
        "in the form of the destination: {page}"
    );
    check(trunk, "0 numbers", "4 numbers (not active");
    pages.done(&format!("{application}/destination-off"), &uri);
    check(application, "2 numbers", "1 number (not active).");
    check(trunk, "0 numbers", "4 numbers (not active");
    assert!(pages.page(application).contains("<b>3 numbers</b> keep their route"), "counts its numbers");
}

#[test]
fn the_console_shows_and_changes_destinations_and_says_what_becomes_of_a_call() {
    let server = Server::start(Database::sample(), &[]);
    let pages = Pages::owner(&server, "PA_ONE", "UTC");
    for (path, uri) in [("/applications/app_1", "sip:ivr-1.example"), ("/trunks/trunk_1", "sip:trunk-1.example")] {
        let page = pages.page(path);
        assert!(page.contains("It has none") && page.contains("routes <b>"), "{page}");
        let add = |uri: &str, priority: &str, weight: &str| {
            let fields = [("uri", uri), ("priority", priority), ("weight", weight)];
            pages.done(&format!("{path}/destination-add"), &fields).1
        };
        add(uri, "30", "7");
        let page = add("sip:other.example", "20", "");
        let at =
            |text: &str| page.find(&format!("<th scope=\"row\">{text}")).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("sip:other.example") < at(uri), "in the order in which they are tried: {page}");
        let (_, page) = pages.done(&format!("{path}/destination-off"), &[("uri", uri)]);
        assert!(page.contains(&format!("Switch {uri} on")), "{page}");
        pages.done(&format!("{path}/destination-on"), &[("uri", uri)]);
        let (_, page) = pages.done(&format!("{path}/destination-remove"), &[("uri", "sip:other.example")]);
        assert!(!page.contains("<th scope=\"row\">sip:other.example") && page.contains(uri), "{page}");
        for (uri, priority, part) in [
            ("sips:pbx.example", "10", "begin with sip:"),
            ("sip:10.0.0.1", "10", "destination_networks"),
            ("sip:pbx.example", "65536", "whole number"),
        ] {
            let fields = [("uri", uri), ("priority", priority), ("weight", "10")];
            let page = pages.refused(&format!("{path}/destination-add"), &fields);
            assert!(page.text().contains(part) && page.text().contains(&format!("value=\"{uri}\"")), "{}", page.text());
        }
    }
    let (_, page) = pages.done("/applications/app_1/answer-url", &[("answer_url", "https://voice.example/a")]);
    assert!(page.contains("https://voice.example/a"), "{page}");
    pages.refused("/applications/app_1/answer-url", &[("answer_url", "http://voice.example/a")]);
    assert_eq!(pages.post("/trunks/trunk_1/answer-url", &[("answer_url", "")]).status, 404);
    let page = pages.page(&format!("/numbers/{ROUTED}"));
    assert!(page.contains("302 Moved Temporarily") && page.contains(&format!("sip:{ROUTED}@ivr-1.example")), "{page}");
    let page = pages.page("/numbers/+912271265109");
    assert!(page.contains("480 Temporarily Unavailable") && page.contains("<b>stops here</b>: resume it"), "{page}");
}

/// A database as it was before there were destinations: their columns are gone,
/// and its schema says so.
fn aged(database: &Database) {
    let older = "ALTER TABLE application DROP COLUMN destinations; ALTER TABLE application DROP COLUMN answer_url; \
                 ALTER TABLE trunk DROP COLUMN destinations; ALTER TABLE partner DROP COLUMN row_digest;";
    match cluster::on_postgres() {
        Some(postgres) => {
            let name = cluster::database_name(&database.address()).to_owned();
            let without_runs = "DROP TABLE number_run, holder_run, holder_group, net_change; \
                                ALTER TABLE rollcall_schema DROP COLUMN runs; ALTER TABLE lease DROP COLUMN runs_until";
            let without_digest = "DROP FUNCTION row_digest_forget() CASCADE";
            let version = "UPDATE rollcall_schema SET version = 2, needs = 1";
            postgres.psql(&name, &format!("{without_runs}; {without_digest}; {older} {version}"));
        }
        None => {
            let raw = rusqlite::Connection::open(database.path()).expect("the database opens");
            raw.execute_batch(&format!("{older} DROP TABLE net_change; PRAGMA user_version = 7")).expect("made older");
        }
    }
}

#[test]
fn a_database_of_before_there_were_destinations_is_brought_up_and_routes() {
    // A new database on PostgreSQL has its numbers as runs, which came later.
    let database = Database::empty();
    if cluster::on_postgres().is_some() {
        switch::restored(cluster::database_name(&database.address()));
    }
    // Other numbers than those of that release.
    let elsewhere = |text: &str| text.replace("+91227126", "+91227199");
    let number = elsewhere(ROUTED);
    database.partner("PA_EARLIER", "Primus Partner", &[]);
    database.import("PA_EARLIER", &elsewhere(ONE_CSV));
    let key = database.key("PA_EARLIER", &["--scope", "manage"]);
    let before = database.export("PA_EARLIER");
    aged(&database);
    // What it ends with is compared with its log: no entry changed by this.
    let routed = Routed { server: Server::start(database, &[]), key };
    assert_eq!(routed.server.database.export("PA_EARLIER"), before);
    assert_eq!(routed.cause(&number), (404, "no_destination".to_owned()));
    routed.patch(TRUNK, json!({ "destinations": [{ "uri": "sip:trunk.example" }] })).check(200);
    assert_eq!(uris(&routed.explain(&number)), [format!("sip:{number}@trunk.example")]);
    routed.patch(APPLICATION, json!({ "destinations": [{ "uri": "sip:ivr-1.example" }] })).check(200);
    assert_eq!(uris(&routed.explain(&number)), [format!("sip:{number}@ivr-1.example")]);
    let ran = routed.server.database.run(&["changes", "--partner", "PA_EARLIER"]).done().stdout;
    assert!(ran.contains("destination sip:ivr-1.example (10/10) added"), "{ran}");
}

#[test]
fn a_node_goes_on_beside_a_newer_schema_unless_that_needs_a_newer_program() {
    let Some(postgres) = cluster::on_postgres() else { return };
    let database = Database::sample();
    let name = cluster::database_name(&database.address()).to_owned();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    // As a later release would leave it that only adds.
    let newer = "ALTER TABLE application ADD COLUMN later TEXT; UPDATE rollcall_schema SET version = version + 1";
    postgres.psql(&name, newer);
    let routed = Routed { server: Server::start(database, &[]), key };
    routed.patch(APPLICATION, json!({ "destinations": [{ "uri": "sip:ivr-1.example" }] })).check(200);
    assert_eq!(routed.cause(ROUTED), (302, "routed".to_owned()));
    postgres.psql(&name, "UPDATE rollcall_schema SET needs = version");
    let refused = routed.server.database.run(&["export", "--partner", "PA_ONE"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("newer"), "{}", refused.stderr);
    // A node that runs already has what it needs, and calls are still answered.
    assert_eq!(routed.cause(ROUTED), (302, "routed".to_owned()));
    postgres.psql(&name, "UPDATE rollcall_schema SET version = version - 1, needs = 1");
}
