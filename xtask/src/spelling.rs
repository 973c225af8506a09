//! "Did you mean": the known word that is nearest to one that is not.

/// The one of these that was probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (strsim::osa_distance(word, known), known));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, known)| known)
}

/// How many letters of a word of ours may be wrong.
pub fn tolerance(word: &str) -> usize {
    word.len() / 3
}
