//! The pictures of docs/what-did-it-do.md, which show what its commands made. The timeline has none: the page that draws it
//! comes from the network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::browser::{Browser, address};
use crate::common::{root, run};
use crate::page::{PAGE, ran};

/// The most bytes of a picture, so that the page is there at once.
const MOST_BYTES: usize = 60 << 10;

/// What is shown.
struct Picture {
    name: &'static str,
    page: &'static str,
    /// The text of the link on that page that is followed.
    link: Option<&'static str>,
    /// How wide the window is.
    width: u32,
    /// What the picture begins and ends with: elements of the page, in JavaScript.
    from: &'static str,
    to: &'static str,
}

const PICTURES: [Picture; 4] = [
    Picture {
        name: "coverage.png",
        page: "target/coverage/index.html",
        link: None,
        width: 1000,
        from: "document.querySelector('h1')",
        to: "document.querySelector('tfoot')",
    },
    Picture {
        name: "coverage-lines.png",
        page: "target/coverage/index.html",
        link: Some("src/bin/calc/expression.rs"),
        width: 1000,
        from: "row('/// Evaluates an expression.')",
        to: "row('fn divide(').nextElementSibling.nextElementSibling",
    },
    Picture {
        name: "flame-graph.png",
        page: "target/nbody.svg",
        link: None,
        width: 1200,
        from: "document.documentElement",
        to: "document.documentElement",
    },
    Picture {
        name: "treemap.png",
        page: "target/size.svg",
        link: None,
        width: 1200,
        from: "document.documentElement",
        to: "document.documentElement",
    },
];

/// What [`PICTURES`] need in the page. The rectangle is left, top, width and height.
const HELPERS: &str = "
    const row = text => [...document.querySelectorAll('tr')].find(row => row.textContent.includes(text));
    const rectangle = (from, to) => {
        const top = Math.ceil(from.getBoundingClientRect().top);
        const bottom = Math.floor(to.getBoundingClientRect().bottom);
        return [0, top, innerWidth, bottom - top];
    };";

/// Makes a picture smaller.
const PALETTE: &str = include_str!("palette.js");

fn folder() -> PathBuf {
    root().join("docs/pictures")
}

/// Makes all pictures anew.
pub fn make() {
    for ran in ran() {
        assert!(ran.output.status.success(), "`{}` fails: see the test of the page's commands", ran.command);
    }
    fs::create_dir_all(folder()).expect("the checkout can be written");
    let mut browser = Browser::start("pictures");
    for Picture { name, page, link, width, from, to } in PICTURES {
        browser.resize(width, 800);
        browser.open(&address(&root().join(page)));
        if let Some(link) = link {
            let found = format!("[...document.links].find(link => link.textContent === '{link}').href");
            let url = browser.evaluate(&found);
            browser.open(url.as_str().expect("it is an address"));
        }
        // As high as the page is, so that nothing has to be scrolled.
        let height = browser.evaluate("document.documentElement.getBoundingClientRect().bottom");
        browser.resize(width, height.as_f64().expect("it is a number").ceil() as u32);
        let part = browser.evaluate(&format!("{{ {HELPERS} rectangle({from}, {to}) }}"));
        let picture = browser.picture(&part);
        let smaller = browser.evaluate(&format!("{PALETTE}('{picture}')"));
        let base64 = smaller.as_str().expect("it is base64");
        let decoded = run(Command::new("base64").arg("--decode"), base64.as_bytes());
        println!("docs/pictures/{name}: {} bytes", decoded.stdout.len());
        fs::write(folder().join(name), decoded.stdout).expect("the checkout can be written");
    }
    check();
}

/// Checks that the pictures are there and small, and that the page shows each.
pub fn check() {
    let mut names: Vec<_> = fs::read_dir(folder())
        .expect("there are pictures: make them with `cargo xtask pictures`")
        .map(|entry| entry.expect("the folder can be read").file_name().into_string().expect("a name"))
        .collect();
    names.sort_unstable();
    let mut expected = PICTURES.map(|picture| picture.name);
    expected.sort_unstable();
    assert_eq!(names, expected, "make them with `cargo xtask pictures`");
    for name in names {
        let picture = fs::read(folder().join(&name)).expect("it is there");
        assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
        assert!(picture.len() <= MOST_BYTES, "{name} has {} bytes", picture.len());
        let shown = PAGE.lines().filter(|line| line.ends_with(&format!("](pictures/{name})")));
        // The text in brackets is for those who do not see it.
        assert!(shown.filter(|line| line.starts_with("![") && line.len() > 60).count() == 1, "{name}");
    }
}
