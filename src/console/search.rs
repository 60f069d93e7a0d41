//! Finding by a few letters: numbers, customers, applications, trunks, pages and
//! actions. It is a page of its own, and what Ctrl-K and the choosers show.
//!
//! Invariants: only what the reader may see and do is found, of one partner; the
//! answer has a few of each kind, however many match.
//! Deliberately absent: filters of numbers (`line`).

use askama::Template;
use axum::extract::{Path, Request, State};

use super::gate::{Visit, query_value};
use super::line::{self, about, owner};
use super::page::{Frame, PageResult, html};
use super::pieces::{self, MarkupPiece};
use super::{ConsoleState, show};
use crate::domain::{State as Stored, Status};
use crate::http::places::PlaceKind;
use crate::inventory::names::{NamedEntity, NamedKind, ranked};
use crate::inventory::{Filter, NumberRef, Order, Window};
use crate::wire::html::Html;

/// The most characters that are read.
const CHARS_MAX: usize = 200;
/// How many of a kind are found among all, and where only they are searched.
const FEW: usize = 5;
const MANY: usize = 8;

/// Something that was found.
struct SearchHit {
    name: String,
    about: String,
    href: String,
    /// What a chooser's field has once it is chosen.
    value: String,
    /// Whether the text names it as it stands.
    exact: bool,
}

struct HitGroup {
    title: &'static str,
    hits: Vec<SearchHit>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    q: String,
    results: Html,
}

#[derive(Template)]
#[template(path = "results.html")]
struct Results {
    groups: Vec<HitGroup>,
}

impl Results {
    fn none(&self) -> bool {
        self.groups.iter().all(|group| group.hits.is_empty())
    }
}

/// Who may go to a page or do an action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    All,
    Managers,
    Owners,
}

/// A page or an action: its name, its address below the partner's, and words
/// that people search it by, the last of an action's being `action`.
const PLACES: &[(&str, &str, &str, For)] = &[
    ("Overview", "", "home start dashboard", For::All),
    ("Numbers", "/numbers", "inventory list did", For::All),
    ("Customers", "/customers", "accounts", For::All),
    ("Applications", "/applications", "routes ivr", For::All),
    ("Trunks", "/trunks", "sip", For::All),
    ("Checks", "/checks", "findings issues alerts", For::All),
    ("Costs", "/costs", "money rental invoice bill", For::All),
    ("Changes", "/changes", "log history audit undo", For::All),
    ("Jobs", "/jobs", "bulk", For::All),
    ("Schedules", "/checks/schedules", "alerts email report", For::Owners),
    ("Webhooks", "/checks/webhooks", "events", For::Owners),
    ("API keys", "/keys", "tokens", For::Owners),
    ("Users", "/users", "people roles", For::Owners),
    ("Settings", "/settings", "quarantine billing time zone", For::Owners),
    ("Assign an available number", "/numbers?q=state%3Aavailable", "give free action", For::Managers),
    ("Route unrouted numbers", "/numbers?q=status%3Aactive+no%3Aapplication", "application action", For::Managers),
    ("Renew expiring numbers", "/numbers?q=has%3Aaccount+expires%3A%3C14d", "extend action", For::Managers),
    ("Import numbers", "/import", "upload file csv xlsx spreadsheet action", For::Managers),
    ("Add numbers to stock", "/numbers?new", "create new block action", For::Managers),
    ("New customer", "/customers?new", "create add action", For::Managers),
    ("New application", "/applications?new", "create add route action", For::Managers),
    ("New trunk", "/trunks?new", "create add sip action", For::Managers),
    ("Create an API key", "/keys", "new token action", For::Owners),
    ("Invite a user", "/users", "new add people action", For::Owners),
    ("Undo a change", "/changes", "revert action", For::Managers),
];

/// GET /console/p/{partner}/search?q=…, with `kind=customer` only customers, and
/// with `part` the results without the page around them.
pub async fn page(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let _place = visit.place(PlaceKind::Search)?;
    let (mut q, mut kind, mut account, mut part) = (String::new(), None, String::new(), false);
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        match &*name {
            "q" => q = value.trim().chars().take(CHARS_MAX).collect(),
            "kind" => kind = NamedKind::parse(&value),
            "account" => account = value.trim().to_owned(),
            "part" => part = true,
            _ => {}
        }
    }
    let frame = visit.frame("Search", "search");
    let groups = match kind {
        Some(what) => {
            let only = visit.snapshot.customer(&account).ok();
            let hits = named(&visit, what, &q, only.as_ref().map(|id| id.as_str()), MANY);
            vec![HitGroup { title: "", hits }]
        }
        None => everything(&visit, &frame, &q),
    };
    let results = Results { groups };
    match part {
        true => html(&results),
        false => html(&SearchPage { results: Html::of(&results), frame, q }),
    }
}

/// The best of every kind.
fn everything(visit: &Visit, frame: &Frame, q: &str) -> Vec<HitGroup> {
    let few = |what| if q.is_empty() { Vec::new() } else { named(visit, what, q, None, FEW) };
    let groups = [
        HitGroup { title: "Numbers", hits: numbers(visit, q) },
        HitGroup { title: "Customers", hits: few(NamedKind::Customer) },
        HitGroup { title: "Applications", hits: few(NamedKind::Application) },
        HitGroup { title: "Trunks", hits: few(NamedKind::Trunk) },
        HitGroup { title: "Pages", hits: places(frame, q, false) },
        HitGroup { title: "Actions", hits: places(frame, q, true) },
    ];
    groups.into_iter().filter(|group| !group.hits.is_empty()).collect()
}

/// The first numbers that have the digits.
fn numbers(visit: &Visit, q: &str) -> Vec<SearchHit> {
    let Some(search) = line::digits(q, &visit.snapshot, visit.clock.now) else { return Vec::new() };
    let filter = Filter { search: Some(search), ..Filter::default() };
    let window = Window::Page { skip: 0, rows: FEW };
    let found = visit.snapshot.select(&filter, Order::default(), window, visit.clock.now);
    let mut hits: Vec<SearchHit> = found.rows.iter().map(|row| number(visit, *row)).collect();
    if found.total > hits.len() as u64 {
        hits.push(SearchHit {
            name: format!("All {}", show::count(found.total, "number", "numbers")),
            about: format!("with {q}"),
            href: format!("{}/numbers?q={}", visit.base, query_value(q)),
            value: q.to_owned(),
            exact: false,
        });
    }
    hits
}

fn number(visit: &Visit, row: NumberRef<'_>) -> SearchHit {
    let plain = row.number().to_string();
    let customer = row.account().map(|one| one.name.to_string());
    let state = match (row.state(), row.status()) {
        (Stored::Active, Status::Suspended) => "expired".to_owned(),
        (state, _) => state.to_string(),
    };
    SearchHit {
        name: visit.console.spaces.readable(row.number()),
        about: [Some(state), customer].into_iter().flatten().collect::<Vec<_>>().join(" · "),
        href: format!("{}/numbers/{plain}", visit.base),
        value: plain,
        exact: false,
    }
}

/// Customers, applications or trunks like a text, best first; without one, by
/// name. Applications and trunks that `account` may not use are left out.
fn named(visit: &Visit, what: NamedKind, q: &str, account: Option<&str>, most: usize) -> Vec<SearchHit> {
    let snapshot = &visit.snapshot;
    let all = snapshot.entities(what);
    let exact = if q.is_empty() { None } else { snapshot.find_named(what, q).ok() };
    let mut found: Vec<&NamedEntity<'_>> = match q {
        "" => all.iter().filter(|one| !one.archived).collect(),
        q => exact_first(ranked(&all, q), &all, exact.as_deref()),
    };
    if let Some(account) = account {
        found.retain(|one| owner(snapshot, what, one.id).is_none_or(|owner| owner == account));
    }
    if q.is_empty() {
        found.sort_by_cached_key(|one| (one.name.to_lowercase(), one.id));
    }
    found.into_iter().take(most).map(|one| entity(visit, what, one, exact.as_deref())).collect()
}

/// The found entities with the one that the text names before the others.
fn exact_first<'e, 'a>(
    mut found: Vec<&'e NamedEntity<'a>>,
    all: &'e [NamedEntity<'a>],
    id: Option<&str>,
) -> Vec<&'e NamedEntity<'a>> {
    if let Some(one) = all.iter().find(|one| Some(one.id) == id) {
        found.retain(|other| other.id != one.id);
        found.insert(0, one);
    }
    found
}

fn entity(visit: &Visit, what: NamedKind, one: &NamedEntity<'_>, exact: Option<&str>) -> SearchHit {
    let path = what.many();
    SearchHit {
        name: one.name.to_owned(),
        about: about(&visit.snapshot, what, one.id, visit.clock.now),
        href: visit.href(path, one.id),
        value: visit.snapshot.shown(what, one.id),
        exact: exact == Some(one.id),
    }
}

/// What is said where a list has nothing of a name that was typed:
/// links to what may be meant, archived or not in the list's other half.
pub fn did_you_mean(visit: &Visit, what: NamedKind, q: &str) -> Html {
    let hits = if q.is_empty() { Vec::new() } else { named(visit, what, q, None, FEW) };
    let link = |hit: &SearchHit| pieces::beside(pieces::link(&hit.href, &hit.name), &*hit.about);
    let links = Html::join(hits.iter().map(link), " or ");
    if links.is_empty() { links } else { Html::of(&MarkupPiece::Near { links }) }
}

/// The pages and actions whose name or words have all words of the text.
fn places(frame: &Frame, q: &str, actions: bool) -> Vec<SearchHit> {
    let typed = q.to_lowercase();
    let fits = |name: &str, words: &str| {
        let text = format!("{} {words}", name.to_lowercase());
        typed.split_whitespace().all(|word| text.split_whitespace().any(|own| own.starts_with(word)))
    };
    let may = |who: For| match who {
        For::All => true,
        For::Managers => frame.manages,
        For::Owners => frame.owns,
    };
    let found = PLACES
        .iter()
        .filter(|(name, _, words, who)| words.ends_with("action") == actions && may(*who) && fits(name, words));
    let most = if q.is_empty() { PLACES.len() } else { MANY };
    let hit = |(name, path, _, _): &(&str, &str, &str, For)| SearchHit {
        name: (*name).to_owned(),
        about: String::new(),
        href: format!("{}{path}", frame.base),
        value: (*name).to_owned(),
        exact: false,
    };
    found.take(most).map(hit).collect()
}
