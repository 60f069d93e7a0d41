//! Finds the customer, application or trunk that a user named.
//!
//! A user may give its id, its name, or both as Rollcall shows them: `NAME (ID)`.
//! An exact id comes first; otherwise the name must belong to exactly one that is
//! not archived, in the same case or, if none is written so, in any case; otherwise
//! the answer is a refusal with candidates. A similar name is suggested and never
//! accepted.
//! Invariants: the same snapshot and text give the same answer; another
//! partner's entities are in no answer, since a snapshot has none.
//! Deliberately absent: the API's filters, which are exact ids.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use super::Snapshot;
use crate::domain::{AccountId, ApplicationId, TrunkId};

/// The most candidates of a refusal.
const SUGGESTED_MAX: usize = 5;
/// The most ids that are listed of those that share a name.
const SHARED_MAX: usize = 10;
/// The most characters of a text that a refusal repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The kinds of what people name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NamedKind {
    Customer,
    Application,
    Trunk,
}

impl NamedKind {
    /// `customer`, at the beginning of a sentence.
    fn title(self) -> &'static str {
        match self {
            NamedKind::Customer => "Customer",
            NamedKind::Application => "Application",
            NamedKind::Trunk => "Trunk",
        }
    }

    pub fn one(self) -> &'static str {
        match self {
            NamedKind::Customer => "customer",
            NamedKind::Application => "application",
            NamedKind::Trunk => "trunk",
        }
    }

    pub const ALL: [NamedKind; 3] = [NamedKind::Customer, NamedKind::Application, NamedKind::Trunk];

    /// By the word for one: `customer`.
    pub fn parse(word: &str) -> Option<NamedKind> {
        NamedKind::ALL.into_iter().find(|what| what.one() == word)
    }

    fn any(self) -> &'static str {
        match self {
            NamedKind::Customer => "a customer",
            NamedKind::Application => "an application",
            NamedKind::Trunk => "a trunk",
        }
    }

    pub fn many(self) -> &'static str {
        match self {
            NamedKind::Customer => "customers",
            NamedKind::Application => "applications",
            NamedKind::Trunk => "trunks",
        }
    }
}

/// One customer, application or trunk as it is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedEntity<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub archived: bool,
}

/// An entity that may be meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub id: String,
    pub name: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name == self.id {
            true => f.write_str(&self.id),
            false => write!(f, "{} ({})", self.name, self.id),
        }
    }
}

/// Why a text names nothing, as a sentence for the person who typed it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misnamed {
    #[error("{} {} not found. {}", .what.title(), shown(.text), advice(*.what, .near))]
    Unknown { what: NamedKind, text: String, near: Vec<Candidate> },
    /// Its name, but archived: those are named by their id only.
    #[error("{} {} not found. The archived {} {} has that name; choose it by its id", .what.title(), shown(.text), .what.one(), .id)]
    Archived { what: NamedKind, text: String, id: String },
    #[error("{} is the name of {total} {}: {}; choose one by its id", shown(.text), .what.many(), listed(.ids, *.total))]
    Shared { what: NamedKind, text: String, ids: Vec<String>, total: usize },
}

impl Misnamed {
    /// What may be meant, best first.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Misnamed::Unknown { near, .. } => near,
            Misnamed::Archived { .. } | Misnamed::Shared { .. } => &[],
        }
    }
}

/// A text that somebody typed, fit to be repeated.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

fn advice(what: NamedKind, near: &[Candidate]) -> String {
    let Some((last, rest)) = near.split_last() else {
        return format!("No {} has a similar name or id", what.one());
    };
    let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
    match rest.is_empty() {
        true => format!("Did you mean {last}?"),
        false => format!("Did you mean {} or {last}?", rest.join(", ")),
    }
}

fn listed(ids: &[String], total: usize) -> String {
    let more = total.saturating_sub(ids.len());
    let list = ids.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

impl Snapshot {
    pub fn customer(&self, text: &str) -> Result<AccountId, Misnamed> {
        self.find_named(NamedKind::Customer, text).map(|id| AccountId::stored(&id))
    }

    pub fn application(&self, text: &str) -> Result<ApplicationId, Misnamed> {
        self.find_named(NamedKind::Application, text).map(|id| ApplicationId::stored(&id))
    }

    pub fn trunk(&self, text: &str) -> Result<TrunkId, Misnamed> {
        self.find_named(NamedKind::Trunk, text).map(|id| TrunkId::stored(&id))
    }

    /// The id of what a person named by its id or its name.
    pub fn find_named(&self, what: NamedKind, text: &str) -> Result<String, Misnamed> {
        if self.name_of(what, text).is_some() {
            return Ok(text.to_owned());
        }
        if let Some(id) = self.shown_id(what, text) {
            return Ok(id.to_owned());
        }
        let all = self.entities(what);
        let folded = text.to_lowercase();
        let mut same: Vec<&NamedEntity<'_>> = all.iter().filter(|one| one.name == text).collect();
        if same.iter().all(|one| one.archived) {
            same.extend(all.iter().filter(|one| one.name != text && one.name.to_lowercase() == folded));
        }
        let (live, archived): (Vec<&NamedEntity<'_>>, Vec<&NamedEntity<'_>>) =
            same.into_iter().partition(|one| !one.archived);
        let text = text.to_owned();
        match (&live[..], &archived[..]) {
            ([one], _) => Ok(one.id.to_owned()),
            ([], [one]) => Err(Misnamed::Archived { what, text, id: one.id.to_owned() }),
            ([], _) => {
                let near = suggested(&all, &text);
                Err(Misnamed::Unknown { what, text, near })
            }
            (several, _) => {
                let ids = several.iter().take(SHARED_MAX).map(|one| one.id.to_owned()).collect();
                Err(Misnamed::Shared { what, text, ids, total: several.len() })
            }
        }
    }

    /// The name of an id.
    pub fn name_of(&self, what: NamedKind, id: &str) -> Option<&str> {
        match what {
            NamedKind::Customer => self.accounts.get(id).map(|one| &*one.name),
            NamedKind::Application => self.applications.get(id).map(|one| &*one.name),
            NamedKind::Trunk => self.trunks.get(id).map(|one| &*one.name),
        }
    }

    /// `NAME (ID)`, by which people tell apart two of one name; an unknown id
    /// stays as it is.
    pub fn shown(&self, what: NamedKind, id: &str) -> String {
        let name = self.name_of(what, id).unwrap_or(id).to_owned();
        Candidate { id: id.to_owned(), name }.to_string()
    }

    /// The id in a text that is exactly what [`Snapshot::shown`] gives.
    pub fn shown_id<'t>(&self, what: NamedKind, text: &'t str) -> Option<&'t str> {
        let inner = text.strip_suffix(')')?;
        // An id may have brackets in it.
        let mut starts = inner.match_indices(" (").map(|(at, _)| (&text[..at], &inner[at + 2..]));
        starts.find(|(name, id)| self.name_of(what, id) == Some(*name)).map(|(_, id)| id)
    }

    /// All of a kind, in the order of their ids.
    pub fn entities(&self, what: NamedKind) -> Vec<NamedEntity<'_>> {
        fn entity<'a>(id: &'a str, name: &'a str, archived: bool) -> NamedEntity<'a> {
            NamedEntity { id, name, archived }
        }
        match what {
            NamedKind::Customer => self
                .accounts
                .sorted()
                .map(|one| entity(one.auth_id.as_str(), &one.name, one.archived_at.is_some()))
                .collect(),
            NamedKind::Application => self
                .applications
                .sorted()
                .map(|one| entity(one.id.as_str(), &one.name, one.archived_at.is_some()))
                .collect(),
            NamedKind::Trunk => {
                self.trunks.sorted().map(|one| entity(one.id.as_str(), &one.name, one.archived_at.is_some())).collect()
            }
        }
    }
}

/// What is most like a text, best first; nothing that is archived.
pub fn suggested(all: &[NamedEntity<'_>], text: &str) -> Vec<Candidate> {
    let candidate = |one: &NamedEntity<'_>| Candidate { id: one.id.to_owned(), name: one.name.to_owned() };
    ranked(all, text).into_iter().take(SUGGESTED_MAX).map(candidate).collect()
}

/// The words most like a text, best first.
pub fn like<'a>(words: impl Iterator<Item = &'a str>, text: &str) -> Vec<String> {
    let all: Vec<NamedEntity<'_>> = words.map(|word| NamedEntity { id: word, name: word, archived: false }).collect();
    suggested(&all, text).into_iter().map(|one| one.name).collect()
}

/// All that is like a text, best first; nothing that is archived. Only where
/// nothing else fits are misspelt words looked for: ids are like each other, and
/// to compare letters takes long.
pub fn ranked<'e, 'a>(all: &'e [NamedEntity<'a>], text: &str) -> Vec<&'e NamedEntity<'a>> {
    let typed = TypedName::new(text);
    let live = || all.iter().filter(|one| !one.archived);
    let by = |likeness: fn(&TypedName, &str) -> Option<Likeness>| {
        let of = |one: &'e NamedEntity<'a>| {
            let texts = [one.name.to_lowercase(), one.id.to_lowercase()];
            Some((texts.iter().filter_map(|text| likeness(&typed, text)).min()?, one))
        };
        live().filter_map(of).collect::<Vec<_>>()
    };
    let mut ranked = by(TypedName::likeness);
    if ranked.is_empty() {
        ranked = by(TypedName::misspelt);
    }
    // The rest of the order is that of ids.
    ranked.sort_by_key(|(likeness, _)| *likeness);
    ranked.into_iter().map(|(_, one)| one).collect()
}

/// How much an entity is like a text; less is more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Likeness {
    /// All but upper and lower case.
    Same,
    Begins,
    /// Every word of the text occurs in it.
    Has,
    /// The whole of it occurs in the text; the longest first.
    Within(Reverse<usize>),
    /// So many letters differ.
    Misspelt(usize),
}

/// A text in the forms that are compared.
struct TypedName {
    folded: String,
    chars: usize,
}

impl TypedName {
    fn new(text: &str) -> TypedName {
        let folded = text.trim().to_lowercase();
        TypedName { chars: folded.chars().count(), folded }
    }

    /// How well the text matches an entity's name or id, character by character.
    fn likeness(&self, other: &str) -> Option<Likeness> {
        if self.folded.is_empty() {
            return None;
        }
        if other == self.folded {
            return Some(Likeness::Same);
        }
        if other.starts_with(&self.folded) {
            return Some(Likeness::Begins);
        }
        if self.folded.split_whitespace().all(|word| other.contains(word)) {
            return Some(Likeness::Has);
        }
        let chars = other.chars().count();
        // One or two letters occur in everything.
        (chars > 2 && self.folded.contains(other)).then_some(Likeness::Within(Reverse(chars)))
    }

    /// How it would be misspelt.
    fn misspelt(&self, other: &str) -> Option<Likeness> {
        // People type one word of a name; a word of theirs is misspelt in it.
        let words = other.split_whitespace().filter(|word| *word != other);
        let distances = std::iter::once(other).chain(words).filter_map(|text| self.misspells(text));
        distances.min().map(Likeness::Misspelt)
    }

    /// In how many letters the text differs from another one, if that is a slip.
    fn misspells(&self, other: &str) -> Option<usize> {
        let chars = other.chars().count();
        let most = (self.chars.max(chars) / 4).clamp(1, 3);
        if self.chars.abs_diff(chars) > most || self.chars < 3 {
            return None;
        }
        let distance = strsim::osa_distance(&self.folded, other);
        (distance <= most).then_some(distance)
    }
}

/// The ids that have each name, for columns that take ids only: a cell that is
/// a name is refused with the id that was probably meant.
#[derive(Default, Debug)]
pub struct ByName(HashMap<Box<str>, Vec<Box<str>>>);

impl ByName {
    /// Archived ones as well: their name is no id either.
    pub fn new<'a>(all: impl IntoIterator<Item = NamedEntity<'a>>) -> ByName {
        let mut ids: HashMap<Box<str>, Vec<Box<str>>> = HashMap::new();
        for one in all {
            ids.entry(one.name.into()).or_default().push(one.id.into());
        }
        ByName(ids)
    }

    /// The refusal of a text that is no id, if it is a name: "is the name of a
    /// customer; write its id, MA_1".
    pub fn mistaken(&self, what: NamedKind, text: &str) -> Option<String> {
        let ids = self.0.get(text)?;
        Some(match &ids[..] {
            [id] => format!("is the name of {}; write its id, {id}", what.any()),
            several => {
                let ids: Vec<String> = several.iter().take(SHARED_MAX).map(|id| id.to_string()).collect();
                let listed = listed(&ids, several.len());
                format!("is the name of {} {}; write the id of one of them: {listed}", several.len(), what.many())
            }
        })
    }
}

#[cfg(test)]
impl Snapshot {
    /// A partner with nothing but these customers and applications.
    pub fn of_names(customers: &[(&str, &str)], applications: &[(&str, &str)]) -> Snapshot {
        use std::sync::Arc;

        use crate::domain::change::GENESIS;
        use crate::domain::{Account, Application, Partner, PartnerKey, Time};

        let created_at = Time::new(0).expect("a time");
        let auth_id = "PA_1".parse().expect("an id");
        let partner = Partner { auth_id, name: "Partner".into(), created_at, suspended_at: None };
        let mut snapshot = Snapshot::empty(PartnerKey(1), 1, GENESIS, partner);
        for &(id, name) in customers {
            let auth_id = id.parse().expect("an id");
            let account = Account { auth_id, name: name.into(), created_at, archived_at: None };
            Arc::make_mut(&mut snapshot.accounts).put(account);
        }
        for &(id, name) in applications {
            let id = id.parse().expect("an id");
            let application = Application {
                id,
                name: name.into(),
                account: None,
                created_at,
                archived_at: None,
                destinations: Default::default(),
                answer_url: None,
            };
            Arc::make_mut(&mut snapshot.applications).put(application);
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest(all: &[(&str, &str)], text: &str) -> String {
        let all: Vec<NamedEntity<'_>> =
            all.iter().map(|&(id, name)| NamedEntity { id, name, archived: false }).collect();
        let near = suggested(&all, text);
        near.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_like_a_text_is_suggested_best_first() {
        let all = [
            ("MA_1", "Globex Field Services"),
            ("MA_2", "Initech"),
            ("MA_3", "Initech"),
            ("MA 4", "New Globex"),
            ("MA_5", "Umbrella GmbH"),
        ];
        for (text, expected) in [
            ("Globex", "Globex Field Services (MA_1); New Globex (MA 4)"),
            ("globex services", "Globex Field Services (MA_1)"),
            ("MA 4 New Globex", "New Globex (MA 4)"),
            ("Globex Field Services (MA_1)", "Globex Field Services (MA_1)"),
            ("umbrela gmbh", "Umbrella GmbH (MA_5)"),
            ("initehc", "Initech (MA_2); Initech (MA_3)"),
            ("ma_5", "Umbrella GmbH (MA_5)"),
            ("Globx", "Globex Field Services (MA_1); New Globex (MA 4)"),
            ("servces", "Globex Field Services (MA_1)"),
            ("Stark", ""),
            ("x", "Globex Field Services (MA_1); New Globex (MA 4)"),
            ("", ""),
        ] {
            assert_eq!(suggest(&all, text), expected, "{text:?}");
        }
        let many: Vec<(String, String)> = (0..20).map(|at| (format!("MA_{at:02}"), format!("Acme {at}"))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
        assert_eq!(suggest(&many, "acme").matches("; ").count(), SUGGESTED_MAX - 1);
    }

    #[test]
    fn an_id_a_name_or_both_name_one() {
        let customers = [
            ("MA_1", "Globex Field Services"),
            ("MA_2", "Twin"),
            ("MA_3", "Twin"),
            ("MA_4", "twin peaks"),
            ("MA_5", "Twin Peaks"),
            ("MA (6)", "Acme (UK)"),
            ("MA_7", "MA_1"),
        ];
        let snapshot = Snapshot::of_names(&customers, &[]);
        let found = |text: &str| snapshot.find_named(NamedKind::Customer, text);
        for (text, id) in [
            ("MA_1", "MA_1"),
            ("Globex Field Services", "MA_1"),
            ("globex FIELD services", "MA_1"),
            ("Globex Field Services (MA_1)", "MA_1"),
            ("Twin (MA_3)", "MA_3"),
            ("Twin Peaks", "MA_5"),
            ("Acme (UK)", "MA (6)"),
            ("Acme (UK) (MA (6))", "MA (6)"),
            ("MA_1 (MA_7)", "MA_7"),
        ] {
            assert_eq!(found(text).as_deref(), Ok(id), "{text}");
        }
        for text in ["Twin", "TWIN", "TWIN PEAKS", "Globex (MA_1)", "Globex Field Services (MA_2)", "Globex", "(MA_1)"]
        {
            assert!(found(text).is_err(), "{text}");
        }
        for (id, name) in customers {
            assert_eq!(found(&snapshot.shown(NamedKind::Customer, id)).as_deref(), Ok(id), "{name}");
        }
    }

    #[test]
    fn refusals_are_sentences() {
        let candidate = |id: &str, name: &str| Candidate { id: id.to_owned(), name: name.to_owned() };
        let unknown = |text: &str, near: &[Candidate]| {
            Misnamed::Unknown { what: NamedKind::Customer, text: text.to_owned(), near: near.to_vec() }.to_string()
        };
        let globex = candidate("MA_180a2bd6", "Globex Field Services");
        assert_eq!(
            unknown("Globex", std::slice::from_ref(&globex)),
            "Customer Globex not found. Did you mean Globex Field Services (MA_180a2bd6)?"
        );
        assert_eq!(
            unknown("Globex", &[globex.clone(), candidate("MA_2", "MA_2"), globex]),
            "Customer Globex not found. Did you mean Globex Field Services (MA_180a2bd6), MA_2 or Globex Field \
             Services (MA_180a2bd6)?"
        );
        assert_eq!(unknown("a\u{1b}[2J", &[]), "Customer a\u{fffd}[2J not found. No customer has a similar name or id");
        assert!(unknown(&"x".repeat(200), &[]).chars().count() < 150);
        let ids: Vec<String> = (1..=2).map(|at| format!("app_{at}")).collect();
        let shared = |ids: &[String], total| {
            Misnamed::Shared { what: NamedKind::Application, text: "Main IVR".into(), ids: ids.to_vec(), total }
                .to_string()
        };
        assert_eq!(shared(&ids, 2), "Main IVR is the name of 2 applications: app_1, app_2; choose one by its id");
        assert!(shared(&ids, 12).contains("app_2 and 10 more;"));
    }

    #[test]
    fn a_name_in_a_column_of_ids_is_answered_with_the_id() {
        let entity = |id, name| NamedEntity { id, name, archived: false };
        let all = [entity("app_1", "Main IVR"), entity("app_2", "Main IVR"), entity("app_3", "Support")];
        let names = ByName::new(all);
        let of = |text| names.mistaken(NamedKind::Application, text);
        assert_eq!(of("Support").as_deref(), Some("is the name of an application; write its id, app_3"));
        assert_eq!(
            of("Main IVR").as_deref(),
            Some("is the name of 2 applications; write the id of one of them: app_1, app_2")
        );
        assert_eq!(of("support"), None);
        assert_eq!(of("app_1"), None);
    }
}
