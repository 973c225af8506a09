//! "Did you mean": finds the known word that is nearest to an unknown one.

/// Returns the nearest known word, if at most `most` letters differ (edit distance).
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (strsim::osa_distance(word, known), known));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, known)| known)
}

/// The number of letters that may be wrong in one of xtask's own words.
pub fn tolerance(word: &str) -> usize {
    word.len() / 3
}
