//! Simulates the sun and its giant planets, with floats that are computed in software.
//!
//! `cargo xtask run nbody -- STEPS` prints the energy of the system before and after this many steps of 0.01 days each
//! (100 by default). It is nearly constant, and every digit is that of any other IEEE 754 machine that computes in the
//! same order. The program follows "n-body" of the Computer Language Benchmarks Game.

#![no_std]
#![no_main]

use core::f64::consts::PI;

use flatland_guest::process::ExitCode;
use flatland_guest::{entry, env, eprintln, println};

entry!(main);

const SOLAR_MASS: f64 = 4.0 * PI * PI;
const DAYS_PER_YEAR: f64 = 365.24;

/// A body. Distances are in astronomical units, times in years, and the sun's mass is 4 pi^2.
struct Body {
    place: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

fn main() -> ExitCode {
    let steps = match env::args().nth(1).map(|steps| steps.parse::<u32>()) {
        None => 100,
        Some(Ok(steps)) => steps,
        Some(Err(_)) => {
            eprintln!("give it a number of steps: `cargo xtask run nbody -- 100`");
            return ExitCode::from(2);
        }
    };
    let mut bodies = solar_system();
    println!("{:?}", energy(&bodies));
    for _ in 0..steps {
        advance(&mut bodies, 0.01);
    }
    println!("{:?}", energy(&bodies));
    ExitCode::SUCCESS
}

fn advance(bodies: &mut [Body], time: f64) {
    for first in 0..bodies.len() {
        let (one, others) = bodies[first..].split_first_mut().expect("it is one of them");
        for other in others {
            let distance = [0, 1, 2].map(|axis| one.place[axis] - other.place[axis]);
            let square = distance[0] * distance[0] + distance[1] * distance[1] + distance[2] * distance[2];
            let magnitude = time / (square * libm::sqrt(square));
            for ((distance, mine), its) in
                distance.into_iter().zip(&mut one.velocity).zip(&mut other.velocity)
            {
                *mine -= distance * other.mass * magnitude;
                *its += distance * one.mass * magnitude;
            }
        }
    }
    for body in bodies {
        for (place, velocity) in body.place.iter_mut().zip(body.velocity) {
            *place += time * velocity;
        }
    }
}

fn energy(bodies: &[Body]) -> f64 {
    let mut sum = 0.0;
    for (index, one) in bodies.iter().enumerate() {
        let [x, y, z] = one.velocity;
        sum += 0.5 * one.mass * (x * x + y * y + z * z);
        for other in &bodies[index + 1..] {
            let [x, y, z] = [0, 1, 2].map(|axis| one.place[axis] - other.place[axis]);
            sum -= one.mass * other.mass / libm::sqrt(x * x + y * y + z * z);
        }
    }
    sum
}

/// The sun, Jupiter, Saturn, Uranus and Neptune, with a total momentum of 0.
fn solar_system() -> [Body; 5] {
    let planet = |place, velocity: [f64; 3], mass| Body {
        place,
        velocity: velocity.map(|velocity| velocity * DAYS_PER_YEAR),
        mass: mass * SOLAR_MASS,
    };
    let mut bodies = [
        planet([0.0; 3], [0.0; 3], 1.0),
        planet(
            [4.841_431_442_464_721, -1.160_320_044_027_428_4, -0.103_622_044_471_123_11],
            [0.001_660_076_642_744_037, 0.007_699_011_184_197_404, -0.000_069_046_001_697_206_3],
            0.000_954_791_938_424_326_6,
        ),
        planet(
            [8.343_366_718_244_58, 4.124_798_564_124_305, -0.403_523_417_114_321_4],
            [-0.002_767_425_107_268_624, 0.004_998_528_012_349_172, 0.000_023_041_729_757_376_393],
            0.000_285_885_980_666_130_8,
        ),
        planet(
            [12.894_369_562_139_131, -15.111_151_401_698_631, -0.223_307_578_892_655_73],
            [0.002_964_601_375_647_616, 0.002_378_471_739_594_809_5, -0.000_029_658_956_854_023_756],
            0.000_043_662_440_433_515_63,
        ),
        planet(
            [15.379_697_114_850_917, -25.919_314_609_987_964, 0.179_258_772_950_371_18],
            [0.002_680_677_724_903_893_2, 0.001_628_241_700_382_423, -0.000_095_159_225_451_971_59],
            0.000_051_513_890_204_661_145,
        ),
    ];
    for axis in 0..3 {
        let momentum = bodies.iter().fold(0.0, |sum, body| sum + body.velocity[axis] * body.mass);
        bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
    }
    bodies
}
