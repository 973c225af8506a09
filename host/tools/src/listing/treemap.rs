//! What a program is made of as a picture: an area for each crate, and in it one for each function and variable, as
//! large as they are.

use std::collections::BTreeMap;
use std::fmt::Write;

use flatland_program::{Program, without_types};

use super::sizes::{UNNAMED, crate_of, parts};
use super::{ListingError, names};
use crate::markup::{CHARACTER, escaped, shortened};

/// The size of the picture, in its own units.
const SIZE: (f64, f64) = (1200.0, 800.0);
/// The height of a crate's name.
const HEADING: f64 = 16.0;
/// Fills for crates. All have enough contrast to black text, and neighbours differ in brightness, too.
const FILLS: [&str; 8] =
    ["#9ecae1", "#fdd49e", "#c7e9c0", "#dadaeb", "#fee391", "#d9d9d9", "#fcbba1", "#b3e2cd"];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A treemap as SVG: each area has its name and size as its title, which browsers show under the pointer.
pub fn treemap(program: &Program) -> Result<String, ListingError> {
    let (_, symbols) = names(program)?;
    let mut crates: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
    for symbol in &symbols {
        crates.entry(crate_of(&symbol.name)).or_default().push((symbol.name.clone(), symbol.size.into()));
    }
    let unnamed = parts(program, &symbols).unnamed;
    if unnamed > 0 {
        crates.entry(UNNAMED).or_default().push((UNNAMED.into(), unnamed));
    }
    let sum = |rows: &[(String, u64)]| rows.iter().map(|(_, size)| size).sum::<u64>();
    let mut crates: Vec<_> = crates.into_iter().map(|(name, rows)| (name, sum(&rows), rows)).collect();
    crates.sort_by(|(name, size, _), (other, other_size, _)| {
        other_size.cmp(size).then_with(|| name.cmp(other))
    });
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let sizes: Vec<_> = crates.iter().map(|(_, size, _)| *size).collect();
    let areas = squarified(&sizes, Area { x: 0.0, y: 0.0, width, height });
    for (number, ((name, size, mut rows), area)) in crates.into_iter().zip(areas).enumerate() {
        let fill = FILLS[number % FILLS.len()];
        draw(&mut svg, &format!("{name}: {size} bytes"), name, area, fill);
        rows.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        if name == UNNAMED || area.height <= 2.0 * HEADING {
            continue;
        }
        let inner = Area { y: area.y + HEADING, height: area.height - HEADING, ..area };
        let sizes: Vec<_> = rows.iter().map(|(_, size)| *size).collect();
        for ((function, size), area) in rows.iter().zip(squarified(&sizes, inner)) {
            draw(&mut svg, &format!("{function}: {size} bytes"), short(function), area, fill);
        }
    }
    Ok(svg + "</svg>\n")
}

/// The last parts of a path, which tell most in little room.
fn short(name: &str) -> &str {
    without_types(name).rfind("::").map_or(name, |at| &name[at + 2..])
}

fn draw(svg: &mut String, title: &str, name: &str, area: Area, fill: &str) {
    let Area { x, y, width, height } = area;
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" \
         stroke=\"white\"/>",
        escaped(title)
    );
    let shown = shortened(name, ((width - 6.0) / CHARACTER) as usize);
    if !shown.is_empty() && height >= 14.0 {
        let (x, y) = (x + 3.0, y + 12.0);
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(&shown));
    }
    svg.push_str("</g>\n");
}

/// Divides an area into parts of these sizes, which are sorted, so that none is much longer than it is wide: Bruls,
/// Huizing and van Wijk, "Squarified Treemaps", 2000.
fn squarified(sizes: &[u64], mut area: Area) -> Vec<Area> {
    let mut areas = Vec::new();
    let mut left: f64 = sizes.iter().sum::<u64>() as f64;
    let mut rest = sizes;
    while !rest.is_empty() {
        let shorter = area.width.min(area.height);
        let scale = area.width * area.height / left.max(1.0);
        // As many as make the row better.
        let mut count = 1;
        while count < rest.len()
            && worst(&rest[..=count], shorter, scale) <= worst(&rest[..count], shorter, scale)
        {
            count += 1;
        }
        let (row, others) = rest.split_at(count);
        let sum = row.iter().sum::<u64>() as f64;
        let is_column = area.width >= area.height;
        let thickness = if shorter > 0.0 { sum * scale / shorter } else { 0.0 };
        let mut at = 0.0;
        for size in row {
            let length = if sum > 0.0 { shorter * *size as f64 / sum } else { 0.0 };
            areas.push(match is_column {
                true => Area { x: area.x, y: area.y + at, width: thickness, height: length },
                false => Area { x: area.x + at, y: area.y, width: length, height: thickness },
            });
            at += length;
        }
        match is_column {
            true => (area.x, area.width) = (area.x + thickness, (area.width - thickness).max(0.0)),
            false => (area.y, area.height) = (area.y + thickness, (area.height - thickness).max(0.0)),
        }
        left -= sum;
        rest = others;
    }
    areas
}

/// The worst ratio of length and width in a row.
fn worst(row: &[u64], shorter: f64, scale: f64) -> f64 {
    let sum = row.iter().sum::<u64>() as f64 * scale;
    let ratio = |size: &u64| {
        let size = (*size as f64 * scale).max(f64::MIN_POSITIVE);
        (shorter * shorter * size / (sum * sum)).max(sum * sum / (shorter * shorter * size))
    };
    row.iter().map(ratio).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_as_large_as_they_should_be_and_fill_all() {
        let all = Area { x: 0.0, y: 0.0, width: 60.0, height: 40.0 };
        // The example of the paper.
        let sizes = [6, 6, 4, 3, 2, 2, 1];
        let areas = squarified(&sizes, all);
        for (size, Area { width, height, .. }) in sizes.iter().zip(&areas) {
            assert!((width * height - *size as f64 * 100.0).abs() < 1e-6, "{size}: {width} x {height}");
        }
        assert_eq!(areas[0], Area { x: 0.0, y: 0.0, width: 30.0, height: 20.0 });
        assert_eq!(areas[1], Area { x: 0.0, y: 20.0, width: 30.0, height: 20.0 });
        assert!(areas.iter().all(|Area { x, y, width, height }| x + width < 60.001 && y + height < 40.001));
        assert_eq!(squarified(&[], all), []);
        assert_eq!(squarified(&[0], all).len(), 1);
    }

    #[test]
    fn names_are_short() {
        assert_eq!(short("core::slice::copy_from_slice_impl::<u8>"), "copy_from_slice_impl::<u8>");
        assert_eq!(short("memcpy"), "memcpy");
        assert_eq!(short("<core::fmt::Formatter>::pad"), "pad");
    }
}
