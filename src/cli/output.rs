//! What commands print. Whoever reads it may have heard enough: a closed pipe is not a failure.

use std::fmt::Arguments;
use std::io::Write;

/// Prints a line, as `println!` does.
macro_rules! say {
    ($($text:tt)*) => { crate::cli::output::line(format_args!($($text)*)) };
}
pub(super) use say;

pub(super) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
