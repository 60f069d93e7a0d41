//! People who sign in, over a real database: their passwords, second factors,
//! sessions and links, how often somebody may try, and who sees to whom.
//!
//! The clock is the test's own, and hashes are cheap but in one test.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rollcall::domain::{Actor, PartnerKey, Role, Time, User, UserId};
use rollcall::service::Service;
use rollcall::service::people::{
    AuditEntry, Audited, Clock, Hashing, LINK_PATH, NewUser, People, PeopleError, SignIn, SignInSettings, UserActor,
    UserEdit, code_at,
};
use rollcall::store::Store;

use super::fixture::{self, NOW, differences, new_partner, time};
use super::harness;
use crate::until::until;

const PASSWORD: &str = "an owl on the roof";
const OTHER: &str = "two owls on a roof";
/// What nobody can guess wrong.
const WRONG: &str = "no owl on any roof";

/// A clock that the test moves, and that notes who had to wait.
struct Moved {
    seconds: AtomicI64,
    waited: AtomicU64,
}

impl Clock for Moved {
    fn now(&self) -> Time {
        time(self.seconds.load(Ordering::SeqCst))
    }

    fn pause(&self, length: Duration) {
        self.waited.fetch_add(length.as_secs(), Ordering::SeqCst);
    }
}

struct World {
    database: fixture::Database,
    store: Arc<dyn Store>,
    clock: Arc<Moved>,
    people: People,
    one: PartnerKey,
    two: PartnerKey,
}

fn at(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn home() -> IpAddr {
    at("198.51.100.1")
}

/// The `n`th of many addresses, none of them home.
fn elsewhere(n: usize) -> IpAddr {
    IpAddr::from([203, 0, (n / 250) as u8, (n % 250) as u8 + 1])
}

impl World {
    fn new() -> World {
        let database = fixture::Database::chosen();
        let store = database.open();
        let (one, two) = (new_partner(&*store, "PA_1"), new_partner(&*store, "PA_2"));
        let clock = Arc::new(Moved { seconds: AtomicI64::new(NOW), waited: AtomicU64::new(0) });
        let people = People::new(store.clone(), settings(&clock));
        World { database, store, clock, people, one, two }
    }

    /// The people of another process on the same database.
    fn another(&self) -> People {
        People::new(self.database.open(), settings(&self.clock))
    }

    fn later(&self, seconds: i64) {
        // Notes are written by then, as they are in a process that lives.
        self.people.flush();
        self.clock.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// How long anybody was made to wait since the last call.
    fn waited(&self) -> u64 {
        self.clock.waited.swap(0, Ordering::SeqCst)
    }

    fn made(&self, email: &str, role: Role, partner: Option<PartnerKey>) -> (User, String) {
        let new = NewUser { email: email.to_owned(), name: None, role, partner, zone: None };
        let (user, path) = self.people.user_create(UserActor::Command(&fixture::operator()), new).expect("created");
        (user, link(&path))
    }

    /// Somebody with a password, who has signed in from nowhere that matters.
    fn user(&self, email: &str, role: Role, partner: Option<PartnerKey>) -> User {
        let (user, link) = self.made(email, role, partner);
        let begun = self.people.set_up(&link, PASSWORD, at("192.0.2.99")).expect("set up");
        self.people.sign_out(&begun.token).expect("signed out");
        self.again(&user.id)
    }

    fn again(&self, id: &UserId) -> User {
        let everybody = self.people.everybody(None).expect("read");
        everybody.into_iter().find(|user| user.id == *id).expect("still there")
    }

    fn sign_in(&self, email: &str) -> SignIn {
        self.people.sign_in(email, PASSWORD, home()).expect("signed in")
    }

    fn opens(&self, token: &str) -> bool {
        self.people.session(token).expect("read").is_some()
    }

    /// Turns on a second factor: its secret, and the recovery codes.
    fn second_factor(&self, id: &UserId) -> (Vec<u8>, Vec<String>) {
        let offer = self.people.totp_begin(id).expect("offered");
        let secret = base32(&offer.secret_base32);
        let codes = self.people.totp_confirm(id, &code_at(&secret, self.clock.now())).expect("confirmed");
        // Its step is used up.
        self.later(30);
        (secret, codes)
    }

    fn code(&self, secret: &[u8]) -> String {
        code_at(secret, self.clock.now())
    }

    fn trail(&self, partner: Option<PartnerKey>) -> Vec<String> {
        let list = self.people.audit_list(partner, None, 1_000).expect("read");
        list.iter().rev().map(line).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.people.flush();
            assert_eq!(differences(&*self.store), [] as [&str; 0]);
        }
    }
}

fn settings(clock: &Arc<Moved>) -> SignInSettings {
    let hashing = Hashing { memory_kib: 8, passes: 1, lanes: 1 };
    SignInSettings { hashing, clock: clock.clone(), ..SignInSettings::default() }
}

fn link(path: &str) -> String {
    path.strip_prefix(LINK_PATH).expect("a path of the console's").to_owned()
}

fn line(audited: &Audited) -> String {
    let AuditEntry { what, refused, .. } = &audited.entry;
    match refused {
        None => what.to_string(),
        Some(reason) => format!("{what}: {reason}"),
    }
}

fn base32(text: &str) -> Vec<u8> {
    let value = |c: u8| u64::from(if c >= b'A' { c - b'A' } else { c - b'2' + 26 });
    let bits = |eight: &[u8]| eight.iter().fold(0, |bits, &c| bits << 5 | value(c));
    text.as_bytes().chunks(8).flat_map(|eight| bits(eight).to_be_bytes()[3..].to_vec()).collect()
}

fn by(user: &User) -> UserActor<'_> {
    UserActor::User { user, from: Some(home()), request_id: Some("req_1") }
}

#[track_caller]
fn check_refused<T>(result: Result<T, PeopleError>, expected: &str) {
    let error = result.err().unwrap_or_else(|| panic!("not refused with {expected:?}"));
    assert!(error.to_string().contains(expected), "{error} is not {expected:?}");
}

const SAME_TEXT: &str = "the e-mail address or the password is wrong";

// Signing in.

#[test]
fn a_link_makes_a_password_and_a_password_a_session() {
    let world = World::new();
    let (user, link) = world.made("Ana@Example.com", Role::Owner, Some(world.one));
    assert_eq!((&*user.email, &*user.name, &*user.zone), ("ana@example.com", "ana", "UTC"));
    assert!(!user.password_set && user.last_signed_in_at.is_none());
    assert_eq!(world.people.link_user(&link).expect("good").id, user.id);
    check_refused(world.people.set_up(&link, "too short", home()), "at least 12");
    check_refused(world.people.set_up(&link, "what ana likes", home()), "e-mail");
    check_refused(world.people.set_up(&link, "qwertyuiop123", home()), "commonest");
    let begun = world.people.set_up(&link, PASSWORD, home()).expect("set up");
    assert!(!begun.needs_code);
    let session = world.people.session(&begun.token).expect("read").expect("open");
    assert!(session.recent && session.user.password_set);
    assert_eq!((&session.user.id, session.user.last_signed_in_at), (&user.id, Some(time(NOW))));
    for used in [&link, "", "unknown", &"x".repeat(10_000)] {
        check_refused(world.people.set_up(used, OTHER, home()), "this link is not valid");
        check_refused(world.people.link_user(used), "this link is not valid");
    }
    world.people.sign_out(&begun.token).expect("signed out");
    assert!(!world.opens(&begun.token));
    let begun = world.people.sign_in(" ANA@example.COM ", PASSWORD, home()).expect("signed in");
    assert!(world.opens(&begun.token));
    assert!(!world.opens("") && !world.opens("unknown") && !world.opens(&"x".repeat(10_000)));
}

#[test]
fn whoever_is_not_let_in_hears_one_text() {
    let world = World::new();
    world.user("owner@x.org", Role::Owner, Some(world.one));
    let gone = world.user("gone@x.org", Role::Viewer, Some(world.one));
    world.made("new@x.org", Role::Viewer, Some(world.one));
    let edit = UserEdit { disabled: Some(true), ..UserEdit::default() };
    world.people.user_edit(UserActor::Command(&fixture::operator()), &gone.id, edit).expect("disabled");
    for (email, password) in [
        ("owner@x.org", WRONG),
        ("owner@x.org", ""),
        ("owner@x.org", &"long ".repeat(100_000)),
        ("nobody@x.org", PASSWORD),
        ("gone@x.org", PASSWORD),
        ("new@x.org", PASSWORD),
        ("not an address", PASSWORD),
        ("", PASSWORD),
    ] {
        check_refused(world.people.sign_in(email, password, home()), SAME_TEXT);
    }
    let trail = world.trail(None);
    for reason in ["wrong password", "unknown", "disabled", "no password yet"] {
        assert!(trail.contains(&format!("user.sign_in: {reason}")), "{trail:?}");
    }
    // What somebody typed may be their password.
    let everything = format!("{:?}", world.people.audit_list(None, None, 1_000).expect("read"));
    assert!(!everything.contains("nobody@") && !everything.contains("owl"), "{everything}");
}

#[test]
fn real_hashes_take_as_long_for_nobody_and_two_at_a_time() {
    let world = World::new();
    let people =
        People::new(world.store.clone(), SignInSettings { hashing: Hashing::default(), ..settings(&world.clock) });
    let new =
        NewUser { email: "a@x.org".to_owned(), name: None, role: Role::Owner, partner: Some(world.one), zone: None };
    let (_, path) = people.user_create(UserActor::Command(&fixture::operator()), new).expect("created");
    people.set_up(&link(&path), PASSWORD, home()).expect("set up");
    let stored: String = world.database.value("SELECT password FROM app_user");
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    let took = |email: &str| {
        let started = Instant::now();
        check_refused(people.sign_in(email, WRONG, home()), SAME_TEXT);
        started.elapsed()
    };
    // A busy machine may slow one of them down; without a hash, it would be a
    // hundred times faster every time.
    let alike = || {
        let (somebody, nobody) = (took("a@x.org"), took("b@x.org"));
        world.later(20);
        nobody * 3 > somebody && somebody * 3 > nobody
    };
    assert!((0..20).any(|_| alike()));
    thread::scope(|scope| {
        for n in 0..6 {
            let people = &people;
            scope.spawn(move || people.sign_in("b@x.org", WRONG, elsewhere(n)).map(|_| ()).expect_err("refused"));
        }
    });
    assert!(people.hashes_at_once() <= 2);
}

// Sessions.

#[test]
fn a_session_ends_by_time() {
    let world = World::new();
    world.user("a@x.org", Role::Owner, Some(world.one));
    let idle = world.sign_in("a@x.org").token;
    world.later(29 * 60);
    assert!(world.opens(&idle), "kept alive");
    world.later(29 * 60);
    let session = world.people.session(&idle).expect("read").expect("open");
    assert!(!session.recent, "58 minutes are no longer recent");
    world.later(30 * 60);
    assert!(!world.opens(&idle), "30 minutes without a request");
    let busy = world.sign_in("a@x.org").token;
    for _ in 0..(12 * 60 / 20) - 1 {
        world.later(20 * 60);
        assert!(world.opens(&busy));
    }
    world.later(20 * 60);
    assert!(!world.opens(&busy), "12 hours in any case");
    world.people.forget().expect("forgotten");
    assert_eq!(world.database.value("SELECT count(*) FROM session"), "0");
}

#[test]
fn use_is_written_at_most_once_a_minute() {
    let world = World::new();
    world.user("a@x.org", Role::Owner, Some(world.one));
    let token = world.sign_in("a@x.org").token;
    let seen = || {
        world.people.flush();
        world.database.value("SELECT seen_at FROM session").parse::<i64>().expect("a time") - NOW
    };
    for (after, expected) in [(0, 0), (59, 0), (1, 60), (30, 60), (29, 60), (1, 120)] {
        world.later(after);
        assert!(world.opens(&token));
        assert_eq!(seen(), expected);
    }
}

#[test]
fn what_ends_a_session_is_immediate_here_and_soon_elsewhere() {
    let world = World::new();
    let owner = world.user("owner@x.org", Role::Owner, Some(world.one));
    let user = world.user("a@x.org", Role::Manager, Some(world.one));
    let there = world.another();
    let edit = |edit: UserEdit| {
        world.people.user_edit(by(&owner), &user.id, edit).expect("edited");
    };
    type End<'a> = &'a dyn Fn(&str);
    let endings: &[(&str, End<'_>)] = &[
        ("sign out", &|token| world.people.sign_out(token).expect("signed out")),
        ("all ended", &|_| world.people.end_sessions(&user.id, None).expect("ended")),
        ("role", &|_| edit(UserEdit { role: Some(Role::Viewer), ..UserEdit::default() })),
        ("disabled", &|_| edit(UserEdit { disabled: Some(true), ..UserEdit::default() })),
    ];
    for (what, end) in endings {
        let token = world.sign_in("a@x.org").token;
        assert!(world.opens(&token) && there.session(&token).expect("read").is_some(), "{what}");
        end(&token);
        assert!(!world.opens(&token), "{what}");
        until(Duration::from_secs(10), || (*what).to_owned(), || there.session(&token).expect("read").is_none());
    }
    // Enabled again, the old sessions stay ended.
    edit(UserEdit { disabled: Some(false), ..UserEdit::default() });
    assert!(world.people.sessions(&user.id).expect("read").is_empty());
}

#[test]
fn a_changed_password_ends_all_other_sessions_and_links() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let reset = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    let (kept, other) = (world.sign_in("a@x.org").token, world.sign_in("a@x.org").token);
    let change = |old: &str, new: &str| world.people.change_password(&user.id, old, new, &kept);
    check_refused(change(WRONG, OTHER), SAME_TEXT);
    check_refused(change(PASSWORD, "short"), "at least 12");
    check_refused(change(PASSWORD, PASSWORD), "the one you have");
    assert!(world.opens(&kept) && world.opens(&other));
    change(PASSWORD, OTHER).expect("changed");
    assert!(world.opens(&kept) && !world.opens(&other));
    check_refused(world.people.set_up(&reset, PASSWORD, home()), "not valid");
    check_refused(world.people.sign_in("a@x.org", PASSWORD, home()), SAME_TEXT);
    world.people.sign_in("a@x.org", OTHER, home()).expect("signed in");
    let unknown: UserId = "us_nobody".parse().expect("an id");
    check_refused(world.people.change_password(&unknown, OTHER, PASSWORD, &kept), "no such user");
}

#[test]
fn guessing_from_within_a_session_is_slow() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let kept = world.sign_in("a@x.org").token;
    for _ in 0..5 {
        check_refused(world.people.change_password(&user.id, WRONG, OTHER, &kept), SAME_TEXT);
    }
    check_refused(world.people.change_password(&user.id, PASSWORD, OTHER, &kept), "try again in 30 s");
    world.sign_in("a@x.org");
    world.later(30);
    world.people.change_password(&user.id, PASSWORD, OTHER, &kept).expect("changed");
}

#[test]
fn sessions_are_listed_and_ended_one_by_one() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let first = world.people.sign_in("a@x.org", PASSWORD, at("::ffff:198.51.100.1")).expect("signed in").token;
    world.later(10);
    let second = world.sign_in("a@x.org").token;
    let list = world.people.sessions(&user.id).expect("read");
    assert_eq!(list.len(), 2);
    assert_eq!((list[1].from, list[1].created_at), (home(), time(NOW)));
    let own = world.people.session(&second).expect("read").expect("open").id;
    assert_eq!(own, list[0].id);
    assert!(!second.contains(&*own));
    world.people.end_session(&user.id, &list[1].id).expect("ended");
    assert!(!world.opens(&first) && world.opens(&second));
    let stranger = world.user("b@x.org", Role::Owner, Some(world.one));
    world.people.end_session(&stranger.id, &own).expect("nothing to end");
    world.people.end_sessions(&user.id, Some(&second)).expect("ended");
    assert!(world.opens(&second), "not another's to end, and kept when asked");
    for _ in 0..60 {
        world.sign_in("a@x.org");
    }
    assert_eq!(world.people.sessions(&user.id).expect("read").len(), 50);
}

#[test]
fn the_people_of_a_suspended_partner_stay_out() {
    let world = World::new();
    world.user("a@x.org", Role::Owner, Some(world.one));
    let (_, link) = world.made("new@x.org", Role::Viewer, Some(world.one));
    world.user("admin@x.org", Role::Administrator, None);
    let token = world.sign_in("a@x.org").token;
    let service = Service::new(world.store.clone(), fixture::operator());
    service.partner_suspend(&"PA_1".parse().expect("an id"), true).expect("suspended");
    check_refused(world.people.sign_in("a@x.org", PASSWORD, home()), SAME_TEXT);
    check_refused(world.people.set_up(&link, PASSWORD, home()), "not valid");
    assert!(world.another().session(&token).expect("read").is_none());
    let admin = world.sign_in("admin@x.org").token;
    assert!(world.opens(&admin), "administrators can");
    service.partner_suspend(&"PA_1".parse().expect("an id"), false).expect("resumed");
    assert!(world.opens(&world.sign_in("a@x.org").token));
}

// Second factors.

#[test]
fn a_second_factor_from_offer_to_removal() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    check_refused(world.people.totp_confirm(&user.id, "000000"), "code");
    let offer = world.people.totp_begin(&user.id).expect("offered");
    assert!(offer.uri.contains(&offer.secret_base32) && offer.qr_svg.starts_with("<svg"));
    assert!(!world.sign_in("a@x.org").needs_code, "an offer is no second factor");
    let (secret, codes) = world.second_factor(&user.id);
    assert!(world.again(&user.id).two_factor);
    assert_eq!((codes.len(), world.people.recovery_codes(&user.id).expect("read")), (10, 10));
    assert!(codes.iter().all(|code| code.len() == 19 && code.matches('-').count() == 3), "{codes:?}");

    let begun = world.sign_in("a@x.org");
    assert!(begun.needs_code && !world.opens(&begun.token), "opens nothing yet");
    assert!(
        world.people.sessions(&user.id).expect("read").iter().all(|session| session.created_at < world.clock.now())
    );
    check_refused(world.people.confirm_code(&begun.token, "12345", home()), "code");
    let code = world.code(&secret);
    let typed = format!(" {} {} ", &code[..3], &code[3..]);
    let done = world.people.confirm_code(&begun.token, &typed, home()).expect("confirmed");
    assert_ne!(done.token, begun.token, "a new token");
    assert!(world.opens(&done.token) && !world.opens(&begun.token));
    check_refused(world.people.confirm_code(&begun.token, &code, home()), SAME_TEXT);
    check_refused(world.people.confirm_code(&done.token, &code, home()), SAME_TEXT);

    let begun = world.sign_in("a@x.org");
    check_refused(world.people.confirm_code(&begun.token, &code, home()), "used already");
    world.later(30);
    let done = world.people.confirm_code(&begun.token, &world.code(&secret), home()).expect("the next step");
    assert!(world.opens(&done.token));

    world.later(30);
    check_refused(world.people.totp_remove(&user.id, "000000"), "code");
    check_refused(world.people.totp_remove(&user.id, WRONG), "code");
    assert!(world.again(&user.id).two_factor);
    world.people.totp_remove(&user.id, PASSWORD).expect("removed");
    assert!(!world.again(&user.id).two_factor && !world.sign_in("a@x.org").needs_code);
    assert_eq!(world.people.recovery_codes(&user.id).expect("read"), 0);

    let (secret, _) = world.second_factor(&user.id);
    world.people.totp_remove(&user.id, &world.code(&secret)).expect("removed by a code");
    assert!(!world.again(&user.id).two_factor);
}

#[test]
fn a_recovery_code_is_good_once_even_in_a_race() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let (_, codes) = world.second_factor(&user.id);
    let begun: Vec<SignIn> = (0..4).map(|_| world.sign_in("a@x.org")).collect();
    let upper = codes[3].to_uppercase();
    let won = thread::scope(|scope| {
        let tries: Vec<_> = begun
            .iter()
            .map(|begun| scope.spawn(|| world.people.confirm_code(&begun.token, &upper, home()).is_ok()))
            .collect();
        tries.into_iter().filter(|_| true).map(|one| one.join().expect("ended")).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    assert_eq!(world.people.recovery_codes(&user.id).expect("read"), 9);
    let begun = world.sign_in("a@x.org");
    world.people.confirm_code(&begun.token, &codes[4], home()).expect("another");
    let trail = world.trail(Some(world.one));
    assert_eq!(trail.iter().filter(|what| *what == "user.recovery_code").count(), 2, "{trail:?}");
}

#[test]
fn a_code_of_the_app_is_good_once_even_in_a_race() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let (secret, _) = world.second_factor(&user.id);
    let begun: Vec<SignIn> = (0..4).map(|_| world.sign_in("a@x.org")).collect();
    let code = world.code(&secret);
    let won = thread::scope(|scope| {
        let tries: Vec<_> = begun
            .iter()
            .map(|begun| scope.spawn(|| world.people.confirm_code(&begun.token, &code, home()).is_ok()))
            .collect();
        tries.into_iter().map(|one| one.join().expect("ended")).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_code_may_not_come_late() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let (secret, _) = world.second_factor(&user.id);
    let begun = world.sign_in("a@x.org");
    world.later(10 * 60);
    check_refused(world.people.confirm_code(&begun.token, &world.code(&secret), home()), SAME_TEXT);
}

#[test]
fn a_reset_password_does_not_take_the_second_factor_off() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let (secret, _) = world.second_factor(&user.id);
    let reset = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    let begun = world.people.set_up(&reset, OTHER, home()).expect("set up");
    assert!(begun.needs_code && !world.opens(&begun.token));
    world.people.confirm_code(&begun.token, &world.code(&secret), home()).expect("confirmed");
    // Who has lost it asks somebody who may take it off.
    let owner = world.user("owner@x.org", Role::Owner, Some(world.one));
    check_refused(world.people.user_totp_remove(by(&user), &user.id), "your own");
    world.people.user_totp_remove(by(&owner), &user.id).expect("removed");
    assert!(!world.people.sign_in("a@x.org", OTHER, home()).expect("signed in").needs_code);
}

// Links.

#[test]
fn a_link_is_good_for_a_day_and_once_even_in_a_race() {
    let world = World::new();
    let (user, link_one) = world.made("a@x.org", Role::Owner, Some(world.one));
    let won = thread::scope(|scope| {
        let tries: Vec<_> = [PASSWORD, OTHER]
            .map(|password| scope.spawn(|| world.people.set_up(&link_one, password, home()).is_ok()))
            .into_iter()
            .collect();
        tries.into_iter().map(|one| one.join().expect("ended")).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    let old = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    let new = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    check_refused(world.people.set_up(&old, PASSWORD, home()), "not valid");
    world.later(24 * 3_600 - 1);
    world.people.link_user(&new).expect("still good");
    world.later(1);
    check_refused(world.people.link_user(&new), "not valid");
    check_refused(world.people.set_up(&new, PASSWORD, home()), "not valid");
    // One is used: the password before and all sessions are over.
    let token = [PASSWORD, OTHER].iter().find_map(|one| world.people.sign_in("a@x.org", one, home()).ok());
    let token = token.expect("one of them won").token;
    let reset = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    assert!(world.opens(&token), "not before it is used");
    world.people.set_up(&reset, "a third password", home()).expect("set up");
    assert!(!world.opens(&token));
}

#[test]
fn the_database_holds_no_secret_that_opens_anything() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    let (_, codes) = world.second_factor(&user.id);
    let token = world.sign_in("a@x.org").token;
    let link = link(&world.people.user_link(UserActor::Command(&fixture::operator()), &user.id).expect("a link"));
    world.people.flush();
    let bytes = world.database.bytes();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a@x.org") && holds("$argon2id$"));
    for secret in [PASSWORD, &token, &link, &codes[0], &codes[0].replace('-', "")] {
        assert!(!holds(secret), "{secret:?} is in the file");
    }
}

// How often somebody may try.

#[test]
fn one_address_is_throttled_and_nobody_else() {
    let world = World::new();
    world.user("a@x.org", Role::Owner, Some(world.one));
    let bad = elsewhere(0);
    for _ in 0..10 {
        check_refused(world.people.sign_in("a@x.org", WRONG, bad), SAME_TEXT);
    }
    check_refused(world.people.sign_in("a@x.org", PASSWORD, bad), "try again in 10 s");
    // The same address at other accounts, until its whole budget is used.
    let refusals = (0..40).filter(|n| {
        let tried = world.people.sign_in(&format!("b{n}@x.org"), WRONG, bad);
        matches!(tried, Err(PeopleError::Refused))
    });
    assert_eq!(refusals.count(), 20);
    world.sign_in("a@x.org");
    world.people.sign_in("a@x.org", PASSWORD, elsewhere(1)).expect("from somewhere else");
    world.later(10);
    world.people.sign_in("a@x.org", PASSWORD, bad).expect("it refills");
    let throttled = |line: &&String| line.contains("throttled");
    assert_eq!(world.trail(None).iter().filter(throttled).count(), 1, "noted once a minute");
    // IPv6: who has a /64 has one address.
    for n in 0..10 {
        check_refused(world.people.sign_in("a@x.org", WRONG, at(&format!("2001:db8::{n}"))), SAME_TEXT);
    }
    check_refused(world.people.sign_in("a@x.org", PASSWORD, at("2001:db8::99")), "try again");
    world.people.sign_in("a@x.org", PASSWORD, at("2001:db8:0:1::1")).expect("another network");
}

#[test]
fn success_is_not_counted() {
    let world = World::new();
    world.user("a@x.org", Role::Owner, Some(world.one));
    for n in 0..100 {
        world.people.sign_in("a@x.org", PASSWORD, elsewhere(n % 2)).expect("signed in");
    }
    assert_eq!(world.waited(), 0);
}

/// The victim has signed in from home before; the whole world guesses.
#[test]
fn a_flood_locks_nobody_out() {
    let world = World::new();
    world.user("victim@x.org", Role::Owner, Some(world.one));
    world.sign_in("victim@x.org");
    for n in 0..500 {
        let tried = world.people.sign_in("victim@x.org", WRONG, elsewhere(n));
        assert!(matches!(tried, Err(PeopleError::Refused)), "{n}");
    }
    assert!(world.waited() > 0, "strangers wait");
    world.people.sign_in("victim@x.org", PASSWORD, home()).expect("at home");
    assert_eq!(world.waited(), 0, "at once");
    world.people.sign_in("victim@x.org", PASSWORD, at("192.0.2.7")).expect("and from a new address");
    assert_eq!(world.waited(), 2, "after a delay");
    world.people.sign_in("victim@x.org", PASSWORD, at("192.0.2.7")).expect("which is known from now on");
    assert_eq!(world.waited(), 0);
    // Another account is not under pressure.
    world.user("other@x.org", Role::Owner, Some(world.one));
    world.people.sign_in("other@x.org", PASSWORD, at("192.0.2.8")).expect("signed in");
    assert_eq!(world.waited(), 0);
    // An address is known for thirty days.
    world.later(31 * 86_400);
    world.people.forget().expect("forgotten");
    for n in 0..50 {
        check_refused(world.people.sign_in("victim@x.org", WRONG, elsewhere(n)), SAME_TEXT);
    }
    world.waited();
    world.people.sign_in("victim@x.org", PASSWORD, home()).expect("delayed, not locked");
    assert_eq!(world.waited(), 2);
}

/// Who has the password and not the second factor guesses codes.
#[test]
fn guessed_codes_lock_nobody_out_of_a_known_address() {
    let world = World::new();
    let user = world.user("a@x.org", Role::Owner, Some(world.one));
    world.sign_in("a@x.org");
    let (secret, codes) = world.second_factor(&user.id);
    let right = world.code(&secret);
    let guess = if right == "000000" { "000001" } else { "000000" };
    let mut tried = 0;
    let waiting = world.sign_in("a@x.org");
    for n in 0..30 {
        let begun = world.people.sign_in("a@x.org", PASSWORD, elsewhere(n)).expect("the password is right");
        match world.people.confirm_code(&begun.token, guess, elsewhere(n)) {
            Err(PeopleError::Code) => tried += 1,
            Err(PeopleError::Throttled { .. }) => {}
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    assert_eq!(tried, 10, "over all addresses");
    for _ in 0..60 {
        world.people.sign_in("a@x.org", PASSWORD, elsewhere(0)).expect("the password is right");
    }
    world.people.confirm_code(&waiting.token, &right, home()).expect("at home");
    let begun = world.people.sign_in("a@x.org", PASSWORD, at("192.0.2.200")).expect("somewhere new");
    world.people.confirm_code(&begun.token, &codes[0], at("192.0.2.200")).expect("a recovery code goes anywhere");
}

// Who sees to whom.

fn edit(edit: impl FnOnce(&mut UserEdit)) -> UserEdit {
    let mut all = UserEdit::default();
    edit(&mut all);
    all
}

#[test]
fn tenants_are_apart() {
    let world = World::new();
    let admin = world.user("admin@x.org", Role::Administrator, None);
    let owner = world.user("owner@one.org", Role::Owner, Some(world.one));
    let theirs = world.user("owner@two.org", Role::Owner, Some(world.two));
    let viewer = world.user("viewer@one.org", Role::Viewer, Some(world.one));
    let nobody: UserId = "us_000000000000".parse().expect("an id");
    for foreign in [&theirs.id, &admin.id, &nobody] {
        let people = &world.people;
        check_refused(people.user_edit(by(&owner), foreign, edit(|e| e.name = Some("x".to_owned()))), "no such user");
        check_refused(people.user_edit(by(&owner), foreign, edit(|e| e.disabled = Some(true))), "no such user");
        check_refused(people.user_link(by(&owner), foreign), "no such user");
        check_refused(people.user_totp_remove(by(&owner), foreign), "no such user");
    }
    let emails = |by: &User, partner| -> Result<Vec<String>, PeopleError> {
        Ok(world.people.users(by, partner)?.iter().map(|user| user.email.to_string()).collect())
    };
    assert_eq!(emails(&owner, None).expect("listed"), ["owner@one.org", "viewer@one.org"]);
    assert_eq!(emails(&owner, Some(world.one)).expect("listed"), ["owner@one.org", "viewer@one.org"]);
    check_refused(emails(&owner, Some(world.two)), "no such user");
    check_refused(emails(&viewer, None), "only administrators");
    assert_eq!(emails(&admin, None).expect("listed").len(), 4);
    assert_eq!(emails(&admin, Some(world.two)).expect("listed"), ["owner@two.org"]);
    let new = |role, partner| NewUser { email: "new@x.org".to_owned(), name: None, role, partner, zone: None };
    let create = |by: &User, role, partner| {
        let by = UserActor::User { user: by, from: None, request_id: None };
        world.people.user_create(by, new(role, partner)).map(|_| ())
    };
    check_refused(create(&owner, Role::Viewer, Some(world.two)), "no such user");
    check_refused(create(&owner, Role::Administrator, None), "only administrators make");
    check_refused(create(&viewer, Role::Viewer, Some(world.one)), "only administrators");
    check_refused(create(&admin, Role::Administrator, Some(world.one)), "one too many");
    check_refused(create(&admin, Role::Viewer, None), "missing");
    create(&owner, Role::Manager, Some(world.one)).expect("an owner makes a manager");
    check_refused(create(&owner, Role::Manager, Some(world.one)), "has this e-mail address");
    // The trail of one partner tells nothing of another.
    let list = world.people.audit_list(Some(world.two), None, 1_000).expect("read");
    assert!(list.iter().all(|audited| audited.entry.partner == Some(world.two)));
    assert!(!world.trail(Some(world.one)).is_empty());
}

#[test]
fn nobody_raises_themselves_or_leaves_nobody() {
    let world = World::new();
    let owner = world.user("owner@x.org", Role::Owner, Some(world.one));
    let admin = world.user("admin@x.org", Role::Administrator, None);
    let manager = world.user("manager@x.org", Role::Manager, Some(world.one));
    let role = |role| edit(|e| e.role = Some(role));
    let people = &world.people;
    let change = |who: &User, to: &User, edit| people.user_edit(by(who), &to.id, edit);
    check_refused(change(&manager, &manager, role(Role::Owner)), "only administrators");
    check_refused(change(&manager, &owner, edit(|e| e.name = Some("x".to_owned()))), "only administrators");
    check_refused(change(&owner, &owner, role(Role::Administrator)), "own role");
    check_refused(change(&owner, &manager, role(Role::Administrator)), "administrators belong to no partner");
    for by_whom in [&owner, &admin] {
        check_refused(change(by_whom, &owner, role(Role::Viewer)), "last owner");
        check_refused(change(by_whom, &owner, edit(|e| e.disabled = Some(true))), "last owner");
    }
    let disable = edit(|e| e.disabled = Some(true));
    check_refused(
        people.user_edit(UserActor::Command(&fixture::operator()), &admin.id, disable.clone()),
        "last administrator",
    );
    // An owner who never chose a password is none to leave it to.
    let (second, second_link) = world.made("second@x.org", Role::Owner, Some(world.one));
    check_refused(change(&owner, &owner, role(Role::Viewer)), "last owner");
    people.set_up(&second_link, PASSWORD, home()).expect("set up");
    change(&owner, &owner, role(Role::Manager)).expect("lowered");
    // The role that was held a moment ago is gone.
    check_refused(change(&owner, &owner, role(Role::Owner)), "only administrators");
    let second = world.again(&second.id);
    change(&second, &owner, role(Role::Owner)).expect("raised by another");
    change(&second, &second, disable).expect("not the last");
    check_refused(change(&second, &owner, edit(|e| e.name = Some("x".to_owned()))), "only administrators");
}

#[test]
fn everybody_has_a_name_and_a_zone_of_their_own() {
    let world = World::new();
    let viewer = world.user("viewer@x.org", Role::Viewer, Some(world.one));
    let token = world.sign_in("viewer@x.org").token;
    let own = |edit| world.people.user_edit(by(&viewer), &viewer.id, edit);
    assert_eq!(&*own(edit(|e| e.name = Some(" Ana ".to_owned()))).expect("edited").name, "Ana");
    assert_eq!(&*own(edit(|e| e.zone = Some("UTC".to_owned()))).expect("edited").zone, "UTC");
    let wrong = own(edit(|e| {
        e.name = Some("\n".to_owned());
        e.zone = Some("Nowhere".to_owned());
    }));
    let Err(PeopleError::Invalid(errors)) = wrong else { panic!("not refused") };
    assert_eq!(errors.iter().map(|error| &*error.field).collect::<Vec<_>>(), ["name", "zone"]);
    assert!(world.opens(&token), "a name ends no session");
    assert_eq!(&*world.people.session(&token).expect("read").expect("open").user.name, "Ana");
    let new =
        NewUser { email: "no".to_owned(), name: Some(String::new()), role: Role::Viewer, partner: None, zone: None };
    let Err(PeopleError::Invalid(errors)) = world.people.user_create(UserActor::Command(&fixture::operator()), new)
    else {
        panic!("not refused")
    };
    assert_eq!(errors.iter().map(|error| &*error.field).collect::<Vec<_>>(), ["name", "email", "partner"]);
}

/// Two administrators disable each other at the same moment.
#[test]
fn one_is_left_whoever_is_faster() {
    let world = World::new();
    for round in 0..10 {
        let pair = [0, 1].map(|n| world.user(&format!("a{round}{n}@x.org"), Role::Owner, Some(world.two)));
        let disable = edit(|e| e.disabled = Some(true));
        thread::scope(|scope| {
            for (who, whom) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let (people, disable) = (&world.people, disable.clone());
                scope.spawn(move || people.user_edit(by(who), &whom.id, disable).map(|_| ()));
            }
        });
        let left: Vec<_> = world.people.everybody(Some(world.two)).expect("read");
        let left = left.iter().filter(|user| user.disabled_at.is_none()).count();
        assert!(left >= 1, "round {round}");
    }
}

// The audit trail.

#[test]
fn what_is_done_and_refused_is_in_the_trail() {
    let world = World::new();
    let owner = world.user("owner@x.org", Role::Owner, Some(world.one));
    let user = world.user("a@x.org", Role::Manager, Some(world.one));
    let before = world.trail(Some(world.one)).len();
    world.sign_in("a@x.org");
    check_refused(world.people.sign_in("a@x.org", WRONG, home()), SAME_TEXT);
    // A refusal is written by somebody else, a moment later.
    world.people.flush();
    world.second_factor(&user.id);
    world.people.totp_remove(&user.id, PASSWORD).expect("removed");
    world.people.user_edit(by(&owner), &user.id, edit(|e| e.role = Some(Role::Viewer))).expect("edited");
    check_refused(world.people.user_edit(by(&user), &owner.id, edit(|e| e.disabled = Some(true))), "only");
    world.people.flush();
    world.people.user_link(by(&owner), &user.id).expect("a link");
    world.people.user_edit(by(&owner), &user.id, edit(|e| e.disabled = Some(true))).expect("disabled");
    world.people.user_edit(by(&owner), &user.id, edit(|e| e.disabled = Some(true))).expect("disabled already");
    let trail = world.trail(Some(world.one));
    assert_eq!(
        trail[before..],
        [
            "user.sign_in",
            "user.sign_in: wrong password",
            "user.totp.on",
            "user.totp.off",
            "user.role.viewer",
            "user.disable: only administrators, and the owners of a partner, see to its people",
            "user.link",
            "user.disable",
        ]
    );
    let last = &world.people.audit_list(Some(world.one), None, 1).expect("read")[0];
    let AuditEntry { at, partner, who, about, from, request_id, .. } = &last.entry;
    assert_eq!((*at, *partner, *from), (world.clock.now(), Some(world.one), Some(home())));
    assert_eq!(**who, *Actor::User { id: owner.id.clone(), email: owner.email.clone() }.to_string());
    assert_eq!((about.as_deref(), request_id.as_deref()), (Some(user.id.as_str()), Some("req_1")));
}

#[test]
fn the_trail_is_read_in_pages_and_ends_after_400_days() {
    let world = World::new();
    let entry = |n: i64, partner| AuditEntry {
        at: world.clock.now(),
        partner,
        who: "command:tester".into(),
        what: format!("test.{n}").into(),
        about: None,
        refused: None,
        from: None,
        request_id: None,
    };
    for n in 0..5 {
        world.people.audit(entry(n, Some(world.one)));
        world.people.audit(entry(n, Some(world.two)));
    }
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let page = world.people.audit_list(Some(world.one), before, 2).expect("read");
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(line));
    }
    // The partner's own beginning is the first entry of all.
    assert_eq!(seen, ["test.4", "test.3", "test.2", "test.1", "test.0", "partner.create"]);
    assert_eq!(world.trail(None).len(), 12);
    world.later(400 * 86_400 + 1);
    world.people.audit(entry(9, None));
    world.people.flush();
    world.people.forget().expect("forgotten");
    assert_eq!(world.trail(None), ["test.9"]);
}

#[test]
fn a_trail_waits_for_a_busy_database() {
    if harness::no_file() {
        return;
    }
    let world = World::new();
    let raw = world.database.raw();
    raw.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let asked = Instant::now();
    let token = "a token that opens nothing";
    assert!(!world.opens(token));
    world.people.audit(AuditEntry {
        at: world.clock.now(),
        partner: None,
        who: "command:tester".into(),
        what: "test.busy".into(),
        about: None,
        refused: None,
        from: None,
        request_id: None,
    });
    assert!(asked.elapsed() < Duration::from_secs(10), "nobody waits for it");
    raw.execute_batch("COMMIT").expect("given back");
    assert_eq!(world.trail(None), ["partner.create", "partner.create", "test.busy"]);
}

// The command line.

#[test]
fn the_first_administrator_and_who_comes_after() {
    let database = harness::Database::empty();
    let first = database.run(&["user", "create", "--platform-admin", "--email", "Ana@x.org"]).done();
    let link = first.stdout.lines().last().expect("a link").to_owned();
    assert!(link.starts_with("http://127.0.0.1:8080/console/set-up/"), "{}", first.stdout);
    assert!(first.stderr.contains("once, within 24 hours"), "{}", first.stderr);
    database.partner("PA_1", "One", &[]);
    let create = ["user", "create", "--partner", "PA_1", "--email", "o@x.org", "--role", "owner", "--json"];
    let made = database.run(&create).done().json();
    assert_eq!(
        (&made["role"], &made["partner"], &made["password_set"]),
        (&"owner".into(), &"PA_1".into(), &false.into())
    );
    assert!(database.run(&create).check(1).stderr.contains("has this e-mail address already"));
    database.run(&["user", "create", "--email", "x@x.org"]).check(2);
    database.run(&["user", "create", "--email", "x@x.org", "--platform-admin", "--partner", "PA_1"]).check(2);
    database.run(&["user", "create", "--email", "x@x.org", "--partner", "PA_1", "--role", "administrator"]).check(2);
    let bad = database.run(&["user", "create", "--email", "x", "--platform-admin"]).check(1);
    assert!(bad.stderr.contains("must be an e-mail address"), "{}", bad.stderr);
    let settings = database.write("settings.toml", "[console]\nurl = \"https://numbers.example/\"\n");
    let settings = settings.to_str().expect("a path");
    let link = database.run(&["user", "link", "O@x.org", "--config", settings]).done().stdout;
    assert!(link.starts_with("https://numbers.example/console/set-up/"), "{link}");
    assert!(database.run(&["user", "disable", "o@x.org"]).check(1).stderr.contains("last owner"));
    database.run(&["user", "create", "--partner", "PA_1", "--email", "p@x.org", "--role", "owner"]).done();
    database.run(&["user", "disable", "o@x.org"]).done();
    database.run(&["user", "enable", "o@x.org"]).done();
    database.run(&["user", "role", "o@x.org", "viewer"]).done();
    assert!(database.run(&["user", "role", "none@x.org", "viewer"]).check(1).stderr.contains("no user none@x.org"));
    let listed = database.run(&["user", "list", "--json"]).done().json();
    let row =
        |user: &serde_json::Value| format!("{} {} {}", user["email"], user["role"], user["partner"]).replace('"', "");
    let rows: Vec<String> = listed["data"].as_array().expect("a list").iter().map(row).collect();
    assert_eq!(rows, ["ana@x.org administrator null", "o@x.org viewer PA_1", "p@x.org owner PA_1"]);
    assert!(database.run(&["user", "list", "--partner", "PA_1"]).done().stdout.contains("no password yet"));
    database.verify(None);
}

#[test]
fn commands_work_beside_a_server_and_keys_are_audited() {
    let server = harness::Server::sample();
    assert!(server.log().contains("nobody can sign in yet"), "{}", server.log());
    let made =
        server.database.run(&["user", "create", "--platform-admin", "--email", "a@x.org", "--json"]).done().json();
    let link = link(made["link"].as_str().and_then(|link| link.split_once("8080")).expect("a link").1);
    let store = server.database.store();
    let people = People::new(store, SignInSettings::default());
    people.set_up(&link, PASSWORD, home()).expect("set up");
    let key = server.database.key("PA_ONE", &[]);
    server.database.run(&["key", "revoke", "--partner", "PA_ONE", &key.key_id]).done();
    server.database.run(&["key", "revoke", "--partner", "PA_ONE", "key_none"]).check(1);
    let list = people.audit_list(None, None, 3).expect("read");
    let lines: Vec<String> = list.iter().rev().map(line).collect();
    assert_eq!(lines, ["key.create", "key.revoke", "key.revoke: partner PA_ONE has no key key_none"]);
    assert_eq!(list[2].entry.about.as_deref(), Some(&*key.key_id));
    assert!(list.iter().all(|audited| audited.entry.who.starts_with("command:")));
}

/// Every command that changes credentials or people, each with what the trail
/// says of it: one entry, and none where nothing changed.
#[test]
fn commands_that_change_credentials_leave_one_entry_each() {
    let database = harness::Database::empty();
    let people = || People::new(database.store(), SignInSettings::default());
    let entries = || {
        let list = people().audit_list(None, None, 1_000).expect("read");
        list.into_iter().rev().map(|audited| audited.entry).collect::<Vec<AuditEntry>>()
    };
    let mut seen = 0;
    let mut check = |args: &[&str], expected: &[&str]| {
        let ran = database.run(args).done();
        let all = entries();
        let new: Vec<&str> = all[seen..].iter().map(|entry| &*entry.what).collect();
        assert_eq!(new, expected, "{args:?}");
        for entry in &all[seen..] {
            assert!(entry.who.starts_with("command:") && entry.refused.is_none(), "{entry:?}");
            assert!(entry.about.is_some(), "{entry:?}");
        }
        seen = all.len();
        ran
    };
    check(&["partner", "create", "--auth-id", "PA_1", "--name", "One"], &["partner.create"]);
    let of = ["--partner", "PA_1"];
    let key = check(&[&["key", "create", "--name", "k", "--json"][..], &of].concat(), &["key.create"]).json();
    let id = key["key_id"].as_str().expect("an id").to_owned();
    let new = check(&[&["key", "rotate", &id, "--json"][..], &of].concat(), &["key.rotate"]).json();
    let new = new["key_id"].as_str().expect("an id").to_owned();
    assert_eq!(entries().last().and_then(|entry| entry.about.clone()).as_deref(), Some(&*format!("{id} to {new}")));
    check(&[&["key", "revoke", &new][..], &of].concat(), &["key.revoke"]);
    check(&[&["key", "revoke", &new][..], &of].concat(), &[]);
    check(&[&["key", "list"][..], &of].concat(), &[]);
    check(&["partner", "suspend", "PA_1"], &["partner.suspend"]);
    check(&["partner", "suspend", "PA_1"], &[]);
    check(&["partner", "resume", "PA_1"], &["partner.resume"]);
    check(&["partner", "list"], &[]);
    check(&["user", "create", "--platform-admin", "--email", "a@x.org"], &["user.create"]);
    let owner = ["user", "create", "--role", "owner", "--email"];
    check(&[&owner[..], &["o@x.org"], &of].concat(), &["user.create"]);
    check(&[&owner[..], &["p@x.org"], &of].concat(), &["user.create"]);
    check(&["user", "role", "o@x.org", "viewer"], &["user.role.viewer"]);
    check(&["user", "role", "o@x.org", "viewer"], &[]);
    check(&["user", "link", "o@x.org"], &["user.link"]);
    check(&["user", "link", "o@x.org", "--without-second-factor"], &["user.link"]);
    check(&["user", "disable", "o@x.org"], &["user.disable"]);
    check(&["user", "enable", "o@x.org"], &["user.enable"]);
    check(&["user", "list"], &[]);
    let create = ["webhook", "create", "--url", "https://hooks.example.com/x", "--name", "w", "--json"];
    let hook = check(&[&create[..], &of].concat(), &["webhook.create"]).json();
    let hook = hook["data"]["id"].as_str().or(hook["id"].as_str()).expect("an id").to_owned();
    check(&[&["webhook", "rotate", &hook][..], &of].concat(), &["webhook.rotate"]);
    check(&[&["webhook", "remove", &hook, "--yes"][..], &of].concat(), &["webhook.remove"]);
    check(&["account", "create", "--auth-id", "MA_1", "--name", "A", "--partner", "PA_1"], &[]);
    // Rows and trail agree on who it was.
    let changes = database.run(&[&["changes", "--json"][..], &of].concat()).done().json();
    let actor = changes["data"][0]["actor"].as_str().expect("an actor").to_owned();
    assert!(entries().iter().all(|entry| *entry.who == *actor), "{actor}");
}

/// A user of the machine is who the kernel says, whatever the environment does.
#[test]
fn who_ran_a_command_is_the_kernels_word() {
    let database = harness::Database::empty();
    database.partner("PA_1", "One", &[]);
    let text = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).output().expect(program).stdout;
        String::from_utf8(output).expect("text").trim().to_owned()
    };
    let (uid, name) = (text("id", &["-u"]), text("id", &["-un"]));
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    let logged_in = ![&*uid, "4294967295", ""].contains(&login.trim());
    let mut accounts = 0;
    let mut actor = |environment: &[(&str, &str)]| {
        accounts += 1;
        let id = format!("MA_{accounts}");
        let mut command =
            database.command(&["account", "create", "--partner", "PA_1", "--auth-id", &id, "--name", "A"]);
        for name in ["USER", "LOGNAME", "SUDO_UID", "SUDO_USER"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        harness::run(command, "").done();
        let list = database.run(&["changes", "--partner", "PA_1", "--json"]).done().json();
        let newest = list["data"].as_array().and_then(|list| {
            list.iter().max_by_key(|change| change["version"].as_u64()).map(|change| change["actor"].clone())
        });
        newest.and_then(|actor| actor.as_str().map(str::to_owned)).expect("an actor")
    };
    let own = format!("command:{name}");
    let lies = [("USER", "mallory"), ("LOGNAME", "mallory"), ("SUDO_USER", "mallory")];
    for environment in [&[][..], &lies, &[("USER", "")], &[("USER", "a\nb\x1b[31m")], &[("SUDO_UID", "1; rm -rf")]] {
        let actor = actor(environment);
        assert!(
            actor == own || (logged_in && actor.starts_with(&format!("{own} (login "))),
            "{environment:?}: {actor}"
        );
    }
    // A claim, and told from what is known. The database is this user's.
    if !logged_in && !harness::no_file() {
        assert_eq!(actor(&[("SUDO_UID", "4000000000")]), format!("{own} (sudo claims uid:4000000000)"));
        assert_eq!(actor(&[("SUDO_UID", &uid)]), own);
    }
}

/// What was stored before it was refused is shown and never obeyed.
#[test]
fn nothing_stored_moves_the_terminal() {
    if harness::no_file() {
        return;
    }
    let database = harness::Database::sample();
    let raw = rusqlite::Connection::open(database.file("rollcall.db")).expect("opens");
    let odd = "a\u{1b}[2J\nb\u{9b}31m\rc\u{7f}";
    raw.execute("UPDATE account SET name = ?1", [odd]).expect("changed");
    raw.execute("UPDATE application SET name = ?1", [odd]).expect("changed");
    raw.execute("UPDATE partner SET name = ?1", [odd]).expect("changed");
    raw.execute("UPDATE number SET region = ?1", [odd]).expect("changed");
    raw.execute("UPDATE partner SET row_digest = NULL", []).expect("changed");
    raw.execute("UPDATE change SET actor = ?1 WHERE verb = 'account_create'", [format!("command:{odd}")])
        .expect("changed");
    drop(raw);
    let of = ["--partner", "PA_ONE"];
    for args in [
        &["partner", "list"][..],
        &["account", "list"],
        &["application", "list"],
        &["changes"],
        &["check", "--all"],
        &["check", "--all", "--format", "csv"],
        &["export"],
        &["export", "--format", "ndjson"],
        &["costs", "--month", "2026-02"],
        &["costs", "--month", "2026-02", "--format", "csv"],
        &["history", "+912271265108"],
        &["account", "list", "--json"],
        &["changes", "--json"],
    ] {
        let of = if args[0] == "partner" { &[][..] } else { &of };
        let ran = database.run(&[args, of].concat());
        for text in [&ran.stdout, &ran.stderr] {
            let odd = text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
            assert_eq!(odd, None, "{args:?}: {text}");
        }
        assert!(ran.code == 0 || args[0] == "check", "{args:?}: {}", ran.stderr);
    }
    // A value with a line end makes no line of its own.
    let list = database.run(&[&["account", "list"][..], &of].concat()).done().stdout;
    assert!(list.lines().all(|line| !line.starts_with('b')), "{list}");
}

/// What the demo prints can be used, and is printed again.
#[test]
fn the_demo_has_a_login_for_each_role() {
    use std::io::{BufRead, BufReader};
    let database = harness::Database::empty();
    let folder = database.file("demo");
    let start = || {
        let dir = folder.to_str().expect("a path");
        let args = ["demo", "--json", "--dir", dir, "--listen", "127.0.0.1:0", "--numbers", "1000"];
        let mut child = database.command(&args).stdout(std::process::Stdio::piped()).spawn().expect("the demo starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        // As a terminal does that is closed.
        let killed = std::process::Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
        assert!(killed.expect("kill").success());
        assert!(child.wait().expect("its end").success());
        told["logins"].clone()
    };
    let logins = start();
    let store = fixture::open(&folder.join("rollcall.db"), rollcall::store::Open::Existing);
    let people = People::new(store, SignInSettings::default());
    let mut roles = Vec::new();
    for login in logins.as_array().expect("a list") {
        let text = |name: &str| login[name].as_str().expect("a text");
        let begun = people.sign_in(text("email"), text("password"), home()).expect("signed in");
        let user = people.session(&begun.token).expect("read").expect("open").user;
        assert_eq!(user.role.as_str(), text("role"));
        roles.push(user.role);
    }
    assert_eq!(roles, Role::ALL);
    drop(people);
    assert_eq!(start(), logins);
}
