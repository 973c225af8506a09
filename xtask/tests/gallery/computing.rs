//! `nbody`, `nbody-hard`, `nested`, `calc` and `life`.

use super::{On, assert_ended, engines, guest, noise, python};

/// The program of the Computer Language Benchmarks Game, with the guest's order of operations.
const NBODY: &str = "
import math, sys
mass, year = 4 * math.pi * math.pi, 365.24
data = [
    (0, 0, 0, 0, 0, 0, 1),
    (4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01,
     1.66007664274403694e-03, 7.69901118419740425e-03, -6.90460016972063023e-05, 9.54791938424326609e-04),
    (8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01,
     -2.76742510726862411e-03, 4.99852801234917238e-03, 2.30417297573763929e-05, 2.85885980666130812e-04),
    (1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01,
     2.96460137564761618e-03, 2.37847173959480950e-03, -2.96589568540237556e-05, 4.36624404335156298e-05),
    (1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01,
     2.68067772490389322e-03, 1.62824170038242295e-03, -9.51592254519715870e-05, 5.15138902046611451e-05),
]
bodies = [[list(b[:3]), [v * year for v in b[3:6]], b[6] * mass] for b in data]
for axis in range(3):
    momentum = 0.0
    for body in bodies:
        momentum += body[1][axis] * body[2]
    bodies[0][1][axis] = -momentum / mass
def energy():
    total = 0.0
    for i, (p, v, m) in enumerate(bodies):
        total += 0.5 * m * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        for p2, v2, m2 in bodies[i + 1:]:
            x, y, z = p[0] - p2[0], p[1] - p2[1], p[2] - p2[2]
            total -= m * m2 / math.sqrt(x * x + y * y + z * z)
    return total
print(repr(energy()))
for step in range(int(sys.argv[1])):
    for i, (p, v, m) in enumerate(bodies):
        for p2, v2, m2 in bodies[i + 1:]:
            way = [a - b for a, b in zip(p, p2)]
            square = way[0] * way[0] + way[1] * way[1] + way[2] * way[2]
            strength = 0.01 / (square * math.sqrt(square))
            for axis in range(3):
                v[axis] -= way[axis] * m2 * strength
                v2[axis] += way[axis] * m * strength
    for p, v, m in bodies:
        for axis in range(3):
            p[axis] += 0.01 * v[axis]
print(repr(energy()))
";

/// Runs the software processor without standard library and operating system, in a guest.
#[test]
fn the_software_processor_runs_on_the_machine() {
    for on in engines() {
        assert_ended(&guest(on, "nested", &[], b"HAL*X"), 0, b"IBM", "\nhalted after 22 instructions\n");
    }
}

#[test]
fn nbody_is_pythons_to_the_last_bit() {
    for on in engines() {
        for steps in ["0", "1", "20"] {
            assert_ended(&guest(on, "nbody", &[steps], b""), 0, &python(NBODY, &[steps], b""), "");
        }
    }
    assert_ended(&guest(On::Soft, "nbody", &[], b""), 0, &python(NBODY, &["100"], b""), "");
    assert_ended(&guest(On::Soft, "nbody", &["5000"], b""), 0, &python(NBODY, &["5000"], b""), "");
    let message = "give it a number of steps: `cargo xtask run nbody -- 100`\n";
    assert_ended(&guest(On::Soft, "nbody", &["many"], b""), 2, b"", message);
}

/// The same code with floats that SSE2 computes. A KVM that emulates does not have SSE2, and the default engine moves.
#[test]
fn hard_floats_are_the_same_to_the_last_bit() {
    for steps in ["0", "20", "5000"] {
        for on in [On::Soft, On::Auto] {
            let output = guest(on, "nbody-hard", &[steps], b"");
            assert_ended(&output, 0, &python(NBODY, &[steps], b""), "");
        }
    }
    if engines().contains(&On::Kvm) {
        let output = guest(On::Kvm, "nbody-hard", &["20"], b"");
        if output.status.code() != Some(0) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.starts_with("flatland: instruction KVM cannot run here: "), "{stderr}");
            assert!(stderr.contains("xmm"), "{stderr}");
            assert_eq!(output.status.code(), Some(134), "{stderr}");
        } else {
            assert_ended(&output, 0, &python(NBODY, &["20"], b""), "");
        }
    }
}

/// Numbers as the guest prints them: never with an exponent, and whole ones without `.0`.
const EVALUATE: &str = "
import sys
from decimal import Decimal
for line in sys.stdin:
    print(format(Decimal(repr(float(eval(line)))), 'f').removesuffix('.0'))
";

/// Lines of expressions.
const EXPRESSIONS: &str = "
import random
random.seed(2011)
def expression(depth):
    kind = random.randrange(8) if depth else 0
    if kind < 2: return random.choice(['%d' % random.randrange(1, 100), '%.3f' % random.uniform(0.5, 9),
                                       '.5', '2.', '6.02e23', '1E-7', '%r' % random.random()])
    if kind == 2: return '(' + expression(depth - 1) + ')'
    if kind == 3: return random.choice('+-') + expression(depth - 1)
    return expression(depth - 1) + random.choice(['+', ' - ', '*', ' /']) + expression(depth - 1)
for depth in range(400):
    line = expression(depth % 6)
    try: eval(line)
    except ZeroDivisionError: continue
    print(line)
";

#[test]
fn calc_computes_what_python_does() {
    let lines = python(EXPRESSIONS, &[], b"");
    assert!(lines.len() > 5_000);
    let expected = python(EVALUATE, &[], &lines);
    assert_ended(&guest(On::Soft, "calc", &[], &lines), 0, &expected, "");
    for on in engines() {
        let lines =
            b"1 + 2 * 3\n-(2 - 5) / 7\n0.1 + 0.2\n1e300*1e-300\n10 - 3 - 2\n-0.0\n9007199254740993\n0\n";
        assert_ended(&guest(on, "calc", &[], lines), 0, &python(EVALUATE, &[], lines), "");
        assert_ended(&guest(on, "calc", &[], b""), 0, b"", "");
    }
}

#[test]
fn calc_says_which_lines_it_cannot_compute() {
    let lines = "1/0\n\n2\n2+\nx\n(1\n1)\n1 2\n3/(1-1)\nK\u{f6}ln\n1e400";
    let messages = "line 1: division by zero\n\
                    line 4: no expression from column 3 on\n\
                    line 5: no expression from column 1 on\n\
                    line 6: no expression from column 3 on\n\
                    line 7: no expression from column 2 on\n\
                    line 8: no expression from column 3 on\n\
                    line 9: division by zero\n\
                    line 10: no expression from column 1 on\n";
    for on in engines() {
        assert_ended(&guest(on, "calc", &[], lines.as_bytes()), 1, b"2\ninf\n", messages);
    }
}

/// On a torus, as in the guest.
const LIFE: &str = "
import sys
rows = sys.stdin.read().split('\\n')[:-1]
height, width = len(rows), max(map(len, rows), default=0)
cells = {(y, x) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == '#'}
for generation in range(int(sys.argv[1])):
    count = {}
    for y, x in cells:
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if dy or dx:
                    at = (y + dy) % height, (x + dx) % width
                    count[at] = count.get(at, 0) + 1
    cells = {at for at, n in count.items() if n == 3 or n == 2 and at in cells}
for y in range(height): print(''.join('.#'[(y, x) in cells] for x in range(width)))
";

#[test]
fn life_goes_on_as_in_python() {
    let random: Vec<u8> =
        noise(60 * 101).into_iter().map(|byte| if byte < 90 { b'#' } else { b'.' }).collect();
    let random: Vec<u8> = random.chunks(101).flat_map(|row| [row, b"\n"].concat()).collect();
    let glider = b".#.....\n..#\n###....\n.......\n.......\n".to_vec();
    for on in engines() {
        for (pattern, generations) in [(&glider, "0"), (&glider, "1"), (&glider, "30"), (&vec![], "3")] {
            let expected = python(LIFE, &[generations], pattern);
            assert_ended(&guest(on, "life", &[generations], pattern), 0, &expected, "");
        }
    }
    for (pattern, generations) in [(&random, "50"), (&b"#".to_vec(), "1"), (&b"##\n##\n".to_vec(), "1")] {
        let ended = [pattern.as_slice(), if pattern.ends_with(b"\n") { b"" } else { b"\n" }].concat();
        let expected = python(LIFE, &[generations], &ended);
        assert_ended(&guest(On::Soft, "life", &[generations], pattern), 0, &expected, "");
    }
    let cell = "Error: \"'x' is no cell: `#` lives and `.` does not\"\n";
    assert_ended(&guest(On::Soft, "life", &[], b"..#\n.x.\n"), 1, b"", cell);
    let number = "Error: \"\\\"-1\\\" is no number of generations\"\n";
    assert_ended(&guest(On::Soft, "life", &["-1"], b"#\n"), 1, b"", number);
}
