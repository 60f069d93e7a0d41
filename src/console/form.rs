//! A form that was refused, and the days that forms take.
//!
//! All forms follow one pattern: a refused form comes back with what was typed,
//! says above it what is wrong, and marks each field that is. [`Wrongs`] has the
//! sentences; `templates/macros.html` marks the fields.
//! Invariant: a day without a time is its first moment in the reader's zone.
//! Deliberately absent: what may be said in a field (the rules are the verbs').

use jiff::civil::Date;

use super::gate::Form;
pub use super::page::SENTENCE;
use super::page::{Trouble, mendable, told};
use super::show::{PageClock, in_console};
use crate::domain::{FieldError, Time, time};
use crate::service::ServiceError;
use crate::service::people::PeopleError;

/// What is wrong with a form, above it and field by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FormRefusal {
    pub text: String,
    pub wrongs: Wrongs,
    /// Whether it says that somebody else changed the same thing meanwhile.
    pub outdated: bool,
}

impl FormRefusal {
    pub fn of(errors: Vec<FieldError>) -> FormRefusal {
        FormRefusal { text: told(&errors), wrongs: Wrongs(errors), outdated: false }
    }

    /// One field, and a sentence that says what is wrong with it.
    pub fn field(field: &str, sentence: impl Into<String>) -> FormRefusal {
        FormRefusal::of(vec![FieldError::missing(field, SENTENCE, sentence)])
    }

    /// Of a long form: above it stands only that fields are marked.
    pub fn below(errors: Vec<FieldError>) -> FormRefusal {
        let text = "Nothing was saved; see what is marked below.".to_owned();
        FormRefusal { text, ..FormRefusal::of(errors) }
    }

    /// The same of a field that has another name in the form.
    pub fn renamed(mut self, from: &str, to: &str) -> FormRefusal {
        let mut errors = std::mem::take(&mut self.wrongs.0);
        errors.iter_mut().filter(|error| error.field == from).for_each(|error| to.clone_into(&mut error.field));
        let text = if errors.is_empty() { self.text } else { told(&errors) };
        FormRefusal { text, wrongs: Wrongs(errors), ..self }
    }

    /// What no single field is to blame for.
    pub fn whole(text: impl Into<String>) -> FormRefusal {
        FormRefusal { text: text.into(), ..FormRefusal::default() }
    }

    /// Somebody else changed it since the form's page was loaded.
    pub fn outdated(what: &str, by: &str) -> FormRefusal {
        let text = format!(
            "This {what} was changed{by} while you looked at it, so nothing was saved. Above the form is how it is \
             now; send the form again if you still want to."
        );
        FormRefusal { outdated: true, ..FormRefusal::whole(text) }
    }

    /// The version with which the refused form goes on: the one that was sent, so that
    /// a mended form does not undo what others changed meanwhile. `None` is the current
    /// one, where the refusal has told of that change.
    pub fn version(&self, form: &Form) -> Option<u64> {
        form.version().filter(|_| !self.outdated)
    }

    /// What was refused about people, or trouble where there is nothing to be
    /// mended. `password` and `code` are the fields that those are typed into.
    pub fn from_people(error: PeopleError, password: &str, code: &str) -> Result<FormRefusal, Trouble> {
        let text = error.to_string();
        Ok(match error {
            PeopleError::Invalid(errors) => FormRefusal::of(errors),
            PeopleError::Exists => FormRefusal::field("email", in_console(&text)),
            PeopleError::Refused => FormRefusal::field(password, "the password is wrong"),
            PeopleError::Code => FormRefusal::field(code, text),
            PeopleError::WeakPassword(_) => FormRefusal::field("new", in_console(&text)),
            PeopleError::Throttled { .. } | PeopleError::Forbidden(_) => FormRefusal::whole(text),
            error => return Err(error.into()),
        })
    }

    /// A verb's refusal, or trouble where there is nothing to be mended.
    pub fn from_verb(error: ServiceError) -> Result<FormRefusal, Trouble> {
        match error {
            ServiceError::Invalid(errors) => Ok(FormRefusal::of(errors)),
            ServiceError::Outdated { what, .. } => {
                Ok(FormRefusal::outdated(if what == "account" { "customer" } else { what }, ""))
            }
            other => Ok(FormRefusal::whole(mendable(other)?)),
        }
    }
}

/// The fields of a form that are wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrongs(pub Vec<FieldError>);

/// What an error says, in the words of the console; a sentence may name something.
fn message(error: &FieldError) -> String {
    if error.code == SENTENCE { error.message.clone() } else { in_console(&error.message) }
}

impl Wrongs {
    /// The same with times as the reader's clock has them.
    pub fn at(&self, clock: &PageClock) -> Wrongs {
        let told = |error: &FieldError| FieldError { message: clock.plain_told(&error.message), ..error.clone() };
        Wrongs(self.0.iter().map(told).collect())
    }

    /// What is wrong with a field, or with one of what it lists.
    pub fn said(&self, field: &str) -> Option<String> {
        let of = |error: &FieldError| match error.field.strip_prefix(field)? {
            "" => Some(message(error)),
            // Named by what it says, since empty lines of a list are passed over.
            one if one.starts_with('[') => {
                Some(format!("{} {}", error.value.as_deref().unwrap_or_default(), message(error)))
            }
            _ => None,
        };
        let all: Vec<String> = self.0.iter().filter_map(of).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Why a text is no day of a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadDay {
    NotADay,
    /// The end of the calendar, which other systems write for "never".
    Never,
}

impl BadDay {
    pub fn message(self) -> &'static str {
        match self {
            BadDay::NotADay => "must be a day such as 2027-03-01",
            BadDay::Never => {
                "is what other systems write for no expiry; leave the day empty and the number auto-renews"
            }
        }
    }
}

/// The first moment of a day in the reader's zone; an exact time is taken as it
/// is.
pub fn moment(text: &str, clock: &PageClock) -> Result<Time, BadDay> {
    // `Time` and `Date` have years of four digits, so this is the last day.
    if text.starts_with("9999-12-31") {
        return Err(BadDay::Never);
    }
    if let Ok(time) = text.parse::<Time>() {
        return Ok(time);
    }
    let date: Date = text.parse().map_err(|_| BadDay::NotADay)?;
    first_moment(date, clock).ok_or(BadDay::NotADay)
}

/// The first moment of a day in the reader's zone.
pub fn first_moment(date: Date, clock: &PageClock) -> Option<Time> {
    time::first_moment(date, &clock.zone)
}

/// Of which moment a date field is, to stand in its label: `00:00
/// Asia/Kolkata`.
pub fn midnight(clock: &PageClock) -> String {
    format!("00:00 {}", clock.zone.iana_name().unwrap_or("UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(zone: &str) -> PageClock {
        PageClock::new("2026-11-23T12:00:00Z".parse().expect("a time"), zone)
    }

    #[test]
    fn a_day_is_its_first_moment_in_the_zone_of_the_reader() {
        for (text, zone, expected) in [
            ("2027-03-01", "UTC", Ok("2027-03-01T00:00:00Z")),
            ("2027-03-01", "Asia/Kolkata", Ok("2027-02-28T18:30:00Z")),
            ("2027-03-01", "America/New_York", Ok("2027-03-01T05:00:00Z")),
            // Clocks went from 00:00 to 01:00 that night.
            ("2018-11-04", "America/Sao_Paulo", Ok("2018-11-04T03:00:00Z")),
            // As they are.
            ("2027-03-01T10:00:00Z", "Asia/Kolkata", Ok("2027-03-01T10:00:00Z")),
            ("2027-03-01T10:00:00+05:30", "UTC", Ok("2027-03-01T04:30:00Z")),
            ("9999-12-30", "UTC", Ok("9999-12-30T00:00:00Z")),
            ("9999-12-31", "UTC", Err(BadDay::Never)),
            ("9999-12-31", "Asia/Kolkata", Err(BadDay::Never)),
            ("9999-12-31T23:59:59Z", "UTC", Err(BadDay::Never)),
            ("2027-02-29", "UTC", Err(BadDay::NotADay)),
            ("1 March 2027", "UTC", Err(BadDay::NotADay)),
            ("tomorrow", "UTC", Err(BadDay::NotADay)),
        ] {
            let found = moment(text, &clock(zone)).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{text} in {zone}");
        }
    }

    #[test]
    fn a_label_says_of_which_moment_a_day_is() {
        assert_eq!(midnight(&clock("Asia/Kolkata")), "00:00 Asia/Kolkata");
        assert_eq!(midnight(&clock("nowhere")), "00:00 UTC");
    }

    #[test]
    fn fields_that_are_wrong_have_a_sentence_and_no_others() {
        let errors = vec![
            FieldError::new("name", "INVALID", "is <b>", "x"),
            FieldError::new("recipients[1]", "INVALID", "is no address", "a@"),
        ];
        let wrongs = FormRefusal::of(errors).wrongs;
        for (field, expected) in
            [("name", Some("is <b>")), ("recipients", Some("a@ is no address")), ("nam", None), ("zone", None)]
        {
            assert_eq!(wrongs.said(field).as_deref(), expected, "{field}");
        }
    }
}
