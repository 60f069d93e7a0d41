//! Bars as SVG: a picture without a script, beside a table that says the same.
//!
//! Deliberately absent: axes and colours of their own; a bar says its value.

use askama::Template;

use crate::wire::html::Html;

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

struct ChartColumn {
    x: u64,
    y: u64,
    tall: u64,
    /// Where the figure stands above the bar.
    above: u64,
    middle: u64,
    text: String,
    name: String,
}

#[derive(Template)]
#[template(path = "chart.html")]
struct Chart<'a> {
    id: &'a str,
    title: &'a str,
    about: &'a str,
    width: u64,
    height: u64,
    column: u64,
    foot: u64,
    columns: Vec<ChartColumn>,
}

/// Bars in a row, the highest as high as there is room. `id` names the chart on
/// its page; `title` and `about` say it to those who do not see it.
pub fn bars(id: &str, title: &str, about: &str, bars: Vec<Bar>) -> Html {
    let highest = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let width = bars.len() as u64 * (WIDE + GAP) + GAP;
    let column = |(at, bar): (usize, Bar)| {
        let x = GAP + at as u64 * (WIDE + GAP);
        let tall = (u128::from(bar.value) * u128::from(HIGH)).div_ceil(u128::from(highest)) as u64;
        let y = HIGH - tall + 18;
        ChartColumn { x, y, tall, above: y - 5, middle: x + WIDE / 2, text: bar.text, name: bar.name }
    };
    let columns = bars.into_iter().enumerate().map(column).collect();
    Html::of(&Chart { id, title, about, width, height: HIGH + 44, column: WIDE, foot: HIGH + 36, columns })
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
        let svg = bars("x", "A & B", "", vec![bar(0), bar(u64::MAX), bar(u64::MAX / 2)]);
        for part in ["height=\"0\"", "height=\"120\"", "height=\"60\"", "&#60;b&#62;", "A &#38; B"] {
            assert!(svg.as_str().contains(part), "{part} in {svg}");
        }
    }
}
