//! The tutorial and the cookbook, block by block, in a real shell with the real
//! program: a recipe that does not work is a failed test.

use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{Place, run};

/// The blocks of a document, each with the heading above it.
fn blocks(document: &str) -> Vec<(String, String)> {
    let (mut heading, mut block, mut blocks) = (String::new(), None::<String>, Vec::new());
    for line in document.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(text), "```") => {
                blocks.push((heading.clone(), std::mem::take(text)));
                block = None;
            }
            (Some(text), line) => text.push_str(&format!("{line}\n")),
            (None, line) => {
                if let Some(text) = line.strip_prefix("## ") {
                    heading = text.to_owned();
                }
            }
        }
    }
    blocks
}

/// A shell in which `rollcall` is the program under test.
fn shell(folder: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_rollcall"));
    let programs = program.parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-m", "-c"]).current_dir(folder).env("PATH", format!("{programs}:{path}"));
    command.env_remove("ROLLCALL_CONFIG").env_remove("ROLLCALL_DATABASE").env_remove("ROLLCALL_PARTNER");
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs blocks as one script, and finds the promised parts of the output after
/// each.
fn check(mut shell: Command, blocks: &[(String, String)]) {
    const MARK: &str = "--- the end of block";
    let mut script = String::new();
    for (at, (_, text)) in blocks.iter().enumerate() {
        script.push_str(text);
        script.push_str(&format!("echo '{MARK} {at}'\n"));
    }
    let ran = run({
        shell.arg(format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"));
        shell
    });
    let mut rest = ran.out.as_str();
    for (at, (heading, text)) in blocks.iter().enumerate() {
        let end = format!("{MARK} {at}\n");
        let Some((output, after)) = rest.split_once(&end) else {
            panic!("{heading:?} failed:\n{text}\n{rest}\n{}", ran.err);
        };
        rest = after;
        for promised in text.lines().filter_map(|line| line.strip_prefix("#   ")) {
            let found = output.contains(promised) || ran.err.contains(promised);
            assert!(found, "{heading:?} promises {promised:?}:\n{output}\n{}", ran.err);
        }
    }
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn the_tutorial_leads_from_nothing_to_a_routed_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocks = blocks(include_str!("../../docs/tutorial.md"));
    assert!(blocks.len() >= 10, "{}", blocks.len());
    check(shell(folder.path()), &blocks);
}

#[test]
fn every_recipe_of_the_cookbook_works_on_the_demo() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("demo");
    let place = Place::new();
    let mut command = place.command(&["demo", "--listen", "127.0.0.1:0", "--numbers", "2000", "--json", "--dir"]);
    command.arg(&dir).env_remove("ROLLCALL_DATABASE");
    let mut demo = Demo(command.spawn().expect("the demo starts"));
    // One line of JSON, once it serves.
    let mut line = String::new();
    let mut out = std::io::BufReader::new(demo.0.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    let made: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let credentials = std::fs::read_to_string(dir.join("credentials.json")).expect("credentials");
    let credentials: serde_json::Value = serde_json::from_str(&credentials).expect("JSON");
    let blocks = blocks(include_str!("../../docs/cookbook.md"));
    assert!(blocks.len() >= 9, "{}", blocks.len());
    let mut shell = shell(folder.path());
    shell.env("ROLLCALL_DATABASE", format!("sqlite:{}", dir.join("rollcall.db").display()));
    shell.env("ROLLCALL_PARTNER", "PA_DEMO").env("URL", made["url"].as_str().expect("a URL"));
    shell.env("TOKEN", credentials["PA_DEMO"].as_str().expect("a token"));
    check(shell, &blocks);
}

struct Demo(std::process::Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
