//! Cells that a spreadsheet would take for formulas, and how they are kept from
//! it: by an apostrophe, which an import takes away again.
//!
//! Invariant: a cell that is protected and unprotected is what it was, also one
//! that looked protected before. Deliberately absent: which files are protected
//! (a file whose numbers begin with `'+` is).

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
/// none, also those that have a quote in their text.
pub fn quoted(cell: &str) -> Option<&str> {
    let text = cell.strip_prefix("=\"")?.strip_suffix('"')?;
    (!text.contains('"')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_formula_may_be_a_text() {
        assert_eq!(quoted("=\"+912271264217\""), Some("+912271264217"));
        assert_eq!(quoted("=\"\""), Some(""));
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
