//! Removes numbers that depend on the compiler from texts to compare.

/// Replaces hexadecimal numbers of eight digits, and decimal numbers of five or more, by `NUMBER`.
pub fn without_long_numbers(line: &str) -> String {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_digit) {
        text += &rest[..start];
        rest = &rest[start..];
        let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let is_count = end > 4 && word.chars().all(|c| c.is_ascii_digit());
        text += if end == 8 || is_count { "NUMBER" } else { word };
        rest = &rest[end..];
    }
    text + rest
}
