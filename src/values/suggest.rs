//! "Did you mean": the known word that is nearest to one that is not known.

/// Adds the nearest of `known` to a sentence about `name`, where one is near.
pub(crate) fn with_suggestion<'a>(sentence: String, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("{sentence}; did you mean `{near}`?"),
        None => sentence,
    }
}

/// The word nearest to `name`: at most a third of it differs, or it is how the word begins.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 100 {
        return None; // Nothing is called so, and comparing it takes long.
    }
    let most = (name.chars().count() / 3).max(1);
    let lower = name.to_lowercase().replace('-', "_");
    let distance = |word: &str| {
        let word = word.to_lowercase().replace('-', "_");
        let is_beginning = lower.len() > 1 && word.starts_with(&lower);
        if is_beginning {
            0
        } else {
            strsim::damerau_levenshtein(&lower, &word)
        }
    };
    let near = known.into_iter().map(|word| (distance(word), word));
    near.filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, word)| word)
}
