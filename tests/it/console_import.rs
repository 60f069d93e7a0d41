//! The console's import, jobs and changes over the real server: as a browser
//! without a script sends them, and as others try to.

use std::time::Duration;

use crate::harness::{Answer, Database, Server};

const PASSWORD: &str = "a few words nobody guesses";
const HOST: &str = "rollcall.test";
/// How long something small may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const IMPORT: &str = "/console/p/PA_ONE/import";

/// Somebody with a browser.
pub struct Browser {
    cookie: String,
}

impl Browser {
    /// Somebody new at a partner, signed in.
    pub fn sign_up(server: &Server, partner: &str, role: &str) -> Browser {
        let email = format!("{role}@{partner}.example").to_lowercase();
        let create = ["user", "create", "--partner", partner, "--role", role, "--email", &email];
        let made = server.database.run(&create).done().stdout;
        let link = made.lines().last().expect("a link");
        let path = &link[link.find("/console").expect("a path")..];
        let nobody = Browser { cookie: String::new() };
        let form = format!("email={}&password={}&again={1}", email, PASSWORD.replace(' ', "+"));
        let answer = nobody.post(server, path, &form).check(303);
        let cookie = answer.header("set-cookie").expect("a session");
        Browser { cookie: cookie.split(';').next().expect("a pair").to_owned() }
    }

    pub fn get(&self, server: &Server, path: &str) -> Answer {
        self.send(server, "GET", path, "", "")
    }

    pub fn post(&self, server: &Server, path: &str, form: &str) -> Answer {
        let ours = format!("Origin: http://{HOST}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        self.send(server, "POST", path, &ours, form)
    }

    /// Posts a form that must be refused, and gives the page that it leads to.
    fn refused(&self, server: &Server, path: &str, form: &str) -> Answer {
        let answer = self.post(server, path, form).check(303);
        let page = self.get(server, answer.header("location").expect("a way back")).check(200);
        assert!(page.text().contains("role=\"alert\""), "POST {path} is refused without a word: {page:?}");
        page
    }

    /// Gives a file, from a page of ours or not.
    fn give(&self, server: &Server, path: &str, text: &str, origin: &str) -> Answer {
        let head = format!("Origin: {origin}\r\nContent-Type: multipart/form-data; boundary=b\r\n");
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a <b>.csv\"\r\n\r\n{text}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n\r\n--b--\r\n"
        );
        self.send(server, "POST", path, &head, &body)
    }

    fn send(&self, server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let (cookie, length) = (&self.cookie, body.len());
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nCookie: {cookie}\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = server.send(method, text.as_bytes());
        assert!(!answer.text().contains("<b>.csv"), "what people call things is text: {answer:?}");
        answer
    }

    /// Gives a file that is no text.
    fn give_bytes(&self, server: &Server, name: &str, bytes: &[u8]) -> Answer {
        let cookie = &self.cookie;
        let before = format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        let body = [before.as_bytes(), bytes, b"\r\n--b--\r\n"].concat();
        let head = format!(
            "POST {IMPORT} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nCookie: {cookie}\r\nOrigin: http://{HOST}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        server.send("POST", &[head.as_bytes(), &body].concat())
    }

    /// Pastes a text of which what is rejected is left out, and its page once it
    /// is checked.
    pub fn paste(&self, server: &Server, text: &str) -> String {
        let head = format!("Origin: http://{HOST}\r\nContent-Type: multipart/form-data; boundary=b\r\n");
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"on_error\"\r\n\r\nskip\r\n--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n{text}\r\n--b--\r\n"
        );
        let answer = self.send(server, "POST", &IMPORT.replace("PA_ONE", "PA_D"), &head, &body).check(303);
        let page = answer.header("location").expect("its page").to_owned();
        self.settled(server, &page);
        page
    }

    /// Gives a file, and its page once it is checked.
    fn upload(&self, server: &Server, text: &str) -> String {
        let answer = self.give(server, IMPORT, text, &format!("http://{HOST}")).check(303);
        let page = answer.header("location").expect("its page").to_owned();
        self.settled(server, &page);
        page
    }

    /// A page once nothing goes on there.
    pub fn settled(&self, server: &Server, page: &str) -> String {
        server.within(SOON, |server| !self.get(server, page).check(200).text().contains("data-refresh"));
        self.get(server, page).text().to_owned()
    }
}

const ROWS: &str = "Phone,Customer id,Price,Currency\n\
    +912271990001,MA_NEW,500,INR\n\
    +912271990002,MA_NEW,,\n\
    nonsense,MA_NEW,500,INR\n";

#[test]
fn a_file_becomes_numbers_and_is_undone() {
    let server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let page = manager.upload(&server, ROWS);
    let text = manager.settled(&server, &page);
    for part in ["checked, not imported", "Nothing is imported while rows are rejected", "a &#60;b&#62;.csv"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("id=\"run\""), "to write nothing was chosen, so there is no button: {text}");
    manager.post(&server, &format!("{page}/run"), "skip=1").check(303);
    assert!(manager.settled(&server, &page).contains("nothing was written"));
    assert!(!server.database.export("PA_ONE").contains("+912271990001"), "nothing is written yet");

    // What is missing is said, and it is checked anew.
    let form = "column=Phone&field=number&column=Customer+id&field=account_auth_id&column=Price&field=monthly_cost\
                &column=Currency&field=currency&monthly_cost=10&currency=INR&on_error=skip";
    manager.post(&server, &format!("{page}/check"), form).check(303);
    let text = manager.settled(&server, &page);
    assert!(text.contains("Import 2 numbers, leave out 1 rejected"), "{text}");
    let text = manager.refused(&server, &format!("{page}/check"), "currency=rupees");
    assert!(text.text().contains("is three letters"));

    manager.post(&server, &format!("{page}/run"), "").check(303);
    let text = manager.settled(&server, &page);
    assert!(text.contains("imported as one change"), "{text}");
    assert!(server.database.export("PA_ONE").contains("+912271990002"));
    let rejects = manager.get(&server, &format!("{page}/rejects.csv")).check(200);
    assert_eq!(rejects.text(), "Phone,Customer id,Price,Currency\nnonsense,MA_NEW,500,INR\n");
    manager.refused(&server, &format!("{page}/run"), "");

    let undo = text.split("action=\"").find_map(|rest| rest.split_once("/undo\"").map(|(path, _)| path));
    let change = undo.expect("an undo").to_owned();
    let told = manager.get(&server, &change).check(200);
    assert!(told.text().contains("+91 22 7199 0001") && told.text().contains("came into stock"), "{told:?}");
    assert!(manager.get(&server, "/console/p/PA_ONE/changes?verb=import").check(200).text().contains(&change));
    let done = manager.post(&server, &format!("{change}/undo"), "").check(303);
    assert!(done.header("location").is_some_and(|to| to.contains("?done=")), "{done:?}");
    assert!(!server.database.export("PA_ONE").contains("+912271990001"));
    let again = manager.refused(&server, &format!("{change}/undo"), "");
    assert!(again.text().contains("by you (undo)"), "{again:?}");
}

/// A page as its reader sees it: without its markup, in one line.
fn seen(html: &str) -> String {
    let main = html.split_once("<main").map_or(html, |(_, main)| main);
    let mut text = String::new();
    let mut inside = true;
    for c in main.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_it_does_is_shown_before_it_does_it() {
    let server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let stored = "number,account_auth_id,account_name,application_id,application_name,expires_at,monthly_cost,currency\n\
                  +912271990001,MA_G,Globex,app_ivr,Main IVR,2030-03-01,500,INR\n\
                  +912271990002,MA_G,Globex,app_ivr,Main IVR,,500,INR\n";
    let page = manager.upload(&server, stored);
    manager.post(&server, &format!("{page}/run"), "").check(303);
    assert!(seen(&manager.settled(&server, &page)).contains("Created customer Globex (MA_G)"));

    let file = "number,account_auth_id,application_id,expires_at,monthly_cost,currency,colour\n\
                +912271990001,MA_G,,2031-03-01,400,INR,red\n\
                +912271990002,MA_G,app_ivr,,500,INR,red\n\
                +9991234567,ma_g,,,500,INR,red\n";
    let page = manager.upload(&server, file);
    let html = manager.settled(&server, &page);
    let text = seen(&html);
    for part in [
        "Clears routing of 1 live number.",
        "3 cautions",
        "colour is not read: say what it means, or ignore it",
        "4 number +9991234567 is not valid by the numbering plan",
        "4 account_auth_id ma_g differs from MA_G by case only",
        "application Main IVR → unrouted lost",
        "expires 1 Mar 2030 00:00 → 1 Mar 2031 00:00",
        "monthly cost 500.00 INR → 400.00 INR",
        "+91 22 7199 0001",
        "Creates customer ma_g",
        "+500.00 INR",
        "−100.00 INR",
        "Import 1 and update 1",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // What is lost and doubtful stands above the button.
    let place = |part: &str| html.find(part).unwrap_or_else(|| panic!("{part} is not in {html}"));
    assert!(place("id=\"losses\"") < place("id=\"run\"") && place("id=\"cautions\"") < place("id=\"run\""));
    let rows = manager.get(&server, &format!("{page}/cautions.csv")).check(200);
    let expected = "number,account_auth_id,application_id,expires_at,monthly_cost,currency,colour\n\
                    +9991234567,ma_g,,,500,INR,red\n";
    assert_eq!(rows.text(), expected);

    // Empty cells that keep, and strictness.
    manager.post(&server, &format!("{page}/check"), "column=colour&field=-&keep_empty=1").check(303);
    let text = seen(&manager.settled(&server, &page));
    assert!(!text.contains("Clears routing"), "{text}");
    assert!(text.contains("2 cautions") && !text.contains("is not read"), "to ignore a column is a decision: {text}");
    manager.post(&server, &format!("{page}/check"), "strict=1").check(303);
    let html = manager.settled(&server, &page);
    assert!(seen(&html).contains("Nothing is imported while columns are not read"), "{html}");
    assert!(!html.contains("id=\"run\""));

    // After the run, the page says the same in the past tense.
    manager.post(&server, &format!("{page}/check"), "").check(303);
    manager.settled(&server, &page);
    manager.post(&server, &format!("{page}/run"), "").check(303);
    let text = seen(&manager.settled(&server, &page));
    for part in ["imported as one change", "Cleared routing of 1 live number.", "3 cautions", "What it changed"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_spreadsheet_is_given_as_it_is() {
    let server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/inventory.xlsx");
    let answer = manager.give_bytes(&server, "inventory.xlsx", &std::fs::read(file).expect("the file")).check(303);
    let page = answer.header("location").expect("its page").to_owned();
    let text = manager.settled(&server, &page);
    for part in ["Read as XLSX", "Customer Name", "is an error of the spreadsheet", "+442079460129"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    manager.post(&server, &format!("{page}/check"), "on_error=skip").check(303);
    manager.settled(&server, &page);
    manager.post(&server, &format!("{page}/run"), "").check(303);
    let text = manager.settled(&server, &page);
    assert!(text.contains("imported as one change"), "{text}");
    assert!(server.database.export("PA_ONE").contains("+442079460129,MA_7,Müller & Söhne"));
    let rejects = manager.get(&server, &format!("{page}/rejects.csv")).check(200);
    assert!(rejects.text().contains("+442079460131,MA_7"), "{rejects:?}");
}

#[test]
fn others_do_not_import() {
    let server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let page = manager.upload(&server, ROWS);
    let ours = format!("http://{HOST}");
    for origin in ["http://evil.example", "null"] {
        manager.give(&server, IMPORT, ROWS, origin).check(403);
    }
    manager
        .send(&server, "POST", &format!("{page}/run"), "Content-Type: application/x-www-form-urlencoded\r\n", "")
        .check(403);
    let viewer = Browser::sign_up(&server, "PA_ONE", "viewer");
    viewer.give(&server, IMPORT, ROWS, &ours).check(403);
    viewer.get(&server, &page).check(403);
    viewer.post(&server, &format!("{page}/run"), "").check(403);
    viewer.post(&server, "/console/p/PA_ONE/changes/1/undo", "").check(403);
    // Another partner's file is as one that never was.
    let stranger = Browser::sign_up(&server, "PA_TWO", "owner");
    stranger.get(&server, &page).check(404);
    let moved = page.replace("PA_ONE", "PA_TWO");
    for path in [
        moved.clone(),
        format!("{moved}/rejects.csv"),
        format!("{moved}/cautions.csv"),
        "/console/p/PA_TWO/import/import_x".to_owned(),
    ] {
        stranger.get(&server, &path).check(404);
    }
    stranger.post(&server, &format!("{moved}/run"), "").check(404);
    stranger.post(&server, &format!("{page}/run"), "").check(404);
    let nobody = Browser { cookie: String::new() };
    nobody.give(&server, IMPORT, ROWS, &ours).check(303);
    assert!(!server.database.export("PA_ONE").contains("+912271990001"));
}

#[test]
fn a_file_outlives_the_server() {
    let mut server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let page = manager.upload(&server, "+442079460188\n");
    server.kill_and_start(&[]);
    assert!(manager.get(&server, &page).check(200).text().contains("Import 1 number"));
    manager.post(&server, &format!("{page}/run"), "").check(303);
    assert!(manager.settled(&server, &page).contains("imported as one change"));
    server.kill_and_start(&[]);
    assert!(manager.get(&server, &page).check(200).text().contains("imported as one change"));
    assert!(server.database.export("PA_ONE").contains("+442079460188"));
}

#[test]
fn what_is_too_large_is_refused_and_not_kept() {
    let database = Database::sample();
    let file = database.write("small.toml", "[console]\nimport_bytes_max = 1024\n");
    let server = Server::start(database, &["--config", file.to_str().expect("UTF-8")]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let long = "+442079460188\n".repeat(100);
    let answer = manager.give(&server, IMPORT, &long, &format!("http://{HOST}")).check(413);
    assert!(answer.text().contains("larger than 1 kB"), "{answer:?}");
    assert!(!answer.text().contains("The last day"), "{answer:?}");
}

#[test]
fn a_previewed_job_is_run_and_undone() {
    let server = Server::start(Database::sample(), &[]);
    let manager = Browser::sign_up(&server, "PA_ONE", "manager");
    let create = ["job", "create", "--partner", "PA_ONE", "--verb", "suspend", "--all", "--preview", "--json"];
    let job = server.database.run(&create).done().json();
    let page = format!("/console/p/PA_ONE/jobs/{}", job["id"].as_str().expect("an id"));
    let text = manager.get(&server, &page).check(200).text().to_owned();
    assert!(text.contains("Nothing has changed yet") && text.contains("Will fail"), "{text}");
    let failing = manager.get(&server, &format!("{page}?result=would_fail")).check(200);
    assert!(failing.text().contains("is available since"), "{failing:?}");
    manager.post(&server, &format!("{page}/run"), "").check(303);
    let text = manager.settled(&server, &page);
    assert!(text.contains("failed</span>"), "{text}");
    let rows = manager.get(&server, &format!("{page}/rows.csv?result=failed")).check(200);
    assert!(
        rows.text().starts_with("number,result,reason,version\r\n") && rows.text().contains(",failed,"),
        "{rows:?}"
    );
    manager.refused(&server, &format!("{page}/cancel"), "");
    let undo = manager.post(&server, &format!("{page}/undo"), "").check(303);
    let undo = undo.header("location").expect("the undo's page").to_owned();
    assert!(manager.get(&server, &undo).check(200).text().contains("Undo: change"));
    manager.post(&server, &format!("{undo}/run"), "").check(303);
    manager.settled(&server, &undo);
    assert!(manager.get(&server, "/console/p/PA_ONE/jobs").check(200).text().contains("Undo for"));
}
