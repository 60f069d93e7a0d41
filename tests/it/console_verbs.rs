//! The verbs that only the console has: a customer with their first number,
//! archiving what was counted, and saved views.

use std::sync::Arc;

use rollcall::domain::action::Assignment;
use rollcall::domain::{AccountId, PartnerKey, State, Time, Verb};
use rollcall::inventory::Snapshot;
use rollcall::service::verbs::views::VIEWS_MAX;
use rollcall::service::{Service, ServiceError};
use rollcall::store::WriteTarget;

use super::fixture::*;

struct Desk {
    _database: Database,
    service: Service,
    key: PartnerKey,
}

impl Desk {
    /// Two free numbers.
    fn new() -> Desk {
        let database = Database::new();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        let numbers = [912_271_264_201, 912_271_264_202].map(|digits| created(digits, stock("")));
        store
            .write(
                WriteTarget::Partner(key),
                entry(Verb::Import),
                draft(|transaction| Ok(transaction.put_numbers(&numbers)?)),
            )
            .expect("written");
        Desk { service: Service::new(store, entry(Verb::Import).actor), _database: database, key }
    }

    fn snapshot(&self) -> Snapshot {
        self.service.snapshot(&"PA_1".parse().expect("an id"), true).expect("loads")
    }

    fn open(&self, id: &str, digits: u64) -> Result<(), ServiceError> {
        let account: AccountId = id.parse().expect("an id");
        let to = Assignment { account: account.clone(), application: None, trunk: None, expires_at: None, cost: None };
        let name: Arc<str> = "Somebody".into();
        self.service.account_open(self.key, &account, &name, number(digits), &to).map(drop)
    }

    fn state(&self, digits: u64) -> State {
        self.snapshot().get(number(digits), Time::now()).expect("the number").state()
    }
}

#[test]
fn a_customer_and_their_first_number_come_together_or_not_at_all() {
    let desk = Desk::new();
    let before = desk.snapshot().version;
    desk.open("MA_1", 912_271_264_201).expect("a customer with a number");
    assert_eq!((desk.state(912_271_264_201), desk.snapshot().version), (State::Active, before + 1));

    let taken = desk.open("MA_2", 912_271_264_201).expect_err("it is taken");
    assert!(matches!(taken, ServiceError::Conflict(_)), "{taken}");
    let unknown = desk.open("MA_2", 912_271_264_299).expect_err("it is not there");
    assert!(matches!(unknown, ServiceError::Unknown { .. }), "{unknown}");
    assert!(desk.snapshot().accounts.get("MA_2").is_none());

    let twice = desk.open("MA_1", 912_271_264_202).expect_err("there is one");
    assert!(matches!(twice, ServiceError::Exists { .. }), "{twice}");
    assert_eq!(desk.state(912_271_264_202), State::Available);
}

#[test]
fn archiving_releases_what_was_counted_or_nothing() {
    let desk = Desk::new();
    desk.open("MA_1", 912_271_264_201).expect("a customer with a number");
    let id: AccountId = "MA_1".parse().expect("an id");
    let refused = desk.service.account_archive(desk.key, &id, 0).expect_err("it has one");
    assert!(refused.to_string().contains("it has 1 now"), "{refused}");
    assert_eq!(desk.state(912_271_264_201), State::Active);
    desk.service.account_archive(desk.key, &id, 1).expect("archived");
    assert_eq!(desk.state(912_271_264_201), State::Quarantined);
}

#[test]
fn views_are_few_and_named_once() {
    let desk = Desk::new();
    let version = desk.snapshot().version;
    let names = || {
        let views = desk.service.views(desk.key).expect("views");
        views.into_iter().map(|view| format!("{}={}", view.name, view.line)).collect::<Vec<_>>()
    };
    assert!(names().is_empty());
    let save = |name: &str, line: &str| desk.service.view_save(desk.key, name, line, false);
    save("b", "country:IN").expect("saved");
    save("A", "no:account").expect("saved");
    // Views are shared: one is replaced only where that is meant.
    for name in ["b", "B"] {
        let refused = save(name, "country:US").expect_err("it would replace another");
        assert!(matches!(&refused, ServiceError::Exists { id, .. } if id == "b"), "{refused:?}");
    }
    save("b", "country:IN").expect("as it is");
    desk.service.view_save(desk.key, "b", "country:US", true).expect("replaced");
    assert_eq!(names(), ["A=no:account", "b=country:US"]);
    for name in ["", "a\nb", &"x".repeat(41)] {
        save(name, "1").expect_err("no name");
    }
    (2..VIEWS_MAX).for_each(|at| save(&format!("v{at}"), "1").expect("saved"));
    save("one more", "1").expect_err("too many");
    desk.service.view_save(desk.key, "b", "2", true).expect("in its own place");
    desk.service.view_remove(desk.key, "b").expect("removed");
    desk.service.view_remove(desk.key, "b").expect("removed already");
    assert_eq!(names().len(), VIEWS_MAX - 1);
    assert_eq!(desk.snapshot().version, version, "views are beside the log");
}
