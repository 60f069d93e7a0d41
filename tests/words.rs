//! The words of the documents, held against the documents: a newcomer who
//! searches for the usual term finds the page that explains it, and words that
//! were retired do not come back.

#[path = "files/retired.rs"]
mod retired;

use std::fs;
use std::path::{Path, PathBuf};

use retired::RETIRED;

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
        let name = page.strip_prefix("docs/").and_then(|page| page.strip_suffix(".md")).expect("a document");
        let found = rollcall::http::docs::guide::results(term);
        assert!(
            found.contains(&format!("/docs/guide/{name}#")),
            "the search for {term:?} does not show {name}: {found}"
        );
    }
    assert!(CONCEPTS.len() >= 25, "{} terms", CONCEPTS.len());
}

/// The documents below `docs/`, without their pictures.
fn documents() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).expect("a folder");
    let pages = entries.map(|entry| entry.expect("an entry").path());
    pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Every page below `docs/` is reached from the README.
#[test]
fn the_readme_leads_to_every_page() {
    let readme = text("README.md");
    for path in documents() {
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
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

#[track_caller]
fn check_words(name: &str, text: &str) {
    let text = plain(text);
    for (retired, instead) in RETIRED {
        if let Some(at) = text.find(retired) {
            let from = text.floor_char_boundary(at.saturating_sub(60));
            let to = text.ceil_char_boundary(at + retired.len() + 40);
            panic!("{name} has {retired:?} in {:?}; write: {instead}", &text[from..to]);
        }
    }
}

#[test]
fn documents_and_settings_use_no_retired_words() {
    for document in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "rollcall.default.toml"] {
        check_words(document, &text(document));
    }
    check_words("packaging/alerts.yml", &text("packaging/alerts.yml"));
    for path in documents() {
        check_words(&path.display().to_string(), &fs::read_to_string(&path).expect("text"));
    }
}

/// A template without its tags and without what Askama fills in, but with the
/// texts that it hands to macros.
fn visible(template: &str) -> String {
    let calls = template.split("m::").skip(1).filter_map(|call| call.split('}').next());
    let mut out: String =
        calls.flat_map(|call| call.split('"').skip(1).step_by(2).flat_map(|text| [text, "\n"])).collect();
    let mut depth = 0_u32;
    let chars: Vec<char> = template.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let pair = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        match pair {
            ('{', '{' | '%' | '#') => depth += 1,
            ('}' | '%' | '#', '}') if depth > 0 => {
                depth -= 1;
                at += 2;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            out.push(chars[at]);
        }
        at += 1;
    }
    out
}

#[test]
fn the_console_s_templates_use_no_retired_words() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("templates")).expect("a folder") {
        let path = entry.expect("an entry").path();
        check_words(&path.display().to_string(), &visible(&fs::read_to_string(&path).expect("text")));
        count += 1;
    }
    assert!(count > 30, "{count} templates");
}

/// The program's help on `command` and on all commands below it.
fn help(command: &[&str], out: &mut Vec<(String, String)>) {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_rollcall"));
    let output = program.args(command).arg("--help").output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let below = text.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    // A command's name stands two spaces in; the rest of its line is its help.
    let named: Vec<String> = below
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|rest| rest.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    out.push((command.join(" "), text));
    for name in named {
        let mut command = command.to_vec();
        command.push(&name);
        help(&command, out);
    }
}

#[test]
fn the_help_texts_use_no_retired_words() {
    let mut texts = Vec::new();
    help(&[], &mut texts);
    assert!(texts.len() > 60, "{} commands", texts.len());
    for (command, text) in texts {
        check_words(&format!("rollcall {command} --help"), &text);
    }
}

/// The texts between quotation marks in a file of the program: not those of comments, nor
/// of its tests.
fn literals(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '\'', '/', 'r']) {
        let word = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        rest = &rest[at..];
        let raw = rest.strip_prefix('r').map(|raw| (raw, raw.chars().take_while(|c| *c == '#').count()));
        rest = if rest.starts_with("//") {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some((raw, hashes)) = raw.filter(|(raw, hashes)| !word && raw[*hashes..].starts_with('"')) {
            let end = format!("\"{}", "#".repeat(hashes));
            let (text, rest) = raw[hashes + 1..].split_once(&end).unwrap_or_default();
            found.push(text.to_owned());
            rest
        } else if let Some(mut text) = rest.strip_prefix('"') {
            let mut literal = String::new();
            while let Some(end) = text.find(['"', '\\']) {
                literal.push_str(&text[..end]);
                let escaped = text[end..].starts_with('\\');
                let next = text[end + 1..].chars().next().unwrap_or(' ');
                // What follows the end of a line is its next word.
                literal.push_str(if escaped && next.is_whitespace() { " " } else { "" });
                text = &text[end + 1 + if escaped { next.len_utf8() } else { 0 }..];
                if !escaped {
                    break;
                }
            }
            found.push(literal);
            text
        } else {
            // A quotation mark as a character begins no text.
            rest.strip_prefix("'\"'").or_else(|| rest.strip_prefix("'\\\"'")).unwrap_or(&rest[1..])
        };
    }
    found
}

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn texts_of_the_program_use_no_retired_words() {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let mut count = 0;
    for path in paths.iter().filter(|path| !path.ends_with("tests.rs")) {
        // A text of one word is a name.
        let texts = literals(&fs::read_to_string(path).expect("text"));
        for text in texts.iter().filter(|text| text.contains(' ')) {
            check_words(&path.display().to_string(), text);
            count += 1;
        }
    }
    assert!(count > 3_000, "{count} texts");
    check_words("openapi.json", &text("openapi.json"));
}

#[test]
fn literals_are_told_from_what_is_around_them() {
    let code = "a(\"one\", '\"', \"t\\\"wo\", r#\"th\"ree\"#, 'r', '\\''); // \"no\"\nlet for_r = \"four \\\n    lines\"; \
                \"\"\n#[cfg(test)]\nmod tests { \"five\" }";
    let found: Vec<String> = literals(code).iter().map(|text| plain(text)).collect();
    assert_eq!(found, ["one", "two", "th\"ree", "four lines", ""]);
}

/// Words that no comment of the program uses: they hide the subject.
const RETIRED_IN_COMMENTS: &[&str] = &["whoever", "for who ", "one that nobody", "of one id for"];

#[test]
fn comments_name_their_subjects() {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).expect("text");
        for (at, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let comment = comment.to_lowercase();
            for retired in RETIRED_IN_COMMENTS {
                assert!(!comment.contains(retired), "{}:{}: {comment:?} has {retired:?}", path.display(), at + 1);
            }
        }
    }
}
