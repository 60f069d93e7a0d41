//! The guide: the documents of `docs/` as pages, with a search.
//!
//! What always holds: a page is the document that is in the repository, compiled
//! in; raw HTML of a document is shown as text; a page needs no script and nothing
//! from elsewhere; every link between documents leads to a page.
//! Deliberately absent: the API's reference ([`super`]).

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{Path, RawQuery};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::shared;
use crate::http::error::ApiError;
use crate::wire;
use crate::wire::html::{escape, put};

/// A document.
pub struct Guide {
    pub name: &'static str,
    group: &'static str,
    text: &'static str,
}

/// In the order of the navigation.
macro_rules! guides {
    ($($group:literal in $folder:literal: $($name:literal)*;)*) => {
        pub const GUIDES: &[Guide] = &[$($(Guide {
            name: $name,
            group: $group,
            text: include_str!(concat!("../../../docs/", $folder, $name, ".md")),
        }),*),*];
    };
}

guides! {
    "Start" in "": "tutorial" "cookbook" "console";
    "How to" in "": "import" "management" "alerts" "billing" "webhooks" "sync" "apply" "mcp" "people";
    "Run it" in "": "operations" "nginx" "caddy" "kamailio" "patroni" "litestream" "kubernetes" "traces";
    "Explanations" in "": "routing" "versions" "dialects" "glossary";
    "Reference" in "reference/": "commands" "api" "errors" "metrics" "events";
}

/// The pictures of the documents, which the browser tests make.
pub const IMAGES: &[(&str, &[u8])] = &[
    ("overview.png", include_bytes!("../../../docs/images/overview.png")),
    ("numbers.png", include_bytes!("../../../docs/images/numbers.png")),
    ("number.png", include_bytes!("../../../docs/images/number.png")),
];

/// The page of the settings, which is made from their file.
const SETTINGS: &str = "settings";
const QUERY_CHARS_MAX: usize = 100;
const RESULTS_MAX: usize = 30;
/// How much of a section is shown as a result, in characters.
const EXCERPT_CHARS: usize = 240;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Where links lead: to pages of the server, or to files beside each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    Server,
    Files,
}

impl Site {
    fn link(self, page: &str) -> String {
        match (self, page) {
            (Site::Server, "") => "/docs/guide".to_owned(),
            (Site::Files, "") => "index.html".to_owned(),
            (Site::Server, page) => format!("/docs/guide/{page}"),
            (Site::Files, page) => format!("{page}.html"),
        }
    }

    fn image(self, name: &str) -> String {
        match self {
            Site::Server => format!("/docs/images/{name}"),
            Site::Files => format!("images/{name}"),
        }
    }
}

/// GET /docs/guide, also with `?q=`.
pub async fn index(RawQuery(query): RawQuery) -> Response<Body> {
    let asked = wire::parameter(&query.unwrap_or_default(), "q").unwrap_or_default();
    let asked: String = asked.chars().take(QUERY_CHARS_MAX).collect();
    answer(framed(
        Site::Server,
        "Guide",
        &asked,
        &match asked.trim().is_empty() {
            true => contents(Site::Server),
            false => results(&asked),
        },
    ))
}

/// GET /docs/guide/{page}
pub async fn page(Path(name): Path<String>) -> Result<Response<Body>, ApiError> {
    page_of(Site::Server, &name).map(answer).ok_or_else(ApiError::not_found)
}

/// GET /docs/images/{name}
pub async fn image(Path(name): Path<String>) -> Result<Response<Body>, ApiError> {
    let (_, image) = IMAGES.iter().find(|(known, _)| *known == name).ok_or_else(ApiError::not_found)?;
    let mut response = Response::new(Body::from(*image));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    shared(response.headers_mut());
    Ok(response)
}

fn answer(page: String) -> Response<Body> {
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    shared(headers);
    response
}

/// The names of all pages but the first.
pub fn names() -> impl Iterator<Item = &'static str> {
    GUIDES.iter().map(|guide| guide.name).chain([SETTINGS])
}

/// A page by its name; the empty one is the first page.
pub fn page_of(site: Site, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(framed(site, "Guide", "", &contents(site)));
    }
    if name == SETTINGS {
        let settings = escape(crate::config::DEFAULTS);
        let body = format!("<h1>Settings</h1>\n<p>Every setting with its default.</p>\n<pre>{settings}</pre>\n");
        return Some(framed(site, "Settings", "", &body));
    }
    let guide = GUIDES.iter().find(|guide| guide.name == name)?;
    Some(framed(site, guide.title(), "", &rendered(site, guide)))
}

/// The page that searches the files, with a script, since there is no server.
pub fn search_page() -> String {
    let sections: Vec<_> = GUIDES
        .iter()
        .flat_map(sections)
        .map(|Section { page, title, heading, text }| {
            let link = format!("{}#{}", Site::Files.link(page), anchor(&heading));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            serde_json::json!({ "link": link, "title": title, "heading": heading, "text": text })
        })
        .collect();
    // Within a script, `</` would end it.
    let sections = serde_json::Value::from(sections).to_string().replace("</", "<\\/");
    let body = format!(
        "<h1>Search</h1>\n<p><label>Words <input type=\"search\" id=\"q\" autofocus></label> <span id=\"count\" \
         role=\"status\"></span></p>\n<dl id=\"found\"></dl>\n<script>const SECTIONS = {sections};\n{}</script>\n",
        include_str!("search.js")
    );
    framed(Site::Files, "Search", "", &body)
}

/// All documents on one page, which a browser searches without a server.
pub fn all(site: Site) -> String {
    let bodies: Vec<String> = GUIDES.iter().map(|guide| rendered(site, guide)).collect();
    framed(site, "All pages", "", &bodies.join("<hr>\n"))
}

pub fn style_sheet() -> &'static str {
    include_str!("style.css")
}

impl Guide {
    pub fn title(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(self.name)
    }
}

fn framed(site: Site, title: &str, query: &str, body: &str) -> String {
    let mut page = String::with_capacity(body.len() + 4096);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    put(&mut page, format_args!("<title>{} · Rollcall</title>\n", escape(title)));
    let style = if site == Site::Server { "/docs/style.css" } else { "style.css" };
    put(&mut page, format_args!("<link rel=\"stylesheet\" href=\"{style}\">\n<nav aria-label=\"Pages\">\n"));
    match site {
        Site::Server => put(
            &mut page,
            format_args!(
                "<p><a href=\"/console\">Back to the console</a></p>\n<form action=\"/docs/guide\" role=\"search\">\
                 <label>Search the guide <input type=\"search\" name=\"q\" maxlength=\"{QUERY_CHARS_MAX}\" value=\"{}\"></label> \
                 <button>Search</button></form>\n",
                escape(query)
            ),
        ),
        Site::Files => {
            page.push_str(
                "<p><a href=\"search.html\">Search</a></p>\n<p><a href=\"all.html\">All pages on one</a></p>\n",
            );
        }
    }
    put(&mut page, format_args!("<ul>\n<li><a href=\"{}\">Guide</a>\n", site.link("")));
    let mut group = "";
    for guide in GUIDES {
        if guide.group != group {
            group = guide.group;
            put(&mut page, format_args!("</ul>\n<h2>{group}</h2>\n<ul>\n"));
        }
        put(&mut page, format_args!("<li><a href=\"{}\">{}</a>\n", site.link(guide.name), escape(guide.title())));
    }
    put(&mut page, format_args!("<li><a href=\"{}\">Settings</a>\n", site.link(SETTINGS)));
    if site == Site::Server {
        page.push_str("<li><a href=\"/docs\">API with examples</a>\n");
    }
    put(&mut page, format_args!("</ul>\n</nav>\n<main>\n{body}</main>\n</html>\n"));
    page
}

/// The titles of all pages, each with its first sentence.
fn contents(site: Site) -> String {
    let mut body = "<h1>Guide</h1>\n<dl>\n".to_owned();
    for guide in GUIDES {
        let (title, link) = (escape(guide.title()), site.link(guide.name));
        let first = sections(guide).next().map(|section| excerpt(&section.text, "")).unwrap_or_default();
        put(&mut body, format_args!("<dt><a href=\"{link}\">{title}</a><dd>{}\n", escape(&first)));
    }
    body.push_str("</dl>\n");
    body
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// The id of a heading, as Git hosts make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn rendered(site: Site, guide: &Guide) -> String {
    let mut events: Vec<Event<'_>> = parser(guide.text).collect();
    for at in 0..events.len() {
        match &mut events[at] {
            Event::Start(Tag::Heading { .. }) => {
                let heading = plain(&events[at + 1..]);
                if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                    *id = Some(CowStr::from(anchor(&heading)));
                }
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                if let Some(link) = local(site, dest_url) {
                    *dest_url = CowStr::from(link);
                }
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                let name = dest_url.rsplit('/').next().unwrap_or_default().to_owned();
                if IMAGES.iter().any(|(known, _)| *known == name) {
                    *dest_url = CowStr::from(site.image(&name));
                }
            }
            Event::Html(text) | Event::InlineHtml(text) => {
                let text = std::mem::replace(text, CowStr::from(""));
                events[at] = Event::Text(text);
            }
            _ => {}
        }
    }
    let mut out = String::with_capacity(guide.text.len() * 2);
    html::push_html(&mut out, events.into_iter());
    out
}

/// A link to another document as a link to its page. Files that are no pages lead
/// to the first page.
fn local(site: Site, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with('#') || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, String::new()), |(file, at)| (file, format!("#{at}")));
    let name = file.rsplit('/').next().and_then(|file| file.strip_suffix(".md"));
    let name = name.filter(|name| names().any(|known| known == *name)).unwrap_or_default();
    Some(format!("{}{anchor}", site.link(name)))
}

/// The text of the events up to the end of the heading.
fn plain(events: &[Event<'_>]) -> String {
    let heading = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let text = heading.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        _ => None,
    });
    text.collect()
}

/// A part of a document below a heading.
struct Section {
    page: &'static str,
    title: &'static str,
    heading: String,
    text: String,
}

fn sections(guide: &Guide) -> impl Iterator<Item = Section> + use<> {
    let mut all: Vec<Section> = Vec::new();
    let mut in_heading = false;
    for event in parser(guide.text) {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                in_heading = true;
                let (heading, text) = Default::default();
                all.push(Section { page: guide.name, title: guide.title(), heading, text });
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Text(text) | Event::Code(text) => {
                if let Some(section) = all.last_mut() {
                    let to = if in_heading { &mut section.heading } else { &mut section.text };
                    to.push_str(&text);
                }
            }
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::Paragraph | TagEnd::TableCell | TagEnd::Item) => {
                if let Some(section) = all.last_mut() {
                    section.text.push(' ');
                }
            }
            _ => {}
        }
    }
    all.into_iter()
}

/// The sections that have all words of a query, as the search of the guide shows them.
pub fn results(query: &str) -> String {
    static ALL: LazyLock<Vec<Section>> = LazyLock::new(|| GUIDES.iter().flat_map(sections).collect());
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    // A word in the heading counts as ten in the text.
    let score = |section: &Section| {
        let (heading, text) = (section.heading.to_lowercase(), section.text.to_lowercase());
        let each =
            words.iter().map(|word| 10 * heading.matches(word.as_str()).count() + text.matches(word.as_str()).count());
        let each: Vec<usize> = each.collect();
        each.iter().all(|count| *count > 0).then(|| each.iter().sum::<usize>())
    };
    let mut found: Vec<(usize, &Section)> = ALL.iter().filter_map(|section| Some((score(section)?, section))).collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let mut body = format!("<h1>{} results for “{}”</h1>\n<dl>\n", found.len(), escape(query));
    for (_, section) in found.iter().take(RESULTS_MAX) {
        let link = format!("{}#{}", Site::Server.link(section.page), anchor(&section.heading));
        let (title, heading) = (escape(section.title), escape(&section.heading));
        let excerpt = excerpt(&section.text, words.first().map(String::as_str).unwrap_or_default());
        put(&mut body, format_args!("<dt><a href=\"{link}\">{title}: {heading}</a><dd>{}\n", escape(&excerpt)));
    }
    body.push_str("</dl>\n");
    body
}

/// A part of a text around a word.
fn excerpt(text: &str, word: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = text.to_lowercase().find(word).unwrap_or(0);
    let start = text.floor_char_boundary(at.saturating_sub(EXCERPT_CHARS / 3).min(text.len()));
    let start = text[..start].rfind(' ').map_or(0, |space| space + 1);
    let cut: String = text[start..].chars().take(EXCERPT_CHARS).collect();
    let (before, after) = (if start > 0 { "… " } else { "" }, if start + cut.len() < text.len() { " …" } else { "" });
    format!("{before}{}{after}", cut.trim())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path as File;

    use super::*;

    #[test]
    fn every_document_is_a_page() {
        let folder = File::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let entries = |folder: &File| fs::read_dir(folder).expect("a folder");
        let mut files: Vec<String> = entries(&folder)
            .chain(entries(&folder.join("reference")))
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".md").map(str::to_owned))
            .collect();
        let mut pages: Vec<String> = GUIDES.iter().map(|guide| guide.name.to_owned()).collect();
        files.sort();
        pages.sort();
        assert_eq!(pages, files);
    }

    /// The values of an attribute.
    fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
        let begin = format!("{attribute}=\"");
        page.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_link_between_pages_leads_to_a_heading_that_is_there() {
        let files: Vec<(String, String)> = names()
            .chain([""])
            .map(|name| (Site::Files.link(name), page_of(Site::Files, name).expect("a page")))
            .chain([("all.html".to_owned(), all(Site::Files)), ("search.html".to_owned(), search_page())])
            .collect();
        for (name, page) in &files {
            let ids: Vec<&str> = values(page, " id");
            if name != "all.html" {
                assert_eq!(ids.len(), ids.iter().collect::<HashSet<_>>().len(), "{name} has a heading twice");
            }
            for image in values(page, "src") {
                let name = image.strip_prefix("images/").unwrap_or_else(|| panic!("{name} shows {image}"));
                assert!(IMAGES.iter().any(|(known, _)| *known == name), "{name} shows {image}");
            }
            for link in values(page, "href").into_iter().filter(|link| !link.contains("://") && !link.ends_with(".css"))
            {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let file = if file.is_empty() { name.as_str() } else { file };
                let target = files.iter().find(|(known, _)| known == file);
                let (_, target) = target.unwrap_or_else(|| panic!("{name} links to {link}"));
                assert!(anchor.is_empty() || values(target, " id").contains(&anchor), "{name} links to {link}");
            }
        }
    }

    #[test]
    fn every_picture_of_the_folder_is_shown_in_a_document() {
        let folder = File::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
        for entry in fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            assert!(IMAGES.iter().any(|(known, _)| *known == name), "{name} is not in IMAGES");
            let shown = format!("images/{name}");
            assert!(GUIDES.iter().any(|guide| guide.text.contains(&shown)), "no document shows {name}");
        }
    }

    #[test]
    fn the_search_of_the_files_has_every_section_and_ends_its_script_once() {
        let page = search_page();
        assert_eq!(page.matches("</script>").count(), 1);
        for guide in GUIDES {
            assert!(page.contains(&format!("\"link\":\"{}.html#", guide.name)), "{}", guide.name);
        }
    }

    #[test]
    fn a_search_finds_sections_and_shows_no_markup_of_the_query() {
        let body = results("quarantine");
        assert!(body.contains("/docs/guide/management#") || body.contains("/docs/guide/operations#"), "{body}");
        let body = results("<script>alert(1)</script>");
        assert!(body.contains("0 results") && !body.contains("<script>"), "{body}");
        assert!(results("backoff retry").contains("/docs/guide/webhooks#"));
    }
}
