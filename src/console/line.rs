//! The filter line of the numbers page: one line of text that says which rows
//! are wanted, in the address, in links and in saved views.
//!
//! A line is words apart: digits are part of the number, several whole numbers
//! are a list of them, the tabs' own words (`unrouted`) say what the tabs do, a
//! whole name or id is what it names, and `name:value` is a filter. A value that
//! has spaces or quotation marks stands within quotation marks, in which `\"` is a
//! quotation mark and `\\` a backslash. Customers, applications and trunks are
//! given by id or by name. What is not understood is said, and no rows are shown:
//! a filter that is passed over shows rows that nobody asked for.
//! Invariants: the same line at the same moment is the same filter; a line that
//! is read and written down again says the same; every id can be written.
//! Deliberately absent: reading rows.

use std::collections::HashMap;

use jiff::civil::Date;

use super::form::first_moment;
use super::show::PageClock;
use super::typed;
use crate::domain::{E164, State, Time, span};
use crate::inventory::called::CalledBefore;
use crate::inventory::names::{Candidate, Misnamed, NamedKind, suggested};
use crate::inventory::{Filter, Order, PARAMETERS, Pattern, QueryError, Snapshot, SortKey, Window, several};

/// The views that everybody has, each with its filter line.
pub const TABS: [(&str, &str); 9] = [
    ("All", ""),
    ("Active", "status:active"),
    ("Suspended", "state:suspended"),
    ("Unrouted", "status:active no:application"),
    ("Expiring", "has:account expires:<14d sort:expires"),
    ("Unassigned", "no:account"),
    ("Available", "state:available"),
    ("Reserved", "state:reserved"),
    ("Quarantined", "state:quarantined"),
];

/// How many customers, applications and trunks are suggested for bare words.
const BARE_MAX: usize = 6;
/// The most words of a name that stands without quotation marks.
const NAME_WORDS_MAX: usize = 12;
/// The most characters that are read: some 200 pasted numbers. Every link of the
/// page has them.
pub const CHARS_MAX: usize = 3_000;
/// How many of the pasted numbers that are not in the inventory are listed.
const MISSING_MAX: usize = 10;

/// A line that was read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FilterLine {
    pub filter: Filter,
    pub order: Order,
    /// What of it is not understood, word by word; with any, there are no rows.
    pub problems: Vec<Problem>,
    /// What a reader of the rows should know beside them.
    pub notes: Vec<Problem>,
}

/// A word that is not understood, and what would be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problem {
    pub word: String,
    pub hint: String,
    /// Lines that may be meant.
    pub instead: Vec<Instead>,
}

/// A line with another word in the place of one that is not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instead {
    pub line: String,
    /// The word, and what is called so.
    pub word: String,
    pub name: String,
    /// What tells it apart from others of the name.
    pub about: String,
}

/// What a word can be, for the help beside the line.
pub struct Term {
    pub example: &'static str,
    pub about: &'static str,
}

const SORTS: &str =
    "must be number, state, customer, application, assigned, expires or cost, with - for the last first";

/// What a line can be sorted by.
const SORT_NAMES: [(&str, SortKey); 7] = [
    ("number", SortKey::Number),
    ("state", SortKey::State),
    ("customer", SortKey::Customer),
    ("application", SortKey::Application),
    ("assigned", SortKey::AssignedAt),
    ("expires", SortKey::ExpiresAt),
    ("cost", SortKey::MonthlyCost),
];

pub const TERMS: &[Term] = &[
    Term { example: "2271", about: "these digits are part of the number; +91 begins it; 022 71 is a national form" },
    Term { example: "+12125550100, +12125550101", about: "several whole numbers: exactly these" },
    Term { example: "Globex Inc", about: "the whole name or id of a customer, an application or a trunk" },
    Term { example: "account:MA_48149cf4", about: "held by this customer; account:\"Globex Inc\" by name" },
    Term { example: "application:app_abc123", about: "routed to this application, by id or by name" },
    Term { example: "trunk:trunk_xyz", about: "arrives on this trunk, by id or by name" },
    Term { example: "unrouted", about: "what the tab of that name shows; so do active, suspended, expiring…" },
    Term { example: "no:application", about: "active or not, with nowhere to go; has:application is the rest" },
    Term { example: "no:account", about: "held by no customer; has:account finds the rest" },
    Term { example: "status:active", about: "calls get through; -status:active is the rest" },
    Term {
        example: "state:quarantined",
        about: "available, reserved, active, suspended or quarantined, whatever has expired",
    },
    Term { example: "expires:<14d", about: "expires within 14 days; >14d later, <2027-03-01 before 00:00 of that day" },
    Term { example: "assigned:<30d", about: "assigned less than 30 days ago; >2026-01-31 after 00:00 of that day" },
    Term {
        example: "called:>30d",
        about: "last called more than 30 days ago; never is not in 90 days; called:never,>30d is both",
    },
    Term { example: "country:IN", about: "of this country" },
    Term { example: "region:\"New Delhi\"", about: "of this region, exactly" },
    Term { example: "type:tollfree", about: "local, tollfree or mobile" },
    Term { example: "tag:support", about: "with this tag, exactly" },
    Term {
        example: "sort:-expires",
        about: "by number, state, customer, application, assigned, expires or cost; - for the last first",
    },
];

impl FilterLine {
    /// Reads a line at the clock's moment; days are those of its zone.
    pub fn read(text: &str, snapshot: &Snapshot, clock: &PageClock) -> FilterLine {
        let mut line = FilterLine::default();
        if text.chars().count() > CHARS_MAX {
            let hint = format!("a line has at most {CHARS_MAX} characters");
            line.problem(text.chars().take(20).collect::<String>(), hint);
            return line;
        }
        // Lines of pasted numbers; a word ends at either.
        let text = &*text.replace(['\n', '\r', '\t'], ", ");
        let mut seen = SeenTerms::default();
        let (mut bare, mut terms): (Vec<Word>, Vec<Word>) = Default::default();
        let all = words(text);
        // Quotation marks that keep nothing together may be those of a name.
        if all.iter().any(|word| word.fault.is_some()) {
            let found = NameIndex::of(snapshot).find(text.trim(), snapshot);
            if !found.is_empty() {
                line.named(text.trim(), &found, &mut seen, snapshot, clock);
                return line.followed(text);
            }
        }
        for word in all {
            if let Some(fault) = word.fault {
                line.problem(word.text, fault);
                continue;
            }
            if word.name.is_none() { &mut bare } else { &mut terms }.push(word);
        }
        // A tab's order gives way to the line's own.
        let sorted = terms.iter().any(|word| word.name.as_deref() == Some("sort"));
        let bare = line.names(bare, sorted, &mut seen, snapshot, clock);
        for word in &terms {
            line.word(word, &word.text, &mut seen, snapshot, clock);
        }
        line.bare(&bare, text, snapshot, clock);
        line.unknown(snapshot);
        line.followed(text)
    }

    /// Writes down the lines that may be meant.
    fn followed(mut self, text: &str) -> FilterLine {
        for problem in self.problems.iter_mut().chain(&mut self.notes) {
            let word = &problem.word;
            problem.instead.iter_mut().for_each(|one| one.line = replaced(text, word, &one.word));
        }
        self
    }

    fn problem(&mut self, word: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem { word: word.into(), hint: hint.into(), instead: Vec::new() });
    }

    /// Takes the words that are the whole name or id of something, or a tab's, and
    /// gives back the others.
    fn names(
        &mut self,
        words: Vec<Word>,
        sorted: bool,
        seen: &mut SeenTerms,
        snapshot: &Snapshot,
        clock: &PageClock,
    ) -> Vec<Word> {
        let is_digits = |word: &Word| typed::is_digits(&word.value);
        // Most lines name nothing, and an index of all names costs its time.
        let plain = words.iter().filter(|word| !is_digits(word)).all(|word| tab(&word.value).is_some());
        let index = if plain && words.len() <= 1 { NameIndex::default() } else { NameIndex::of(snapshot) };
        let (mut rest, mut at) = (Vec::new(), 0);
        while at < words.len() {
            let longest = (at + NAME_WORDS_MAX).min(words.len());
            let found = (at + 1..=longest).rev().find_map(|end| {
                let run = &words[at..end];
                if run.iter().all(is_digits) || (run.len() == 1 && tab(&run[0].value).is_some()) {
                    return None;
                }
                // Quotation marks keep words together, or are part of the name.
                let found = index.find(&joined(run, |word| &word.value), snapshot);
                let found =
                    if found.is_empty() { index.find(&joined(run, |word| &word.text), snapshot) } else { found };
                (!found.is_empty()).then_some((end, found))
            });
            match (found, tab(&words[at].value)) {
                (Some((end, found)), _) => {
                    self.named(&joined(&words[at..end], |word| &word.text), &found, seen, snapshot, clock);
                    at = end;
                }
                (None, Some(terms)) => {
                    let kept = |term: &Word| !sorted || term.name.as_deref() != Some("sort");
                    for term in self::words(terms).into_iter().filter(kept) {
                        self.word(&term, &words[at].text, seen, snapshot, clock);
                    }
                    at += 1;
                }
                (None, None) => {
                    rest.push(words[at].clone());
                    at += 1;
                }
            }
        }
        rest
    }

    /// Words that are a name or an id of one, or of several.
    fn named(
        &mut self,
        text: &str,
        found: &[(NamedKind, String)],
        seen: &mut SeenTerms,
        snapshot: &Snapshot,
        clock: &PageClock,
    ) {
        if let [(what, id)] = found {
            for term in words(&line_of(*what, id)) {
                self.word(&term, text, seen, snapshot, clock);
            }
            return;
        }
        let instead = found.iter().take(BARE_MAX).map(|(what, id)| Instead::entity(*what, id, snapshot, clock.now));
        let hint = format!("is the name of {}. Did you mean one of these?", found.len());
        self.problems.push(Problem { word: text.to_owned(), hint, instead: instead.collect() });
    }

    /// Says of a region and a tag that no number has them.
    fn unknown(&mut self, snapshot: &Snapshot) {
        let region = self.filter.region.as_deref().filter(|name| !snapshot.finds_region(name));
        let tag = self.filter.tag.as_deref().filter(|tag| !snapshot.has_tag(tag));
        let mut notes = Vec::new();
        for (name, value) in [("region", region), ("tag", tag)] {
            let Some(value) = value else { continue };
            let near = if name == "region" { snapshot.regions_like(value) } else { snapshot.tags_like(value) };
            let did = if near.is_empty() { "" } else { " Did you mean one of these?" };
            let instead = near.into_iter().map(|one| Instead {
                line: String::new(),
                word: format!("{name}:{}", quoted(&one)),
                name: one,
                about: String::new(),
            });
            let hint = format!("finds nothing: no number has this {name}.{did}");
            notes.push(Problem { word: format!("{name}:{}", quoted(value)), hint, instead: instead.collect() });
        }
        self.notes.extend(notes);
    }

    /// One `name:value`; `typed` is the word that it was typed as.
    fn word(&mut self, word: &Word, typed: &str, seen: &mut SeenTerms, snapshot: &Snapshot, clock: &PageClock) {
        let Some(name) = word.name.as_deref() else { return };
        let value = &*word.value;
        let kind = match (name, value.chars().next()) {
            ("no" | "has", _) => format!("has:{value}"),
            ("app", _) => "application".to_owned(),
            ("customer", _) => "account".to_owned(),
            // From when and until when are two filters.
            ("expires" | "assigned", Some(side @ ('<' | '>'))) => format!("{name}:{side}"),
            _ => name.to_owned(),
        };
        let result = if value.is_empty() {
            Err(RefusedTerm::hint("say what behind the colon"))
        } else if let Some((_, other)) = seen.0.iter().find(|(other, _)| *other == kind) {
            let named = |text: &str| text.trim_start_matches('-').split(':').next().map(str::to_owned);
            Err(match named(other) == named(typed) || (other.contains(':') && typed.contains(':')) {
                true => RefusedTerm::hint("is said twice; one of them is enough"),
                false => RefusedTerm::from(format!("cannot stand beside {other}, which filters by the same; keep one")),
            })
        } else {
            self.term(name, value, word.negated, snapshot, clock)
        };
        seen.0.push((kind, typed.to_owned()));
        if let Err(RefusedTerm { hint, near }) = result {
            let name = if name == "app" { "application" } else { name };
            let about = |one: &Candidate| named_by(name).map(|what| about(snapshot, what, &one.id, clock.now));
            let of = |one: Candidate| Instead { about: about(&one).unwrap_or_default(), ..Instead::of(name, one) };
            let instead = near.into_iter().map(of).collect();
            self.problems.push(Problem { word: typed.to_owned(), hint, instead });
        }
    }

    /// The words without a name: digits, or nothing that numbers have.
    fn bare(&mut self, words: &[Word], text: &str, snapshot: &Snapshot, clock: &PageClock) {
        if words.is_empty() {
            return;
        }
        // The space is kept: numbers are written with spaces.
        let search = joined(words, |word| &word.value);
        if typed::is_digits(&search) {
            if let Some(pasted) = typed::pasted(&search, snapshot, clock.now) {
                return self.pasted(pasted, snapshot, clock);
            }
            let search = search.trim_matches([',', ';', ' ']);
            return self.digits(search, snapshot, clock);
        }
        // A name may have digits in it; else they are still a part of the number.
        let all: Vec<&Word> = words.iter().collect();
        let named = || all.iter().copied().filter(|word| Pattern::parse(&word.value) == Some(Pattern::Nothing));
        let (meant, instead) = match near(&all, snapshot, clock.now) {
            instead if instead.is_empty() => {
                let named: Vec<&Word> = named().collect();
                let instead = near(&named, snapshot, clock.now);
                (named, instead)
            }
            instead => (all.clone(), instead),
        };
        let hint = match instead.is_empty() {
            true => "is in no number, and no customer, application or trunk has a similar name or id; the help shows \
                     what a filter can say"
                .to_owned(),
            false => "is in no number, and is no whole name or id. Did you mean one of these?".to_owned(),
        };
        // As it stands in the line, if its words are next to each other there.
        let typed = meant.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" ");
        let word = if text.contains(&typed) { typed } else { search };
        self.problems.push(Problem { word, hint, instead });
    }

    /// Digits that are part of the number.
    fn digits(&mut self, text: &str, snapshot: &Snapshot, clock: &PageClock) {
        let typed::DigitSearch { text: search, others, ambiguous } = typed::search(text, snapshot, clock.now);
        let instead = |other: &String| {
            let count = typed::count(other, snapshot, clock.now);
            let about = super::show::count(count, "number", "numbers");
            Instead { line: String::new(), word: other.clone(), name: other.clone(), about }
        };
        let instead: Vec<Instead> = others.iter().map(instead).collect();
        if ambiguous {
            let hint = "is a national form of several countries. Did you mean one of these?".to_owned();
            return self.problems.push(Problem { word: text.to_owned(), hint, instead });
        }
        if !instead.is_empty() {
            let hint = "is shown wherever a number has these digits. It is a national form as well:".to_owned();
            self.notes.push(Problem { word: text.to_owned(), hint, instead });
        }
        if let Err(hint) = self.set("search", &search) {
            self.problem(text, hint);
        }
    }

    /// A list of whole numbers.
    fn pasted(&mut self, pasted: typed::Pasted, snapshot: &Snapshot, clock: &PageClock) {
        for text in pasted.unread {
            self.problem(text, "is no whole number of a list; write it with + and its country code");
        }
        for (text, held) in pasted.ambiguous {
            let held: Vec<String> = held.iter().map(E164::to_string).collect();
            let hint =
                format!("is a national form of several numbers; write the one that is meant: {}", held.join(", "));
            self.problem(text, hint);
        }
        let (held, missing): (Vec<E164>, Vec<E164>) =
            pasted.numbers.into_iter().partition(|number| snapshot.get(*number, clock.now).is_some());
        let missing: Vec<String> = missing.iter().map(E164::to_string).chain(pasted.missing).collect();
        if !missing.is_empty() {
            let listed: Vec<&str> = missing.iter().take(MISSING_MAX).map(|text| &**text).collect();
            let more = missing.len().saturating_sub(listed.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let is = if missing.len() == 1 { "is" } else { "are" };
            let hint = format!("{is} not in the inventory");
            self.notes.push(Problem { word: format!("{}{more}", listed.join(", ")), hint, instead: Vec::new() });
        }
        self.filter.numbers = Some(held.into());
    }

    fn term(
        &mut self,
        name: &str,
        value: &str,
        negated: bool,
        snapshot: &Snapshot,
        clock: &PageClock,
    ) -> Result<(), RefusedTerm> {
        let now = clock.now;
        let two = |yes: &str, no: &str| match (value == yes, value == no) {
            (true, _) => Ok(if negated { no } else { yes }.to_owned()),
            (_, true) => Ok(if negated { yes } else { no }.to_owned()),
            _ => Err(format!("must be {yes} or {no}")),
        };
        if negated && !matches!(name, "status" | "no" | "has") {
            return Err(RefusedTerm::hint("only status, no and has can be turned round with -"));
        }
        match name {
            "account" | "customer" => {
                Ok(self.set("account_auth_id", &snapshot.find_named(NamedKind::Customer, value)?)?)
            }
            "application" | "app" => {
                Ok(self.set("application_id", &snapshot.find_named(NamedKind::Application, value)?)?)
            }
            "trunk" => Ok(self.set("trunk_id", &snapshot.find_named(NamedKind::Trunk, value)?)?),
            "country" => Ok(self.set("country", &value.to_ascii_uppercase())?),
            "region" | "tag" => Ok(self.set(name, value)?),
            "type" => Ok(self.set("number_type", value)?),
            "status" if negated => {
                let value = two("active", "suspended")?;
                Ok(self.set("status", &value)?)
            }
            "status" => Ok(self.set("status", value)?),
            "no" | "has" => {
                let wanted = if (name == "has") == negated { "false" } else { "true" };
                match value {
                    "application" | "app" | "route" => Ok(self.set("routed", wanted)?),
                    "account" | "customer" => Ok(self.set("assigned", wanted)?),
                    _ => Err(RefusedTerm::hint("must be application or account")),
                }
            }
            "state" => {
                let all: Vec<&str> = State::STORED.iter().map(|state| state.as_str()).collect();
                let message = format!("must be one of {}", all.join(", "));
                let stored = |word: &str| State::parse(word).filter(|state| *state != State::Retired);
                let states =
                    several(name, value, &message, stored).map_err(|error| RefusedTerm::hint(&error.message))?;
                self.filter.state = states.into_iter().collect();
                Ok(())
            }
            "expires" => match bound(value, clock)? {
                // What has expired does not expire within 14 days.
                (Side::Less, Bound::Span(seconds)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(now));
                    self.filter.expires_before = Some(now.plus(seconds + 1));
                    Ok(())
                }
                (Side::More, Bound::Span(seconds)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(now.plus(seconds)));
                    Ok(())
                }
                (Side::Less, Bound::Moment(first)) => {
                    self.filter.expires_before = Some(first);
                    Ok(())
                }
                (Side::More, Bound::Moment(first)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(first));
                    Ok(())
                }
            },
            "expired" => {
                self.filter.expires_before = Some(now.plus(1));
                two("yes", "yes").map(drop).map_err(|_| RefusedTerm::hint("must be yes"))
            }
            "assigned" => {
                match bound(value, clock)? {
                    (Side::Less, Bound::Span(seconds)) => self.filter.assigned_after = Some(now.plus(-seconds)),
                    (Side::More, Bound::Span(seconds)) => self.filter.assigned_before = Some(now.plus(-seconds)),
                    (Side::Less, Bound::Moment(first)) => self.filter.assigned_before = Some(first),
                    (Side::More, Bound::Moment(first)) => self.filter.assigned_after = Some(first),
                }
                Ok(())
            }
            "called" => {
                let mut asked = CalledBefore::default();
                for part in value.split(',') {
                    match part {
                        "never" => asked.never = true,
                        part => match bound(part, clock)? {
                            (Side::More, Bound::Span(seconds)) => asked.before = Some(now.plus(-seconds)),
                            (Side::Less, Bound::Moment(first)) => asked.before = Some(first),
                            _ => {
                                return Err(RefusedTerm::hint(
                                    "must be never, >30d (longer ago) or <2026-11-01 (before that day)",
                                ));
                            }
                        },
                    }
                }
                self.filter.called = Some(asked);
                Ok(())
            }
            "sort" => {
                let (minus, key) = value.strip_prefix('-').map_or(("", value), |key| ("-", key));
                let named = SORT_NAMES.iter().find(|(name, _)| *name == key);
                let (_, key) = named.ok_or_else(|| RefusedTerm::hint(SORTS))?;
                let key = *key;
                self.order = Order { key, descending: !minus.is_empty() };
                Ok(())
            }
            _ => Err(RefusedTerm::hint("is not known; the help shows what is")),
        }
    }

    /// Sets what the API has by its name there.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.filter.set(&mut self.order, name, value).map_err(|error| match error {
            crate::inventory::QueryError::Unknown => format!("{name} is not known"),
            crate::inventory::QueryError::Value(error) => error.message,
        })
    }
}

/// Why a term is refused, and what may be meant.
struct RefusedTerm {
    hint: String,
    near: Vec<Candidate>,
}

impl RefusedTerm {
    fn hint(text: &str) -> RefusedTerm {
        RefusedTerm::from(text.to_owned())
    }
}

impl From<String> for RefusedTerm {
    fn from(hint: String) -> RefusedTerm {
        RefusedTerm { hint, near: Vec::new() }
    }
}

impl From<Misnamed> for RefusedTerm {
    fn from(error: Misnamed) -> RefusedTerm {
        RefusedTerm { hint: error.to_string(), near: error.candidates().to_vec() }
    }
}

impl Problem {
    /// The whole of it, where there are no links.
    pub fn sentence(&self) -> String {
        let Problem { word, hint, instead } = self;
        let names: Vec<String> = instead.iter().map(|one| format!("{} ({})", one.name, one.word)).collect();
        let end = if hint.ends_with(['.', '?', ':']) { "" } else { "." };
        let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
        format!("{word} {hint}{end}{names}")
    }
}

impl Instead {
    /// The line as it stands in an address.
    pub fn query(&self) -> String {
        super::gate::query_value(&self.line)
    }

    /// `name:ID` of a candidate; the line is put in when all words are known.
    fn of(name: &str, one: Candidate) -> Instead {
        let word = format!("{name}:{}", quoted(&one.id));
        Instead { line: String::new(), word, name: one.name, about: String::new() }
    }

    fn entity(what: NamedKind, id: &str, snapshot: &Snapshot, now: Time) -> Instead {
        let name = snapshot.name_of(what, id).unwrap_or(id).to_owned();
        Instead { line: String::new(), word: line_of(what, id), name, about: about(snapshot, what, id, now) }
    }
}

/// What a filter of this name takes.
fn named_by(name: &str) -> Option<NamedKind> {
    match name {
        "account" | "customer" => Some(NamedKind::Customer),
        "application" | "app" => Some(NamedKind::Application),
        "trunk" => Some(NamedKind::Trunk),
        _ => None,
    }
}

/// The customers, applications and trunks that words may name.
fn near(words: &[&Word], snapshot: &Snapshot, now: Time) -> Vec<Instead> {
    let text = words.iter().map(|word| &*word.value).collect::<Vec<_>>().join(" ");
    let of = |what| suggested(&snapshot.entities(what), &text).into_iter().map(move |one| (what, one.id));
    let found = NamedKind::ALL.into_iter().flat_map(of).take(BARE_MAX);
    found.map(|(what, id)| Instead::entity(what, &id, snapshot, now)).collect()
}

/// The pattern of digits as they are typed, if a text is nothing else.
pub fn digits(text: &str, snapshot: &Snapshot, now: Time) -> Option<Pattern> {
    if !typed::is_digits(text) {
        return None;
    }
    let typed::DigitSearch { text, others, ambiguous } = typed::search(text, snapshot, now);
    typed::pattern(others.first().filter(|_| ambiguous).unwrap_or(&text))
}

/// Names in any case, and what has them; nothing that is archived.
#[derive(Default)]
struct NameIndex(HashMap<String, Vec<(NamedKind, String)>>);

impl NameIndex {
    fn of(snapshot: &Snapshot) -> NameIndex {
        let mut names: HashMap<String, Vec<(NamedKind, String)>> = HashMap::new();
        for what in NamedKind::ALL {
            for one in snapshot.entities(what).iter().filter(|one| !one.archived) {
                names.entry(one.name.to_lowercase()).or_default().push((what, one.id.to_owned()));
            }
        }
        NameIndex(names)
    }

    /// All that a text is the id of, or name and id; else all that it is the name of.
    fn find(&self, text: &str, snapshot: &Snapshot) -> Vec<(NamedKind, String)> {
        let ids = NamedKind::ALL.into_iter().filter(|what| snapshot.name_of(*what, text).is_some());
        let ids: Vec<(NamedKind, String)> = ids.map(|what| (what, text.to_owned())).collect();
        if !ids.is_empty() {
            return ids;
        }
        // As the console shows it: `NAME (ID)`.
        let shown = |what| snapshot.shown_id(what, text).map(|id| (what, id.to_owned()));
        let shown: Vec<(NamedKind, String)> = NamedKind::ALL.into_iter().filter_map(shown).collect();
        match shown.is_empty() {
            true => self.0.get(&text.to_lowercase()).cloned().unwrap_or_default(),
            false => shown,
        }
    }
}

fn joined(words: &[Word], part: impl Fn(&Word) -> &String) -> String {
    words.iter().map(|word| part(word).as_str()).collect::<Vec<_>>().join(" ")
}

/// The line of the tab that is called so.
fn tab(word: &str) -> Option<&'static str> {
    let own =
        [("expired", "expired:yes"), ("local", "type:local"), ("tollfree", "type:tollfree"), ("mobile", "type:mobile")];
    let tabs = TABS.iter().filter(|(_, line)| !line.is_empty());
    let mut all = tabs.chain(&own).filter(|(name, _)| name.eq_ignore_ascii_case(word));
    all.next().map(|(_, line)| *line)
}

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// As it stands in the line.
    text: String,
    /// What stands before the colon.
    name: Option<String>,
    negated: bool,
    value: String,
    /// What is wrong with its quotation marks.
    fault: Option<&'static str>,
}

/// The words of a line. A quotation mark behind the colon, or at the beginning
/// of a word, keeps what follows together up to the next one.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, length) = word(rest);
        words.push(word);
        rest = rest[length..].trim_start();
    }
    words
}

/// The first word of a text that begins with one, and its length in bytes.
fn word(text: &str) -> (Word, usize) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    // `-2271` is a number with a dash, `-status:active` is not.
    let colon = text[..end].find(':').filter(|_| !text.starts_with('"'));
    let negated = colon.is_some() && text.starts_with('-');
    let name = colon.map(|at| text[usize::from(negated)..at].to_owned());
    let begin = colon.map_or(0, |at| at + 1);
    let made = |length: usize, value: String, fault| {
        (Word { text: text[..length].to_owned(), name: name.clone(), negated, value, fault }, length)
    };
    let Some(inner) = text[begin..].strip_prefix('"') else {
        return made(end, text[begin..end].to_owned(), None);
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let length = begin + 1 + at + 1;
                let glued = text[length..].chars().next().is_some_and(|next| !next.is_whitespace());
                let whole = text[length..].find(char::is_whitespace).map_or(text.len(), |more| length + more);
                let fault = "needs a space behind the closing quotation mark; within a value, write \\\" for one";
                return if glued { made(whole, value, Some(fault)) } else { made(length, value, None) };
            }
            '\\' => value.extend(chars.next().map(|(_, next)| next)),
            c => value.push(c),
        }
    }
    made(text.len(), value, Some("needs a closing quotation mark"))
}

/// A value as it stands in a line.
pub fn quoted(value: &str) -> String {
    match value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"') {
        true => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        false => value.to_owned(),
    }
}

/// What the console calls some of the API's filters.
const ALIASES: [(&str, &str); 5] = [
    ("account", "account_auth_id"),
    ("customer", "account_auth_id"),
    ("application", "application_id"),
    ("trunk", "trunk_id"),
    ("type", "number_type"),
];

/// A filter that addresses have, and the API has not.
const STATE: &str = "state";

/// Whether a word of an address is a filter of the numbers.
pub fn is_parameter(name: &str) -> bool {
    name == STATE || PARAMETERS.iter().any(|one| one.name == name) || ALIASES.iter().any(|(alias, _)| *alias == name)
}

/// The filter line that an address asks for: its `q`, and the API's filters as
/// words of the line.
#[derive(Default)]
pub struct AddressLine {
    pub q: String,
    /// The filters with a value that they do not take.
    pub problems: Vec<Problem>,
}

/// Reads the filters of an address.
pub fn of_address(query: &str) -> AddressLine {
    let mut line = AddressLine::default();
    let mut filters = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, value.trim()) {
            (_, "") => {}
            ("q", value) => line.q = value.to_owned(),
            (name, value) if is_parameter(name) => match of_parameter(name, value) {
                Ok(filter) => filters.push(filter),
                Err(hint) => {
                    line.problems.push(Problem { word: format!("{name}={value}"), hint, instead: Vec::new() });
                }
            },
            _ => {}
        }
    }
    for filter in filters {
        line.q = format!("{} {filter}", line.q).trim().to_owned();
    }
    line
}

/// A filter of the API as words of a line. The API's own reader reads it, so that
/// both take the same values; names stand for ids in the line only.
fn of_parameter(name: &str, value: &str) -> Result<String, String> {
    let word = |name: &str, value: &str| format!("{name}:{}", quoted(value));
    if name == STATE {
        return Ok(word(STATE, value));
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    let (mut filter, mut order) = (Filter::default(), Order::default());
    filter.set(&mut order, name, value).map_err(|error| match error {
        QueryError::Unknown => "is no filter".to_owned(),
        QueryError::Value(error) => error.message,
    })?;
    let whether = |wanted: Option<bool>, what: &str| {
        wanted.map_or_else(String::new, |wanted| format!("{}:{what}", if wanted { "has" } else { "no" }))
    };
    let bound = |name: &str, side: char, time: Option<Time>| {
        time.map_or_else(String::new, |time| format!("{name}:{side}{time}"))
    };
    Ok(match name {
        "search" if typed::is_digits(value) => value.to_owned(),
        "search" => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        "account_auth_id" => word("account", value),
        "application_id" => word("application", value),
        "trunk_id" => word("trunk", value),
        "number_type" => word("type", value),
        "routed" => whether(filter.routed, "application"),
        "assigned" => whether(filter.assigned, "account"),
        "expires_before" => bound("expires", '<', filter.expires_before),
        "expires_after" => bound("expires", '>', filter.expires_after),
        "assigned_before" => bound("assigned", '<', filter.assigned_before),
        "assigned_after" => bound("assigned", '>', filter.assigned_after),
        "called_before" => {
            let called = filter.called.unwrap_or_default();
            let never = called.never.then(|| "never".to_owned());
            let before = called.before.map(|time| format!("<{time}"));
            format!("called:{}", never.into_iter().chain(before).collect::<Vec<_>>().join(","))
        }
        "sort" => {
            let key = SORT_NAMES.iter().find(|(_, key)| *key == order.key).map_or("number", |(name, _)| name);
            format!("sort:{}{key}", if order.descending { "-" } else { "" })
        }
        // `status`, `country`, `region` and `tag`.
        name => word(name, value),
    })
}

/// A line with one more filter, in the place of another of its name.
pub fn with(text: &str, name: &str, value: &str) -> String {
    let kept = words(text).into_iter().filter(|word| word.negated || word.name.as_deref() != Some(name));
    let mut kept: Vec<String> = kept.map(|word| word.text).collect();
    if !value.is_empty() {
        kept.push(format!("{name}:{}", quoted(value)));
    }
    kept.join(" ")
}

/// A line with another word in the place of one.
fn replaced(text: &str, word: &str, by: &str) -> String {
    match text.find(word) {
        Some(at) => format!("{}{by}{}", &text[..at], &text[at + word.len()..]),
        None => by.to_owned(),
    }
}

enum Side {
    Less,
    More,
}

enum Bound {
    Span(i64),
    /// The first moment of a day, or an exact time.
    Moment(Time),
}

/// The terms of a line so far: what each filters by, and how it was typed.
#[derive(Default)]
struct SeenTerms(Vec<(String, String)>);

fn bound(value: &str, clock: &PageClock) -> Result<(Side, Bound), String> {
    let hint = || "needs < or > and then days or hours (<14d, <36h) or a day (>2027-03-01)".to_owned();
    let (side, rest) = match (value.strip_prefix('<'), value.strip_prefix('>')) {
        (Some(rest), _) => (Side::Less, rest),
        (_, Some(rest)) => (Side::More, rest),
        _ => return Err(hint()),
    };
    // Of `1m`, nobody could say whether a minute or a month is meant.
    if rest.ends_with(['d', 'h']) {
        return span::CHECKED.read(rest).map(|seconds| (side, Bound::Span(seconds))).map_err(|_| hint());
    }
    // A moment may have a fraction of a second.
    let moment = match side {
        Side::Less => Time::upper_bound(rest),
        Side::More => rest.parse(),
    };
    if let Ok(time) = moment {
        return Ok((side, Bound::Moment(time)));
    }
    let date: Date = rest.parse().map_err(|_| hint())?;
    Ok((side, Bound::Moment(first_moment(date, clock).ok_or_else(hint)?)))
}

/// The customer that an application or a trunk is only for.
pub fn owner<'s>(snapshot: &'s Snapshot, what: NamedKind, id: &str) -> Option<&'s str> {
    let account = match what {
        NamedKind::Customer => None,
        NamedKind::Application => snapshot.applications.get(id)?.account.as_ref(),
        NamedKind::Trunk => snapshot.trunks.get(id)?.account.as_ref(),
    };
    account.map(|account| account.as_str())
}

/// What tells one apart from another of the same name: its id, the customer that
/// it is for, and its count of numbers.
pub fn about(snapshot: &Snapshot, what: NamedKind, id: &str, now: Time) -> String {
    let value = Some(id.into());
    let filter = match what {
        NamedKind::Customer => Filter { account: value, ..Filter::default() },
        NamedKind::Application => Filter { application: value, ..Filter::default() },
        NamedKind::Trunk => Filter { trunk: value, ..Filter::default() },
    };
    let none = Window::Page { skip: 0, rows: 0 };
    let total = snapshot.select(&filter, Order::default(), none, now).total;
    let customer = owner(snapshot, what, id);
    let customer = customer.map(|id| snapshot.name_of(NamedKind::Customer, id).unwrap_or(id).to_owned());
    let parts = [Some(id.to_owned()), customer, Some(super::show::count(total, "number", "numbers"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The filter line of what a name or an id is.
pub fn line_of(what: NamedKind, id: &str) -> String {
    let name = if what == NamedKind::Customer { "account" } else { what.one() };
    format!("{name}:{}", quoted(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Status;

    fn now() -> Time {
        "2026-11-23T12:00:00Z".parse().expect("a time")
    }

    fn snapshot() -> Snapshot {
        let customers = [
            ("MA", "Mango GmbH"),
            ("MA 1", "Other AG"),
            ("MA_1", "Globex Field Services"),
            ("say \"hi\"", "Quoted"),
            ("a\\b", "Backslash"),
            ("a\\ b\"", "Both"),
            ("-x", "Dash"),
            ("a:b", "Colon"),
            ("new", "New"),
        ];
        let applications = [("app_1", "Main IVR"), ("app_2", "Main IVR"), ("x y", "Support")];
        Snapshot::of_names(&customers, &applications)
    }

    fn read_in(text: &str, zone: &str) -> FilterLine {
        FilterLine::read(text, &snapshot(), &PageClock::new(now(), zone))
    }

    fn read(text: &str) -> FilterLine {
        read_in(text, "UTC")
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)], rest: impl Fn(&mut Filter)) {
        let (mut filter, mut order) = (Filter::default(), Order::default());
        for (name, value) in expected {
            filter.set(&mut order, name, value).expect(name);
        }
        rest(&mut filter);
        let line = read(text);
        assert_eq!(line.problems, [], "{text}");
        assert_eq!((line.filter, line.order), (filter, order), "{text}");
    }

    #[test]
    fn words_are_filters() {
        check("", &[], |_| {});
        check("+91 22", &[("search", "+91 22")], |_| {});
        check("22-71", &[("search", "2271")], |_| {});
        check(
            "account:MA_1 no:application -status:suspended",
            &[("account_auth_id", "MA_1"), ("routed", "false"), ("status", "active")],
            |_| {},
        );
        check("has:account -has:application", &[("assigned", "true"), ("routed", "false")], |_| {});
        check("region:\"New Delhi\" country:in", &[("region", "New Delhi"), ("country", "IN")], |_| {});
        check("state:quarantined", &[], |filter| filter.state = State::Quarantined.into());
        check("state:available,reserved", &[], |filter| {
            filter.state = [State::Available, State::Reserved].into_iter().collect();
        });
        check("type:local,mobile country:in,fr", &[("number_type", "local,mobile"), ("country", "IN,FR")], |_| {});
        check("status:active,suspended", &[], |_| {});
        check(
            "expires:<14d",
            &[("expires_after", "2026-11-23T12:00:00Z"), ("expires_before", "2026-12-07T12:00:01Z")],
            |_| {},
        );
        for text in ["expires:>7d expires:<14d", "expires:<14d expires:>7d"] {
            check(
                text,
                &[("expires_after", "2026-11-30T12:00:00Z"), ("expires_before", "2026-12-07T12:00:01Z")],
                |_| {},
            );
        }
        check("expires:>2027-03-01", &[("expires_after", "2027-03-01T00:00:00Z")], |_| {});
        check("suspended 2271", &[("search", "2271")], |filter| filter.state = State::Suspended.into());
        check("Unrouted", &[("status", "active"), ("routed", "false")], |_| {});
        check("available", &[], |filter| filter.state = State::Available.into());
        check("assigned:<30d", &[("assigned_after", "2026-10-24T12:00:00Z")], |_| {});
        check("sort:-expires", &[("sort", "-expires_at")], |_| {});
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, word, hint) in [
            ("owner:me", "owner:me", "not known"),
            ("status:running", "status:running", "active or suspended"),
            ("-account:MA_1", "-account:MA_1", "turned round"),
            ("account:", "account:", "behind the colon"),
            ("status:active status:suspended", "status:suspended", "twice"),
            ("expires:<14d expires:<7d", "expires:<7d", "twice"),
            ("no:application has:application", "has:application", "twice"),
            ("expires:14d", "expires:14d", "< or >"),
            ("expires:<1m", "expires:<1m", "days or hours"),
            ("has:foo", "has:foo", "must be application or account"),
            ("sort:foo", "sort:foo", "must be number, state"),
            ("unrouted has:application", "has:application", "cannot stand beside unrouted"),
            ("state:retired", "state:retired", "one of available"),
            ("state:active,retired", "state:active,retired", "one of available"),
            ("type:local,", "type:local,", "empty value"),
            ("type:local,local", "type:local,local", "twice"),
            ("country:India", "country:India", "two"),
            ("active status:active", "status:active", "cannot stand beside active"),
            ("account:\"MA 1", "account:\"MA 1", "closing"),
            ("account:\"MA\"1", "account:\"MA\"1", "behind the closing"),
            ("account:Globex", "account:Globex", "Did you mean Globex Field Services (MA_1)?"),
            ("app:\"Main IVR\"", "app:\"Main IVR\"", "Main IVR is the name of 2 applications: app_1, app_2"),
            ("trunk:t", "trunk:t", "Trunk t not found."),
            ("Globex", "Globex", "is in no number"),
            ("22 Main IVR", "Main IVR", "is the name of 2"),
            ("Stark", "Stark", "no customer, application or trunk"),
        ] {
            let problems = read(text).problems;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert_eq!(problems[0].word, word);
            assert!(problems[0].hint.contains(hint), "{text}: {}", problems[0].hint);
        }
        assert_eq!(read(&"1".repeat(33)).problems.len(), 1);
        assert_eq!(read(&"a".repeat(CHARS_MAX + 1)).problems.len(), 1);
    }

    #[test]
    fn the_filters_of_the_api_are_words_of_a_line() {
        let mut all: Vec<(&str, &str)> = PARAMETERS.iter().map(|one| (one.name, one.example)).collect();
        all.extend([
            ("routed", "true"),
            ("assigned", "true,false"),
            ("status", "active,suspended"),
            ("number_type", "local,mobile"),
            ("called_before", "never"),
            ("called_before", "2026-02-01T00:00:00Z,never"),
            ("expires_after", "2026-02-01T05:30:00+05:30"),
            ("sort", "-monthly_cost"),
            ("sort", "number"),
            ("search", "+91 22"),
        ]);
        for (name, value) in all {
            // The ids of the examples are not in this inventory, and are read as they are.
            if name.ends_with("_id") {
                assert!(of_parameter(name, value).expect(name).ends_with(&format!(":{value}")), "{name}");
                continue;
            }
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            let AddressLine { q, problems } = of_address(&query);
            assert_eq!(problems, [], "{query}");
            let (mut filter, mut order) = (Filter::default(), Order::default());
            filter.set(&mut order, name, value).expect(name);
            let line = read(&q);
            assert_eq!(line.problems, [], "{query}: {q}");
            assert_eq!((line.filter, line.order), (filter, order), "{query}: {q}");
        }
        for (name, alias) in ALIASES.map(|(alias, name)| (name, alias)) {
            assert!(is_parameter(alias) && is_parameter(name), "{alias}");
        }
        for (query, word, hint) in [
            ("routed=maybe", "routed=maybe", "must be true or false"),
            ("status=actve", "status=actve", "must be active or suspended"),
            ("sort=foo", "sort=foo", "must be number, assigned_at"),
            ("expires_before=soon", "expires_before=soon", ""),
            ("number_type=land&region=x", "number_type=land", "must be local"),
        ] {
            let problems = of_address(query).problems;
            assert_eq!(problems.len(), 1, "{query}: {problems:?}");
            assert_eq!(problems[0].word, word);
            assert!(problems[0].hint.contains(hint), "{query}: {}", problems[0].hint);
        }
    }

    #[test]
    fn a_name_is_found_as_the_console_prints_it() {
        let customers = [("MA_1", "The \"Blue Door\" Hotels"), ("MA_2", "Kaveri (South)"), ("MA_3", "\"A\"B Corp")];
        let snapshot = Snapshot::of_names(&customers, &[]);
        let clock = PageClock::new(now(), "UTC");
        for (text, id) in [
            ("The \"Blue Door\" Hotels", "MA_1"),
            ("the \"blue door\" hotels", "MA_1"),
            ("The \"Blue Door\" Hotels (MA_1)", "MA_1"),
            ("Kaveri (South)", "MA_2"),
            ("Kaveri (South) (MA_2)", "MA_2"),
            ("\"A\"B Corp", "MA_3"),
            ("22 Kaveri (South) (MA_2) sort:cost", "MA_2"),
        ] {
            let line = FilterLine::read(text, &snapshot, &clock);
            assert_eq!((&line.problems[..], line.filter.account.as_deref()), (&[][..], Some(id)), "{text}");
        }
    }

    #[test]
    fn a_problem_is_a_sentence_where_there_are_no_links() {
        let problems = read("Globex").problems;
        let said = problems[0].sentence();
        assert!(said.ends_with("Did you mean one of these? Globex Field Services (account:MA_1)"), "{said}");
        assert_eq!(read("owner:me").problems[0].sentence(), "owner:me is not known; the help shows what is.");
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let line = read_in("expires:<2027-03-01", "Asia/Kolkata");
        assert_eq!(line.filter.expires_before.map(|at| at.to_string()).as_deref(), Some("2027-02-28T18:30:00Z"));
    }

    #[test]
    fn a_filter_takes_the_place_of_another() {
        assert_eq!(with("2271 sort:expires", "sort", "-cost"), "2271 sort:-cost");
        assert_eq!(with("region:\"New Delhi\"", "region", ""), "");
        assert_eq!(with("", "region", "New Delhi"), "region:\"New Delhi\"");
        assert_eq!(read("status:active").filter.status, Some(Status::Active));
    }

    #[test]
    fn every_id_can_be_written_in_a_line() {
        let snapshot = snapshot();
        for account in snapshot.accounts.iter() {
            let id = account.auth_id.as_str();
            let text = format!("22 account:{} sort:cost", quoted(id));
            let line = read(&text);
            assert_eq!((line.problems.len(), line.filter.account.as_deref()), (0, Some(id)), "{text}");
            assert_eq!(with(&text, "sort", ""), format!("22 account:{}", quoted(id)));
            assert_eq!(with("", "account", id), format!("account:{}", quoted(id)));
        }
        check("account:\"Other AG\"", &[("account_auth_id", "MA 1")], |_| {});
        check("customer:MA", &[("account_auth_id", "MA")], |_| {});
    }

    #[test]
    fn what_may_be_meant_is_a_line_to_follow() {
        let lines = |text: &str| {
            let problems = read(text).problems;
            problems.into_iter().flat_map(|problem| problem.instead).map(|one| one.line).collect::<Vec<_>>()
        };
        assert_eq!(lines("22 Globex sort:cost"), ["22 account:MA_1 sort:cost"]);
        assert_eq!(lines("account:Other 22"), ["account:\"MA 1\" 22"]);
        assert_eq!(lines("Main IVR"), ["application:app_1", "application:app_2"]);
        for line in lines("Globex").iter().chain(&lines("account:Other")) {
            assert_eq!(read(line).problems, [], "{line}");
        }
    }
}
