//! What is doubtful about a row, before it is compared with the inventory.
//!
//! A row that names a customer, an application or a trunk which the partner
//! does not have creates it. So a new id that no new thing can have, such as a
//! word for nothing, and one that is the name of another one are refused. One
//! that differs from another by upper and lower case alone is a caution, be the
//! other one stored or in the file. A number that the numbering plan does not
//! know is a caution too.
//!
//! Invariants: rows are judged in the order of the file, so reading it twice
//! judges alike; a row is one caution for each thing that is doubtful about
//! it, however many numbers it has; what is already stored is never doubtful.
//! Deliberately absent: reading cells (`intake`), and rules on who may have
//! what (`rules`).

use std::collections::HashMap;
use std::sync::Arc;

use super::{RowRefusal, refuse};
use crate::domain::id::BadId;
use crate::domain::number::TAGS_MAX;
use crate::domain::{id, nothing, plan};
use crate::intake::{Cell, Field, RowFields, RowNumbers};
use crate::inventory::Snapshot;
use crate::inventory::names::{ByName, NamedKind};

/// The kinds of what a row names, in the order of the fields of `KnownIds`.
const KINDS: [NamedKind; 3] = [NamedKind::Customer, NamedKind::Application, NamedKind::Trunk];

/// What a partner has, by what files call it.
#[derive(Default)]
pub(super) struct KnownIds {
    snapshot: Option<Snapshot>,
    /// Ids by how they are without upper case, and names alike.
    ids: [HashMap<String, Vec<Arc<str>>>; 3],
    names: [HashMap<String, Vec<KnownEntity>>; 3],
    by_name: [ByName; 3],
}

#[derive(Clone)]
struct KnownEntity {
    id: Arc<str>,
    name: Arc<str>,
}

impl KnownIds {
    pub fn new(snapshot: Option<Snapshot>) -> KnownIds {
        let Some(snapshot) = snapshot else { return KnownIds::default() };
        let mut known = KnownIds::default();
        for (at, kind) in KINDS.into_iter().enumerate() {
            let all = snapshot.entities(kind);
            for one in &all {
                known.ids[at].entry(folded(one.id)).or_default().push(one.id.into());
                let entity = KnownEntity { id: one.id.into(), name: one.name.into() };
                known.names[at].entry(folded(one.name)).or_default().push(entity);
            }
            known.by_name[at] = ByName::new(all);
        }
        KnownIds { snapshot: Some(snapshot), ..known }
    }

    fn has(&self, kind: NamedKind, id: &str) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        match kind {
            NamedKind::Customer => snapshot.accounts.get(id).is_some(),
            NamedKind::Application => snapshot.applications.get(id).is_some(),
            NamedKind::Trunk => snapshot.trunks.get(id).is_some(),
        }
    }

    /// Whether anything has this id.
    pub fn has_id(&self, id: &str) -> bool {
        KINDS.into_iter().any(|kind| self.has(kind, id))
    }

    /// Whether a text of this field is in the inventory.
    fn says(&self, field: Field, text: &str) -> bool {
        let named = |kind: NamedKind| {
            let same = self.names[place(kind)].get(&folded(text));
            same.is_some_and(|same| same.iter().any(|one| *one.name == *text))
        };
        match (field, &self.snapshot) {
            (Field::AccountName, _) => named(NamedKind::Customer),
            (Field::ApplicationName, _) => named(NamedKind::Application),
            (Field::Region, Some(snapshot)) => snapshot.has_region(text),
            (Field::Tags, Some(snapshot)) => snapshot.has_tag(text),
            _ => false,
        }
    }

    /// What to write in the place of a name.
    fn id_of(&self, kind: NamedKind, name: &str) -> String {
        let same = self.names[place(kind)].get(&folded(name)).map(|same| &same[..]);
        match same.unwrap_or_default() {
            [one] => one.id.to_string(),
            _ => format!("the {}'s id", kind.one()),
        }
    }

    /// What the partner's customer of this id is called.
    fn customer_name(&self, id: &str) -> Option<&Arc<str>> {
        Some(&self.snapshot.as_ref()?.accounts.get(id)?.name)
    }

    /// Whether another one than `id` is called so.
    pub fn shared(&self, kind: NamedKind, id: &str, name: &str) -> bool {
        let same = self.names[place(kind)].get(&folded(name));
        same.is_some_and(|same| same.iter().any(|one| *one.name == *name && *one.id != *id))
    }
}

fn place(kind: NamedKind) -> usize {
    match kind {
        NamedKind::Customer => 0,
        NamedKind::Application => 1,
        NamedKind::Trunk => 2,
    }
}

fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// Something doubtful about a cell.
#[derive(Clone, Debug)]
pub(super) struct CellDoubt {
    pub field: Field,
    pub value: String,
    pub reason: String,
}

/// What is wrong with what a row says, and what is doubtful.
#[derive(Default, Debug)]
pub(super) struct VettedRow {
    pub refusals: Vec<RowRefusal>,
    pub doubts: Vec<CellDoubt>,
}

/// What is known of an id that the partner does not have.
#[derive(Clone)]
enum NewId {
    Good,
    Doubtful(Arc<str>),
    Refused(Arc<str>),
}

/// A customer's id and a name of that customer.
type Name = (Arc<str>, Arc<str>);

/// The judge of a file's rows.
pub(super) struct Vet<'a> {
    known: &'a KnownIds,
    keep_empty: bool,
    /// Of each kind, the ids seen so far that are new, and the first spelling
    /// of each.
    ids: [HashMap<Arc<str>, NewId>; 3],
    spellings: [HashMap<String, Arc<str>>; 3],
    /// The names of customers seen so far, and the first spelling of each.
    names: HashMap<Name, Option<Arc<str>>>,
    name_spellings: HashMap<String, KnownEntity>,
    /// What the last row said, and what came of it: rows repeat each other.
    last: Option<(Arc<RowFields>, Arc<RowFields>, Arc<VettedRow>)>,
}

impl<'a> Vet<'a> {
    pub fn new(known: &'a KnownIds, keep_empty: bool) -> Vet<'a> {
        let (ids, spellings, names, name_spellings) = Default::default();
        Vet { known, keep_empty, ids, spellings, names, name_spellings, last: None }
    }

    /// What a row says to the import, and the verdict on it.
    pub fn fields(&mut self, fields: &Arc<RowFields>) -> (Arc<RowFields>, Arc<VettedRow>) {
        if let Some((given, taken, verdict)) = &self.last
            && Arc::ptr_eq(given, fields)
        {
            return (taken.clone(), verdict.clone());
        }
        let taken = if self.keep_empty { Arc::new(kept(fields)) } else { fields.clone() };
        let verdict = Arc::new(self.judge(&taken));
        self.last = Some((fields.clone(), taken.clone(), verdict.clone()));
        (taken, verdict)
    }

    fn judge(&mut self, fields: &RowFields) -> VettedRow {
        let mut verdict = VettedRow::default();
        let ids = [
            (NamedKind::Customer, Field::AccountAuthId, fields.account.value().map(|id| id.as_str())),
            (NamedKind::Customer, Field::ReservedFor, fields.reserved_for.value().map(|id| id.as_str())),
            (NamedKind::Application, Field::ApplicationId, fields.application.value().map(|id| id.as_str())),
            (NamedKind::Trunk, Field::TrunkId, fields.trunk.value().map(|id| id.as_str())),
        ];
        for (kind, field, id) in ids {
            let Some(id) = id.filter(|id| !self.known.has(kind, id)) else { continue };
            if let Err(error) = id::check_new(id) {
                let reason = match error {
                    BadId::Nothing => nothing::REFUSED.to_owned(),
                    error => error.to_string(),
                };
                verdict.refusals.push(refuse(field, id, reason));
                continue;
            }
            match self.id(kind, id) {
                NewId::Good => {}
                NewId::Doubtful(why) => {
                    verdict.doubts.push(CellDoubt { field, value: id.to_owned(), reason: why.to_string() });
                }
                NewId::Refused(why) => verdict.refusals.push(refuse(field, id, &*why)),
            }
        }
        let said = [
            (Field::AccountName, fields.account_name.value()),
            (Field::ApplicationName, fields.application_name.value()),
            (Field::Region, fields.region.value()),
        ];
        let said = said.into_iter().filter_map(|(field, text)| Some((field, &**text?)));
        let tags = fields.tags.value().into_iter().flat_map(|tags| tags.iter()).map(|tag| (Field::Tags, tag));
        let tags: Vec<(Field, &str)> = tags.collect();
        let mut new = tags.iter().filter(|(field, tag)| !self.known.says(*field, tag));
        if tags.len() > TAGS_MAX
            && let Some(&(field, tag)) = new.next()
        {
            verdict.refusals.push(refuse(field, tag, format!("must be at most {TAGS_MAX} tags")));
        }
        for (field, text) in said.chain(tags) {
            if nothing::certain(text) && !self.known.says(field, text) {
                verdict.refusals.push(refuse(field, text, nothing::REFUSED));
            }
        }
        // A name goes to the id beside it. Alone it says nothing that is read.
        let customer = fields.account.value().is_some() || fields.reserved_for.value().is_some();
        let application = fields.application.value().is_some();
        for (kind, has_id, field, of, name) in [
            (NamedKind::Customer, customer, Field::AccountName, Field::AccountAuthId, fields.account_name.value()),
            (
                NamedKind::Application,
                application,
                Field::ApplicationName,
                Field::ApplicationId,
                fields.application_name.value(),
            ),
        ] {
            if let Some(name) = name.filter(|_| !has_id) {
                let reason =
                    format!("is not read without an id; write {} in {}", self.known.id_of(kind, name), of.as_str());
                verdict.doubts.push(CellDoubt { field, value: name.to_string(), reason });
            }
        }
        if let (Some(id), Some(name)) = (fields.account.value(), fields.account_name.value())
            && let Some(why) = self.name(id.as_str(), name)
        {
            let value = name.to_string();
            verdict.doubts.push(CellDoubt { field: Field::AccountName, value, reason: why.to_string() });
        }
        verdict
    }

    /// An id that the partner does not have.
    fn id(&mut self, kind: NamedKind, id: &str) -> NewId {
        let at = place(kind);
        if let Some(seen) = self.ids[at].get(id) {
            return seen.clone();
        }
        let folded = folded(id);
        let by_case =
            |other: &str| NewId::Doubtful(format!("differs from {other} by case only; write one of them").into());
        let in_file = self.spellings[at].get(&folded);
        let found = match self.known.by_name[at].mistaken(kind, id) {
            Some(why) => NewId::Refused(why.into()),
            None => match (self.known.ids[at].get(&folded), in_file, self.known.names[at].get(&folded)) {
                (Some(stored), ..) => by_case(&stored[0]),
                (None, Some(first), _) => by_case(first),
                (None, None, Some(named)) => {
                    let KnownEntity { id, name } = &named[0];
                    let kind = kind.one();
                    NewId::Doubtful(
                        format!("differs from {name}, the name of {kind} {id}, by case only; write its id").into(),
                    )
                }
                (None, None, None) => NewId::Good,
            },
        };
        let id: Arc<str> = id.into();
        if !matches!(found, NewId::Refused(_)) {
            self.spellings[at].entry(folded).or_insert_with(|| id.clone());
        }
        self.ids[at].insert(id, found.clone());
        found
    }

    /// Why the name that a row gives to a customer is doubtful, if it is.
    fn name(&mut self, id: &str, name: &Arc<str>) -> Option<Arc<str>> {
        if self.known.customer_name(id).is_some_and(|stored| stored == name) {
            return None;
        }
        let key = (Arc::from(id), name.clone());
        if let Some(seen) = self.names.get(&key) {
            return seen.clone();
        }
        let folded = folded(name);
        let other = |one: &&KnownEntity| *one.id != *id && one.name != *name;
        let stored = self.known.names[place(NamedKind::Customer)].get(&folded);
        let stored = stored.and_then(|all| all.iter().find(other));
        let found = stored.or(self.name_spellings.get(&folded).filter(other)).map(|KnownEntity { id, name }| {
            Arc::from(format!("differs from {name}, the name of customer {id}, by case only; write one of them"))
        });
        self.name_spellings.entry(folded).or_insert_with(|| KnownEntity { id: id.into(), name: name.clone() });
        self.names.insert(key, found.clone());
        found
    }
}

/// What the numbering plan does not know of a row's numbers. That a new number
/// must not be misspelt is the import's business, which knows what is new.
pub(super) fn numbers(numbers: RowNumbers) -> Option<CellDoubt> {
    let RowNumbers::Block { first, last } = numbers else { return None };
    let (found, reason) = plan::caution(first, last)?;
    Some(CellDoubt { field: Field::Number, value: found.to_string(), reason })
}

/// What a row says if its empty cells say nothing.
fn kept(fields: &RowFields) -> RowFields {
    fn cell<T: Clone>(cell: &Cell<T>) -> Cell<T> {
        match cell {
            Cell::Value(value) => Cell::Value(value.clone()),
            Cell::Empty | Cell::Absent => Cell::Absent,
        }
    }
    RowFields {
        account: cell(&fields.account),
        account_name: cell(&fields.account_name),
        application: cell(&fields.application),
        application_name: cell(&fields.application_name),
        trunk: cell(&fields.trunk),
        status: cell(&fields.status),
        blocked: cell(&fields.blocked),
        state: cell(&fields.state),
        cost: cell(&fields.cost),
        currency: cell(&fields.currency),
        assigned_at: cell(&fields.assigned_at),
        expires_at: cell(&fields.expires_at),
        number_type: cell(&fields.number_type),
        country: cell(&fields.country),
        region: cell(&fields.region),
        tags: cell(&fields.tags),
        quarantine_ends_at: cell(&fields.quarantine_ends_at),
        reserved_until: cell(&fields.reserved_until),
        reserved_for: cell(&fields.reserved_for),
        since: cell(&fields.since),
    }
}
