//! Plays Conway's Game of Life: the pattern comes from the input, the number of generations is the argument.
//!
//! `#` is a living cell, `.` a dead one. The world is a torus: opposite edges touch.

#![no_std]
#![no_main]

use core::error::Error;

use flatland_guest::prelude::*;
use flatland_guest::{entry, env, io};

entry!(main);

fn main() -> Result<(), Box<dyn Error>> {
    let generations = env::args().nth(1).unwrap_or_else(|| "1".into());
    let generations: u32 =
        generations.parse().map_err(|_| format!("{generations:?} is no number of generations"))?;
    let mut world = Vec::new();
    for line in io::stdin().lines() {
        world.push(row(&line?)?);
    }
    // Fill short lines up with dead cells.
    let width = world.iter().map(Vec::len).max().unwrap_or(0);
    world.iter_mut().for_each(|row| row.resize(width, false));
    for _ in 0..generations {
        world = next(&world);
    }
    for row in &world {
        let line: String = row.iter().map(|&alive| if alive { '#' } else { '.' }).collect();
        println!("{line}");
    }
    Ok(())
}

fn row(line: &str) -> Result<Vec<bool>, String> {
    let cell = |cell| match cell {
        '#' => Ok(true),
        '.' => Ok(false),
        other => Err(format!("{other:?} is no cell: `#` lives and `.` does not")),
    };
    line.chars().map(cell).collect()
}

fn next(world: &[Vec<bool>]) -> Vec<Vec<bool>> {
    let (height, width) = (world.len(), world.first().map_or(0, Vec::len));
    let neighbours = |y: usize, x: usize| {
        let around = |at: usize, size: usize| [at + size - 1, at, at + 1].map(|at| at % size);
        let cells = around(y, height).into_iter().flat_map(|y| around(x, width).map(|x| (y, x)));
        // The fifth is the cell itself.
        cells.enumerate().filter(|&(index, (y, x))| index != 4 && world[y][x]).count()
    };
    let cell = |y: usize, x: usize| matches!((world[y][x], neighbours(y, x)), (true, 2) | (_, 3));
    (0..height).map(|y| (0..width).map(|x| cell(y, x)).collect()).collect()
}
