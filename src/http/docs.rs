//! `/docs`: the description of the API as a page to read.
//!
//! Made once from the same document as `/openapi.json`. It needs no script and
//! nothing from elsewhere, so its content security policy allows a style sheet
//! of this server and nothing else.

pub mod guide;

use std::sync::LazyLock;

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response};
use serde_json::Value;

use crate::wire::html::{escape, put};

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The committed description, which a test compares with the operations.
pub const DESCRIPTION: &str = include_str!("../../openapi.json");

pub async fn page() -> Response<Body> {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        render(&serde_json::from_str(DESCRIPTION).expect("a test compares it with what the program prints"))
    });
    let mut response = Response::new(Body::from(PAGE.as_str()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    shared(headers);
    response
}

pub async fn style() -> Response<Body> {
    let mut response = Response::new(Body::from(include_str!("docs/style.css")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    shared(response.headers_mut());
    response
}

fn shared(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// One operation with its place.
struct ShownOperation<'a> {
    path: &'a str,
    method: &'a str,
    what: &'a Value,
}

fn render(document: &Value) -> String {
    let mut operations: Vec<ShownOperation<'_>> = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, what) in methods.as_object().into_iter().flatten() {
            operations.push(ShownOperation { path, method, what });
        }
    }
    let info = &document["info"];
    let mut page = String::with_capacity(256 * 1024);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    put(&mut page, format_args!("<title>{}</title>\n", text(&info["title"])));
    page.push_str("<link rel=\"stylesheet\" href=\"/docs/style.css\">\n<nav aria-label=\"Operations\">\n");
    page.push_str("<p><a href=\"/console\">Back to the console</a></p>\n<p><a href=\"/docs/guide\">Guide</a></p>\n");
    for tag in document["tags"].as_array().into_iter().flatten() {
        put(&mut page, format_args!("<h2>{}</h2>\n<ul>\n", text(&tag["name"])));
        for ShownOperation { method, what, .. } in of(&operations, tag) {
            let (id, summary) = (text(&what["operationId"]), text(&what["summary"]));
            put(&mut page, format_args!("<li><a href=\"#{id}\"><b class=\"{method}\">{method}</b> {summary}</a>\n"));
        }
        page.push_str("</ul>\n");
    }
    put(
        &mut page,
        format_args!(
            "</nav>\n<main>\n<h1>{} <small>{}</small></h1>\n<p>{}\n<p><a href=\"/openapi.json\">openapi.json</a> describes the same for tools.\n",
            text(&info["title"]),
            text(&info["version"]),
            prose(&info["description"])
        ),
    );
    page.push_str("<h2>Credentials</h2>\n<dl>\n");
    for (_, scheme) in document["components"]["securitySchemes"].as_object().into_iter().flatten() {
        let (name, about) = (text(&scheme["name"]), prose(&scheme["description"]));
        put(&mut page, format_args!("<dt><code>{name}</code><dd>{about}\n"));
    }
    page.push_str("</dl>\n");
    for tag in document["tags"].as_array().into_iter().flatten() {
        put(&mut page, format_args!("<h2>{}</h2>\n<p>{}\n", text(&tag["name"]), prose(&tag["description"])));
        for operation in of(&operations, tag) {
            section(&mut page, operation, &document["components"]["responses"]);
        }
    }
    page.push_str("</main>\n</html>\n");
    page
}

fn of<'a>(operations: &'a [ShownOperation<'a>], tag: &Value) -> impl Iterator<Item = &'a ShownOperation<'a>> {
    let name = tag["name"].clone();
    operations.iter().filter(move |operation| operation.what["tags"][0] == name)
}

fn section(page: &mut String, operation: &ShownOperation<'_>, shared: &Value) {
    let ShownOperation { path, method, what } = operation;
    let (id, summary) = (text(&what["operationId"]), text(&what["summary"]));
    put(page, format_args!("<section id=\"{id}\">\n<h3><a href=\"#{id}\">{summary}</a></h3>\n"));
    put(page, format_args!("<p class=\"place\"><b class=\"{method}\">{method}</b> <code>{}</code>\n", escape(path)));
    if let Some(about) = what["description"].as_str().filter(|about| !about.is_empty()) {
        put(page, format_args!("<p>{}\n", prose(&Value::from(about))));
    }
    let parameters: Vec<[String; 3]> = what["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    table(page, "Parameters", &parameters);
    let body = &what["requestBody"]["content"]["application/json"];
    let required = body["schema"]["required"].as_array().cloned().unwrap_or_default();
    let fields = body["schema"]["properties"].as_object().into_iter().flatten();
    let fields: Vec<[String; 3]> =
        fields.map(|(name, schema)| field(name, schema, required.contains(&Value::from(name.as_str())))).collect();
    table(page, "Body", &fields);
    if !body.is_null() {
        example(page, "Example", &body["example"]);
    }
    for (status, answer) in what["responses"].as_object().into_iter().flatten() {
        let answer = if answer["$ref"].is_null() { answer } else { &shared[status] };
        put(
            page,
            format_args!(
                "<details{}><summary><b>{status}</b> {}</summary>\n",
                if status.starts_with('2') { " open" } else { "" },
                prose(&answer["description"])
            ),
        );
        for (kind, content) in answer["content"].as_object().into_iter().flatten() {
            example(page, kind, &content["example"]);
        }
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
}

fn parameter(parameter: &Value) -> [String; 3] {
    let place = format!("{}{}", text(&parameter["in"]), if parameter["required"] == true { ", needed" } else { "" });
    let mut about = prose(&parameter["description"]);
    if let Some(example) = parameter["example"].as_str() {
        about.push_str(&format!(" <span class=\"eg\">such as <code>{}</code></span>", escape(example)));
    }
    [text(&parameter["name"]), place, about]
}

fn field(name: &str, schema: &Value, needed: bool) -> [String; 3] {
    let kind = match (&schema["type"], &schema["enum"]) {
        (Value::String(kind), _) => escape(kind),
        (Value::Array(kinds), _) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        (_, Value::Array(words)) => {
            words.iter().map(|word| escape(word.as_str().unwrap_or("null"))).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    let kind = if needed { format!("{kind}, needed") } else { kind };
    [escape(name), kind, prose(&schema["description"])]
}

fn table(page: &mut String, title: &str, rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    put(page, format_args!("<h4>{title}</h4>\n<table>\n"));
    for [name, kind, about] in rows {
        put(page, format_args!("<tr><th scope=\"row\"><code>{name}</code><td class=\"kind\">{kind}<td>{about}\n"));
    }
    page.push_str("</table>\n");
}

fn example(page: &mut String, title: &str, example: &Value) {
    let shown = match example {
        Value::Null => return,
        Value::String(line) => line.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    put(
        page,
        format_args!(
            "<figure><figcaption>{}</figcaption><pre tabindex=\"0\">{}</pre></figure>\n",
            escape(title),
            escape(&shown)
        ),
    );
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Text in which `code` stands between backticks.
fn prose(value: &Value) -> String {
    let mut html = String::new();
    for (at, part) in escape(value.as_str().unwrap_or_default()).split('`').enumerate() {
        match at % 2 {
            0 => html.push_str(part),
            _ => html.push_str(&format!("<code>{part}</code>")),
        }
    }
    html
}
