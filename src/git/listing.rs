//! The entries of a tree, and what must not be among them: it is looked at before a file of it is written.

use super::reference::ObjectName;
use crate::values::Size;

/// How many files a tree may have, and how large they may be together.
const MOST_FILES: usize = 100_000;
const LARGEST: Size = Size::from_bytes(1 << 30);

/// One entry: a file, a link, or a submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub mode: String,
    pub object: ObjectName,
    pub size: u64,
    pub path: String,
}

impl Entry {
    pub(super) fn is_link(&self) -> bool {
        self.mode == "120000"
    }

    fn is_submodule(&self) -> bool {
        self.mode == "160000"
    }
}

/// Reads what `ls-tree -r -l -z` prints.
pub(super) fn parse(output: &[u8]) -> Result<Vec<Entry>, String> {
    let lines = output.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines.map(parse_entry).collect()
}

fn parse_entry(line: &[u8]) -> Result<Entry, String> {
    let odd = || {
        format!(
            "git lists an entry that cannot be read: {:?}",
            String::from_utf8_lossy(line)
        )
    };
    let text = std::str::from_utf8(line)
        .map_err(|_| format!("the name of a file is not UTF-8: {:?}", String::from_utf8_lossy(line)))?;
    let (fields, path) = text.split_once('\t').ok_or_else(odd)?;
    let mut fields = fields.split_whitespace();
    let (mode, _kind) = fields.next().zip(fields.next()).ok_or_else(odd)?;
    let object = fields.next().and_then(|name| name.parse().ok()).ok_or_else(odd)?;
    Ok(Entry {
        mode: mode.to_owned(),
        object,
        // Submodules have none.
        size: fields.next().and_then(|size| size.parse().ok()).unwrap_or(0),
        path: path.to_owned(),
    })
}

/// Refuses what must not be written.
///
/// # Errors
/// What that is.
pub(crate) fn check(entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Err("the commit has no files".to_owned());
    }
    if entries.len() > MOST_FILES {
        return Err(format!("the commit has more than {MOST_FILES} files"));
    }
    if entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add) > LARGEST.bytes() as u64 {
        return Err(format!("the files of the commit are larger than {LARGEST} together"));
    }
    if let Some(entry) = entries.iter().find(|entry| entry.path.contains(char::is_control)) {
        return Err(format!("the name {:?} holds a control character", entry.path));
    }
    if let Some(entry) = entries.iter().find(|entry| entry.is_submodule()) {
        return Err(format!(
            "`{}` is a submodule, and submodules are not supported",
            entry.path
        ));
    }
    Ok(())
}

/// Whether a link at `path` to `target` may lead out of the tree. What goes up after it has gone down may, as a name in
/// between may be a link itself.
pub(super) fn leads_out(path: &str, target: &str) -> bool {
    let parts: Vec<&str> = target.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    target.starts_with('/') || up > path.matches('/').count() || parts[up..].contains(&"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_not_lead_out_of_the_tree() {
        for (path, target, expected) in [
            ("a", "b", false),
            ("a/b", "../c", false),
            ("a/b/c", "../../d/./e", false),
            ("a", "../a", true),
            ("a/b", "../../c", true),
            ("a/b", "c/../../../d", true),
            ("x", "p/link-to-the-root/..", true),
            ("a", "/etc/passwd", true),
        ] {
            assert_eq!(leads_out(path, target), expected, "{path} -> {target}");
        }
    }

    #[test]
    fn what_must_not_be_written_is_found() {
        let name = "a".repeat(40);
        let line = |mode: &str, size: &str, path: &str| format!("{mode} blob {name}    {size}\t{path}\0");
        let checked = |text: String| parse(text.as_bytes()).and_then(|entries| check(&entries));
        assert_eq!(
            checked(line("100644", "12", "a b/c") + &line("120000", "1", "d")),
            Ok(())
        );
        for (text, why) in [
            (line("160000", "-", "lib"), "`lib` is a submodule"),
            (line("100644", "1", "a\u{1b}[2J"), "control character"),
            (line("100644", "2000000000", "a"), "larger than 1GiB"),
            (
                line("100644", "1", "a").repeat(MOST_FILES + 1),
                "more than 100000 files",
            ),
            (String::new(), "no files"),
            ("nonsense\0".to_owned(), "cannot be read"),
        ] {
            let refused = checked(text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
