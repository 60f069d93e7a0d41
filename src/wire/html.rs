//! Text for people, in HTML and elsewhere.
//!
//! Invariant: an [`Html`] comes from a template, from escaped text, or from other [`Html`]. A template escapes every
//! value that is not `Html`, so the name of a customer cannot become markup.
//! Deliberately absent: a way to declare that a text is HTML already.

use std::fmt;
use std::ops::{Add, AddAssign};

use askama::{FastWritable, Template, Values};

/// Markup that is safe to send. Templates print it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// A rendered template.
    pub fn of<T: Template>(template: &T) -> Html {
        let mut html = Html(String::with_capacity(T::SIZE_HINT));
        html.push_template(template);
        html
    }

    /// Text in which nothing is markup.
    pub fn escape(text: &str) -> Html {
        Html(escape(text))
    }

    pub fn with_capacity(bytes: usize) -> Html {
        Html(String::with_capacity(bytes))
    }

    pub fn push_template(&mut self, template: &impl Template) {
        template.render_into(&mut self.0).expect("writing to memory");
    }

    /// All parts, with a text between them.
    pub fn join(parts: impl IntoIterator<Item = Html>, between: &str) -> Html {
        let parts = parts.into_iter().enumerate();
        parts.map(|(at, part)| if at == 0 { part } else { Html::escape(between) + part }).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl askama::filters::HtmlSafe for Html {}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FastWritable for Html {
    fn write_into(&self, out: &mut dyn fmt::Write, _: &dyn Values) -> askama::Result<()> {
        Ok(out.write_str(&self.0)?)
    }
}

/// Escaped.
impl From<&str> for Html {
    fn from(text: &str) -> Html {
        Html::escape(text)
    }
}

/// Escaped.
impl From<String> for Html {
    fn from(text: String) -> Html {
        Html::escape(&text)
    }
}

impl<T: Into<Html>> AddAssign<T> for Html {
    fn add_assign(&mut self, more: T) {
        self.0.push_str(&more.into().0);
    }
}

impl<T: Into<Html>> Add<T> for Html {
    type Output = Html;

    fn add(mut self, more: T) -> Html {
        self += more;
        self
    }
}

impl<T: Into<Html>> FromIterator<T> for Html {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Html {
        parts.into_iter().fold(Html::default(), Html::add)
    }
}

pub fn put(out: &mut String, text: fmt::Arguments<'_>) {
    fmt::Write::write_fmt(out, text).expect("writing to memory");
}

pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(ext = "html", source = "<i>{{ text }}</i>{{ html }}")]
    struct Both<'a> {
        text: &'a str,
        html: Html,
    }

    #[test]
    fn only_templates_make_markup() {
        let both = |text| Html::of(&Both { text, html: Html::escape("<b>") });
        assert_eq!(both("x").as_str(), "<i>x</i>&lt;b&gt;");
        assert!(!both("<script>").as_str().contains("<script>"));
        let sum = both("x") + " & " + String::from("'\"");
        assert_eq!(sum.as_str(), "<i>x</i>&lt;b&gt; &amp; &#39;&quot;");
        let list = Html::join(["a".into(), both("b"), "<".into()], ", ");
        assert_eq!(list.as_str(), "a, <i>b</i>&lt;b&gt;, &lt;");
        assert!(Html::join([], ", ").is_empty());
    }
}
