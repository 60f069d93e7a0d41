//! A node that is killed or stopped in the middle of its work: another one does
//! that work soon, round after round, however long an attempt of a webhook may
//! take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::whole;
use crate::client::{Odd, some};
use crate::cluster::Cluster;
use crate::harness::Server;
use crate::nodes::{Nodes, TAKEN_OVER, number, version};
use crate::sync::{Mirror, odd_key, plain};
use crate::until::until;
use crate::webhooks::{AUTHORITY, Manner, Receiver};
use crate::{alerts, process, smtp};

fn rounds() -> usize {
    if whole() { 20 } else { 2 }
}

/// How long a test waits before it says that nothing came.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn work_of_a_node_that_ended_is_another_ones_soon() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let receiver = Receiver::new(Manner::Status(200));
    let mail = smtp::Receiver::start(smtp::Manners::default());
    let mut nodes = Nodes::configured(&cluster.database(), 2, |database| {
        let authority = database.write("authority.pem", &AUTHORITY.pem);
        let with_mail = alerts::settings(database, &mail, |text| text);
        let with_mail = std::fs::read_to_string(with_mail).expect("the settings");
        format!(
            "{with_mail}[jobs]\nbatch_rows = 20\n[webhooks]\ntimeout_ms = 60000\nallow_networks = [\"127.0.0.0/8\"]\n\
             ca_file = {authority:?}\n"
        )
    });
    let config = nodes.database.file("rollcall.toml").display().to_string();
    let hook = json!({ "name": "Hook", "url": receiver.url(), "events": ["cost"] });
    nodes.post(&nodes.servers[0], "/api/v1/manage/webhooks", &hook).check(201);
    let weekly = json!({ "name": "Weekly", "recipients": ["desk@example.net"] });
    let weekly = nodes.post(&nodes.servers[0], "/api/v1/manage/schedules", &weekly).check(201).json();
    let run = format!("/api/v1/manage/schedules/{}/run", weekly["data"]["id"].as_str().expect("an id"));
    let (mut webhook_max, mut job_max, mut email_max) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let rounds = rounds() as u64;
    for round in 0..rounds {
        // An attempt and an email hang and a job is in the middle when the node ends.
        let (sent, ignored) = (mail.taken().len(), mail.ignored());
        mail.manners(|manners| manners.silent = true);
        nodes.post(&nodes.servers[0], &run, &json!({})).check(200);
        nodes.servers[0].within(PATIENCE, |_| mail.ignored() > ignored);
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
        ended.signal(if round % 2 == 0 { "KILL" } else { "TERM" });
        // Before it has ended: the other node may begin at once.
        receiver.set(Manner::Status(200));
        mail.manners(|manners| manners.silent = false);
        assert_eq!(ended.wait(), (round % 2 == 1).then_some(0));
        let node = &nodes.servers[0];
        told.push(version(&nodes.write(node, &number(2 * round + 1)).check(200)));
        let (mut webhook, mut job, mut email) = (None, None, None);
        node.within(PATIENCE, |node| {
            let got = receiver.versions();
            if webhook.is_none() && told.iter().all(|version| got.contains(version)) {
                webhook = Some(began.elapsed());
            }
            if job.is_none() && node.get(&path).auth(&nodes.key).check(200).json()["data"]["state"] == "done" {
                job = Some(began.elapsed());
            }
            if email.is_none() && mail.taken().len() > sent {
                email = Some(began.elapsed());
            }
            webhook.is_some() && job.is_some() && email.is_some()
        });
        webhook_max = webhook_max.max(webhook.unwrap_or(PATIENCE));
        job_max = job_max.max(job.unwrap_or(PATIENCE));
        email_max = email_max.max(email.unwrap_or(PATIENCE));
        nodes.servers.push(Server::start(nodes.database.clone(), &["--config", &config, "--rate-limit", "0"]));
    }
    println!(
        "{rounds} rounds of kill and stop: webhooks at most {webhook_max:?} later, jobs {job_max:?}, emails {email_max:?}"
    );
    let slowest = webhook_max.max(job_max).max(email_max);
    assert!(slowest < TAKEN_OVER, "{webhook_max:?} {job_max:?} {email_max:?}");
}

#[test]
fn a_mirror_whose_process_ended_is_another_ones_soon() {
    let upstream = || Odd::new(|_, target| plain(&some(300), target));
    // The process that mirrors asks the first one, the process that waits the second.
    let mut upstreams = [upstream(), upstream()];
    let mirror = Mirror::new();
    let begin = |odd: &Odd| mirror.begin(&odd.url(), &odd_key(), &["--every", "1s", "--switch", "--json"]);
    let mut mirrors = begin(&upstreams[0]);
    let mut latest = Duration::ZERO;
    for round in 0..rounds() {
        let [leader, other] = &upstreams;
        let (asked, others) = (leader.asked().len(), other.asked().len());
        until(PATIENCE, || "nothing is mirrored".to_owned(), || leader.asked().len() > asked);
        let mut waits = begin(other);
        let asked = leader.asked().len();
        until(PATIENCE, || "it mirrors no more".to_owned(), || leader.asked().len() >= asked + 9);
        assert_eq!(other.asked().len(), others, "two mirror at once");
        let began = Instant::now();
        process::signal(&mirrors, if round % 2 == 0 { "KILL" } else { "TERM" });
        assert!(process::ended(&mut mirrors, Duration::from_secs(20)).is_none_or(|code| code == 0));
        until(PATIENCE, || "nobody takes over".to_owned(), || other.asked().len() > others);
        latest = latest.max(began.elapsed());
        std::mem::swap(&mut mirrors, &mut waits);
        upstreams.reverse();
    }
    process::signal(&mirrors, "TERM");
    assert_eq!(process::ended(&mut mirrors, Duration::from_secs(20)), Some(0));
    println!("{} rounds of kill and stop: a mirror at most {latest:?} later", rounds());
    assert!(latest < TAKEN_OVER, "{latest:?}");
}
