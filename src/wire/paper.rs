//! Pages to be printed: a file with nothing that it would have to fetch or
//! run, or the same page of a server, which sends the style apart.
//!
//! Invariant: text gets in through [`escape`] only. Deliberately absent:
//! scripts, fonts, anything from elsewhere.

use crate::billing::{Bill, BillLine, Day, Proration};
use crate::domain::Sum;
use crate::domain::setting::AfterExpiry;
use crate::wire::html::{escape, put};

/// How a page looks, on a screen and on paper.
pub const STYLE: &str = "\
:root{color-scheme:light}\
body{font:11pt/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:#1a1f26;background:#fff;max-width:52rem;margin:2rem auto;padding:0 1.25rem}\
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.01em;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .25rem}h3{font-size:1rem;margin:1.25rem 0 .25rem}\
p{margin:.15rem 0}.about{color:#566170}\
.head{display:flex;flex-wrap:wrap;justify-content:space-between;gap:1rem 3rem;border-top:4px solid #0b5cad;padding-top:1.25rem;margin-bottom:1.5rem}\
.parties{display:grid;grid-template-columns:repeat(2,minmax(11rem,auto));gap:0 2.5rem}\
.parties .about{display:block;font-size:.85em}.who{display:block;font-weight:600}\
.draft{border:1px solid #b26a00;border-left-width:4px;background:#fff7e8;padding:.6rem .9rem;margin:0 0 1.25rem;border-radius:4px}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}\
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #e1e5ea;vertical-align:top}\
th{border-bottom:1px solid #1a1f26;font-weight:600;font-size:.85em;color:#566170}\
.n{text-align:right;font-variant-numeric:tabular-nums;padding-right:0;padding-left:.6rem;white-space:nowrap}\
tfoot td{border-bottom:0;border-top:1px solid #1a1f26;font-weight:600}\
.totals{background:#f4f6f8;border-radius:6px;margin:0 0 1rem}.totals th,.totals td{padding:.5rem 1rem;border-bottom:0}.totals td{font-size:1.05rem}\
.totals strong{font-size:1.4rem}.totals tr+tr td{border-top:1px solid #e1e5ea}\
.scroll{overflow-x:auto}.scroll td{white-space:nowrap}.scroll:focus-visible{outline:3px solid #0b5cad;outline-offset:2px}a{color:#0b5cad}.screen{background:#f4f6f8;padding:.5rem .75rem;border-radius:6px;margin-bottom:1.5rem}\
@media(max-width:34rem){.parties{grid-template-columns:1fr}.totals td,.totals th{padding:.4rem .6rem}}\
@media print{.screen{display:none}.scroll{overflow:visible}body{margin:0;padding:0;max-width:none;font-size:9.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}\
thead{display:table-header-group}tfoot{display:table-row-group}tr,.head,.totals,.draft{break-inside:avoid}h2,h3{break-after:avoid}\
.account+.account{break-before:page}\
@page{size:A4;margin:16mm 16mm 18mm;@bottom-right{content:counter(page) ' / ' counter(pages);font:8.5pt system-ui,sans-serif;color:#566170}}}";

/// Where a page has its style from.
#[derive(Clone, Copy)]
pub enum Style<'a> {
    Within,
    /// A server's page: its security policy allows no style within.
    At {
        style: &'a str,
        icon: &'a str,
    },
}

/// A page up to where its content begins.
pub fn begin(out: &mut String, title: &str, style: Style<'_>) {
    put(
        out,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n",
            escape(title)
        ),
    );
    match style {
        Style::Within => put(out, format_args!("<style>{STYLE}</style>\n")),
        Style::At { style, icon } => put(
            out,
            format_args!(
                "<link rel=\"stylesheet\" href=\"{}\">\n<link rel=\"icon\" href=\"{}\" type=\"image/svg+xml\">\n",
                escape(style),
                escape(icon)
            ),
        ),
    }
    out.push_str("</head>\n<body>\n<main>\n");
}

pub fn end(out: &mut String) {
    out.push_str("</main>\n</body>\n</html>\n");
}

/// What a page is called: `Invoice 2026-02`, or `Draft invoice 2026-02` while
/// the month goes on.
pub fn name(what: &str, bill: &Bill) -> String {
    match bill.draft {
        true => format!("Draft {} {}", what.to_lowercase(), bill.month()),
        false => format!("{what} {}", bill.month()),
    }
}

/// The top of an invoice: its number, its days and its parties.
pub fn head(out: &mut String, bill: &Bill, made_on: Day, from: &str, to: (&str, &str)) {
    let (name, id) = (escape(to.0), escape(to.1));
    put(out, format_args!("<header class=\"head\">\n<div>\n<h1>{}</h1>\n", self::name("Invoice", bill)));
    dates(out, bill, made_on);
    put(
        out,
        format_args!(
            "</div>\n<div class=\"parties\">\n<p>From: <span class=\"who\">{}</span>\n<p>To: <span class=\"who\">{name}</span> \
             <span class=\"about\">({id})</span>\n</div>\n</header>\n",
            escape(from)
        ),
    );
    draft(out, bill);
}

/// The rule of an invoice, below its totals.
pub fn terms(out: &mut String, bill: &Bill) {
    put(out, format_args!("<p class=\"about\">{}\n", rule(bill)));
}

fn dates(out: &mut String, bill: &Bill, made_on: Day) {
    let (period, zone) = (&bill.period, escape(bill.period.zone.name()));
    let last = period.day(period.days() - 1);
    put(out, format_args!("<p>Date: {made_on} ({zone})\n<p>Period: {} to {last}, days of {zone}\n", period.day(0)));
}

fn draft(out: &mut String, bill: &Bill) {
    if bill.draft {
        put(
            out,
            format_args!(
                "<p class=\"draft\"><strong>Draft.</strong> {} has not ended: this is counted up to {} and may change.\n",
                bill.month(),
                bill.through
            ),
        );
    }
}

/// Of which day a page is, which days it is about, and by which rule.
pub fn about(out: &mut String, bill: &Bill, made_on: Day) {
    draft(out, bill);
    dates(out, bill, made_on);
    terms(out, bill);
}

/// What a bill counts, for the reader of a page.
pub fn rule(bill: &Bill) -> String {
    let mut rule = match bill.proration {
        Proration::Full => {
            "A rental month is charged whole in the month in which it begins, on the day of the month on which the \
             number was assigned."
        }
        Proration::Days => "Rental is charged by the days held.",
    }
    .to_owned();
    rule.push_str(match bill.period.after_expiry {
        AfterExpiry::Charge => " A number that has expired is charged until it is given back.",
        AfterExpiry::Stop => " A number is not charged from the day on which it expires.",
    });
    if bill.period.moved() {
        let begins = bill.period.begins;
        rule.push_str(&format!(" The zone is new: the month begins at {begins}, where the last one ended."));
    }
    rule
}

/// The amounts of a page, before its lines: one column for each part, the last
/// of which is the total, and a row for each currency.
pub fn totals(out: &mut String, parts: &[&str], rows: &[Vec<Sum>]) {
    out.push_str("<table class=\"totals\">\n<thead><tr>");
    for part in parts {
        put(out, format_args!("<th class=\"n\">{}", escape(part)));
    }
    out.push_str("</thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (at, sum) in row.iter().enumerate() {
            let (open, close) = if at + 1 == row.len() { ("<strong>", "</strong>") } else { ("", "") };
            put(out, format_args!("<td class=\"n\">{open}{} {}{close}", grouped(sum), sum.currency));
        }
        out.push('\n');
    }
    out.push_str("</tbody>\n</table>\n");
}

/// An amount with its thousands apart: `1,234.50`.
fn grouped(amount: &impl std::fmt::Display) -> String {
    let text = amount.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3);
    grouped.push_str(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// A part of a page with a heading.
pub fn section_begin(out: &mut String, heading: &str) {
    put(out, format_args!("<section class=\"account\">\n<h2>{}</h2>\n", escape(heading)));
}

pub fn section_end(out: &mut String) {
    out.push_str("</section>\n");
}

/// The table of a rental, up to its first line.
pub fn lines_begin(out: &mut String) {
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Number rental\">\n<table>\n<thead><tr><th>Number<th>From<th>Until<th class=\"n\">Days<th class=\"n\">Monthly rate\
         <th class=\"n\">Amount</thead>\n<tbody>\n",
    );
}

/// What a line says of an expiry, if days after it are charged.
pub fn expired(line: &BillLine) -> String {
    line.expired_on.map_or_else(String::new, |day| format!("charged after it expired on {day}"))
}

pub fn line(out: &mut String, line: &BillLine) {
    let BillLine { number, from, until, days, rate, amount, expired_on } = line;
    let said = match expired_on {
        Some(_) => format!("<br><span class=\"about\">{}</span>", expired(line)),
        None => String::new(),
    };
    put(
        out,
        format_args!(
            "<tr><td>{number}{said}<td>{from}<td>{until}<td class=\"n\">{days}<td class=\"n\">{}<td class=\"n\">{}\n",
            grouped(rate),
            grouped(amount)
        ),
    );
}

pub fn lines_end(out: &mut String, label: &str, total: &Sum) {
    out.push_str("</tbody>\n");
    let currency = total.currency;
    put(
        out,
        format_args!(
            "<tfoot><tr><td colspan=\"5\">{}<td class=\"n\">{} {currency}</tfoot>\n</table>\n</div>\n",
            escape(label),
            grouped(total)
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_apart() {
        for (text, shown) in
            [("0", "0"), ("999.50", "999.50"), ("1000", "1,000"), ("-1234567.125", "-1,234,567.125"), ("-123", "-123")]
        {
            assert_eq!(grouped(&text), shown);
        }
    }
}
