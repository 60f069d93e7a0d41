//! What stands in a text and says nothing: the words that databases and
//! spreadsheets write in empty cells, and invisible characters.
//!
//! If such a word were accepted as an id, a customer called "NULL" would hold every
//! number without one. Deliberately absent: whether an entity really has that name;
//! the inventory decides that.

/// What to do about a word for nothing.
pub const REFUSED: &str = "is a word for nothing; leave the cell empty if nothing is meant";

/// The same where there is no cell.
pub const OMIT: &str = "is a word for nothing; leave it out if nothing is meant";

/// The same of an id, which is needed.
pub const CHOOSE: &str = "is a word for nothing; choose another id";

/// The same of a word that may be a name as well.
pub const DOUBTFUL: &str = "may be a word for nothing; leave the cell empty if nothing is meant";

/// In lower case.
pub const CERTAIN: &[&str] = &[
    "null",
    "(null)",
    "<null>",
    "[null]",
    "nil",
    "(nil)",
    "<nil>",
    "nan",
    "nat",
    "none",
    "(none)",
    "<none>",
    "[none]",
    "\\n",
    "undefined",
    "n/a",
    "#n/a",
    "#n/a n/a",
    "n.a.",
    "<na>",
    "#null!",
    "#ref!",
    "#value!",
    "#name?",
    "#num!",
    "#div/0!",
    "tbd",
    "(empty)",
    "<empty>",
    "(blank)",
    "-",
    "--",
    "---",
    "\u{2013}",
    "\u{2014}",
    "\u{2212}",
];

const PERHAPS: &[&str] = &["na", "0"];

/// Whether a text says nothing, in any case.
pub fn certain(text: &str) -> bool {
    is_one(text, CERTAIN)
}

/// Whether a text may say nothing.
pub fn perhaps(text: &str) -> bool {
    is_one(text, PERHAPS)
}

fn is_one(text: &str, words: &[&str]) -> bool {
    // Every cell of a file is asked, and few are as short as these.
    const BYTES_MAX: usize = 9;
    text.len() <= BYTES_MAX && words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether nobody sees the character: marks of direction, spaces of no width,
/// the soft hyphen, byte order marks and their like.
pub fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case() {
        for text in [
            "NULL",
            "Null",
            "nil",
            "NaN",
            "None",
            "\\N",
            "UNDEFINED",
            "N/A",
            "#N/A",
            "#n/a",
            "tbd",
            "-",
            "--",
            "\u{2014}",
        ] {
            assert!(certain(text) && !perhaps(text), "{text}");
        }
        for text in ["NA", "na", "0"] {
            assert!(perhaps(text) && !certain(text), "{text}");
        }
        for text in ["", "00", "nullable", "MA_NULL", "Nile", "N/A Ltd", "."] {
            assert!(!certain(text) && !perhaps(text), "{text}");
        }
        assert!(CERTAIN.iter().all(|word| word.len() <= 9));
    }
}
