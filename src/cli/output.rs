//! What commands print. Whoever reads it may have heard enough: a closed pipe is not a failure.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::sync::LazyLock;

use crate::config::Environment;

/// Prints a line, as `println!` does.
macro_rules! say {
    ($($text:tt)*) => { crate::cli::output::line(format_args!($($text)*)) };
}
pub(super) use say;

pub(super) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// How a word is shown on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Paint {
    /// The number of the colour.
    fn colour(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// Whether standard output is a terminal that wants colours.
pub(super) fn is_coloured() -> bool {
    static IS_COLOURED: LazyLock<bool> = LazyLock::new(|| {
        let environment = Environment::of_process();
        let is_set = |name| environment.get(name).is_some_and(|value| !value.is_empty());
        std::io::stdout().is_terminal() && !is_set("NO_COLOR") && environment.get("TERM") != Some("dumb")
    });
    *IS_COLOURED
}

/// Prints rows under their headings, each column as wide as it needs to be.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<(String, Paint)>>) {
    let heads = heads.iter().map(|head| ((*head).to_owned(), Paint::Plain)).collect();
    let shown = |row: Vec<(String, Paint)>| row.into_iter().map(|(word, paint)| (printable(&word), paint)).collect();
    let rows: Vec<Vec<(String, Paint)>> = [heads].into_iter().chain(rows).map(shown).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(widest).collect();
    for row in &rows {
        let mut text = String::new();
        for ((word, paint), width) in row.iter().zip(&widths) {
            let gap = " ".repeat(width - word.chars().count() + 2);
            match paint.colour().filter(|_| is_coloured()) {
                Some(colour) => text.extend(["\u{1b}[", colour, "m", word.as_str(), "\u{1b}[0m", gap.as_str()]),
                None => text.extend([word.as_str(), gap.as_str()]),
            }
        }
        say!("{}", text.trim_end());
    }
}

/// What rows and programs hold, without anything that a terminal would obey.
pub(super) fn printable(line: &str) -> String {
    // Marks that turn the direction of writing around make a line look like another one.
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

/// The same of a text of several lines.
pub(super) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
