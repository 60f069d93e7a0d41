//! `rollcall mcp` as a client of the Model Context Protocol sees it: the SDK's own
//! client, over the real program's standard input and output.

use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use serde_json::{Value, json};

use super::process::{Place, ended};

const NUMBER: &str = "+912271264217";

/// A partner with a number of one customer, and another partner with the same ids.
fn place() -> Place {
    let place = Place::new();
    let csv = "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency\n\
               +912271264217,MA_1,Globex,,,500.00,INR\n+912271264218,MA_1,Globex,app_1,IVR,500.00,INR\n";
    std::fs::write(place.path("numbers.csv"), csv).expect("written");
    place.must(&["import", place.path("numbers.csv").to_str().expect("UTF-8"), "--partner", "PA_A"]);
    place.must(&["partner", "create", "--auth-id", "PA_OTHER", "--name", "Secundus"]);
    let csv = csv.replace("+9122712642", "+4989100").replace("Globex", "Secundus Customer");
    std::fs::write(place.path("others.csv"), csv).expect("written");
    place.must(&["import", place.path("others.csv").to_str().expect("UTF-8"), "--partner", "PA_OTHER"]);
    place
}

type Client = RunningService<RoleClient, ()>;

/// The program, and a client on its standard input and output.
async fn start(place: &Place, more: &[&str]) -> (Child, Client) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut command = place.command(&[&["mcp", "--partner", "PA_A"], more].concat());
    command.stdin(OwnedFd::from(theirs.try_clone().expect("a copy"))).stdout(OwnedFd::from(theirs));
    let child = command.spawn().expect("the program runs");
    // The command has the other end, and must not outlive it.
    drop(command);
    ours.set_nonblocking(true).expect("set");
    let stream = tokio::net::UnixStream::from_std(ours).expect("a stream");
    let client = ().serve(tokio::io::split(stream)).await.expect("initialized");
    (child, client)
}

/// Whether a call is an error, and its text.
async fn call(client: &Client, tool: &str, arguments: Value) -> (bool, String) {
    let arguments = arguments.as_object().expect("an object").clone();
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    let result = client.call_tool(request).await.expect("a result");
    let value = serde_json::to_value(&result).expect("JSON");
    let text = value["content"][0]["text"].as_str().expect("text").to_owned();
    (value["isError"] == true, text)
}

async fn json(client: &Client, tool: &str, arguments: Value) -> Value {
    let (failed, text) = call(client, tool, arguments).await;
    assert!(!failed, "{tool}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{tool}: {error}: {text}"))
}

fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("in time") });
}

#[test]
fn a_client_reads_one_partner_and_has_no_tool_that_writes() {
    run(async {
        let place = place();
        let (mut child, client) = start(&place, &[]).await;
        let info = serde_json::to_value(client.peer_info().expect("known")).expect("JSON");
        assert!(info.to_string().contains("PA_A"), "{info}");
        let tools = client.list_all_tools().await.expect("tools");
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        for name in ["number_list", "number_show", "number_routing", "history", "changes", "check", "costs"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("assign") || *name == "undo"), "{names:?}");
        assert!(
            tools.iter().all(|tool| tool.annotations.as_ref().is_some_and(|hints| hints.read_only_hint == Some(true)))
        );

        let list = json(&client, "number_list", json!({ "account_auth_id": "Globex" })).await;
        assert_eq!(list["meta"]["total"], 2, "{list}");
        let routing = json(&client, "number_routing", json!({ "number": NUMBER })).await;
        assert!(routing.to_string().contains("unrouted"), "{routing}");
        let checks = json(&client, "check", json!({ "check": ["unrouted"] })).await;
        assert!(checks.to_string().contains(NUMBER), "{checks}");

        // Nothing of another partner, and no argument that names one.
        let (failed, text) = call(&client, "number_show", json!({ "number": "+4989100217" })).await;
        assert!(failed && !text.contains("Secundus"), "{text}");
        for (tool, arguments) in [
            ("number_show", json!({ "number": NUMBER, "partner": "PA_OTHER" })),
            ("number_show", json!({ "number": "--partner=PA_OTHER" })),
            ("number_list", json!({ "search": "--partner=PA_OTHER" })),
            ("number_list", json!({ "database": "sqlite:other.db" })),
            ("history", json!({})),
        ] {
            let (failed, text) = call(&client, tool, arguments.clone()).await;
            assert!(failed || text.contains("\"total\":0"), "{tool} {arguments}: {text}");
            assert!(!text.contains("Secundus"), "{text}");
        }
        client.call_tool(CallToolRequestParams::new("number_assign")).await.expect_err("no such tool");
        client.cancel().await.expect("closed");
        assert_eq!(ended(&mut child, Duration::from_secs(20)), Some(0));
    });
}

#[test]
fn a_tool_that_writes_shows_a_preview_first() {
    run(async {
        let place = place();
        let (mut child, client) = start(&place, &["--allow-writes"]).await;
        let version = || place.must(&["partner", "list", "--json"]);
        let shown = || place.must(&["number", "show", NUMBER, "--partner", "PA_A", "--json"]);
        let (before, state) = (version(), shown());
        let arguments = json!({ "number": NUMBER, "application": "IVR" });
        let preview = json(&client, "number_route", arguments.clone()).await;
        assert!(preview.to_string().contains("app_1"), "{preview}");
        assert_eq!(preview["dry_run"], true, "{preview}");
        assert_eq!((version(), shown()), (before, state.clone()));
        let mut arguments = arguments;
        arguments["preview"] = false.into();
        json(&client, "number_route", arguments).await;
        assert!(shown() != state && shown().contains("app_1"), "{}", shown());
        // A refusal is the tool's result.
        let (failed, text) =
            call(&client, "number_assign", json!({ "number": NUMBER, "account": "MA_nowhere", "preview": false }))
                .await;
        assert!(failed && text.contains("MA_nowhere"), "{text}");
        client.cancel().await.expect("closed");
        assert_eq!(ended(&mut child, Duration::from_secs(20)), Some(0));
    });
}
