//! Text in HTML and XML, and in little room.

/// The width of a character of a monospaced font of 11 pixels, in pixels.
pub const CHARACTER: f64 = 6.7;

/// A text as it stands in HTML and XML, also between double quotes. Characters that XML does not have (XML 1.0, section
/// 2.2) are replaced.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(char),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// A name in this many characters. It is empty if two dots and a character do not fit.
pub fn shortened(name: &str, most: usize) -> String {
    match name.chars().count() {
        count if count <= most => name.into(),
        _ if most >= 3 => name.chars().take(most - 2).chain("..".chars()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        for (text, expected) in [
            ("<u8 as Into<&str>>::into", "&lt;u8 as Into&lt;&amp;str&gt;&gt;::into"),
            ("a \"b\"\n\tc", "a &quot;b&quot;\n\tc"),
            ("\0\u{1b}[1m\u{ffff}", "\u{fffd}\u{fffd}[1m\u{fffd}"),
            ("µ → ½", "µ → ½"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn names_are_shortened_where_something_of_them_fits() {
        for (most, shown) in [(4, "main"), (3, "m.."), (2, ""), (0, "")] {
            assert_eq!(shortened("main", most), shown);
        }
    }
}
