//! `rollcall mcp`: a server of the Model Context Protocol on standard input and
//! output, for programs that ask about one partner.
//!
//! What always holds: each tool is a command of this program, with the arguments
//! that the command line has, so there is no second copy of a rule or of a help
//! text; every call runs for the partner of `--partner` and no other; values are
//! passed so that none is taken for an option; without `--allow-writes` there is no
//! tool that writes, and with it a tool writes only if the call says `preview:
//! false`.
//! Deliberately absent: commands that read files, reach other servers, or show
//! secrets.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::{ArgAction, CommandFactory as _};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ServerHandler, ServiceExt as _};
use serde_json::{Value, json};

use super::{Cli, CliError, Global, OfPartner, Outcome};
use crate::store::Open;

/// The largest result of a tool, in bytes.
const RESULT_BYTES_MAX: u64 = 1 << 20;
/// Arguments that no tool has: they choose the database, the partner, the form of
/// the output, or something outside.
const NEVER: [&str; 14] = [
    "database",
    "config",
    "json",
    "partner",
    "format",
    "raw",
    "url",
    "token_file",
    "attempts",
    "yes",
    "dry_run",
    "preview",
    "file",
    "numbers_file",
];

const READS: [&[&str]; 21] = [
    &["number", "list"],
    &["number", "show"],
    &["number", "routing"],
    &["history"],
    &["changes"],
    &["check"],
    &["costs"],
    &["account", "list"],
    &["application", "list"],
    &["trunk", "list"],
    &["job", "list"],
    &["job", "show"],
    &["job", "rows"],
    &["schedule", "list"],
    &["schedule", "show"],
    &["webhook", "list"],
    &["webhook", "show"],
    &["webhook", "deliveries"],
    &["webhook", "failed"],
    &["webhook", "blocking"],
    &["key", "list"],
];

/// Each has `--dry-run`, which is the preview.
const WRITES: [&[&str]; 38] = [
    &["number", "add"],
    &["number", "assign"],
    &["number", "transfer"],
    &["number", "release"],
    &["number", "suspend"],
    &["number", "resume"],
    &["number", "route"],
    &["number", "renew"],
    &["number", "reserve"],
    &["number", "unreserve"],
    &["number", "retire"],
    &["number", "tag"],
    &["number", "cost"],
    &["account", "create"],
    &["account", "rename"],
    &["account", "archive"],
    &["account", "restore"],
    &["application", "create"],
    &["application", "rename"],
    &["application", "archive"],
    &["application", "restore"],
    &["application", "destination", "add"],
    &["application", "destination", "remove"],
    &["application", "destination", "enable"],
    &["application", "destination", "disable"],
    &["trunk", "create"],
    &["trunk", "rename"],
    &["trunk", "archive"],
    &["trunk", "restore"],
    &["trunk", "destination", "add"],
    &["trunk", "destination", "remove"],
    &["trunk", "destination", "enable"],
    &["trunk", "destination", "disable"],
    &["job", "create"],
    &["job", "run"],
    &["job", "cancel"],
    &["job", "undo"],
    &["undo"],
];

#[derive(clap::Args)]
pub struct Mcp {
    #[command(flatten)]
    of: OfPartner,
    /// Also offer tools that write; each shows a preview unless the call says `preview: false`
    #[arg(long)]
    allow_writes: bool,
}

impl Mcp {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        // Whether there is such a partner is said at the start.
        global.service(Open::Existing)?.partner_key(&self.of.partner)?;
        let failed = |source| CliError::Io { what: "cannot start".to_owned(), source };
        let program = std::env::current_exe().map_err(failed)?;
        let server = McpServer {
            program,
            global: global.clone(),
            partner: self.of.partner.to_string(),
            tools: tools(self.allow_writes).into(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        runtime.block_on(async {
            let broken = |error: String| CliError::Other(format!("the client spoke no MCP: {error}"));
            let running = server.serve(rmcp::transport::stdio()).await.map_err(|error| broken(error.to_string()))?;
            running.waiting().await.map_err(|error| broken(error.to_string()))?;
            Ok(Outcome::Done)
        })
    }
}

/// A command as a tool.
struct Offered {
    name: String,
    path: &'static [&'static str],
    about: String,
    writes: bool,
    /// Whether the command asks before it writes.
    confirms: bool,
    arguments: Vec<Argument>,
}

struct Argument {
    /// The option, with `_`.
    name: String,
    long: Option<String>,
    /// Its place among those without a name.
    index: Option<usize>,
    help: String,
    required: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Flag,
    One,
    Many,
}

fn tools(allow_writes: bool) -> Vec<Offered> {
    let mut cli = Cli::command();
    cli.build();
    let reads = READS.iter().map(|path| (*path, false));
    let writes = WRITES.iter().map(|path| (*path, true)).filter(|_| allow_writes);
    reads.chain(writes).filter_map(|(path, writes)| Offered::of(&cli, path, writes)).collect()
}

impl Offered {
    fn of(cli: &clap::Command, path: &'static [&'static str], writes: bool) -> Option<Offered> {
        let command = path.iter().try_fold(cli, |command, name| command.find_subcommand(name))?;
        let offered = command.get_arguments().filter(|argument| {
            // `check --auth-id` is of another server.
            let elsewhere = path == ["check"] && argument.get_id() == "auth_id";
            let about_itself = matches!(
                argument.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            );
            !NEVER.contains(&argument.get_id().as_str()) && !elsewhere && !about_itself
        });
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let confirms = command.get_arguments().any(|argument| argument.get_id() == "yes");
        let arguments = offered.map(Argument::of).collect();
        Some(Offered { name: path.join("_"), path, about, writes, confirms, arguments })
    }

    fn tool(&self) -> Tool {
        let mut properties = serde_json::Map::new();
        for argument in &self.arguments {
            properties.insert(argument.name.clone(), argument.schema());
        }
        if self.writes {
            let description = "true: show what would change and write nothing. Show the preview to the user, then call \
                               again with false to write.";
            properties.insert(
                "preview".to_owned(),
                json!({ "type": "boolean", "default": true, "description": description }),
            );
        }
        let required = self.arguments.iter().filter(|argument| argument.required).map(|argument| &argument.name);
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": required.collect::<Vec<_>>(),
            "additionalProperties": false,
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let annotations = ToolAnnotations::new().read_only(!self.writes).destructive(self.writes).open_world(false);
        Tool::new(self.name.clone(), self.about.clone(), schema).with_annotations(annotations)
    }

    /// The command line of a call, or why there is none.
    fn line(&self, given: &JsonObject) -> Result<Vec<String>, String> {
        let mut line: Vec<String> = Vec::new();
        let mut places: Vec<(usize, String)> = Vec::new();
        let mut preview = self.writes;
        for (name, value) in given {
            if self.writes && name == "preview" {
                preview = value.as_bool().ok_or("preview must be true or false")?;
                continue;
            }
            let known = || {
                let names: Vec<&str> = self.arguments.iter().map(|argument| argument.name.as_str()).collect();
                format!("{name} is not an argument of {}; known are {}", self.name, names.join(", "))
            };
            let argument = self.arguments.iter().find(|argument| argument.name == *name).ok_or_else(known)?;
            argument.append(value, &mut line, &mut places)?;
        }
        if let Some(missing) = self.arguments.iter().find(|one| one.required && !given.contains_key(&one.name)) {
            return Err(format!("{} is missing: {}", missing.name, missing.help));
        }
        if preview {
            line.push("--dry-run".to_owned());
        }
        // A command that asks for confirmation has it by `preview: false`.
        if self.writes && !preview && self.confirms {
            line.push("--yes".to_owned());
        }
        let mut line: Vec<String> = self.path.iter().map(|&word| word.to_owned()).chain(line).collect();
        places.sort();
        line.push("--".to_owned());
        line.extend(places.into_iter().map(|(_, text)| text));
        Ok(line)
    }
}

impl Argument {
    fn of(argument: &clap::Arg) -> Argument {
        let kind = match argument.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Kind::Flag,
            ArgAction::Append => Kind::Many,
            _ => Kind::One,
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let values = argument.get_possible_values();
        let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        let help = match values.is_empty() || kind == Kind::Flag {
            true => help,
            false => format!("{help} One of {}.", values.join(", ")).trim().to_owned(),
        };
        let name = argument.get_long().unwrap_or(argument.get_id().as_str());
        Argument {
            name: name.replace('-', "_"),
            long: argument.get_long().map(str::to_owned),
            index: argument.get_index(),
            help,
            required: argument.is_required_set(),
            kind,
        }
    }

    fn schema(&self) -> Value {
        match self.kind {
            Kind::Flag => json!({ "type": "boolean", "description": self.help }),
            Kind::One => json!({ "type": "string", "description": self.help }),
            Kind::Many => json!({ "type": "array", "items": { "type": "string" }, "description": self.help }),
        }
    }

    fn append(&self, value: &Value, line: &mut Vec<String>, places: &mut Vec<(usize, String)>) -> Result<(), String> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            // It is a float here, and the amount that was sent may be another one.
            Value::Number(number) if number.is_f64() => {
                Err(format!("{} must be a text, such as \"500.00\"", self.name))
            }
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(bool) => Ok(bool.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(format!("{} must be a text", self.name)),
        };
        let texts = match (self.kind, value) {
            (_, Value::Null) => return Ok(()),
            (Kind::Flag, Value::Bool(given)) => {
                if let Some(long) = self.long.as_ref().filter(|_| *given) {
                    line.push(format!("--{long}"));
                }
                return Ok(());
            }
            (Kind::Flag, _) => return Err(format!("{} must be true or false", self.name)),
            (Kind::Many, Value::Array(all)) => all.iter().map(text).collect::<Result<Vec<_>, _>>()?,
            (Kind::Many | Kind::One, value) => vec![text(value)?],
        };
        for text in texts {
            match (&self.long, self.index) {
                (Some(long), _) => line.push(format!("--{long}={text}")),
                (None, index) => places.push((index.unwrap_or(usize::MAX), text)),
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct McpServer {
    program: std::path::PathBuf,
    global: Global,
    partner: String,
    tools: Arc<[Offered]>,
}

impl McpServer {
    /// Runs a command; its output, or what it refused.
    fn run(&self, line: &[String]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        // Before the `--` that ends the options.
        let (options, values) = line.split_at(line.iter().position(|word| word == "--").unwrap_or(line.len()));
        command.args(["--json"]).args(options).arg(format!("--partner={}", self.partner)).args(values);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // By environment: the address of a database may have a password.
        command.env_remove("RUST_LOG");
        if let Some(database) = &self.global.database {
            command.env("ROLLCALL_DATABASE", database);
        }
        if let Some(config) = &self.global.config {
            command.env("ROLLCALL_CONFIG", config);
        }
        let failed = |error: std::io::Error| format!("the command cannot run: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let mut pipes = (child.stdout.take(), child.stderr.take());
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = &mut pipes.1 {
                let _ = pipe.take(RESULT_BYTES_MAX).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut out = Vec::new();
        if let Some(pipe) = &mut pipes.0 {
            pipe.take(RESULT_BYTES_MAX + 1).read_to_end(&mut out).map_err(failed)?;
        }
        if out.len() as u64 > RESULT_BYTES_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return Err("the result is larger than 1 MB; narrow the filter, or ask for a page".to_owned());
        }
        let status = child.wait().map_err(failed)?;
        let errors = errors.join().unwrap_or_default();
        let out = String::from_utf8_lossy(&out).into_owned();
        match status.code() {
            // Findings are a result.
            Some(0 | 3) => Ok(out),
            _ => Err([errors.trim(), out.trim()].join("\n").trim().to_owned()),
        }
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("rollcall", crate::BUILD);
        info.instructions = Some(format!(
            "The phone numbers of partner {}: who has them, where they route, what they cost, and why a call fails. \
             Numbers are in E.164. Tools that write show a preview first.",
            self.partner
        ));
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.iter().map(Offered::tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let unknown = || ErrorData::invalid_params(format!("there is no tool {}", request.name), None);
        let tool = self.tools.iter().find(|tool| tool.name == request.name).ok_or_else(unknown)?;
        let line = tool.line(&request.arguments.unwrap_or_default());
        let server = self.clone();
        let done = match line {
            Ok(line) => tokio::task::spawn_blocking(move || server.run(&line))
                .await
                .map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
            Err(wrong) => Err(wrong),
        };
        Ok(match done {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: &str, given: Value) -> Result<String, String> {
        let tools = tools(true);
        let tool = tools.iter().find(|offered| offered.name == tool).expect("a tool");
        let given = given.as_object().expect("an object").clone();
        tool.line(&given).map(|line| line.join(" "))
    }

    #[test]
    fn calls_are_command_lines_that_no_value_can_change() {
        for (tool, given, expected) in [
            ("number_show", json!({ "number": "+912271264217" }), "number show -- +912271264217"),
            ("number_show", json!({ "number": "--database=x" }), "number show -- --database=x"),
            ("number_list", json!({ "search": "--json", "limit": 5 }), "number list --limit=5 --search=--json --"),
            ("check", json!({ "check": ["expired", "unrouted"] }), "check --check=expired --check=unrouted --"),
            ("number_suspend", json!({ "number": "+1" }), "number suspend --dry-run -- +1"),
            ("number_suspend", json!({ "number": "+1", "preview": false }), "number suspend -- +1"),
            (
                "number_release",
                json!({ "number": "+1", "confirm_last": true, "preview": false }),
                "number release --confirm-last --yes -- +1",
            ),
            ("undo", json!({ "version": 7 }), "undo --dry-run -- 7"),
            ("number_retire", json!({ "number": "+1", "preview": false }), "number retire --yes -- +1"),
            (
                "application_destination_add",
                json!({ "id": "app_1", "uri": "sip:a.example", "priority": 5 }),
                "application destination add --priority=5 --dry-run -- app_1 sip:a.example",
            ),
            (
                "job_create",
                json!({ "verb": "suspend", "filter": ["account_auth_id=MA_1"] }),
                "job create --verb=suspend --filter=account_auth_id=MA_1 --dry-run --",
            ),
            ("job_run", json!({ "id": "job_1" }), "job run --dry-run -- job_1"),
            ("job_cancel", json!({ "id": "job_1" }), "job cancel --dry-run -- job_1"),
            ("job_run", json!({ "id": "job_1", "preview": false }), "job run --yes -- job_1"),
            ("job_cancel", json!({ "id": "job_1", "preview": false }), "job cancel -- job_1"),
        ] {
            let found = line(tool, given.clone()).unwrap_or_else(|wrong| panic!("{tool} {given}: {wrong}"));
            let words = |text: &str| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            assert_eq!(words(&found), words(expected), "{found}");
        }
        for (tool, given, words) in [
            ("number_show", json!({}), "number is missing"),
            ("number_show", json!({ "number": "+1", "database": "x" }), "is not an argument"),
            ("number_show", json!({ "number": "+1", "partner": "PA_B" }), "is not an argument"),
            ("number_list", json!({ "limit": {} }), "must be a text"),
            (
                "number_cost",
                json!({ "number": "+1", "monthly_cost": 500.01, "currency": "INR" }),
                "monthly_cost must be",
            ),
            ("number_suspend", json!({ "number": "+1", "preview": "no" }), "preview must be"),
            ("check", json!({ "url": "https://x" }), "is not an argument"),
        ] {
            let wrong = line(tool, given.clone()).expect_err("refused");
            assert!(wrong.contains(words), "{tool} {given}: {wrong}");
        }
    }

    #[test]
    fn every_tool_is_a_command_and_every_writing_one_has_a_preview() {
        let (reads, all) = (tools(false), tools(true));
        assert_eq!((reads.len(), all.len()), (READS.len(), READS.len() + WRITES.len()));
        assert!(reads.iter().all(|tool| !tool.writes));
        let mut cli = Cli::command();
        cli.build();
        for tool in &all {
            assert!(!tool.about.is_empty(), "{}", tool.name);
            let command = tool.path.iter().try_fold(&cli, |command, name| command.find_subcommand(name));
            let command = command.expect("a command");
            let has = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
            let dry_run = command.get_arguments().any(|argument| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long() == Some("dry-run") || aliases.contains(&"dry-run")
            });
            assert_eq!(tool.writes, dry_run, "{}", tool.name);
            assert!(has("partner"), "{} is about a partner", tool.name);
            for secret in ["token", "secret", "password"] {
                assert!(!tool.arguments.iter().any(|one| one.name.contains(secret)), "{}", tool.name);
            }
        }
    }
}
