//! The table for programs.

use serde_json::{Value, json};

use crate::figures::{Quantiles, Row};
use crate::syscalls::{BYTES, Counts};

pub fn text(rows: &[Row], syscalls: &Result<Counts, String>) -> String {
    let value = json!({ "rows": rows.iter().map(row).collect::<Value>(), "syscalls": counts(syscalls) });
    format!("{value:#}\n")
}

fn row(row: &Row) -> Value {
    let baseline = row.baseline();
    let contenders = row.contenders.iter().map(|contender| {
        let own = Quantiles::of(&contender.samples);
        json!({
            "name": contender.name,
            "samples": contender.samples.len(),
            "measured": quantiles(own),
            "ratio": quantiles(own.ratio(baseline)),
        })
    });
    let demands =
        row.demands.iter().map(|demand| json!({ "text": row.judge(demand), "met": row.meets(demand) }));
    json!({
        "id": row.id,
        "title": row.title,
        "unit": row.unit,
        "contenders": contenders.collect::<Value>(),
        "demands": demands.collect::<Value>(),
    })
}

fn quantiles(quantiles: Quantiles) -> Value {
    let Quantiles { minimum, tenth, median } = quantiles;
    json!({ "minimum": minimum, "tenth": tenth, "median": median })
}

fn counts(counts: &Result<Counts, String>) -> Value {
    match counts {
        Err(message) => json!({ "missing": message }),
        Ok(counts) => json!({
            "bytes": BYTES,
            "run": counts.run,
            "others": counts.others,
            "demand": { "text": counts.judge(), "met": counts.too_many().is_empty() },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_parses_and_says_what_the_table_says() {
        let syscalls = Ok(crate::syscalls::tests::counts());
        let text = text(&[crate::figures::tests::row()], &syscalls);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["rows"][0]["contenders"][1]["ratio"]["tenth"], 0.5);
        assert_eq!(value["rows"][0]["demands"][0]["met"], true);
        assert_eq!(value["syscalls"]["run"]["write"][1], 3);
        let missing: Value = serde_json::from_str(&super::text(&[], &Err("no \"strace\"".into()))).unwrap();
        assert_eq!(missing["syscalls"]["missing"], "no \"strace\"");
    }
}
