//! A node's lists show at least what the node tells of anything else.
//!
//! Jobs, deliveries, schedules and uploads are read from the database, lists
//! from the node's snapshot. The node here follows the log only when it is made
//! to, so an answer that is ahead of its lists is so each time.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use rollcall::domain::number::Tags;
use rollcall::domain::{Action, E164, NumberChange, PartnerId, PartnerKey, Record, Verb};
use rollcall::service::background::jobs::{BatchStep, JobSelection, NewJob};
use rollcall::service::background::schedules;
use rollcall::service::background::uploads::{ImportChoices, Uploads};
use rollcall::service::background::webhooks::NewWebhook;
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::{Replica, Service, ServiceError, VerbOutcome, WriteOutcome};
use rollcall::store::{Draft, Ownership, WriteTarget};

use super::fixture::{self, Database};
use crate::until::until;

const NUMBER: u64 = 33_100_000_000;

struct World {
    /// Writes to the database, as another node does.
    writer: Service,
    /// The node that is asked.
    node: Service,
    key: PartnerKey,
    uploads: Uploads,
    job: String,
    webhook: String,
    schedule: String,
    upload: String,
    _database: Database,
}

fn done(outcome: Result<WriteOutcome, ServiceError>) -> VerbOutcome {
    match outcome.expect("accepted") {
        WriteOutcome::Done { shown, .. } => shown,
        WriteOutcome::Again(_) => panic!("nothing was asked twice"),
    }
}

fn number() -> E164 {
    fixture::number(NUMBER)
}

impl World {
    fn new(database: Database) -> World {
        let store = database.open();
        let key = fixture::new_partner(&*store, "PA_1");
        fixture::put_account(&*store, key, "MA_1");
        fixture::put(&*store, key, &[fixture::created(NUMBER, fixture::held("MA_1"))]);
        let writer = Service::new(store, crate::fixture::operator());
        let store = database.open();
        let replica = Arc::new(Replica::load(store.clone()).expect("loaded"));
        let node = Service::new(store, crate::fixture::operator()).replica(replica);
        let partner: PartnerId = "PA_1".parse().expect("an id");

        let wanted = JobSelection::List(vec![number()]);
        let action = Action::Tag { add: Tags::new(["seen"]), remove: Tags::default() };
        let new = NewJob { action, params: "{}".to_owned(), wanted, preview: false };
        let VerbOutcome::Job { job, .. } = done(writer.job_create(key, &new)) else { panic!("a job") };
        let (url, order) = ("https://hook.example.com/".into(), Default::default());
        let new = NewWebhook { name: "Hook".into(), url, events: Vec::new(), order };
        let VerbOutcome::Webhook(webhook) = done(writer.webhook_create(key, &new)) else { panic!("a webhook") };
        let wanted = schedules::SchedulePatch { name: Some("Weekly".into()), ..schedules::SchedulePatch::default() };
        let VerbOutcome::Schedule { view, .. } = done(writer.schedule_create(key, &wanted)) else {
            panic!("a schedule")
        };
        let uploads = Uploads::new(database.file("uploads"), 1 << 20);
        let mut incoming = uploads.receive().expect("a file");
        incoming.write_all(b"number\n+33100000001\n").expect("written");
        let upload =
            uploads.keep(&writer, (key, &partner), incoming, "numbers.csv", ImportChoices::default()).expect("kept");
        until(
            std::time::Duration::from_secs(60),
            || "the file is still checked".to_owned(),
            || !uploads.busy(&upload.id),
        );
        World {
            job: job.id,
            webhook: webhook.setting.id.to_string(),
            schedule: view.id.to_string(),
            upload: upload.id,
            writer,
            node,
            key,
            uploads,
            _database: database,
        }
    }

    fn committed(&self) -> u64 {
        self.writer.store().version(self.key).expect("a version")
    }

    fn shown(&self) -> u64 {
        self.node.version(self.key).expect("the node has the partner")
    }

    /// Another node changes the number.
    fn change(&self) {
        let draft: Draft<'_> = Box::new(|transaction| {
            let found = transaction.numbers(&[number()])?.remove(0);
            let Ownership::Ours { record, .. } = found else { panic!("it is the partner's") };
            let minor = record.cost.map_or(0, |cost| cost.minor) + 1;
            let after = Record { cost: Some(fixture::money(minor, "INR")), ..record.clone() };
            let change = NumberChange { number: number(), before: Some(record), after: Some(after) };
            Ok(transaction.put_numbers(&[change])?)
        });
        let version = self.writer.store().write(WriteTarget::Partner(self.key), fixture::entry(Verb::Cost), draft);
        assert!(version.expect("written").is_some());
    }
}

type Read = fn(&World);

/// Everything that tells people of what is beside the log, and refusals, which
/// say how things stand in the database.
const READS: [(&str, Read); 12] = [
    ("a job", |world| drop(world.node.job(world.key, &world.job).expect("a job"))),
    ("the jobs", |world| assert_eq!(world.node.jobs(world.key, 0, 10).expect("jobs").1, 1)),
    ("a job's rows", |world| {
        assert_eq!(world.node.job_rows(world.key, &world.job, None, 0, 10).expect("rows").1, 1);
    }),
    ("a webhook", |world| drop(world.node.webhook(world.key, &world.webhook).expect("a webhook"))),
    ("the webhooks", |world| assert_eq!(world.node.webhooks(world.key).expect("webhooks").len(), 1)),
    ("a webhook's deliveries", |world| {
        drop(world.node.webhook_deliveries(world.key, &world.webhook, 0, 10).expect("deliveries"));
    }),
    ("a schedule", |world| {
        drop(world.node.schedule(world.key, &world.schedule, fixture::time(0)).expect("a schedule"));
    }),
    ("the schedules", |world| {
        assert_eq!(world.node.schedules(world.key, fixture::time(0)).expect("schedules").len(), 1);
    }),
    ("an upload", |world| drop(world.uploads.get(&world.node, world.key, &world.upload).expect("an upload"))),
    ("the uploads", |world| assert_eq!(world.uploads.list(&world.node, world.key).expect("uploads").len(), 1)),
    ("a refusal", |world| {
        let refused = world.node.act(world.key, number(), &Action::Unreserve, &Expected::Anything);
        assert!(matches!(refused, Err(ServiceError::Conflict(_))), "{refused:?}");
    }),
    ("a dry run", |world| {
        let node = world.node.clone().dry_run(true);
        drop(done(node.act(world.key, number(), &Action::Suspend, &Expected::Anything)));
    }),
];

fn check(database: Database) {
    let world = World::new(database);
    // It has heard of what is asked about.
    drop(world.node.jobs(world.key, 0, 1).expect("jobs"));
    for (what, read) in READS {
        world.change();
        assert!(world.shown() < world.committed(), "the node follows by itself, so this test shows nothing");
        read(&world);
        assert_eq!(world.shown(), world.committed(), "{what} is ahead of the lists");
    }
    // What a job did is there when the job says so.
    while world.writer.job_step(world.key, &world.job, Instant::now()).expect("a step") == BatchStep::More {}
    assert_eq!(world.node.job(world.key, &world.job).expect("a job").tally.changed, 1);
    assert_eq!(world.shown(), world.committed());
}

#[test]
fn what_is_read_beside_the_log_is_in_the_lists_on_sqlite() {
    check(Database::new());
}

#[test]
fn what_is_read_beside_the_log_is_in_the_lists_on_postgres() {
    if let Some(database) = Database::postgres() {
        check(database);
    }
}
