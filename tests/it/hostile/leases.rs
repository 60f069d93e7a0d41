//! A node that is killed or stopped in the middle of its work: another one does
//! that work soon, round after round, however long an attempt of a webhook may
//! take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::whole;
use crate::cluster::Cluster;
use crate::harness::Server;
use crate::nodes::{Nodes, TAKEN_OVER, number, version};
use crate::webhooks::{AUTHORITY, Manner, Receiver};

/// How long a test waits before it says that nothing came.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn work_of_a_node_that_ended_is_another_ones_soon() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let receiver = Receiver::new(Manner::Status(200));
    let mut nodes = Nodes::configured(&cluster.database(), 2, |database| {
        let authority = database.write("authority.pem", &AUTHORITY.pem);
        format!(
            "[jobs]\nbatch_rows = 20\n[webhooks]\ntimeout_ms = 60000\nallow_networks = [\"127.0.0.0/8\"]\n\
             ca_file = {authority:?}\n"
        )
    });
    let config = nodes.database.file("rollcall.toml").display().to_string();
    let hook = json!({ "name": "Hook", "url": receiver.url(), "events": ["cost"] });
    nodes.post(&nodes.servers[0], "/api/v1/manage/webhooks", &hook).check(201);
    let (mut webhook_max, mut job_max) = (Duration::ZERO, Duration::ZERO);
    let rounds = if whole() { 20 } else { 2 };
    for round in 0..rounds {
        // An attempt hangs and a job is in the middle when the node ends.
        let verb = if round % 2 == 0 { "suspend" } else { "resume" };
        let body = json!({ "verb": verb, "filter": {}, "params": {} });
        let job = nodes.post(&nodes.servers[0], "/api/v1/manage/jobs", &body).check(201).json();
        let path = format!("/api/v1/manage/jobs/{}", job["data"]["id"].as_str().expect("an id"));
        receiver.set(Manner::Hang);
        let before = receiver.versions().len();
        let mut told = vec![version(&nodes.write(&nodes.servers[0], &number(2 * round)).check(200))];
        nodes.servers[0].within(PATIENCE, |_| receiver.versions().len() > before);
        let mut ended = nodes.servers.remove(0);
        let began = Instant::now();
        if round % 2 == 0 {
            ended.kill();
        } else {
            ended.signal("TERM");
            assert_eq!(ended.wait(), Some(0));
        }
        receiver.set(Manner::Status(200));
        let node = &nodes.servers[0];
        told.push(version(&nodes.write(node, &number(2 * round + 1)).check(200)));
        let (mut webhook, mut job) = (None, None);
        node.within(PATIENCE, |node| {
            let got = receiver.versions();
            if webhook.is_none() && told.iter().all(|version| got.contains(version)) {
                webhook = Some(began.elapsed());
            }
            if job.is_none() && node.get(&path).auth(&nodes.key).check(200).json()["data"]["state"] == "done" {
                job = Some(began.elapsed());
            }
            webhook.is_some() && job.is_some()
        });
        webhook_max = webhook_max.max(webhook.unwrap_or(PATIENCE));
        job_max = job_max.max(job.unwrap_or(PATIENCE));
        nodes.servers.push(Server::start(nodes.database.clone(), &["--config", &config, "--rate-limit", "0"]));
    }
    println!("{rounds} rounds of kill and stop: webhooks at most {webhook_max:?} later, jobs {job_max:?}");
    assert!(webhook_max < TAKEN_OVER && job_max < TAKEN_OVER, "{webhook_max:?} {job_max:?}");
}
