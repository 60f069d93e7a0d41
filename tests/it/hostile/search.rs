//! What Ctrl-K, the choosers and previews do with texts that nobody types: they
//! cost little, their text is escaped, and another partner's names never show.

use std::time::{Duration, Instant};

use crate::harness::{Database, Server};
use crate::pages::{Pages, plain};

use super::{limit, whole};

/// How long one look-up may take, in seconds, whatever is typed.
const LOOKUP_S: f64 = 0.25;
/// And how many times as long as a plain word.
const TIMES: f64 = 20.0;

/// Many customers and applications with names that are like each other, one with
/// a name that is HTML, and another partner with a name that must never show.
fn database() -> Database {
    let database = Database::empty();
    for (id, name) in [("PA_S", "Searched"), ("PA_T", "Other")] {
        database.partner(id, name, &[]);
    }
    let count = if whole() { 10_000 } else { 1_000 };
    let mut rows =
        String::from("number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency\n");
    for at in 0..count {
        rows.push_str(&format!(
            "+4420{:08},MA_{at:05},Northern Lights Field Services {at},app_{at:05},Main IVR,1,GBP\n",
            79_000_000 + at
        ));
    }
    rows.push_str(
        "+442070000001,MA_html,\"<img src=x onerror=alert(1)>\",app_html,\"\"\"><script>alert(2)</script>\",1,GBP\n",
    );
    database.import("PA_S", &rows);
    database.import(
        "PA_T",
        "number,account_auth_id,account_name,monthly_cost,currency\n+442079999999,MA_secret,Hidden Lights,1,GBP\n",
    );
    database
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[test]
fn a_search_of_anything_is_cheap_escaped_and_ones_own() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_S", "UTC");
    let timed = |path: &str| {
        let runs = (0..3).map(|_| {
            let began = Instant::now();
            let answer = pages.get(path);
            assert!(matches!(answer.status, 200 | 431), "{}: {}", &path[..path.len().min(80)], answer.status);
            (began.elapsed(), answer)
        });
        runs.min_by_key(|(took, _)| *took).expect("a run")
    };
    let (alone, _) = timed("/search?part&q=northern");
    let long = "a".repeat(4_000);
    let many = "lights ".repeat(600);
    let odd: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("a long word", long),
        ("many words", many),
        ("marks", "%_*?[]{}()|\\^$.+".repeat(10)),
        ("HTML", "<script>alert(3)</script>\"'><b>".to_owned()),
        ("combining", "e\u{301}\u{308}\u{200d}".repeat(60)),
        ("a null", "north\0ern".to_owned()),
        ("directions", "\u{202e}northern\u{2066}".to_owned()),
        ("digits", "9".repeat(200)),
        ("other digits", "\u{661}\u{662}\u{663}".to_owned()),
        ("a misspelling", "nrothern lihgts".to_owned()),
        ("another partner's name", "Hidden Lights".to_owned()),
        ("another partner's id", "MA_secret".to_owned()),
        ("another partner's number", "+442079999999".to_owned()),
    ];
    for (what, text) in &odd {
        for path in ["/search?part&q=", "/search?part&kind=customer&q=", "/search?q=", "/numbers?q=", "/customers?q="] {
            let (took, answer) = timed(&format!("{path}{}", encoded(text)));
            println!("{path} with {what}: {took:?}, alone {alone:?}");
            let page = answer.text();
            assert!(took.as_secs_f64() < limit(LOOKUP_S), "{path} {what}: {took:?}");
            assert!(
                took < alone.max(Duration::from_millis(5)).mul_f64(limit(TIMES)),
                "{path} {what}: {took:?} against {alone:?}"
            );
            assert!(page.len() < 100_000, "{path} {what}: {} bytes", page.len());
            for wrong in ["<script>alert", "<img src=x", "onerror=alert(1)>", "'><b>"] {
                assert!(!page.contains(wrong), "{path} {what}: {wrong}");
            }
            if !text.contains("Hidden") && !text.contains("secret") {
                assert!(!page.contains("Hidden Lights") && !page.contains("MA_secret"), "{path} {what}");
            }
        }
    }
    // It is found by its name all the same, as text.
    let page = pages.page("/search?part&q=onerror");
    assert!(page.contains("&lt;img") || page.contains("&#60;img"), "{page}");
    // What was typed is repeated; nothing of the other partner is.
    let page = plain(&pages.page("/search?q=Hidden+Lights"));
    assert!(!page.contains("MA_secret") && !page.contains("442079999999"), "{page}");
}

#[test]
fn a_preview_of_odd_values_is_refused_in_words_and_escaped() {
    let server = Server::start(database(), &[]);
    let pages = Pages::owner(&server, "PA_S", "UTC");
    let html = "<script>alert(4)</script>";
    for fields in [
        [("verb", "assign"), ("n", "+442070000001"), ("account_auth_id", html)],
        [("verb", "assign"), ("n", "+442070000001"), ("account_auth_id", "MA_secret")],
        [("verb", "route"), ("n", "+442070000001"), ("application_id", "\"><img src=x>")],
        [("verb", "renew"), ("n", "+442070000001"), ("expires_at", "9999-99-99")],
        [("verb", html), ("n", "+442070000001"), ("account_auth_id", "MA_html")],
        [("verb", "suspend"), ("n", html), ("account_auth_id", "")],
        [("verb", "suspend"), ("n", "+442079999999"), ("account_auth_id", "")],
    ] {
        let answer = pages.post("/numbers/bulk/preview", &fields);
        let page = match answer.header("location") {
            Some(to) => pages.get(to).text().to_owned(),
            None => answer.text().to_owned(),
        };
        assert!(answer.status < 500, "{fields:?}: {}", answer.status);
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{fields:?}");
        assert!(!page.contains("Hidden Lights"), "{fields:?}");
    }
    // Names that are HTML are text in a preview.
    let (_, page) = pages.done("/numbers/bulk/preview", &[("verb", "suspend"), ("n", "+442070000001")]);
    assert!(page.contains("&lt;img") || page.contains("&#60;img"), "{page}");
    assert!(!page.contains("<img src=x") && !page.contains("<script>alert"));
}
