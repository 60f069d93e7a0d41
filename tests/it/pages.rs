//! The console as a browser has it, without a script: somebody who is signed
//! in, forms, and the links of a page.

use std::collections::HashMap;

use super::harness::{Answer, Server};

pub const PASSWORD: &str = "an owl on the roof";

/// Somebody who is signed in at a partner.
pub struct Pages<'s> {
    server: &'s Server,
    cookie: String,
    /// Where the partner's pages begin.
    pub base: String,
}

impl<'s> Pages<'s> {
    /// Creates an owner and signs them in.
    pub fn owner(server: &'s Server, partner: &str, zone: &str) -> Pages<'s> {
        let email = format!("owner.{}@example.com", partner.to_lowercase());
        let args = ["user", "create", "--email", &email, "--partner", partner, "--role", "owner", "--zone", zone];
        let made = server.database.run(&[&args[..], &["--json"]].concat()).done().json();
        let link = made["link"].as_str().expect("a link");
        let path = &link[link.find("/console/").expect("a path of the console")..];
        let mut pages = Pages { server, cookie: String::new(), base: format!("/console/p/{partner}") };
        let answer = pages.post(path, &[("password", PASSWORD), ("again", PASSWORD)]).check(303);
        let cookie = answer.header("set-cookie").expect("a session");
        pages.cookie = cookie.split(';').next().expect("a cookie").to_owned();
        pages
    }

    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// A page by its address; one that begins with `/` or `?` is below the
    /// partner's unless it is a whole path.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, Some(body))
    }

    /// Posts a form that must be taken, and gives the page that follows.
    #[track_caller]
    pub fn done(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let answer = self.post(path, fields);
        assert_eq!(answer.status, 303, "POST {path} {fields:?}: {}", said(answer.text()));
        let to = answer.header("location").expect("a way on").to_owned();
        let page = self.get(&to);
        assert_eq!(page.status, 200, "{to} after POST {path} {fields:?}");
        (to, page.text().to_owned())
    }

    /// Posts a form that must be refused, and gives the page that it leads to,
    /// which is the same when it is loaded again.
    #[track_caller]
    pub fn refused(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.post(path, fields);
        assert_eq!(answer.status, 303, "POST {path} {fields:?}: {}", said(answer.text()));
        let to = answer.header("location").expect("a way back").to_owned();
        let page = self.get(&to).check(200);
        assert!(page.text().contains("role=\"alert\""), "{to} after POST {path} says nothing: {}", page.text());
        assert_eq!(self.get(&to).check(200).text(), page.text(), "{to} is lost when it is loaded again");
        page
    }

    /// A page that must be there.
    #[track_caller]
    pub fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "GET {path}: {}", said(answer.text()));
        answer.text().to_owned()
    }

    fn send(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        let path = if path.starts_with("/console") { path.to_owned() } else { format!("{}{path}", self.base) };
        let host = self.server.address();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if !self.cookie.is_empty() {
            text.push_str(&format!("Cookie: {}\r\n", self.cookie));
        }
        if let Some(body) = &body {
            text.push_str(&format!(
                "Origin: http://{host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        self.server.send(method, text.as_bytes())
    }
}

/// What a page says went wrong.
pub fn said(html: &str) -> String {
    let error = html.split("role=\"alert\"").nth(1).and_then(|rest| rest.split_once('>'));
    error.map_or_else(|| html.chars().take(300).collect(), |(_, rest)| plain(rest.split("</p>").next().unwrap_or(rest)))
}

/// HTML with its entities as the characters that they are.
pub fn plain(html: &str) -> String {
    let named: HashMap<&str, char> = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"')].into();
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let entity = after.split_once(';').and_then(|(entity, after)| {
            let code = entity.strip_prefix('#').and_then(|code| code.parse().ok()).and_then(char::from_u32);
            Some((named.get(entity).copied().or(code)?, after))
        });
        match entity {
            Some((c, after)) => {
                text.push(c);
                rest = after;
            }
            None => {
                text.push('&');
                rest = after;
            }
        }
    }
    text + rest
}

/// The values of an attribute, in the order of the page.
pub fn attributes(html: &str, name: &str) -> Vec<String> {
    let begin = format!(" {name}=\"");
    html.split(&begin).skip(1).filter_map(|rest| Some(plain(rest.split_once('"')?.0))).collect()
}

/// The value that a field of a page has.
pub fn value(html: &str, field: &str) -> Option<String> {
    let begin = format!("<input name=\"{field}\"");
    let (_, rest) = html.split_once(&begin)?;
    let (tag, _) = rest.split_once('>')?;
    Some(attributes(tag, "value").pop().unwrap_or_default())
}

/// An address as a browser asks for it: `.` and `..` are folders, however they
/// are encoded.
pub fn as_browsers_do(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match &*part.to_ascii_lowercase().replace("%2e", ".") {
            "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("/{}{query}", parts.join("/"))
}
