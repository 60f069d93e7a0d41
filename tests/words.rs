//! The words of the documents, held against the documents: a newcomer who
//! searches for the usual term finds the page that explains it, and words that
//! were retired do not come back.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Lower case, with each run of white space as one space: a term is found
/// across the end of a line.
fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The glossary's rows: term, synonyms, meaning, page.
fn glossary() -> Vec<[String; 4]> {
    let rows = text("docs/glossary.md");
    let cells = |line: &str| -> Option<[String; 4]> {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        cells.try_into().ok()
    };
    rows.lines().filter_map(cells).filter(|row| row[0] != "term").collect()
}

#[test]
fn the_glossary_leads_from_each_term_to_a_page_that_has_it() {
    let rows = glossary();
    assert!(rows.len() >= 40, "{} terms", rows.len());
    for [term, synonyms, meaning, page] in &rows {
        assert_eq!(rows.iter().filter(|row| row[0] == *term).count(), 1, "{term} stands twice");
        assert!(!synonyms.is_empty(), "{term} has no synonym");
        assert!(meaning.ends_with('.'), "{term}: {meaning:?} is no sentence");
        let file = page.split("](").nth(1).and_then(|rest| rest.strip_suffix(')')).expect("a link");
        let document = plain(&text(&format!("docs/{file}")));
        assert!(document.contains(&plain(term)), "docs/{file} does not have {term:?}");
    }
}

/// Usual terms of the trade, and the page that a search for each must find.
const CONCEPTS: &[(&str, &str)] = &[
    ("polling", "docs/versions.md"),
    ("lease", "docs/operations.md"),
    ("backoff", "docs/webhooks.md"),
    ("retry", "docs/webhooks.md"),
    ("dead letter", "docs/webhooks.md"),
    ("at least once", "docs/webhooks.md"),
    ("deduplicate", "docs/webhooks.md"),
    ("head-of-line blocking", "docs/webhooks.md"),
    ("SSRF", "docs/webhooks.md"),
    ("HMAC", "docs/webhooks.md"),
    ("snapshot", "docs/versions.md"),
    ("replication lag", "docs/versions.md"),
    ("read your writes", "docs/versions.md"),
    ("failover", "docs/operations.md"),
    ("quorum", "docs/operations.md"),
    ("write-ahead log", "docs/operations.md"),
    ("rolling upgrade", "docs/operations.md"),
    ("point-in-time recovery", "docs/operations.md"),
    ("rate limit", "docs/operations.md"),
    ("liveness", "docs/operations.md"),
    ("idempotency key", "docs/management.md"),
    ("optimistic locking", "docs/management.md"),
    ("quarantine", "docs/management.md"),
    ("DID", "docs/import.md"),
    ("E.164", "docs/import.md"),
    ("porting", "docs/import.md"),
    ("CNAM", "docs/import.md"),
    ("dry run", "docs/import.md"),
    ("redirect server", "docs/routing.md"),
    ("toll fraud", "docs/routing.md"),
    ("proration", "docs/billing.md"),
    ("CDR", "docs/billing.md"),
    ("audit trail", "docs/people.md"),
    ("2FA", "docs/people.md"),
    ("CSRF", "docs/console.md"),
    ("upstream", "docs/sync.md"),
    ("cron", "docs/alerts.md"),
];

#[test]
fn a_search_for_the_usual_term_finds_the_page() {
    let glossary = plain(&text("docs/glossary.md"));
    for (term, page) in CONCEPTS {
        assert!(plain(&text(page)).contains(&plain(term)), "{page} does not have {term:?}");
        assert!(glossary.contains(&plain(term)), "docs/glossary.md does not have {term:?}");
    }
}

/// Every page below `docs/` is reached from the README.
#[test]
fn the_readme_leads_to_every_page() {
    let readme = text("README.md");
    for entry in fs::read_dir(root().join("docs")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(readme.contains(&format!("(docs/{name})")), "README.md does not lead to docs/{name}");
    }
}

/// The files that CONTRIBUTING.md tells a contributor to change.
#[test]
fn the_files_that_contributing_lists_exist() {
    for document in ["CONTRIBUTING.md", "SECURITY.md"] {
        let text = text(document);
        let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        let folders = ["src/", "tests/", "templates/", "docs/", "scripts/", "migrations/", "packaging/", "benches/"];
        let files = ["openapi.json", "rollcall.default.toml", "CHANGELOG.md", "ARCHITECTURE.md", "README.md"];
        let named: Vec<&str> = quoted
            .into_iter()
            .filter(|word| !word.contains(char::is_whitespace) && !word.contains(['*', '{', '<']))
            .filter(|word| folders.iter().any(|folder| word.starts_with(folder)) || files.contains(word))
            .collect();
        assert!(document != "CONTRIBUTING.md" || named.len() > 30, "{named:?}");
        for path in named {
            assert!(root().join(path).exists(), "{document} names {path}");
        }
    }
}
