//! Invoices as CSV, as JSON, and as pages to print.
//!
//! Every amount that adds up is in the column or key `amount` or `total`;
//! `cost` is what calls cost exactly, before it becomes an amount. Totals come
//! before the lines that they sum.

use std::io::{self, Write};

use super::InvoiceRun;
use crate::billing::{BillLine, CallTotals, Invoice, Stated};
use crate::domain::{Currency, E164, Sum};
use crate::wire::costs::{self, json_account, json_expired, json_line, json_rules};
use crate::wire::html::put;
use crate::wire::paper;
use crate::wire::report::{CsvCells, CsvLine as Row};

const COLUMNS: &[&str] = &[
    "account_auth_id",
    "account_name",
    "currency",
    "kind",
    "number",
    "from",
    "until",
    "days",
    "rate",
    "calls",
    "seconds",
    "cost",
    "amount",
    "expired_on",
    "status",
];

/// One row for an account's total, one for its calls together, one for each line
/// of the rental and for each number's calls; calls of nobody last. The amounts
/// of `rental` and `calls` add up to that of `total`. The status is `draft`
/// while the month goes on, and `final` after it.
pub fn csv(found: &InvoiceRun, cells: CsvCells, out: &mut dyn Write) -> io::Result<()> {
    let status = if found.bill.draft { "draft" } else { "final" };
    let mut text = Vec::new();
    cells.header(&mut text, COLUMNS);
    for invoice in &found.invoices {
        let currency = invoice.total.currency;
        let mut row = |kind: &str, rest: &dyn Fn(&mut Row<'_>)| {
            let mut line = cells.line(&mut text);
            line.text(invoice.account.as_str());
            line.text(&invoice.name);
            line.plain(currency);
            line.plain(kind);
            rest(&mut line);
            line.plain(status);
            line.end();
            flush(&mut text, out)
        };
        row("total", &|line| {
            (0..8).for_each(|_| line.plain(""));
            line.plain(invoice.total);
            line.plain("");
        })?;
        row("calls", &|line| {
            (0..5).for_each(|_| line.plain(""));
            used(line, &invoice.used);
            line.plain(invoice.usage);
            line.plain("");
        })?;
        for of in invoice.lines(&found.bill) {
            row("rental", &|line| {
                let BillLine { number, from, until, days, rate, amount, expired_on } = of;
                line.plain(number);
                line.plain(from);
                line.plain(until);
                line.plain(days);
                line.plain(rate);
                (0..3).for_each(|_| line.plain(""));
                line.plain(amount);
                line.maybe(expired_on.as_ref());
            })?;
        }
        for (number, calls) in &invoice.calls {
            row("number_calls", &|line| {
                line.plain(number);
                (0..4).for_each(|_| line.plain(""));
                used(line, calls);
                line.plain("");
                line.plain("");
            })?;
        }
    }
    for (currency, calls) in &found.tally.unattributed {
        let mut line = cells.line(&mut text);
        line.plain("");
        line.plain("");
        line.plain(currency);
        line.plain("unattributed");
        (0..5).for_each(|_| line.plain(""));
        used(&mut line, calls);
        line.plain("");
        line.plain("");
        line.plain(status);
        line.end();
    }
    out.write_all(&text)
}

/// How many calls there were, how long they took, and what they cost.
fn used(line: &mut Row<'_>, calls: &CallTotals) {
    let CallTotals { calls, seconds, cost } = calls;
    line.plain(calls);
    line.plain(seconds);
    line.plain(cost);
}

/// Writes what has come together, once it is much.
fn flush(text: &mut Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
    if text.len() > 1 << 16 {
        out.write_all(text)?;
        text.clear();
    }
    Ok(())
}

pub fn json(found: &InvoiceRun, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    meta(found, &mut text)?;
    text.extend_from_slice(b",\"data\":[");
    for (at, invoice) in found.invoices.iter().enumerate() {
        text.extend_from_slice(if at > 0 { b",{" } else { b"{" });
        json_account(&mut text, invoice.account.as_str(), &invoice.name);
        let currency = invoice.total.currency;
        write!(
            text,
            ",\"currency\":\"{currency}\",\"total\":{},\"rental\":{{\"amount\":{},\"lines\":[",
            invoice.total,
            rental(invoice)
        )?;
        for (at, line) in invoice.lines(&found.bill).iter().enumerate() {
            text.extend_from_slice(if at > 0 { b",{" } else { b"{" });
            json_line(&mut text, line);
            json_expired(&mut text, line);
            text.push(b'}');
            flush(&mut text, out)?;
        }
        write!(text, "]}},\"calls\":{{\"amount\":{},", invoice.usage)?;
        json_calls(&mut text, &invoice.used)?;
        text.extend_from_slice(b",\"numbers\":[");
        for (at, (number, calls)) in invoice.calls.iter().enumerate() {
            write!(text, "{}{{\"number\":\"{number}\",", if at > 0 { "," } else { "" })?;
            json_calls(&mut text, calls)?;
            text.push(b'}');
            flush(&mut text, out)?;
        }
        text.extend_from_slice(b"]}}");
    }
    text.extend_from_slice(b"],\"unattributed\":[");
    for (at, (currency, calls)) in found.tally.unattributed.iter().enumerate() {
        write!(text, "{}{{\"currency\":\"{currency}\",", if at > 0 { "," } else { "" })?;
        json_calls(&mut text, calls)?;
        text.push(b'}');
    }
    text.extend_from_slice(b"]}\n");
    out.write_all(&text)
}

fn json_calls(out: &mut Vec<u8>, CallTotals { calls, seconds, cost }: &CallTotals) -> io::Result<()> {
    write!(out, "\"calls\":{calls},\"seconds\":{seconds},\"cost\":{cost}")
}

/// What was read, and how it compares with what the platform says of it.
fn meta(found: &InvoiceRun, out: &mut Vec<u8>) -> io::Result<()> {
    let InvoiceRun { bill, tally, made_on, .. } = found;
    write!(
        out,
        "{{\"meta\":{{\"date\":\"{made_on}\",\"month\":\"{}\",\"through\":\"{}\",",
        bill.month(),
        bill.through
    )?;
    json_rules(out, bill);
    out.extend_from_slice(b",\"totals\":");
    let mut totals: Vec<Sum> = Vec::new();
    for Invoice { total, .. } in &found.invoices {
        match totals.iter_mut().find(|sum| sum.currency == total.currency) {
            Some(sum) => sum.minor += total.minor,
            None => totals.push(*total),
        }
    }
    totals.sort_by_key(|sum| sum.currency);
    costs::sums(out, &totals);
    write!(
        out,
        ",\"records\":{},\"skipped\":{},\"repeated\":{},\"outside\":{},\"uneven\":{},\"found\":[",
        found.read.records, found.read.rejected, tally.repeated, tally.outside, tally.uneven
    )?;
    for (at, (currency, sum)) in tally.all.iter().enumerate() {
        write!(out, "{}{{\"currency\":\"{currency}\",\"cost\":{sum}}}", if at > 0 { "," } else { "" })?;
    }
    out.extend_from_slice(b"],\"summary\":");
    match &found.stated {
        None => write!(out, "null")?,
        Some(Stated { stated, found: None }) => {
            write!(out, "{{\"total_cost\":{stated},\"difference\":null,\"agrees\":false}}")?;
        }
        Some(all @ Stated { stated, found: Some(found) }) => {
            let difference = *found - *stated;
            write!(out, "{{\"total_cost\":{stated},\"difference\":{difference},\"agrees\":{}}}", all.agrees())?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// One customer's page: a section for each currency.
pub fn html(found: &InvoiceRun, invoices: &[Invoice], out: &mut dyn Write) -> io::Result<()> {
    let Some(first) = invoices.first() else { return Ok(()) };
    let title = paper::name("Invoice", &found.bill);
    let mut text = String::new();
    paper::begin(&mut text, &format!("{title} - {}", first.name), paper::Style::Within);
    paper::head(&mut text, &found.bill, found.made_on, &found.partner, (&first.name, first.account.as_str()));
    paper::totals(&mut text, &["Rental", "Calls", "Total"], &invoices.iter().map(parts).collect::<Vec<_>>());
    paper::terms(&mut text, &found.bill);
    for invoice in invoices {
        let currency = invoice.total.currency;
        paper::section_begin(&mut text, &format!("In {currency}"));
        if let Some(rental) = &invoice.rental {
            text.push_str("<h3>Number rental</h3>\n");
            paper::lines_begin(&mut text);
            for line in invoice.lines(&found.bill) {
                paper::line(&mut text, line);
                flush_text(&mut text, out)?;
            }
            paper::lines_end(&mut text, "Rental", &rental.total);
        }
        if !invoice.calls.is_empty() {
            calls_table(&mut text, invoice, currency, out)?;
        }
        paper::section_end(&mut text);
    }
    paper::end(&mut text);
    out.write_all(text.as_bytes())
}

/// Rental, calls, and both together.
fn parts(invoice: &Invoice) -> Vec<Sum> {
    vec![rental(invoice), invoice.usage, invoice.total]
}

fn rental(invoice: &Invoice) -> Sum {
    let none = Sum { minor: 0, currency: invoice.total.currency };
    invoice.rental.as_ref().map_or(none, |group| group.total)
}

fn calls_table(text: &mut String, invoice: &Invoice, currency: Currency, out: &mut dyn Write) -> io::Result<()> {
    text.push_str(
        "<h3>Calls</h3>\n<table>\n<thead><tr><th>Number<th class=\"n\">Calls<th class=\"n\">Duration\
         <th class=\"n\">Cost</thead>\n<tbody>\n",
    );
    let row = |text: &mut String, number: &E164, calls: &CallTotals| {
        let CallTotals { calls, seconds, cost } = calls;
        let duration = duration(*seconds);
        put(
            text,
            format_args!("<tr><td>{number}<td class=\"n\">{calls}<td class=\"n\">{duration}<td class=\"n\">{cost}\n"),
        );
    };
    for (number, calls) in &invoice.calls {
        row(text, number, calls);
        flush_text(text, out)?;
    }
    let CallTotals { calls, seconds, cost } = invoice.used;
    put(
        text,
        format_args!(
            "</tbody>\n<tfoot><tr><td>Exactly<td class=\"n\">{calls}<td class=\"n\">{}<td class=\"n\">{cost}\n\
             <tr><td colspan=\"3\">Calls<td class=\"n\">{} {currency}</tfoot>\n</table>\n",
            duration(seconds),
            invoice.usage
        ),
    );
    Ok(())
}

/// `1:02:03`
fn duration(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn flush_text(text: &mut String, out: &mut dyn Write) -> io::Result<()> {
    if text.len() > 1 << 16 {
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Ok(())
}
