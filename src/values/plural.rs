//! Counts and lists in words.

/// `count` of what `one` names: "1 row", "2 rows".
pub(crate) fn plural(count: impl Into<i128>, one: &str) -> String {
    let count = count.into();
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {one}s"),
    }
}

/// The first `most` of `names`, and whether there are more, as a list.
pub(crate) fn first_of(names: &[impl AsRef<str>], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    let more = if names.len() > most { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(plural(1, "row"), "1 row");
        assert_eq!(plural(0_u64, "row"), "0 rows");
        assert_eq!(plural(2, "entry"), "2 entries");
        assert_eq!(plural(2, "day"), "2 days");
    }
}
