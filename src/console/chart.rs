//! Bars as SVG: a picture without a script, beside a table that says the same.
//!
//! Invariant: text gets in through `escape` only. Deliberately absent: axes and
//! colours of their own; a bar says its value.

use std::fmt::Write;

use crate::wire::html::escape;

/// One bar.
pub struct Bar {
    /// What stands below it.
    pub name: String,
    pub value: u64,
    /// What stands above it.
    pub text: String,
}

const WIDE: u64 = 48;
const HIGH: u64 = 120;
const GAP: u64 = 8;

/// Bars in a row, the highest as high as there is room. `id` names the chart on
/// its page; `title` and `about` say it to those who do not see it.
pub fn bars(id: &str, title: &str, about: &str, bars: &[Bar]) -> String {
    let highest = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let width = bars.len() as u64 * (WIDE + GAP) + GAP;
    let (title, about) = (escape(title), escape(about));
    let mut svg = String::with_capacity(4_096);
    let _ = write!(
        svg,
        "<svg class=\"chart\" viewBox=\"0 0 {width} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-text\">\
         <title id=\"{id}-title\">{title}</title><desc id=\"{id}-text\">{about}</desc>",
        HIGH + 44
    );
    for (at, bar) in bars.iter().enumerate() {
        let x = GAP + at as u64 * (WIDE + GAP);
        let tall = (u128::from(bar.value) * u128::from(HIGH)).div_ceil(u128::from(highest)) as u64;
        let y = HIGH - tall + 18;
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDE}\" height=\"{tall}\" rx=\"2\"/>\
             <text x=\"{mid}\" y=\"{label}\" class=\"value\">{}</text>\
             <text x=\"{mid}\" y=\"{foot}\">{}</text>",
            escape(&bar.text),
            escape(&bar.name),
            mid = x + WIDE / 2,
            label = y - 5,
            foot = HIGH + 36,
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A figure with three digits or so: `950`, `1.2k`, `34k`, `5.6M`.
pub fn short(value: u64) -> String {
    for (unit, letter) in [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
        if value >= unit {
            let tenths = value / (unit / 10);
            return match tenths {
                0..100 => format!("{}.{}{letter}", tenths / 10, tenths % 10),
                _ => format!("{}{letter}", tenths / 10),
            };
        }
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, expected) in
            [(0, "0"), (999, "999"), (1_000, "1.0k"), (1_250, "1.2k"), (34_900, "34k"), (5_600_000, "5.6M")]
        {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn the_highest_bar_has_all_the_room_and_text_is_escaped() {
        let bar = |value| Bar { name: "<b>".to_owned(), value, text: value.to_string() };
        let svg = bars("x", "A & B", "", &[bar(0), bar(u64::MAX), bar(u64::MAX / 2)]);
        for part in ["height=\"0\"", "height=\"120\"", "height=\"60\"", "&lt;b&gt;", "A &amp; B"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
