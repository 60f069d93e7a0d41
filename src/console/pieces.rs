//! The small elements of pages that code composes: marks, links, times, notes.
//!
//! Each is a block of `templates/pieces.html`, which escapes its values. Pages themselves use `templates/macros.html`.
//! Deliberately absent: elements that only one page has; they are in its template.

use askama::Template;

use crate::domain::E164;
use crate::wire::html::Html;

#[derive(Template)]
#[template(path = "pieces.html")]
pub enum MarkupPiece<'a> {
    #[template(block = "none")]
    Nothing { text: &'a str },
    #[template(block = "mark")]
    Mark { class: &'a str, text: &'a str },
    #[template(block = "beside")]
    Beside { main: Html, aside: Html },
    #[template(block = "small")]
    Small { text: &'a str },
    #[template(block = "lines")]
    Lines { lines: Vec<Html> },
    #[template(block = "code")]
    Code { text: &'a str },
    #[template(block = "link")]
    Link { href: &'a str, title: &'a str, text: &'a str },
    #[template(block = "number")]
    Number { base: &'a str, number: &'a str, readable: &'a str },
    #[template(block = "time")]
    Time { utc: &'a str, date: &'a str, clock: &'a str, day: &'a str, minute: &'a str },
    #[template(block = "local")]
    LocalTime { utc: &'a str, text: &'a str },
    #[template(block = "titled")]
    Titled { title: &'a str, text: &'a str },
    #[template(block = "zones")]
    Zones { zones: Vec<&'a str> },
    #[template(block = "hidden")]
    Hidden { name: &'a str, value: &'a str },
    #[template(block = "near")]
    Near { links: Html },
}

/// What is known of something, as terms and their values.
pub type FactList = Vec<(&'static str, Html)>;

/// What stands where there is no value.
pub fn none() -> Html {
    nothing("none")
}

pub fn nothing(text: &str) -> Html {
    Html::of(&MarkupPiece::Nothing { text })
}

/// A state as a mark, which has a text besides its colour.
pub fn mark(class: &str, text: &str) -> Html {
    Html::of(&MarkupPiece::Mark { class, text })
}

/// A value, and in smaller letters what belongs to it.
pub fn beside(main: impl Into<Html>, aside: impl Into<Html>) -> Html {
    Html::of(&MarkupPiece::Beside { main: main.into(), aside: aside.into() })
}

/// Values below each other.
pub fn lines(lines: impl IntoIterator<Item = Html>) -> Html {
    Html::of(&MarkupPiece::Lines { lines: lines.into_iter().collect() })
}

pub fn code(text: &str) -> Html {
    Html::of(&MarkupPiece::Code { text })
}

pub fn link(href: &str, text: &str) -> Html {
    Html::of(&MarkupPiece::Link { href, title: "", text })
}

/// A link to what has an id, by its name; the id is its title.
pub fn titled_link(href: &str, id: &str, name: &str) -> Html {
    Html::of(&MarkupPiece::Link { href, title: id, text: name })
}

/// A text with what a pointer over it shows.
pub fn titled(title: &str, text: &str) -> Html {
    Html::of(&MarkupPiece::Titled { title, text })
}

/// A link to the page of a number.
pub fn number(base: &str, number: E164, readable: &str) -> Html {
    Html::of(&MarkupPiece::Number { base, number: &number.to_string(), readable })
}
