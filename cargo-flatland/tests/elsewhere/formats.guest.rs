#[test]
fn passes() {}

#[test]
#[should_panic(expected = "that")]
fn panics_as_it_should() {
    panic!("this and that");
}

#[test]
#[ignore = "for \"another\" time"]
fn is_ignored() {}

#[test]
#[ignore]
fn is_ignored_for_no_reason() {}

#[test]
fn says_much() {
    println!("<&>\"'\\\t]]>");
}

#[test]
fn returns_an_error() -> Result<(), &'static str> {
    println!("before: <&>\"'\\\t]]>");
    Err("no \"luck\"")
}
