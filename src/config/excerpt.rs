//! The line in which a problem stands, with carets under what is at fault.

/// How much of a line is shown, in characters.
const MOST: usize = 160;
/// How much of it before the fault, where the line is longer.
const BEFORE: usize = 60;

/// A line, or the part of a long one around what is at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excerpt {
    line: String,
    /// How many of its characters stand before what is at fault.
    before: usize,
    /// How many are at fault.
    width: usize,
}

impl Excerpt {
    /// Of `line`, `width` characters after the first `before`.
    pub(super) fn new(line: &str, before: usize, width: usize) -> Self {
        let width = width.max(1);
        if line.chars().nth(MOST).is_none() {
            return Self {
                line: line.to_owned(),
                before,
                width,
            };
        }
        let left = before.saturating_sub(BEFORE);
        let mut part: String = line.chars().skip(left).take(MOST).collect();
        if line.chars().nth(left + MOST).is_some() {
            part.push('…');
        }
        if left > 0 {
            part.insert(0, '…');
        }
        let before = before - left + usize::from(left > 0);
        Self {
            line: part,
            before,
            width: width.min(MOST.saturating_sub(before).max(1)),
        }
    }

    /// The line with its number, and carets below it.
    pub(super) fn show(&self, number: usize) -> String {
        let number = number.to_string();
        let margin = " ".repeat(number.len());
        // A tab before the caret is as wide as the one above it.
        let before = self.line.chars().take(self.before);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(self.width);
        format!("{margin} |\n{number} | {}\n{margin} | {indent}{carets}", self.line)
    }
}
