//! A profile as a flame graph: an SVG picture that needs nothing else.
//!
//! Each function is a box, as wide as its part of all instructions, on top of its caller. The picture is complete
//! without a script. With one, it is searched, and a click on a box makes it as wide as the picture.

use std::fmt::Write;

use super::Profile;
use super::summary::{number, percent};
use super::tree::ROOT;
use crate::markup::{CHARACTER, escaped, shortened};

/// Sizes in pixels.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const HEADER: usize = 46;
const FOOTER: usize = 12;
const ROW: usize = 17;
/// Narrower boxes cannot be seen, and are left out.
const NARROWEST: f64 = 0.1;

/// The most boxes: more than a browser shows at once in good time.
const MOST_BOXES: usize = 100_000;

/// The picture's own script.
const SCRIPT: &str = include_str!("flame_graph.js");

impl Profile {
    /// A flame graph, as a page of SVG.
    pub fn flame_graph(&self, title: &str) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_flame_graph(&mut text, title);
        text
    }

    fn write_flame_graph(&self, text: &mut String, title: &str) -> std::fmt::Result {
        let totals = self.tree.totals();
        let whole = totals[ROOT as usize];
        let scale = (WIDTH - 2.0 * MARGIN) / whole.max(1) as f64;
        let order = self.tree.in_order(&self.names);
        let mut widest: Vec<u64> = totals.iter().copied().skip(1).collect();
        widest.sort_unstable_by_key(|&total| std::cmp::Reverse(total));
        let least = widest.get(MOST_BOXES).map_or(0, |total| total + 1);
        let is_wide =
            |node: u32| totals[node as usize] >= least && totals[node as usize] as f64 * scale >= NARROWEST;
        let seen = order.iter().filter(|(node, _)| is_wide(*node));
        let depth = seen.map(|(_, callers)| callers + 1).max().unwrap_or(0);
        // A row more, for the box of everything.
        let height = HEADER + (depth + 1) * ROW + FOOTER;
        let title = escaped(title);
        writeln!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\">"
        )?;
        writeln!(text, "<title>{title}</title>")?;
        text.push_str(
            "<style>
text { font: 11px monospace; fill: #111 }
.title { font-size: 15px }
rect { stroke: #fff; stroke-width: 0.5 }
g.box:hover rect { stroke: #000; stroke-width: 1 }
g.found rect { fill: #2f6fd0 }
g.found text { fill: #fff }
g.faint { opacity: 0.4 }
.button { cursor: pointer; text-decoration: underline }
</style>
",
        );
        writeln!(text, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>")?;
        writeln!(text, "<text class=\"title\" x=\"{MARGIN}\" y=\"20\">{title}</text>")?;
        writeln!(
            text,
            "<text id=\"shown\" x=\"{MARGIN}\" y=\"38\">{} {}; the width of a box is its part of them</text>",
            number(whole),
            self.unit
        )?;
        writeln!(text, "<g id=\"boxes\">")?;
        let row = |callers: usize| height - FOOTER - (callers + 1) * ROW;
        let width = WIDTH - 2.0 * MARGIN;
        let all = Rectangle { x: MARGIN, y: row(0), width, name: "all", color: "#d9d9d9", count: whole };
        all.write(text, whole, self.unit)?;
        // Where the next box of each caller begins, in instructions.
        let mut starts = vec![0_u64; self.tree.nodes().len()];
        for (node, callers) in order {
            let total = totals[node as usize];
            let parent = self.tree.nodes()[node as usize].parent as usize;
            let start = starts[parent];
            starts[parent] += total;
            starts[node as usize] = start;
            if !is_wide(node) {
                continue;
            }
            let name = self.names.get(self.tree.nodes()[node as usize].name);
            let (x, y, width) = (MARGIN + start as f64 * scale, row(callers + 1), total as f64 * scale);
            let part = Rectangle { x, y, width, name, color: &color(name), count: total };
            part.write(text, whole, self.unit)?;
        }
        writeln!(text, "</g>")?;
        writeln!(text, "<script><![CDATA[\n{SCRIPT}]]></script>")?;
        writeln!(text, "</svg>")
    }
}

/// A box of the picture. Sizes are in pixels.
struct Rectangle<'a> {
    x: f64,
    y: usize,
    width: f64,
    name: &'a str,
    color: &'a str,
    count: u64,
}

impl Rectangle<'_> {
    fn write(&self, text: &mut String, whole: u64, unit: &str) -> std::fmt::Result {
        let Self { x, y, width, name, color, count } = *self;
        let fits = ((width - 6.0) / CHARACTER) as usize;
        writeln!(
            text,
            "<g class=\"box\"><title>{} ({} {unit}, {})</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" \
             height=\"{}\" fill=\"{color}\"/><text x=\"{:.2}\" y=\"{}\">{}</text></g>",
            escaped(name),
            number(count),
            percent(count, whole),
            ROW - 1,
            x + 3.0,
            y + 12,
            escaped(&shortened(name, fits)),
        )
    }
}

/// A warm and light color, the same for the same name.
fn color(name: &str) -> String {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let part = |shift: u32, from: u32, steps: u32| from + (hash >> shift & 0xff) * steps / 255;
    format!("#{:02x}{:02x}{:02x}", part(8, 225, 30), part(16, 135, 85), part(24, 60, 60))
}
