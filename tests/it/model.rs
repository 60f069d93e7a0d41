//! Random verbs, writes that break off and databases opened anew, against a
//! model of records: every version that ever was is still what it was.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use rollcall::domain::action::{Action, Assignment, Transfer};
use rollcall::domain::quarantine::Quarantine;
use rollcall::domain::{Actor, E164, Record, Tags, Time, Verb};
use rollcall::inventory::Snapshot;
use rollcall::service::verbs::numbers::Expected;
use rollcall::service::{Service, WriteOutcome, replica};
use rollcall::store::{Load, Store, WriteTarget};

use crate::fixture::{self, created, draft, entry, number, put, put_account, stock};

const NUMBERS: u64 = 6;

#[derive(Clone, Debug)]
enum Step {
    Verb(u64, Action),
    /// A write that puts something and is then refused, or panics.
    BreaksOff {
        panics: bool,
    },
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let account = |at: u8| format!("MA_{at}").parse().expect("an id");
    let assign = move |at: u8| {
        let account = account(at);
        Action::Assign(Assignment { account, application: None, trunk: None, expires_at: None, cost: None })
    };
    let transfer = move |at: u8| {
        Action::Transfer(Transfer { account: account(at), application: None, trunk: None, confirm_last: true })
    };
    let reserve = move |at: u8| Action::Reserve { account: account(at), until: Time::now().plus(1_000_000) };
    let action = prop_oneof![
        3 => (0..2_u8).prop_map(assign),
        2 => (0..2_u8).prop_map(transfer),
        2 => Just(Action::Release { confirm_last: true }),
        1 => Just(Action::Suspend),
        1 => Just(Action::Resume),
        1 => (0..2_u8).prop_map(reserve),
        1 => Just(Action::Unreserve),
        1 => "[a-c]".prop_map(|tag| Action::Tag { add: Tags::new([tag]), remove: Tags::default() }),
        1 => Just(Action::Renew { expires_at: None }),
    ];
    prop_oneof![
        12 => (0..NUMBERS, action).prop_map(|(at, action)| Step::Verb(at, action)),
        1 => any::<bool>().prop_map(|panics| Step::BreaksOff { panics }),
        1 => Just(Step::Reopen),
    ]
}

type Records = BTreeMap<E164, Record>;

/// What a snapshot holds, without the moments that the clock gave.
fn records(snapshot: &Snapshot) -> Records {
    snapshot.iter(Time::now()).map(|row| (row.number(), row.record())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_version_is_still_what_it_was(steps in prop::collection::vec(any_step(), 1..60)) {
        let database = fixture::Database::new();
        let mut store = database.open();
        let key = fixture::new_partner(&*store, "PA_1");
        put_account(&*store, key, "MA_0");
        put_account(&*store, key, "MA_1");
        let all: Vec<_> = (0..NUMBERS).map(|at| created(912_271_264_000 + at, stock("s"))).collect();
        put(&*store, key, &all);
        // No quarantine, so that a number goes round and round.
        let quarantine = Quarantine::default();
        let load = |store: &dyn Store| {
            replica::load(store, Load { only: None, numbers: true }).expect("loads").remove(&key).expect("the partner")
        };
        let mut model = records(&load(&*store));
        // The model after each version from the first of them on.
        let first = load(&*store).version;
        let mut thens = vec![model.clone()];
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(store);
                    store = database.open();
                }
                Step::BreaksOff { panics } => {
                    let put_and = draft(|transaction| {
                        transaction.put_numbers(&[created(912_271_265_000, stock("never"))])?;
                        assert!(!panics, "on purpose");
                        Err(rollcall::store::Abort::Refused)
                    });
                    let write = || store.write(WriteTarget::Partner(key), entry(Verb::Import), put_and);
                    prop_assert!(catch_unwind(AssertUnwindSafe(write)).map_or(panics, |result| result.is_err()));
                }
                Step::Verb(at, action) => {
                    let number = number(912_271_264_000 + at);
                    let service = Service::new(store.clone(), Actor::Command { user: "tester".to_owned() });
                    let service = service.quarantine(quarantine.clone());
                    let before = model[&number].clone();
                    let done = service.act(key, number, &action, &Expected::Anything);
                    // What the table says, at the moment that the log has.
                    let now = load(&*store);
                    let since = now.get(number, Time::now()).expect("it stays").record().since;
                    match action.apply(&before, since, &quarantine) {
                        Ok(_) => {
                            let Ok(WriteOutcome::Done { version, .. }) = done else { panic!("{action:?}: {done:?}") };
                            let after = now.get(number, Time::now()).expect("it stays").record();
                            let same = |record: &Record| (record.state, record.account.clone(), record.tags.clone());
                            let expected = action.apply(&before, after.since, &quarantine).expect("as above");
                            prop_assert_eq!(same(&after), same(&expected), "{:?} of {:?}", action, before);
                            prop_assert_eq!(version.is_some(), after != before);
                            model.insert(number, after);
                            if version.is_some() {
                                thens.push(model.clone());
                            }
                        }
                        Err(_) => prop_assert!(done.is_err(), "{:?} of {:?}", action, before),
                    }
                }
            }
        }
        let mut past = load(&*store);
        prop_assert_eq!(past.version, first + thens.len() as u64 - 1);
        let log = store.log(key, first, 1_000).expect("reads");
        for (logged, then) in log.into_iter().rev().zip(thens.iter().rev()) {
            prop_assert_eq!(&records(&past), then);
            past = past.reverted(logged).expect("leads back");
        }
        prop_assert_eq!(&records(&past), &thens[0]);
        prop_assert_eq!(fixture::differences(&*store), [] as [&str; 0]);
    }
}
