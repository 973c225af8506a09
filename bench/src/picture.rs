//! The picture of the results: bars in SVG, of the 10th percentiles as parts of the first contender's.

use std::fmt::Write;

use crate::figures::{Quantiles, Row, short};

const WIDTH: usize = 860;
const NAMES: usize = 210;
/// How long a bar of the first contender is.
const ONE: f64 = 360.0;
const BAR: usize = 16;
const COLORS: [&str; 4] = ["#8c959f", "#1f883d", "#0969da", "#8250df"];

/// The rows that are a comparison.
pub fn svg(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.contenders.len() > 1).collect();
    let height: usize = 20 + rows.iter().map(|row| 34 + row.contenders.len() * (BAR + 4)).sum::<usize>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>10th percentiles as parts of the first of each group; shorter is better</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut y = 10;
    for row in rows {
        y += 20;
        let title = escape(&row.title);
        let _ =
            writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\" fill=\"#1f2328\">{title}</text>");
        y += 8;
        let baseline = row.baseline();
        for (contender, color) in row.contenders.iter().zip(COLORS.iter().cycle()) {
            let own = Quantiles::of(&contender.samples);
            let ratio = own.ratio(baseline).tenth;
            // What takes longer than there is room for ends at the edge; the number says how much.
            let width = (ratio * ONE).clamp(1.0, 1.2 * ONE);
            let end = NAMES as f64 + width + 6.0;
            let text_y = y + 12;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{text_y}\" text-anchor=\"end\" fill=\"#1f2328\">{name}</text>\
                 <rect x=\"{NAMES}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
                 <text x=\"{end:.1}\" y=\"{text_y}\" fill=\"#1f2328\">{ratio} ({value} {unit})</text>",
                x = NAMES - 8,
                name = escape(contender.name),
                ratio = short(ratio),
                value = short(own.tenth),
                unit = escape(row.unit),
            );
            y += BAR + 4;
        }
        y += 6;
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether elements open and close in pairs, and nothing else has angle brackets or bare ampersands.
    fn is_well_formed(xml: &str) -> bool {
        let mut open: Vec<&str> = Vec::new();
        for piece in xml.split('<').skip(1) {
            let Some((tag, text)) = piece.split_once('>') else { return false };
            let quotes = tag.matches('"').count();
            let bare = |text: &str| {
                text.split('&').skip(1).any(|entity| {
                    !["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known))
                })
            };
            if quotes % 2 != 0 || bare(tag) || bare(text) || text.contains('>') {
                return false;
            }
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            // Nothing stands outside.
            if open.is_empty() && !text.trim().is_empty() {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_check_of_the_tests_finds_mistakes() {
        assert!(is_well_formed("<a b=\"c\"><d/>&lt;</a>\n"));
        for wrong in ["<a>", "<a></b>", "<a>&</a>", "<a b=\"></a>", "<a/>text", "<a>b></a>"] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_picture_is_well_formed_and_in_proportion() {
        let mut large = crate::figures::tests::row();
        large.contenders[1].samples = vec![1e9];
        let svg = svg(&[crate::figures::tests::row(), large]);
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains("a &lt;row&gt; &amp; its &quot;title&quot;"), "{svg}");
        assert!(svg.contains("width=\"360.0\"") && svg.contains("width=\"180.0\""), "{svg}");
        assert!(svg.contains("width=\"432.0\""), "{svg}");
    }
}
