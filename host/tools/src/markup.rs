//! Text in HTML and XML.

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
}
