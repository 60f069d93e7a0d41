//! The digest of findings: as text, as HTML, as a table and as JSON.
//!
//! Invariants: counts are exact, however few lines are shown; names are escaped in
//! HTML; all formats have the same findings.
//! Deliberately absent: which findings are new and who gets them
//! (`service::background::schedules`), and sending emails (`mail`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::checks::{Check, Finding, Severity};
use crate::domain::{AccountId, Time};
use crate::inventory::Snapshot;
use crate::mail::one_line;
use crate::schedule::Recurrence;
use crate::wire::html::{escape, put, thousands};
use crate::wire::report::CsvCells;

/// How many findings of one check are listed in a letter.
pub const LISTED_MAX: usize = 50;
/// How many rows the table beside a letter has.
pub const TABLE_ROWS_MAX: usize = 2_000;
/// The columns of the table that a letter brings along.
const CSV_COLUMNS: [&str; 10] =
    ["id", "check", "severity", "news", "account_auth_id", "account_name", "number", "since", "meaning", "action"];
/// How many findings are in an event.
pub const EVENT_FINDINGS_MAX: usize = 100;
/// How many counts a subject names.
const SUBJECT_COUNTS_MAX: usize = 3;
/// How many characters a subject has.
const SUBJECT_CHARS_MAX: usize = 180;

/// Why something is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// The schedule's time has come: all that is open.
    Report,
    /// Something is new between two reports: that only.
    Alert,
    /// Somebody asked: all that is open.
    Asked,
}

crate::domain::number::words!(Why: Report "report", Alert "alert", Asked "asked");

/// What a recipient knew of a finding before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    Known,
    New,
    /// It was told before, and its number now ends within so many days.
    Nearer {
        days: i64,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigestItem {
    pub finding: Finding,
    pub id: String,
    pub news: News,
}

/// What one run of a schedule has to say.
pub struct AlertDigest<'a> {
    /// Names what the findings are about.
    pub snapshot: &'a Snapshot,
    pub schedule_id: &'a str,
    pub schedule: &'a str,
    pub plan: &'a Recurrence,
    /// When it was looked.
    pub at: Time,
    /// The next report.
    pub next: Option<Time>,
    pub why: Why,
    /// How far ahead expiries are seen, in seconds.
    pub within: i64,
    /// All that is open, by check; what is not looked for is not in it.
    pub open: BTreeMap<Check, u64>,
    /// What is told: in order of check, account, number.
    pub items: Vec<DigestItem>,
}

/// A digest as letters carry it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Content {
    pub subject: String,
    pub text: String,
    pub html: String,
    pub csv: Option<String>,
}

/// A finding as everybody shows it.
pub fn finding(id: &str, finding: &Finding) -> Value {
    let evidence: serde_json::Map<String, Value> =
        finding.evidence().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({
        "id": id,
        "check": finding.check.as_str(),
        "severity": finding.check.severity().as_str(),
        "account_auth_id": finding.account,
        "number": finding.number,
        "since": finding.since,
        "meaning": finding.check.meaning(),
        "action": finding.check.action(),
        "evidence": evidence,
    })
}

/// A span of time as people write it: `14d`, `36h`.
pub fn span(seconds: i64) -> String {
    for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
        if seconds % unit == 0 {
            return format!("{}{letter}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

/// The same in words.
fn span_words(seconds: i64) -> String {
    let (count, unit) = match seconds {
        seconds if seconds % 86_400 == 0 => (seconds / 86_400, "day"),
        seconds if seconds % 3_600 == 0 => (seconds / 3_600, "hour"),
        seconds => (seconds / 60, "minute"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

impl AlertDigest<'_> {
    /// `12 numbers expire within 14 days`
    fn headline(&self, check: Check, number: u64) -> String {
        let one = number == 1;
        let numbers = format!("{} {}", thousands(number), if one { "number" } else { "numbers" });
        match check {
            Check::NoActiveNumber => {
                format!("{} {} without an active number", thousands(number), if one { "customer" } else { "customers" })
            }
            Check::Expired => format!("{numbers} expired"),
            Check::Unrouted => format!("{numbers} with nowhere to go"),
            Check::NoDestination => format!("{numbers} without a destination"),
            Check::Expiring => {
                format!("{numbers} {} within {}", if one { "expires" } else { "expire" }, span_words(self.within))
            }
            Check::ArchivedRoute => format!("{numbers} routed to what is archived"),
            Check::DoubtfulNumber => format!("{numbers} probably stored wrongly"),
            Check::Suspended => format!("{numbers} suspended for long"),
            Check::Idle => format!("{numbers} paid for and not called for long"),
            Check::Vanished => format!("{numbers} gone upstream"),
            Check::Appeared => format!("{numbers} new upstream"),
        }
    }

    fn partner(&self) -> String {
        one_line(&self.snapshot.partner.name)
    }

    /// What is told, check by check, what is new first.
    fn groups(&self) -> Vec<(Check, Vec<&DigestItem>)> {
        let mut groups = Vec::new();
        for same in self.items.chunk_by(|a, b| a.finding.check == b.finding.check) {
            let mut items: Vec<&DigestItem> = same.iter().collect();
            items.sort_by_key(|item| item.news == News::Known);
            groups.push((same[0].finding.check, items));
        }
        groups
    }

    /// How many findings were not told before in this form.
    pub fn news(&self) -> u64 {
        self.items.iter().filter(|item| item.news != News::Known).count() as u64
    }

    pub fn content(&self) -> Content {
        Content { subject: self.subject(), text: self.text(), html: self.html(), csv: self.csv() }
    }

    fn subject(&self) -> String {
        let groups = self.groups();
        let said: Vec<String> = groups
            .iter()
            .take(SUBJECT_COUNTS_MAX)
            .map(|(check, items)| self.headline(*check, items.len() as u64))
            .collect();
        let what = match (groups.len(), self.why) {
            (0, _) => "nothing found".to_owned(),
            (all, why) => {
                let more = if all > SUBJECT_COUNTS_MAX { " and more" } else { "" };
                let new = if why == Why::Alert { "new: " } else { "" };
                format!("{new}{}{more}", said.join(", "))
            }
        };
        let end = format!(" ({})", self.partner());
        let room = SUBJECT_CHARS_MAX.saturating_sub(end.chars().count().min(SUBJECT_CHARS_MAX / 2));
        let begin: String = format!("Rollcall: {what}").chars().take(room).collect();
        let end: String = end.chars().take(SUBJECT_CHARS_MAX - begin.chars().count()).collect();
        begin + &end
    }

    fn opening(&self) -> String {
        let when = format!("{} ({})", self.plan.clock(self.at), self.plan.zone());
        match (self.why, self.items.is_empty()) {
            (_, true) => format!("The checks looked on {when} and found nothing."),
            (Why::Alert, false) => format!("This is new since it was last told, as of {when}."),
            (Why::Report | Why::Asked, false) => format!("This is what the checks found on {when}."),
        }
    }

    fn closing(&self) -> Vec<String> {
        let schedule = format!("{} ({})", one_line(self.schedule), self.schedule_id);
        let mut lines = vec![match self.why {
            Why::Report => format!("This is the report of the schedule {schedule}."),
            Why::Alert => format!("This is an alert of the schedule {schedule}, between its reports."),
            Why::Asked => format!("This is the report of the schedule {schedule}, run on request."),
        }];
        if let Some(next) = self.next {
            lines.push(format!("The next report is on {}.", self.plan.clock(next)));
        }
        if self.why == Why::Alert {
            let open: Vec<String> = self
                .open
                .iter()
                .filter(|(_, number)| **number > 0)
                .map(|(check, number)| self.headline(*check, *number))
                .collect();
            lines.push(format!("Open in all: {}.", open.join(", ")));
        }
        if self.items.len() > TABLE_ROWS_MAX {
            let rows = thousands(TABLE_ROWS_MAX as u64);
            lines.push(format!("The table has the first {rows} of {}.", thousands(self.items.len() as u64)));
        }
        lines.push(format!("Times are those of {}. Acknowledged findings are left out.", self.plan.zone()));
        lines
    }

    /// Who or what a finding is about.
    fn about(&self, finding: &Finding) -> String {
        let customer = finding.account.as_ref().map(|account| self.customer(account));
        match (finding.number, customer) {
            (Some(number), Some(customer)) => format!("{number} of {customer}"),
            (Some(number), None) => number.to_string(),
            (None, customer) => customer.unwrap_or_default(),
        }
    }

    fn customer(&self, account: &AccountId) -> String {
        match self.snapshot.accounts.get(account.as_str()) {
            Some(known) => format!("{} ({account})", one_line(&known.name)),
            None => account.to_string(),
        }
    }

    fn when(&self, finding: &Finding) -> String {
        let Some(since) = finding.since else { return String::new() };
        let word = if finding.check == Check::Expiring { "ends" } else { "since" };
        format!("{word} {}", self.plan.clock(since))
    }

    fn marker(item: &DigestItem) -> String {
        match item.news {
            News::Known => String::new(),
            News::New => "NEW".to_owned(),
            News::Nearer { days: 1 } => "WITHIN A DAY".to_owned(),
            News::Nearer { days } => format!("WITHIN {days} DAYS"),
        }
    }

    /// `12 numbers expire within 14 days, 3 of them new`
    fn heading(&self, check: Check, items: &[&DigestItem]) -> String {
        let all = items.len() as u64;
        let news = items.iter().filter(|item| item.news != News::Known).count() as u64;
        match (self.why, news) {
            (Why::Alert, _) | (_, 0) => self.headline(check, all),
            (_, news) if news == all => format!("{}, new", self.headline(check, all)),
            (_, news) => format!("{}, {} of them new", self.headline(check, all), thousands(news)),
        }
    }

    /// Where to see what is not listed.
    fn elsewhere(&self, check: Check) -> (String, String) {
        let partner = &self.snapshot.partner.auth_id;
        let within = if check == Check::Expiring { span(self.within) } else { String::new() };
        let (flag, query) = match within.as_str() {
            "" => (String::new(), String::new()),
            within => (format!(" --within {within}"), format!("&within={within}")),
        };
        (
            format!("rollcall check --partner {partner} --check {check}{flag}"),
            format!("/api/v1/partner/checks?check={check}{query}"),
        )
    }

    fn text(&self) -> String {
        let mut out = String::new();
        put(&mut out, format_args!("{} ({})\n\n{}\n", self.partner(), self.snapshot.partner.auth_id, self.opening()));
        for (check, items) in self.groups() {
            put(&mut out, format_args!("\n{}\n", self.heading(check, &items)));
            put(&mut out, format_args!("  What it means: {}.\n", check.meaning()));
            put(&mut out, format_args!("  What to do: {}.\n\n", check.action()));
            for item in items.iter().take(LISTED_MAX) {
                let (about, when) = (self.about(&item.finding), self.when(&item.finding));
                let marker = Self::marker(item);
                let end = if marker.is_empty() { String::new() } else { format!("  [{marker}]") };
                put(&mut out, format_args!("  - {about}, {when}{end}\n"));
            }
            if items.len() > LISTED_MAX {
                let (command, path) = self.elsewhere(check);
                let more = thousands((items.len() - LISTED_MAX) as u64);
                put(&mut out, format_args!("  … and {more} more. All of them: {command}\n  or GET {path}\n"));
            }
        }
        out.push_str("\n-- \n");
        for line in self.closing() {
            put(&mut out, format_args!("{line}\n"));
        }
        out
    }

    fn html(&self) -> String {
        const BODY: &str = "font-family:system-ui,sans-serif;font-size:16px;line-height:1.5;color:#1a1a1a;\
                            background:#ffffff;max-width:44em;margin:0 auto;padding:16px";
        const CELL: &str = "text-align:left;vertical-align:top;padding:4px 12px 4px 0;border-bottom:1px solid #cccccc";
        let partner = escape(&self.partner());
        let mut out = String::new();
        put(
            &mut out,
            format_args!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n</head>\n\
                 <body style=\"{BODY}\">\n<h1 style=\"font-size:22px;margin:0\">{partner} ({})</h1>\n<p>{}</p>\n",
                escape(&self.subject()),
                escape(self.snapshot.partner.auth_id.as_str()),
                escape(&self.opening()),
            ),
        );
        for (check, items) in self.groups() {
            let colour = match check.severity() {
                Severity::Critical => "#a40000",
                Severity::Warning => "#7a4b00",
                Severity::Info => "#1a1a1a",
            };
            put(
                &mut out,
                format_args!(
                    "<h2 style=\"font-size:18px;margin:24px 0 0;color:{colour}\">{}</h2>\n\
                     <p style=\"margin:0 0 8px\"><strong>What it means:</strong> {}. <strong>What to do:</strong> {}.</p>\n\
                     <table style=\"border-collapse:collapse;width:100%\">\n<thead><tr>",
                    escape(&self.heading(check, &items)),
                    escape(check.meaning()),
                    escape(check.action()),
                ),
            );
            let end = if check == Check::Expiring { "Ends" } else { "Since" };
            let headings: &[&str] = match check == Check::NoActiveNumber {
                true => &["Customer", end, "News"],
                false => &["Number", "Customer", end, "News"],
            };
            for heading in headings {
                put(&mut out, format_args!("<th scope=\"col\" style=\"{CELL}\">{heading}</th>"));
            }
            out.push_str("</tr></thead>\n<tbody>\n");
            for item in items.iter().take(LISTED_MAX) {
                let finding = &item.finding;
                let mut cells = Vec::new();
                if check != Check::NoActiveNumber {
                    cells.push(finding.number.map(|number| number.to_string()).unwrap_or_default());
                }
                cells.push(finding.account.as_ref().map(|account| self.customer(account)).unwrap_or_default());
                cells.push(finding.since.map(|since| self.plan.clock(since)).unwrap_or_default());
                cells.push(Self::marker(item).to_lowercase());
                out.push_str("<tr>");
                for cell in cells {
                    put(&mut out, format_args!("<td style=\"{CELL}\">{}</td>", escape(&cell)));
                }
                out.push_str("</tr>\n");
            }
            out.push_str("</tbody>\n</table>\n");
            if items.len() > LISTED_MAX {
                let (command, path) = self.elsewhere(check);
                put(
                    &mut out,
                    format_args!(
                        "<p>… and {} more. All of them: <code>{}</code> or <code>GET {}</code></p>\n",
                        thousands((items.len() - LISTED_MAX) as u64),
                        escape(&command),
                        escape(&path),
                    ),
                );
            }
        }
        out.push_str("<hr style=\"border:0;border-top:1px solid #cccccc;margin:24px 0 8px\">\n");
        out.push_str("<p style=\"font-size:14px;color:#555555;margin:0\">");
        let closing: Vec<String> = self.closing().iter().map(|line| escape(line)).collect();
        put(&mut out, format_args!("{}</p>\n</body>\n</html>\n", closing.join("<br>\n")));
        out
    }

    /// What is told as a table; `None` if there is nothing. It stops after
    /// [`TABLE_ROWS_MAX`] rows, which the letter's counts show.
    fn csv(&self) -> Option<String> {
        if self.items.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        let cells = CsvCells::Protected;
        cells.header(&mut out, &CSV_COLUMNS);
        for item in self.items.iter().take(TABLE_ROWS_MAX) {
            let finding = &item.finding;
            let account = finding.account.as_ref().map(AccountId::as_str).unwrap_or_default();
            let name = self.snapshot.accounts.get(account).map(|known| known.name.to_string()).unwrap_or_default();
            let mut line = cells.line(&mut out);
            line.text(&item.id);
            line.plain(finding.check);
            line.plain(finding.check.severity());
            line.plain(Self::marker(item).to_lowercase());
            line.text(account);
            line.text(&name);
            line.maybe(finding.number);
            line.maybe(finding.since);
            line.text(finding.check.meaning());
            line.text(finding.check.action());
            line.end();
        }
        String::from_utf8(out).ok()
    }

    /// What programs are told: the event's data.
    pub fn event(&self) -> Value {
        let counts: serde_json::Map<String, Value> =
            self.open.iter().map(|(check, number)| (check.as_str().to_owned(), json!(number))).collect();
        let news: Vec<&DigestItem> = self.items.iter().filter(|item| item.news != News::Known).collect();
        let findings: Vec<Value> =
            news.iter().take(EVENT_FINDINGS_MAX).map(|item| finding(&item.id, &item.finding)).collect();
        json!({
            "schedule": { "id": self.schedule_id, "name": self.schedule },
            "why": self.why.as_str(),
            "at": self.at,
            "total": self.open.values().sum::<u64>(),
            "counts": counts,
            "news_total": news.len(),
            "news": findings,
        })
    }
}
