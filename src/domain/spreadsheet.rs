//! Cells that a spreadsheet would take for formulas, and how they are kept from
//! it: by an apostrophe, which an import takes away again.
//!
//! Invariant: a cell that is protected and unprotected is what it was, also one
//! that looked protected before. Deliberately absent: which files are protected
//! (a file whose numbers begin with `'+` is).

use std::borrow::Cow;

/// What a formula begins with.
const BEGINS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Whether a cell needs an apostrophe before it. One that has some already gets
/// one more, so that it can be told from what was protected.
pub fn is_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(BEGINS)
}

/// A protected cell as it was.
pub fn unprotected(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

/// The text of a cell that says it as a formula, `="0123"`. Other formulas are
/// none.
pub fn quoted(cell: &str) -> Option<Cow<'_, str>> {
    let text = cell.strip_prefix("=\"")?.strip_suffix('"')?;
    if !text.contains('"') {
        return Some(Cow::Borrowed(text));
    }
    let plain = text.replace("\"\"", "");
    (!plain.contains('"')).then(|| Cow::Owned(text.replace("\"\"", "\"")))
}

/// A text as a formula that says it. Needed for texts that look like one.
pub fn as_quoted(text: &str) -> String {
    format!("=\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_formula_may_be_a_text() {
        assert_eq!(quoted("=\"+912271264217\"").as_deref(), Some("+912271264217"));
        assert_eq!(quoted("=\"\"").as_deref(), Some(""));
        assert_eq!(quoted("=\"a \"\"b\"\"\"").as_deref(), Some("a \"b\""));
        assert_eq!(quoted(&as_quoted("=\"a\"")).as_deref(), Some("=\"a\""));
        for cell in ["=\"", "=+1", "\"a\"", "=\"a\"&\"b\"", "'=\"a\"", "= \"a\""] {
            assert_eq!(quoted(cell), None, "{cell}");
        }
    }

    proptest! {
        #[test]
        fn what_is_protected_is_no_formula_and_comes_back(text in "'{0,3}[-=+@a1 \t]{0,3}") {
            let cell = if is_formula(&text) { format!("'{text}") } else { text.clone() };
            prop_assert!(!cell.starts_with(BEGINS));
            prop_assert_eq!(unprotected(&cell), text);
        }
    }
}
