//! Evaluates measurements: quantiles, ratios, and whether demands are met.

use std::array;

use serde_json::{Value, json};

/// Minimum, 10th percentile and median. Machines are shared, and noise only adds time. The lower two show what the
/// work takes, the median what a user sees.
pub type Quantiles = [f64; 3];

/// NaN if there are no samples.
pub fn quantiles(samples: &[f64]) -> Quantiles {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0, sorted.len() / 10, sorted.len() / 2].map(|index| sorted.get(index).copied().unwrap_or(f64::NAN))
}

fn ratios(of: Quantiles, to: Quantiles) -> Quantiles {
    array::from_fn(|index| of[index] / to[index])
}

/// Measurements of several contenders, taken in turns.
pub struct Row {
    /// The name in the table for programs.
    pub id: &'static str,
    /// The name in the table for people.
    pub title: String,
    pub unit: &'static str,
    /// Names and samples, none if the contender could not be measured. The first contender is the baseline of the
    /// ratios.
    pub contenders: Vec<(&'static str, Vec<f64>)>,
    pub demands: Vec<Demand>,
}

/// A limit for a contender: at most `times` what the best of others takes, plus `more`. Without others the limit is
/// `more`.
#[derive(Clone, Copy)]
pub struct Demand {
    pub of: &'static str,
    /// The best of them is chosen for each quantile, which is the strictest reading. Those that were not measured do
    /// not count.
    pub against: &'static [&'static str],
    pub times: f64,
    pub more: f64,
}

impl Row {
    fn quantiles(&self, name: &str) -> Quantiles {
        let found = self.contenders.iter().find(|(contender, _)| *contender == name);
        quantiles(found.map_or(&[], |(_, samples)| samples))
    }

    fn baseline(&self) -> Quantiles {
        quantiles(self.contenders.first().map_or(&[], |(_, samples)| samples))
    }

    fn is_measured(&self, name: &str) -> bool {
        !self.quantiles(name)[0].is_nan()
    }

    /// Describes a demand and the measured values. Returns also whether the minimum and the 10th percentile both meet
    /// the demand, if they were measured.
    fn judge(&self, demand: &Demand) -> (String, Option<bool>) {
        let Demand { of: name, against, times, more } = *demand;
        let others: Vec<_> = against.iter().copied().filter(|other| self.is_measured(other)).collect();
        let is_measured = self.is_measured(name) && (against.is_empty() || !others.is_empty());
        let compared = match (is_measured, &others[..]) {
            (false, _) => against.join(" and "),
            (_, [one]) => (*one).to_owned(),
            _ => format!("the better of {}", others.join(" and ")),
        };
        let asked = match (against, more) {
            ([], _) => format!("{} {}", short(more), self.unit),
            (_, 0.0) => format!("{} times {compared}", short(times)),
            _ => format!("{} {} more than {compared}", short(more), self.unit),
        };
        if !is_measured {
            return (format!("{name}: at most {asked}: NOT MEASURED"), None);
        }
        let of = self.quantiles(name);
        let limit: Quantiles = match against {
            [] => [more; 3],
            _ => array::from_fn(|index| {
                let best =
                    others.iter().map(|other| self.quantiles(other)[index]).fold(f64::INFINITY, f64::min);
                best * times + more
            }),
        };
        let met = of[0] <= limit[0] && of[1] <= limit[1];
        let verdict = if met { "met" } else { "NOT MET" };
        let there = [0, 1].map(|index| format!("{} of {}", short(of[index]), short(limit[index])));
        (format!("{name}: at most {asked}: {}, {verdict}", there.join(" and ")), Some(met))
    }
}

/// Formats a number with three significant digits. A number that was not measured is a dash.
fn short(number: f64) -> String {
    if number.is_nan() {
        return "-".into();
    }
    let digits = match number.abs() {
        size if size >= 99.5 || size == 0.0 => 0,
        size if size >= 9.95 => 1,
        size if size >= 0.995 => 2,
        size if size >= 0.0995 => 3,
        size if size >= 0.00995 => 4,
        _ => 5,
    };
    format!("{number:.digits$}")
}

/// The table for people.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text += &format!("{}, {}\n", row.title, row.unit);
        text += &format!("{:32}{:>9}{:>9}{:>9}", "", "minimum", "10th pct", "median");
        text += &format!("{:>30}\n", "the same as ratios");
        for (name, samples) in &row.contenders {
            if samples.is_empty() {
                text += &format!("    {name:28}  not measured\n");
                continue;
            }
            let own = quantiles(samples);
            let columns = |numbers: Quantiles| numbers.map(|number| format!("{:>9}", short(number))).concat();
            text += &format!("    {name:28}{}   {}\n", columns(own), columns(ratios(own, row.baseline())));
        }
        for demand in &row.demands {
            text += &format!("    asked of {}\n", row.judge(demand).0);
        }
        text += "\n";
    }
    text
}

/// The table for programs, in JSON.
pub fn json(rows: &[Row]) -> Value {
    let named =
        |[minimum, tenth, median]: Quantiles| json!({ "minimum": minimum, "tenth": tenth, "median": median });
    let row = |row: &Row| {
        let contender = |(name, samples): &(&str, Vec<f64>)| {
            let own = quantiles(samples);
            let ratio = named(ratios(own, row.baseline()));
            json!({ "name": name, "samples": samples.len(), "measured": named(own), "ratio": ratio })
        };
        let demand = |demand| {
            let (text, met) = row.judge(demand);
            json!({ "text": text, "met": met })
        };
        json!({
            "id": row.id,
            "title": row.title,
            "unit": row.unit,
            "contenders": row.contenders.iter().map(contender).collect::<Value>(),
            "demands": row.demands.iter().map(demand).collect::<Value>(),
        })
    };
    json!({ "rows": rows.iter().map(row).collect::<Value>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand { of: "flatland", against: &["plain C"], times: 0.5, more: 0.0 };

    /// Two contenders, one of which takes half as long.
    fn row() -> Row {
        let samples = |scale: f64| (1..=20).rev().map(|number| scale * f64::from(number)).collect();
        let contenders = vec![("plain C", samples(2.0)), ("flatland", samples(1.0))];
        Row { id: "a-row", title: "a row".into(), unit: "us", contenders, demands: vec![DEMAND] }
    }

    #[test]
    fn quantiles_are_of_the_sorted_samples_and_ratios_of_like_with_like() {
        let row = row();
        assert_eq!(row.quantiles("flatland"), [1.0, 3.0, 11.0]);
        assert_eq!(row.baseline(), [2.0, 6.0, 22.0]);
        assert_eq!(ratios(row.quantiles("flatland"), row.baseline()), [0.5; 3]);
        assert_eq!(quantiles(&[7.0]), [7.0; 3]);
        assert!(quantiles(&[])[0].is_nan());
    }

    #[test]
    fn a_demand_is_met_by_minimum_and_tenth_or_not_at_all() {
        let mut row = row();
        assert_eq!(
            row.judge(&DEMAND),
            ("flatland: at most 0.500 times plain C: 1.00 of 1.00 and 3.00 of 3.00, met".into(), Some(true))
        );
        assert_eq!(row.judge(&Demand { times: 0.49, ..DEMAND }).1, Some(false));
        let more = Demand { of: "plain C", against: &["flatland"], times: 1.0, more: 3.0 };
        assert_eq!(
            row.judge(&more).0,
            "plain C: at most 3.00 us more than flatland: 2.00 of 4.00 and 6.00 of 6.00, met"
        );
        assert_eq!(row.judge(&Demand { more: 2.0, ..more }).1, Some(false));
        // The minimum alone does not suffice.
        row.contenders[1].1 = [vec![1.0], vec![50.0; 19]].concat();
        assert!(row.judge(&DEMAND).0.ends_with("NOT MET"));
    }

    #[test]
    fn a_demand_may_be_against_the_better_of_two_or_a_number() {
        let mut row = row();
        row.contenders.push(("other", [vec![3.0], vec![4.0; 19]].concat()));
        // The minimum is compared with that of plain C, which is 2, and the 10th percentile with that of the other.
        let better = Demand { against: &["plain C", "other"], times: 0.75, ..DEMAND };
        assert_eq!(
            row.judge(&better),
            (
                "flatland: at most 0.750 times the better of plain C and other: 1.00 of 1.50 and 3.00 of 3.00, \
                 met"
                .into(),
                Some(true)
            )
        );
        assert_eq!(row.judge(&Demand { times: 0.74, ..better }).1, Some(false));
        let number = Demand { against: &[], more: 3.0, ..DEMAND };
        assert_eq!(row.judge(&number).0, "flatland: at most 3.00 us: 1.00 of 3.00 and 3.00 of 3.00, met");
        assert_eq!(row.judge(&Demand { more: 2.9, ..number }).1, Some(false));
    }

    #[test]
    fn a_demand_is_not_judged_by_what_was_not_measured() {
        let mut row = row();
        row.contenders.push(("other", Vec::new()));
        let text = row.judge(&Demand { against: &["plain C", "other"], ..DEMAND }).0;
        assert_eq!(text, "flatland: at most 0.500 times plain C: 1.00 of 1.00 and 3.00 of 3.00, met");
        let (text, met) = row.judge(&Demand { against: &["other"], ..DEMAND });
        assert_eq!((&*text, met), ("flatland: at most 0.500 times other: NOT MEASURED", None));
        assert_eq!(row.judge(&Demand { of: "other", ..DEMAND }).1, None);
        row.demands.push(Demand { of: "other", ..DEMAND });
        assert!(table(&[row]).contains("    other                         not measured\n"));
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown = [f64::NAN, 0.0, 0.01234, 0.1234, 0.9999, 1.234, 12.34, 123.4, 12345.0].map(short);
        assert_eq!(shown, ["-", "0", "0.0123", "0.123", "1.00", "1.23", "12.3", "123", "12345"]);
    }

    #[test]
    fn both_tables_have_each_contender_and_each_demand() {
        let table = table(&[row()]);
        assert!(
            table.contains("plain C                          2.00     6.00     22.0        1.00"),
            "{table}"
        );
        assert!(table.contains("asked of flatland: at most 0.500"), "{table}");
        let json = json(&[row()]);
        assert_eq!(json["rows"][0]["contenders"][1]["ratio"]["tenth"], 0.5);
        assert_eq!(json["rows"][0]["demands"][0]["met"], true);
    }
}
