//! Compression: for clients that ask, with tags of its own, and never over a secret.

use std::io::Read;

use super::harness::{Answer, Database, Key, Server};
use super::pages::Pages;

fn server() -> (Server, Key) {
    let database = Database::empty();
    database.partner("PA_Z", "Zip", &[]);
    database.import("PA_Z", "number,monthly_cost,currency\n+442079461000-+442079461149,1.00,GBP\n");
    let key = database.key("PA_Z", &[]);
    (Server::start(database, &[]), key)
}

fn unzipped(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(&answer.body[..]).read_to_end(&mut out).expect("gzip");
    out
}

fn varies(answer: &Answer) -> bool {
    answer.headers("vary").iter().any(|names| names.to_lowercase().contains("accept-encoding"))
}

#[test]
fn answers_are_compressed_when_asked_for_and_the_same_otherwise() {
    let (server, key) = server();
    for (path, accept) in [
        ("/api/v1/partner/numbers?per_page=100", "application/json"),
        ("/api/v1/partner/numbers", "text/csv"),
        ("/openapi.json", "*/*"),
        ("/docs", "text/html"),
    ] {
        let get = |coding: &str| {
            server.get(path).auth(&key).header("Accept", accept).header("Accept-Encoding", coding).check(200)
        };
        let (plain, zipped) = (get("identity"), get("gzip, br"));
        assert_eq!(
            (plain.header("content-encoding"), zipped.header("content-encoding")),
            (None, Some("gzip")),
            "{path}"
        );
        assert_eq!(unzipped(&zipped), plain.body, "{path}");
        assert!(zipped.body.len() * 2 < plain.body.len(), "{path}: {} of {}", zipped.body.len(), plain.body.len());
        assert!(varies(&plain) && varies(&zipped), "{path}");
        assert_eq!(get("gzip;q=0").header("content-encoding"), None, "{path}");
        if let (Some(own), Some(other)) = (zipped.header("etag"), plain.header("etag")) {
            assert_ne!(own, other, "{path}: one tag for two codings");
            for tag in [own, other] {
                let again = server.get(path).auth(&key).header("Accept", accept).header("Accept-Encoding", "gzip");
                let again = again.header("If-None-Match", tag).check(304);
                assert!(varies(&again), "{path}");
                assert_eq!(again.header("etag"), Some(tag), "{path}");
            }
            let head = server.request("HEAD", path).auth(&key).header("Accept", accept);
            let head = head.header("Accept-Encoding", "gzip").check(200);
            assert_eq!((head.header("etag"), head.header("content-encoding")), (Some(own), Some("gzip")), "{path}");
            assert_eq!(head.header("content-length"), None, "{path}: the compressed length is not known");
        }
    }
    // Short ones gain nothing.
    let short =
        server.get("/api/v1/partner/numbers?per_page=1").auth(&key).header("Accept-Encoding", "gzip").check(200);
    assert_eq!(short.header("content-encoding"), None);
    // Rows that a program reads as they come stay as they are.
    let rows = server.get("/api/v1/partner/numbers").auth(&key).header("Accept", "application/x-ndjson");
    assert_eq!(rows.header("Accept-Encoding", "gzip").check(200).header("content-encoding"), None);
}

#[test]
fn pages_are_compressed_but_for_those_that_show_secrets() {
    let (server, _) = server();
    let pages = Pages::owner(&server, "PA_Z", "UTC");
    let get = |path: &str| {
        let get = server.get(&format!("{}{path}", pages.base)).header("Cookie", pages.cookie());
        get.header("Accept-Encoding", "gzip, deflate, br").check(200)
    };
    for path in ["", "/numbers", "/customers", "/checks", "/changes"] {
        let page = get(path);
        assert_eq!(page.header("content-encoding"), Some("gzip"), "{path}");
        assert!(unzipped(&page).ends_with(b"</html>\n") || unzipped(&page).ends_with(b"</html>"), "{path}");
    }
    for path in ["/keys", "/users", "/checks/webhooks"] {
        assert_eq!(get(path).header("content-encoding"), None, "{path}");
    }
    let me = server.get("/console/me").header("Cookie", pages.cookie()).header("Accept-Encoding", "gzip").check(200);
    assert_eq!(me.header("content-encoding"), None);
    // A key's page has the command to try it with, which asks with that key.
    let made = pages.post("/keys", &[("name", "billing"), ("scope", "read"), ("dialect", "data")]);
    let text = match made.status {
        303 => pages.page(made.header("location").expect("an address")),
        _ => made.text().to_owned(),
    };
    let curl = super::pages::plain(
        text.split("<pre id=\"curl\" tabindex=\"0\">")
            .nth(1)
            .and_then(|rest| rest.split("</pre>").next())
            .expect("a command"),
    );
    assert!(curl.starts_with("curl -H 'X-Auth-ID: PA_Z' -H 'X-Auth-Token: rollcall_"), "{curl}");
    assert!(curl.contains(&format!("'http://{}/api/v1/partner/numbers?per_page=5'", server.address())), "{curl}");
}
