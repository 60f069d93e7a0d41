//! What ARCHITECTURE.md says of the code, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rollcall::checks::{Check, Severity};

/// How many type names may stand in several files, for the same idea.
const REPEATED_TYPES_MAX: usize = 20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

/// Every source file with its path below `src/` and its text.
fn files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root().join("src")).expect("below src").display().to_string();
        (name, fs::read_to_string(path).expect("text"))
    };
    paths.into_iter().map(read).collect()
}

/// The layer that a file belongs to: the first part of its path.
fn layer(file: &str) -> &str {
    file.split(['/', '.']).next().expect("a name")
}

#[test]
fn the_paths_that_the_documents_name_exist() {
    for document in ["ARCHITECTURE.md", "README.md", "docs/operations.md"] {
        let text = fs::read_to_string(root().join(document)).expect("text");
        let beside = root().join(document).parent().expect("a folder").to_owned();
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let known = ["src/", "tests/", "scripts/", "migrations/", "packaging/", "rollcall.default", "openapi."];
        let named: Vec<PathBuf> = quoted
            .filter(|quoted| known.iter().any(|known| quoted.starts_with(known)) && !quoted.contains(' '))
            .map(|quoted| root().join(quoted))
            .chain(linked.filter(|linked| !linked.starts_with("http")).map(|linked| beside.join(linked)))
            .collect();
        assert!(named.len() > 3, "{document} names {named:?}");
        for path in named {
            assert!(path.exists(), "{document} names {}", path.display());
        }
    }
}

#[test]
fn layers_know_only_those_before_them() {
    let allowed: &[(&str, &[&str])] = &[
        ("domain", &["domain"]),
        ("inventory", &["domain", "inventory"]),
        ("trace", &["trace"]),
        ("store", &["domain", "trace", "store"]),
        ("intake", &["domain", "intake"]),
        ("billing", &["domain", "billing"]),
        ("checks", &["domain", "inventory", "checks"]),
        ("schedule", &["domain", "schedule"]),
        ("mail", &["mail"]),
        ("alert", &["domain", "inventory", "checks", "schedule", "mail", "wire", "alert"]),
        ("wire", &["domain", "inventory", "billing", "wire"]),
        ("client", &["domain", "wire", "client"]),
        ("outbound", &["trace", "outbound"]),
        ("routing", &["domain", "inventory", "outbound", "routing"]),
        (
            "service",
            &[
                "domain",
                "inventory",
                "store",
                "intake",
                "billing",
                "wire",
                "outbound",
                "routing",
                "checks",
                "schedule",
                "mail",
                "alert",
                "trace",
                "service",
            ],
        ),
        ("config", &["domain", "store", "mail", "routing", "trace", "config"]),
        (
            "http",
            &[
                "domain",
                "inventory",
                "billing",
                "checks",
                "schedule",
                "alert",
                "wire",
                "routing",
                "service",
                "config",
                "trace",
                "http",
            ],
        ),
        (
            "console",
            &["domain", "inventory", "billing", "checks", "intake", "wire", "routing", "service", "http", "console"],
        ),
        ("demo", &["domain", "intake", "service", "demo"]),
        ("sip", &["sip"]),
        ("face", &["domain", "routing", "sip", "service", "config", "http", "trace", "face"]),
    ];
    let mut checked = 0;
    for (file, text) in files() {
        let Some((_, allowed)) = allowed.iter().find(|(name, _)| *name == layer(&file)) else { continue };
        // What is only tested may use anything.
        let code = text.split("#[cfg(test)]\nmod tests {").next().expect("text");
        if file.ends_with("tests.rs") {
            continue;
        }
        for used in code.split("crate::").skip(1) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().expect("a name");
            checked += 1;
            assert!(used == "BUILD" || allowed.contains(&used), "src/{file} uses crate::{used}");
        }
    }
    assert!(checked > 50);
}

#[test]
fn only_the_store_names_a_database_library() {
    for (file, text) in files() {
        for library in ["rusqlite", "tokio_postgres", "deadpool"] {
            assert!(layer(&file) == "store" || !text.contains(library), "src/{file} names {library}");
        }
    }
}

/// The service lets its node catch up with what such a read tells of.
#[test]
fn pages_read_what_is_beside_the_log_through_the_service() {
    for (file, text) in files().iter().filter(|(file, _)| ["http", "console"].contains(&layer(file))) {
        for read in ["job", "jobs", "job_batches", "document", "documents", "due"] {
            for store in ["store()", ".store"] {
                let call = format!("{store}.{read}(");
                assert!(!text.contains(&call), "{file} has {call}, which may be ahead of the lists");
            }
        }
    }
}

#[test]
fn files_for_spreadsheets_have_one_writer() {
    // `wire` writes what is imported again, and `wire::report` what people
    // open; nobody else puts cells beside each other. The last three give out
    // rows of the inventory by way of `wire`.
    let lists = ["http/partner.rs", "console/export.rs", "cli/export.rs"];
    for (file, text) in files() {
        let text = text.split("#[cfg(test)]").next().expect("a first part");
        if layer(&file) == "wire" || lists.contains(&file.as_str()) || file.ends_with("tests.rs") {
            continue;
        }
        for sign in ["csv_text(", "csv_header(", "csv_read_back(", "csv_protected(", "csv::Writer"] {
            assert!(!text.contains(sign), "{file} writes CSV by itself: {sign}");
        }
        let header = text.lines().find(|line| {
            line.contains(",") && line.contains("\\r\\n\"") && line.contains('"') && {
                let quoted = line.split('"').nth(1).unwrap_or_default();
                quoted.split(',').count() > 2 && quoted.split(',').all(|word| !word.is_empty() && !word.contains(' '))
            }
        });
        assert_eq!(header, None, "{file} writes a header by itself");
    }
}

#[test]
fn requests_wait_in_one_place() {
    let ways = ["spawn_blocking", "block_in_place", "block_on(", "thread::spawn", "pollster"];
    for (file, text) in files() {
        if !matches!(layer(&file), "http" | "console") || file == "http/waiting.rs" {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for way in ways {
            assert!(!text.contains(way), "{file} has {way}; work that waits goes through http::waiting");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (file, text) in files() {
        assert!(text.starts_with("//! "), "src/{file} does not begin with a module comment");
    }
}

#[test]
fn the_state_table_is_one_table() {
    let code = fs::read_to_string(root().join("src/domain/action.rs")).expect("text");
    let document = fs::read_to_string(root().join("docs/management.md")).expect("text");
    let rows = code.lines().filter_map(|line| line.strip_prefix("//! |"));
    let mut count = 0;
    for row in rows {
        assert!(document.contains(&format!("|{row}")), "docs/management.md lacks |{row}");
        count += 1;
    }
    assert_eq!(count, 14);
}

/// What of `text` begins so, as far as a name goes.
fn names<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let name = |at: usize| text[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().expect("a name");
    text.match_indices(prefix).map(|(at, _)| name(at)).collect()
}

#[test]
fn alerts_are_about_metrics_that_there_are_and_the_documents_explain_them() {
    let rules = fs::read_to_string(root().join("packaging/alerts.yml")).expect("text");
    let backup = fs::read_to_string(root().join("packaging/backup")).expect("text");
    let document = fs::read_to_string(root().join("docs/operations.md")).expect("text");
    let code: String = files().into_iter().map(|(_, text)| text).collect();
    let metrics = names(&rules, "rollcall_");
    assert!(metrics.len() > 15, "{metrics:?}");
    for metric in metrics {
        let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
        let there = code.contains(&format!("!(\"{metric}\"")) || backup.contains(&format!("'{metric} "));
        assert!(there, "packaging/alerts.yml asks for {metric}");
    }
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(document.contains(&format!("`{alert}`")), "docs/operations.md lacks {alert}");
    }
}

/// The documents and the rules for Prometheus say of each check what the program says.
#[test]
fn severities_of_checks_are_the_same_everywhere() {
    let text = |path: &str| fs::read_to_string(root().join(path)).expect("text");
    let document = text("docs/alerts.md");
    let table = document.split("## Checks").nth(1).and_then(|rest| rest.split("\n\n").nth(1)).expect("the table");
    let rows: BTreeSet<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(check, rest)| Some((check, rest.split(" |").next()?)))
        .collect();
    let checks = Check::ALL.iter().map(|check| (check.as_str(), check.severity().as_str()));
    assert_eq!(rows, checks.collect::<BTreeSet<_>>(), "docs/alerts.md");

    let rules = text("packaging/alerts.yml");
    let listed = rules.split("rollcall_findings{check=~\"").nth(1).and_then(|rest| rest.split('"').next());
    let listed: BTreeSet<&str> = listed.expect("a list of checks").split('|').collect();
    let critical = Check::ALL.iter().filter(|check| check.severity() == Severity::Critical);
    assert_eq!(listed, critical.map(|check| check.as_str()).collect(), "packaging/alerts.yml");
    assert_eq!(rules.matches("rollcall_findings{").count(), 1);
}

#[test]
fn every_table_has_its_rights() {
    let schema = fs::read_to_string(root().join("src/store/postgres/schema.rs")).expect("text");
    let rights = fs::read_to_string(root().join("packaging/roles.sql")).expect("text");
    let mut text = schema;
    for migration in fs::read_dir(root().join("migrations/postgres")).expect("a folder") {
        text.push_str(&fs::read_to_string(migration.expect("an entry").path()).expect("text"));
    }
    let tables: Vec<&str> = text.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables {
        assert!(rights.contains(&format!("('{table}', ")), "packaging/roles.sql lacks {table}");
    }
}

/// Whether one of an expression's alternatives is allowed in all its parts.
fn licence_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.trim().replace('/', " OR ");
    // Where an operator stands outside of parentheses.
    let split = |operator: &str| {
        let mut depth = 0_i32;
        text.char_indices().find_map(|(at, char)| {
            depth += i32::from(char == '(') - i32::from(char == ')');
            (depth == 0 && text[at..].starts_with(operator))
                .then(|| (text[..at].to_owned(), text[at + operator.len()..].to_owned()))
        })
    };
    if let Some((left, right)) = split(" AND ") {
        return licence_allowed(&left, allowed) && licence_allowed(&right, allowed);
    }
    if let Some((left, right)) = split(" OR ") {
        return licence_allowed(&left, allowed) || licence_allowed(&right, allowed);
    }
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inner) => licence_allowed(inner, allowed),
        None => allowed.contains(&text),
    }
}

#[test]
fn licences_are_those_that_are_allowed() {
    let allowed = ["MIT", "Apache-2.0"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND BSD-3-Clause", false),
        ("MPL-2.0", false),
    ] {
        assert_eq!(licence_allowed(expression, &allowed), expected, "{expression}");
    }

    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let settings: toml::Table = text.parse().expect("TOML");
    let allowed: Vec<String> = settings["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    let mut metadata = std::process::Command::new(env!("CARGO"));
    metadata.current_dir(root()).args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    metadata.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = metadata.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "{} packages", packages.len());
    // Those from elsewhere: our own are nobody's dependency.
    let dependencies = packages.iter().filter(|package| !package["source"].is_null());
    let refused: Vec<String> = dependencies
        .filter(|package| !package["license"].as_str().is_some_and(|text| licence_allowed(text, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "deny.toml does not allow {refused:?}");
}

/// The text of a source file without its tests and its comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let mut defined: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files() {
        for line in code(&text).lines().filter(|line| !line.starts_with(' ')) {
            let line = line.trim_start_matches("pub ");
            let line = line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(line, |(_, rest)| rest);
            let kind = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| line.strip_prefix(kind));
            let Some(rest) = kind else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            defined.entry(name).or_default().insert(file.clone());
        }
    }
    let repeated: Vec<_> = defined.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(
        repeated.len() <= REPEATED_TYPES_MAX,
        "{} names are defined in several files: {repeated:#?}",
        repeated.len()
    );
}

/// The files outside `templates/` that write HTML by themselves: documents that
/// the console does not show, and the page frame, which looks for forms.
const HTML_WRITERS: [&str; 8] = [
    "wire/html.rs",
    "wire/paper.rs",
    "cli/costs.rs",
    "cli/invoice/render.rs",
    "alert.rs",
    "http/docs.rs",
    "http/docs/guide.rs",
    "service/people/totp.rs",
];

/// The string literals of a source file.
fn literals(code: &str) -> Vec<&str> {
    code.split('"').skip(1).step_by(2).collect()
}

/// Whether a text has an opening or a closing tag.
fn has_tag(text: &str) -> bool {
    let names =
        ["a", "b", "br", "button", "code", "dd", "div", "dl", "dt", "form", "h1", "h2", "h3", "i", "input", "label"];
    let more = [
        "li", "ol", "option", "p", "script", "small", "span", "svg", "table", "tbody", "td", "th", "thead", "time",
        "tr", "ul",
    ];
    let begins = |rest: &str, name: &str| {
        let rest = rest.strip_prefix('/').unwrap_or(rest).strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '>', '\\']))
    };
    text.split('<').skip(1).any(|rest| names.iter().chain(&more).any(|name| begins(rest, name)))
}

#[test]
fn only_templates_write_markup() {
    let mut checked = 0;
    for (file, text) in files() {
        if HTML_WRITERS.contains(&file.as_str()) || file.ends_with("tests.rs") || layer(&file) == "sip" {
            continue;
        }
        // A quotation mark within a literal, or as a character, ends no literal.
        let code = code(&text).replace("\\\"", "\\'").replace("'\"'", "");
        for literal in literals(&code) {
            checked += 1;
            let forms = file == "console/page.rs" && literal == "<form ";
            assert!(forms || !has_tag(literal), "src/{file} has markup in {literal:?}; write a template");
        }
    }
    assert!(checked > 10_000, "{checked} literals");
    for (text, expected) in
        [("<a href=\\", true), ("a < b", false), ("</td>", true), ("Vec<u8>", false), ("<small>", true)]
    {
        assert_eq!(has_tag(text), expected, "{text}");
    }
}

/// The longest line of a template that one can read.
const TEMPLATE_LINE_MAX: usize = 160;

#[test]
fn templates_mark_nothing_as_safe_and_have_lines_that_one_can_read() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("templates")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let (name, text) = (path.display(), fs::read_to_string(&path).expect("text"));
        for (at, line) in text.lines().enumerate() {
            let line_of = at + 1;
            let way = ["|safe", "| safe", "|escape", "| escape"].iter().find(|way| line.contains(**way));
            assert_eq!(way, None, "{name}:{line_of} goes around the type Html");
            let chars = line.chars().count();
            assert!(chars <= TEMPLATE_LINE_MAX, "{name}:{line_of} has {chars} characters");
        }
        count += 1;
    }
    assert!(count > 40, "{count} templates");
    for (file, text) in files() {
        let code = code(&text);
        for way in ["|safe", "escape = \"none\"", "ext = \"txt\"", "HtmlSafe for", "MarkupDisplay", "filters::Safe"] {
            let own = file == "wire/html.rs" && way == "HtmlSafe for";
            assert!(own || !code.contains(way), "src/{file} goes around the type Html with {way:?}");
        }
    }
}

/// The paths of a `use`, without its braces.
fn used(tree: &str, prefix: &str, out: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        out.push(format!("{prefix}{path}"));
        return;
    };
    // A string that looks like one is none.
    let Some(inner) = inner.strip_suffix('}') else { return };
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[begin..at].trim();
                if !part.is_empty() {
                    used(part, &format!("{prefix}{head}"), out);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The modules of the program, each a path such as `http::jobs`, and the paths
/// that its code names, from the root of the crate.
struct Modules {
    named: BTreeMap<String, BTreeSet<String>>,
    /// What a module passes on: the module that has it, by its path here.
    passed_on: BTreeMap<String, String>,
}

impl Modules {
    fn read() -> Modules {
        let texts: BTreeMap<String, String> = files()
            .into_iter()
            .map(|(file, text)| (file.trim_end_matches(".rs").replace('/', "::"), code(&text)))
            .collect();
        let mut modules = Modules {
            named: texts.keys().map(|name| (name.clone(), BTreeSet::new())).collect(),
            passed_on: BTreeMap::new(),
        };
        for (module, text) in &texts {
            for statement in text.split(';') {
                let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
                if !before.is_empty() && !before.ends_with(['\n', ' ']) {
                    continue;
                }
                let mut paths = Vec::new();
                used(&tree.replace('\n', " "), "", &mut paths);
                let public = before.rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("pub"));
                for path in paths {
                    let path = absolute(module, &path);
                    if let (true, Some(from)) = (public, modules.of(&path)) {
                        let name = path.rsplit("::").next().unwrap_or_default();
                        modules.passed_on.insert(format!("{module}::{name}"), from);
                    }
                    modules.named.get_mut(module).expect("a module").insert(path);
                }
            }
            for begin in ["crate::", "super::"] {
                for (at, _) in text.match_indices(begin).filter(|(at, _)| !text[..*at].ends_with([':', '_'])) {
                    let path: String =
                        text[at..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                    modules
                        .named
                        .get_mut(module)
                        .expect("a module")
                        .insert(absolute(module, path.trim_end_matches(':')));
                }
            }
        }
        modules
    }

    /// The module in which a path is.
    fn of(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if self.named.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    }

    /// The modules that a module uses, but for those that it is a part of.
    fn uses(&self, module: &str) -> BTreeSet<String> {
        let target = |path: &String| {
            let there = self.of(path)?;
            let item = path.strip_prefix(&format!("{there}::")).and_then(|rest| rest.split("::").next());
            let passed_on = item.and_then(|item| self.passed_on.get(&format!("{there}::{item}")));
            Some(passed_on.cloned().unwrap_or(there))
        };
        let others = self.named[module].iter().filter_map(target);
        others.filter(|other| other != module && !module.starts_with(&format!("{other}::"))).collect()
    }

    /// A way from a module back to itself.
    fn circle(&self, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        let module = way.last().expect("a beginning").clone();
        for next in self.uses(&module) {
            if let Some(at) = way.iter().position(|one| *one == next) {
                return Some(way[at..].to_vec());
            }
            if done.contains(&next) {
                continue;
            }
            way.push(next);
            let found = self.circle(way, done);
            if found.is_some() {
                return found;
            }
            way.pop();
        }
        done.insert(module);
        None
    }
}

/// A path of a module, from the root of the crate.
fn absolute(module: &str, path: &str) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").peekable();
    match parts.peek() {
        Some(&"crate") => {
            base.clear();
            parts.next();
        }
        Some(&"self") => {
            parts.next();
        }
        _ => {}
    }
    while parts.next_if(|part| *part == "super").is_some() {
        base.pop();
    }
    base.into_iter().chain(parts.filter(|part| *part != "self")).collect::<Vec<_>>().join("::")
}

/// The rooms of `service`, and the rooms whose doors each may use.
const ROOMS: [(&str, &[&str]); 4] =
    [("replica", &[]), ("people", &[]), ("verbs", &["replica"]), ("background", &["verbs", "replica"])];

#[test]
fn rooms_of_the_service_point_one_way() {
    let modules = Modules::read();
    let room = |module: &str| {
        let name = module.strip_prefix("service::")?.split("::").next()?;
        ROOMS.iter().find(|(room, _)| *room == name)
    };
    let mut uses = 0;
    for module in modules.named.keys() {
        let Some((own, doors)) = room(module) else { continue };
        for used in modules.uses(module) {
            let Some((other, _)) = room(&used) else { continue };
            assert!(own == other || doors.contains(other), "{module} is of the room {own} and uses {used}");
            uses += usize::from(own != other);
        }
    }
    assert!(uses > 0, "background work uses verbs");
}

/// A module and the files below it are one thing; files beside each other are
/// not, and a reader of one must not need all of them.
#[test]
fn files_use_each_other_in_no_circle() {
    let modules = Modules::read();
    let mut done: BTreeSet<String> = ["lib", "main"].map(str::to_owned).into();
    for module in modules.named.keys().filter(|module| !["lib", "main"].contains(&module.as_str())) {
        if let Some(circle) = modules.circle(&mut vec![module.clone()], &mut done) {
            panic!("these files use each other in a circle: {}", circle.join(" -> "));
        }
    }
    assert!(modules.uses("http::jobs").contains("http::query"), "{:?}", modules.uses("http::jobs"));
    assert!(modules.uses("domain::number").contains("domain::id"), "what a module passes on is seen");
}
