//! What holds for every writer of numbers: archived accounts and routes get
//! none, an account's last active number is known without a scan, and an undo
//! takes back what was done last first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::domain::action::{Assignment, Transfer};
use rollcall::domain::change::Edit;
use rollcall::domain::{Action, Actor, E164, EntityChange, NumberChange, PartnerKey, Record, RouteKind, Tags, Verb};
use rollcall::inventory::{Filter, Snapshot};
use rollcall::service::background::jobs::{JobSelection, NewJob};
use rollcall::service::verbs::entities::EntityPatch;
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::verbs::undo::Undone;
use rollcall::service::{Service, ServiceError, VerbOutcome, WriteOutcome, replica};
use rollcall::store::{Load, Store, WriteTarget};

use crate::fixture::{self, Database, application, created, draft, entry, held, number, put, stock, trunk};

/// A partner with account `MA_OLD`, which holds `HELD`, and stock.
struct World {
    _database: Database,
    store: Arc<dyn Store>,
    key: PartnerKey,
    service: Service,
}

const HELD: u64 = 912_271_264_000;
const FIRST: u64 = 912_271_264_001;
const SECOND: u64 = 912_271_264_002;

fn id<I: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> I {
    text.parse().expect("an id")
}

impl World {
    fn new() -> World {
        let database = Database::chosen();
        let store = database.open();
        let key = fixture::new_partner(&*store, "PA_1");
        fixture::put_account(&*store, key, "MA_OLD");
        let numbers = [created(HELD, held("MA_OLD")), created(FIRST, stock("s")), created(SECOND, stock("s"))];
        put(&*store, key, &numbers);
        let service = Service::new(store.clone(), Actor::Command { user: "tester".to_owned() });
        World { _database: database, store, key, service }
    }

    fn snapshot(&self) -> Snapshot {
        let load = Load { only: Some(self.key), numbers: true };
        replica::load(&*self.store, load).expect("loads").remove(&self.key).expect("the partner")
    }

    fn version(&self) -> u64 {
        self.snapshot().version
    }

    fn act(&self, digits: u64, action: Action) -> Result<WriteOutcome, ServiceError> {
        self.service.act(self.key, number(digits), &action, &Expected::Anything)
    }

    #[track_caller]
    fn done(&self, digits: u64, action: Action) {
        self.act(digits, action).expect("done");
    }

    fn record(&self, digits: u64) -> Option<Record> {
        self.snapshot().get(number(digits), rollcall::domain::Time::now()).map(|row| row.record())
    }

    /// A new customer with its first number, as the console makes one.
    fn open_account(&self) {
        let to = Assignment { account: id("MA_NEW"), application: None, trunk: None, expires_at: None, cost: None };
        self.service.account_open(self.key, &id("MA_NEW"), &"New".into(), number(FIRST), &to).expect("opened");
    }

    /// A customer, an application and a trunk with a number, as an import makes
    /// them; the application is named by a later row.
    fn import(&self) {
        let body = draft(|transaction| {
            let unnamed = application("app_NEW", None);
            let named = rollcall::domain::Application { name: "Main".into(), ..unnamed.clone() };
            transaction.put_entity(EntityChange::Account(Edit::created(fixture::account("MA_NEW"))))?;
            transaction.put_entity(EntityChange::Application(Edit::created(unnamed.clone())))?;
            transaction.put_entity(EntityChange::Application(Edit { before: Some(unnamed), after: named }))?;
            transaction.put_entity(EntityChange::Trunk(Edit::created(trunk("trunk_NEW", None))))?;
            let record = Record { application: id_if("app_NEW"), trunk: id_if("trunk_NEW"), ..held("MA_NEW") };
            transaction.put_numbers(&[NumberChange {
                number: number(FIRST),
                before: Some(stock("s")),
                after: Some(record),
            }])?;
            Ok(())
        });
        self.store.write(WriteTarget::Partner(self.key), entry(Verb::Import), body).expect("written");
    }

    fn undo(&self, version: u64) -> Result<Undone, ServiceError> {
        match self.service.undo(self.key, version)? {
            WriteOutcome::Done { shown: VerbOutcome::Undone(undone), .. } => Ok(undone),
            other => panic!("{other:?}"),
        }
    }

    /// What is in the archive.
    fn archived(&self) -> String {
        let snapshot = self.snapshot();
        let accounts = snapshot.accounts.sorted().filter(|one| one.archived_at.is_some());
        let applications = snapshot.applications.sorted().filter(|one| one.archived_at.is_some());
        let trunks = snapshot.trunks.sorted().filter(|one| one.archived_at.is_some());
        let mut all: Vec<String> = accounts.map(|one| one.auth_id.to_string()).collect();
        all.extend(applications.map(|one| one.id.to_string()));
        all.extend(trunks.map(|one| one.id.to_string()));
        all.join(" ")
    }
}

fn id_if<I: std::str::FromStr>(text: &str) -> Option<I> {
    text.parse().ok()
}

fn assign(account: &str) -> Action {
    let account = id(account);
    Action::Assign(Assignment { account, application: None, trunk: None, expires_at: None, cost: None })
}

fn route(application: &str) -> Action {
    Action::Route { application: Some(id_if(application)), trunk: None }
}

fn tag() -> Action {
    Action::Tag { add: Tags::new(["mine"]), remove: Tags::default() }
}

fn release() -> Action {
    Action::Release { confirm_last: true }
}

/// What is undone, what somebody did since, and what becomes of it: how many
/// numbers are as before and how many are left, what stays, and what is in the
/// archive then.
#[test]
fn what_was_done_last_is_undone_first() {
    type Step = fn(&World);
    let nothing: Step = |_| {};
    let open: Step = World::open_account;
    let import: Step = World::import;
    let edit = |world: &World, archived: bool| {
        let changes = EntityPatch { archived: Some(archived), ..EntityPatch::default() };
        world.service.account_edit(world.key, &id("MA_OLD"), &changes).expect("edited");
    };
    let archive: Step = |world| {
        let changes = EntityPatch { archived: Some(true), ..EntityPatch::default() };
        world.service.account_edit(world.key, &id("MA_OLD"), &changes).expect("edited");
    };
    type Case = (&'static str, Step, Step, (u64, u64), &'static str, &'static str);
    let cases: [Case; 12] = [
        ("a customer with its first number", open, nothing, (1, 0), "", "MA_NEW"),
        (
            "its number was tagged since",
            open,
            |world| world.done(FIRST, tag()),
            (0, 1),
            "account MA_NEW stays: it has numbers; release them first",
            "",
        ),
        ("its number was released since", open, |world| world.done(FIRST, release()), (0, 1), "", "MA_NEW"),
        (
            "it got another number since",
            open,
            |world| world.done(SECOND, assign("MA_NEW")),
            (1, 0),
            "account MA_NEW stays: it has numbers; release them first",
            "",
        ),
        (
            "its name was changed since",
            open,
            |world| {
                let changes = EntityPatch { name: Some("Newer".into()), ..EntityPatch::default() };
                world.service.account_edit(world.key, &id("MA_NEW"), &changes).expect("renamed");
            },
            (1, 0),
            "account MA_NEW stays: it was changed since",
            "",
        ),
        ("an import of all kinds", import, nothing, (1, 0), "", "MA_NEW app_NEW trunk_NEW"),
        (
            "its application is used since",
            import,
            |world| world.done(HELD, route("app_NEW")),
            (1, 0),
            "application app_NEW stays: numbers route to it",
            "MA_NEW trunk_NEW",
        ),
        (
            "its trunk is used since",
            import,
            |world| world.done(HELD, Action::Route { application: None, trunk: Some(id_if("trunk_NEW")) }),
            (1, 0),
            "trunk trunk_NEW stays: numbers are on it",
            "MA_NEW app_NEW",
        ),
        (
            "its number was changed since",
            import,
            |world| world.done(FIRST, tag()),
            (0, 1),
            "trunk trunk_NEW stays: numbers are on it; application app_NEW stays: numbers route to it; \
             account MA_NEW stays: it has numbers; release them first",
            "",
        ),
        ("a customer that was archived with its numbers", archive, nothing, (1, 0), "", ""),
        ("an archived one whose number somebody has", archive, |world| world.done(HELD, tag()), (0, 1), "", ""),
        (
            "an application without numbers",
            |world| {
                let made = world.service.route_new(
                    world.key,
                    (RouteKind::Application, "app_1"),
                    &"One".into(),
                    None,
                    &Default::default(),
                );
                made.expect("made");
            },
            nothing,
            (0, 0),
            "",
            "app_1",
        ),
    ];
    for (name, make, since, (undone, refused), stays, archived) in cases {
        let world = World::new();
        make(&world);
        let version = world.version();
        since(&world);
        match world.undo(version) {
            Ok(found) => {
                assert_eq!((found.undone, found.refused), (undone, refused), "{name}: {found:?}");
                assert_eq!(found.stays.join("; "), stays, "{name}");
            }
            Err(ServiceError::NotUndone { rows, stays: found, .. }) => {
                assert_eq!((0, rows.len() as u64), (undone, refused), "{name}");
                assert_eq!(found.join("; "), stays, "{name}");
                assert!(!stays.is_empty(), "{name}: something was done");
            }
            Err(error) => panic!("{name}: {error}"),
        }
        assert_eq!(world.archived(), archived, "{name}");
        assert_eq!(fixture::differences(&*world.store), [] as [&str; 0], "{name}");
    }
    // And back again: the undo's own last thing first.
    let world = World::new();
    let before = world.record(FIRST);
    world.open_account();
    let (after, version) = (world.record(FIRST), world.version());
    world.undo(version).expect("undone");
    assert_eq!(world.record(FIRST), before);
    world.undo(version + 1).expect("done again");
    assert_eq!((world.record(FIRST), world.archived()), (after, String::new()));
    edit(&world, true);
    assert_eq!(fixture::differences(&*world.store), [] as [&str; 0]);
}

#[test]
fn an_undo_gives_nothing_to_what_was_archived_since() {
    let world = World::new();
    world
        .service
        .route_new(world.key, (RouteKind::Application, "app_1"), &"One".into(), None, &Default::default())
        .expect("made");
    world.done(HELD, route("app_1"));
    world.done(HELD, release());
    let version = world.version();
    let changes = EntityPatch { archived: Some(true), ..EntityPatch::default() };
    world.service.route_edit(world.key, (RouteKind::Application, "app_1"), &changes).expect("archived");
    match world.undo(version) {
        Err(ServiceError::NotUndone { rows, .. }) => assert_eq!(rows[0].reason, "application app_1 is archived"),
        other => panic!("{other:?}"),
    }
}

/// 2,000 releases that are refused, each of an account's only number, in an
/// inventory of 200,000: one batch, which holds the writer once.
#[test]
fn refused_releases_do_not_hold_the_writer() {
    const ACCOUNTS: u64 = 2_000;
    const NUMBERS: u64 = 200_000;
    let database = Database::new();
    let store = database.open();
    let key = fixture::new_partner(&*store, "PA_1");
    let body = draft(|transaction| {
        for at in 0..ACCOUNTS {
            let account = fixture::account(&format!("MA_{at}"));
            transaction.put_entity(EntityChange::Account(Edit::created(account)))?;
        }
        Ok(())
    });
    store.write(WriteTarget::Partner(key), entry(Verb::Import), body).expect("written");
    let every = NUMBERS / ACCOUNTS;
    let record = |at: u64| if at.is_multiple_of(every) { held(&format!("MA_{}", at / every)) } else { stock("s") };
    let numbers: Vec<NumberChange> = (0..NUMBERS).map(|at| created(912_200_000_000 + at, record(at))).collect();
    put(&*store, key, &numbers);

    let service = Service::new(store, Actor::Command { user: "tester".to_owned() });
    let wanted = JobSelection::Filter(Box::new(Filter { assigned: Some(true), ..Filter::default() }), "{}".to_owned());
    let action = Action::Release { confirm_last: false };
    let new = NewJob { action, params: "{}".to_owned(), wanted, preview: false };
    let id = match service.job_create(key, &new) {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => job.id,
        other => panic!("not created: {other:?}"),
    };
    let begun = Instant::now();
    service.job_step(key, &id, begun).expect("a batch");
    let took = begun.elapsed();
    let tally = service.job(key, &id).expect("a job").tally;
    println!("2,000 refused releases at 200,000 numbers hold the writer for {took:?}");
    assert_eq!((tally.changed, tally.failed), (0, ACCOUNTS));
    // A scan for each took more than a minute.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn of_several_numbers_the_last_active_one_needs_to_be_confirmed() {
    let world = World::new();
    let more: Vec<NumberChange> = (0..20).map(|at| created(912_271_265_000 + at, held("MA_OLD"))).collect();
    put(&*world.store, world.key, &more);
    world.done(HELD, release());
    let all = || JobSelection::List(more.iter().map(|change| change.number).collect::<Vec<E164>>());
    fixture::put_account(&*world.store, world.key, "MA_2");
    let to = Transfer { account: id("MA_2"), application: None, trunk: None, confirm_last: false };
    let preview = |action: Action| {
        let new = NewJob { action, params: "{}".to_owned(), wanted: all(), preview: true };
        match world.service.job_create(world.key, &new) {
            Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => *job,
            other => panic!("not created: {other:?}"),
        }
    };
    for action in [Action::Release { confirm_last: false }, Action::Transfer(to)] {
        let job = preview(action.clone());
        let would = job.preview.clone().expect("a preview");
        assert_eq!((would.changed, would.failed), (19, 1), "{action:?}");
        if matches!(action, Action::Transfer(_)) {
            world.service.job_run(world.key, &job.id).expect("runs");
            world.service.job_step(world.key, &job.id, Instant::now()).expect("a batch");
            let done = world.service.job(world.key, &job.id).expect("a job").tally;
            assert_eq!((done.changed, done.failed), (19, 1), "as the preview said");
        }
    }
    assert!(matches!(
        world.act(912_271_265_019, Action::Release { confirm_last: false }),
        Err(ServiceError::Last { .. })
    ));
    assert_eq!(fixture::differences(&*world.store), [] as [&str; 0]);
}
