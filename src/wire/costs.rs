//! What numbers cost, as JSON and CSV: a group for each account and currency,
//! its lines within.
//!
//! Written a piece at a time, so that a bill of a million lines is sent and
//! printed without its text ever being whole. Amounts are JSON numbers with
//! their currency's decimals, as everywhere.

use std::io::Write;
use std::ops::Range;

use super::json_text;
use super::report::CsvCells;
use crate::billing::{AccountBill, Bill, BillLine, Period};
use crate::domain::Sum;

/// The columns of a line in CSV.
pub const COLUMNS: &[&str] =
    &["account_auth_id", "account_name", "number", "from", "until", "days", "rate", "amount", "currency", "expired_on"];

/// In which text a bill is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BillText {
    /// One object: groups with their lines, and what it is all about.
    Json { page: u64, per_page: u64 },
    /// A line for each line.
    Csv(CsvCells),
    /// An object for each line.
    Ndjson,
}

/// A bill being written.
///
/// Holds positions in the bill and not the bill itself, so that the caller
/// decides how long the bill lives.
pub struct BillWriter {
    text: BillText,
    /// The places of the groups that are wanted.
    groups: Vec<usize>,
    /// Those of them that are shown: of JSON, a page.
    shown: Range<usize>,
    begun: bool,
    ended: bool,
    /// Whether a group was begun, so that the next one needs a comma.
    opened: bool,
    /// The line to write next, of the first group shown.
    line: usize,
}

impl BillWriter {
    /// Of these groups of the bill, by their places.
    pub fn new(text: BillText, groups: Vec<usize>) -> BillWriter {
        let shown = match text {
            BillText::Json { page, per_page } => {
                let total = groups.len() as u64;
                let start = (page - 1).saturating_mul(per_page).min(total);
                start as usize..start.saturating_add(per_page).min(total) as usize
            }
            BillText::Csv(_) | BillText::Ndjson => 0..groups.len(),
        };
        BillWriter { text, groups, shown, begun: false, ended: false, opened: false, line: 0 }
    }

    pub fn done(&self) -> bool {
        self.ended
    }

    /// Writes the next lines, about so many.
    pub fn next(&mut self, bill: &Bill, lines: usize, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            match self.text {
                BillText::Json { .. } => out.extend_from_slice(b"{\"data\":["),
                BillText::Csv(cells) => cells.header(out, COLUMNS),
                BillText::Ndjson => {}
            }
        }
        let mut left = lines;
        while left > 0
            && let Some(place) = self.shown.clone().next()
        {
            let group = &bill.groups[self.groups[place]];
            let rest = &bill.lines[group.lines.clone()][self.line..];
            for line in rest.iter().take(left) {
                match self.text {
                    BillText::Json { .. } => {
                        if self.line > 0 {
                            out.push(b',');
                        } else {
                            self.open(group, out);
                        }
                        out.push(b'{');
                        json_line(out, line);
                        json_expired(out, line);
                        out.push(b'}');
                    }
                    BillText::Csv(cells) => csv_line(out, group, line, cells),
                    BillText::Ndjson => {
                        out.push(b'{');
                        json_account(out, group.account.as_str(), &group.name);
                        out.push(b',');
                        json_line(out, line);
                        put(out, format_args!(",\"currency\":\"{}\"", line.rate.currency));
                        json_expired(out, line);
                        out.extend_from_slice(b"}\n");
                    }
                }
                self.line += 1;
            }
            left = left.saturating_sub(rest.len());
            if self.line == group.lines.len() {
                if let BillText::Json { .. } = self.text {
                    out.extend_from_slice(b"]}");
                }
                self.line = 0;
                self.shown.start += 1;
            }
        }
        if self.shown.is_empty()
            && !std::mem::replace(&mut self.ended, true)
            && let BillText::Json { page, per_page } = self.text
        {
            self.meta(bill, page, per_page, out);
        }
    }

    /// The beginning of a group, up to its lines.
    fn open(&mut self, group: &AccountBill, out: &mut Vec<u8>) {
        let comma = if std::mem::replace(&mut self.opened, true) { "," } else { "" };
        put(out, format_args!("{comma}{{"));
        json_account(out, group.account.as_str(), &group.name);
        let Sum { currency, .. } = group.total;
        put(out, format_args!(",\"currency\":\"{currency}\",\"total\":{},\"lines\":[", group.total));
    }

    fn meta(&self, bill: &Bill, page: u64, per_page: u64, out: &mut Vec<u8>) {
        let total = self.groups.len();
        put(out, format_args!("],\"meta\":{{\"total\":{total},\"page\":{page},\"per_page\":{per_page},\"month\":\""));
        put(out, format_args!("{}\",\"through\":\"{}\",", bill.month(), bill.through));
        json_rules(out, bill);
        out.extend_from_slice(b",\"totals\":");
        sums(out, &Bill::totals(self.groups.iter().map(|&place| &bill.groups[place])));
        out.extend_from_slice(b"}}");
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory");
}

/// `"account_auth_id":…,"account_name":…`
pub fn json_account(out: &mut Vec<u8>, id: &str, name: &str) {
    out.extend_from_slice(b"\"account_auth_id\":");
    json_text(out, id);
    out.extend_from_slice(b",\"account_name\":");
    json_text(out, name);
}

/// The members of a line.
pub fn json_line(out: &mut Vec<u8>, line: &BillLine) {
    let BillLine { number, from, until, days, rate, amount, .. } = line;
    put(out, format_args!("\"number\":\"{number}\",\"from\":\"{from}\",\"until\":\"{until}\",\"days\":{days},"));
    put(out, format_args!("\"rate\":{rate},\"amount\":{amount}"));
}

/// `,"expired_on":"2026-02-20"`, or null.
pub fn json_expired(out: &mut Vec<u8>, line: &BillLine) {
    match line.expired_on {
        Some(day) => put(out, format_args!(",\"expired_on\":\"{day}\"")),
        None => out.extend_from_slice(b",\"expired_on\":null"),
    }
}

/// What a bill counts, and which moments are its month's.
pub fn json_rules(out: &mut Vec<u8>, bill: &Bill) {
    let Bill { period: Period { zone, after_expiry, begins, ends, .. }, draft, proration, .. } = bill;
    put(out, format_args!("\"proration\":\"{proration}\",\"after_expiry\":\"{after_expiry}\",\"zone\":\"{zone}\","));
    put(out, format_args!("\"begins_at\":\"{begins}\",\"ends_at\":\"{ends}\",\"draft\":{draft}"));
}

/// `[{"currency":"INR","amount":500.00}]`
pub fn sums(out: &mut Vec<u8>, sums: &[Sum]) {
    out.push(b'[');
    for (at, sum) in sums.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        put(out, format_args!("{comma}{{\"currency\":\"{}\",\"amount\":{sum}}}", sum.currency));
    }
    out.push(b']');
}

fn csv_line(out: &mut Vec<u8>, group: &AccountBill, line: &BillLine, cells: CsvCells) {
    let BillLine { number, from, until, days, rate, amount, expired_on } = line;
    let mut row = cells.line(out);
    row.text(group.account.as_str());
    row.text(&group.name);
    row.plain(number);
    row.plain(from);
    row.plain(until);
    row.plain(days);
    row.plain(rate);
    row.plain(amount);
    row.plain(rate.currency);
    row.maybe(expired_on.as_ref());
    row.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::{Calendar, Ledger, Month, Proration};
    use crate::domain::{E164, Money, NumberType, Record, State, Time};

    fn bill() -> Bill {
        let at: Time = "2026-03-01T00:00:00Z".parse().expect("a time");
        let month: Month = "2026-03".parse().expect("a month");
        let calendar = Calendar::default();
        let mut ledger = Ledger::new(&calendar, calendar.period(month).whole());
        for (account, first, count) in [("MA_1", 1, 3), ("=MA \"2\", Ltd", 11, 1), ("MA_3", 21, 4)] {
            let record = Record {
                account: Some(account.parse().expect("an id")),
                cost: Some(Money { minor: 1_250, currency: "KWD".parse().expect("a currency") }),
                assigned_at: Some(at),
                ..Record::bare(State::Active, NumberType::Local, at)
            };
            ledger.numbers(at, E164::new(442_079_460_000 + first).expect("a number"), count, Some(&record));
        }
        Bill::of(&calendar, month, Proration::Full, &ledger.finish(), at)
    }

    fn written(bill: &Bill, text: BillText, groups: &[usize], lines: usize) -> String {
        let mut writer = BillWriter::new(text, groups.to_vec());
        let mut out = Vec::new();
        while !writer.done() {
            let before = out.len();
            writer.next(bill, lines, &mut out);
            assert!(out.len() > before || writer.done(), "it gets on");
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn pieces_make_no_difference() {
        let bill = bill();
        let page = |page, per_page| BillText::Json { page, per_page };
        for text in [
            page(1, 20),
            page(2, 1),
            page(2, 2),
            page(9, 9),
            page(u64::MAX, 100),
            BillText::Csv(CsvCells::Raw),
            BillText::Csv(CsvCells::Protected),
            BillText::Ndjson,
        ] {
            for groups in [&[0, 1, 2][..], &[1], &[0, 2], &[]] {
                let whole = written(&bill, text, groups, 1_000);
                for lines in 1..6 {
                    assert_eq!(written(&bill, text, groups, lines), whole, "{text:?} of {groups:?} by {lines}");
                }
                if let BillText::Json { .. } = text {
                    let json: serde_json::Value = serde_json::from_str(&whole).expect(&whole);
                    assert_eq!(json["meta"]["total"], groups.len());
                }
            }
        }
        let csv = written(&bill, BillText::Csv(CsvCells::Raw), &[0], 9);
        let row = |before: &str| {
            let account = format!("\"{before}=MA \"\"2\"\", Ltd\"");
            let line = "+442079460011,2026-03-01,2026-03-31,31,1.250,1.250,KWD,";
            format!("{}\r\n{account},{account},{line}\r\n", COLUMNS.join(","))
        };
        assert_eq!(csv, row(""));
        assert_eq!(written(&bill, BillText::Csv(CsvCells::Protected), &[0], 9), row("'"));
    }
}
