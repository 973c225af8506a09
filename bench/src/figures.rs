//! What was measured, and what follows from it: quantiles, ratios, and whether what is asked for is reached.

/// Minimum, 10th percentile and median. Machines are shared and noisy, and noise only ever adds: the lower two say what
/// a thing takes, the median what a person sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    pub minimum: f64,
    pub tenth: f64,
    pub median: f64,
}

impl Quantiles {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { minimum: at(0), tenth: at(sorted.len() / 10), median: at(sorted.len() / 2) }
    }

    /// Each by its like.
    pub fn ratio(self, other: Self) -> Self {
        Self {
            minimum: self.minimum / other.minimum,
            tenth: self.tenth / other.tenth,
            median: self.median / other.median,
        }
    }

    pub fn array(self) -> [f64; 3] {
        [self.minimum, self.tenth, self.median]
    }
}

/// One who does what a row is about, and how long it took, or how much, each time.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: &'static str,
    pub samples: Vec<f64>,
}

/// Something that several were measured at, in turns.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name for programs.
    pub id: &'static str,
    /// Its name for people.
    pub title: String,
    pub unit: &'static str,
    /// The first is what the others are compared with.
    pub contenders: Vec<Contender>,
    pub demands: Vec<Demand>,
    /// What there are so many of in a second, where a unit is a microsecond.
    pub rate_of: Option<&'static str>,
}

/// What is asked of a contender: at most so many times, or so much more than, another one.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub of: &'static str,
    pub against: &'static str,
    pub most: Most,
}

/// How much at most.
#[derive(Clone, Copy, Debug)]
pub enum Most {
    Times(f64),
    More(f64),
}

impl Row {
    pub fn quantiles(&self, name: &str) -> Option<Quantiles> {
        let contender = self.contenders.iter().find(|contender| contender.name == name)?;
        Some(Quantiles::of(&contender.samples))
    }

    /// What the ratios are to.
    pub fn baseline(&self) -> Quantiles {
        Quantiles::of(self.contenders.first().map_or(&[], |first| &first.samples))
    }

    /// How many there are in a second, by the median, of all but the first contender.
    pub fn rates(&self) -> Vec<String> {
        let rate = |contender: &Contender, what: &str| {
            let median = Quantiles::of(&contender.samples).median;
            format!("{}: {} {what} a second", contender.name, short(1e6 / median))
        };
        let others = self.contenders.iter().skip(1);
        self.rate_of.map_or(Vec::new(), |what| others.map(|contender| rate(contender, what)).collect())
    }

    /// Whether the minimum and the 10th percentile both reach it.
    pub fn meets(&self, demand: &Demand) -> bool {
        let (Some(of), Some(against)) = (self.quantiles(demand.of), self.quantiles(demand.against)) else {
            return false;
        };
        match demand.most {
            Most::Times(times) => {
                let ratio = of.ratio(against);
                ratio.minimum <= times && ratio.tenth <= times
            }
            Most::More(more) => of.minimum - against.minimum <= more && of.tenth - against.tenth <= more,
        }
    }

    /// What is asked for, and what there is, in words.
    pub fn judge(&self, demand: &Demand) -> String {
        let (of, against) = (self.quantiles(demand.of), self.quantiles(demand.against));
        let (Some(of), Some(against)) = (of, against) else { return "not measured".into() };
        let verdict = if self.meets(demand) { "met" } else { "NOT MET" };
        let Demand { of: name, against: other, .. } = demand;
        match demand.most {
            Most::Times(times) => {
                let ratio = of.ratio(against);
                let [asked, minimum, tenth] = [times, ratio.minimum, ratio.tenth].map(short);
                format!("{name}: at most {asked} of {other}: {minimum} and {tenth}, {verdict}")
            }
            Most::More(more) => {
                let [asked, there] = [more, of.minimum - against.minimum].map(short);
                format!(
                    "{name}: at most {asked} {unit} more than {other}: {there}, {verdict}",
                    unit = self.unit
                )
            }
        }
    }
}

/// Three digits that count.
pub fn short(number: f64) -> String {
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
        let title = format!("{}, {}", row.title, row.unit);
        text += &format!("{title}\n{:30}{:>9}{:>9}{:>9}", "", "minimum", "10th pct", "median");
        text += &format!("   {:>27}\n", "the same as ratios");
        let baseline = row.baseline();
        for contender in &row.contenders {
            let quantiles = Quantiles::of(&contender.samples);
            text += &format!("    {:26}", contender.name);
            for number in quantiles.array() {
                text += &format!("{:>9}", short(number));
            }
            text += "   ";
            for number in quantiles.ratio(baseline).array() {
                text += &format!("{:>9}", short(number));
            }
            text += "\n";
        }
        for rate in row.rates() {
            text += &format!("    {rate}\n");
        }
        for demand in &row.demands {
            text += &format!("    asked of {}\n", row.judge(demand));
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two contenders, of whom one takes half as long.
    pub fn row() -> Row {
        let samples = |scale: f64| (1..=20).rev().map(|number| scale * f64::from(number)).collect();
        Row {
            id: "a-row",
            title: "a <row> & its \"title\"".into(),
            unit: "us",
            contenders: vec![
                Contender { name: "plain C", samples: samples(2.0) },
                Contender { name: "flatland", samples: samples(1.0) },
            ],
            demands: vec![Demand { of: "flatland", against: "plain C", most: Most::Times(0.5) }],
            rate_of: Some("things"),
        }
    }

    #[test]
    fn quantiles_are_of_the_sorted_samples() {
        let quantiles = row().quantiles("flatland");
        assert_eq!(quantiles, Some(Quantiles { minimum: 1.0, tenth: 3.0, median: 11.0 }));
        assert_eq!(Quantiles::of(&[7.0]).array(), [7.0; 3]);
        assert!(Quantiles::of(&[]).minimum.is_nan());
    }

    #[test]
    fn ratios_are_of_like_with_like() {
        let row = row();
        assert_eq!(row.baseline().array(), [2.0, 6.0, 22.0]);
        assert_eq!(Quantiles::of(&row.contenders[1].samples).ratio(row.baseline()).array(), [0.5; 3]);
        assert_eq!(row.quantiles("nobody"), None);
    }

    #[test]
    fn a_demand_is_met_by_minimum_and_tenth_or_not_at_all() {
        let mut row = row();
        let demand = |most| Demand { of: "flatland", against: "plain C", most };
        assert!(row.meets(&demand(Most::Times(0.5))) && !row.meets(&demand(Most::Times(0.49))));
        assert!(row.meets(&demand(Most::More(-1.0))) && !row.meets(&demand(Most::More(-2.0))));
        assert!(!row.meets(&Demand { of: "nobody", ..demand(Most::Times(9.0)) }));
        assert_eq!(
            row.judge(&demand(Most::Times(0.5))),
            "flatland: at most 0.500 of plain C: 0.500 and 0.500, met"
        );
        // The minimum alone does not do.
        row.contenders[1].samples = vec![1.0; 1].into_iter().chain(vec![50.0; 19]).collect();
        assert!(!row.meets(&demand(Most::Times(0.5))));
        assert!(row.judge(&demand(Most::Times(0.5))).ends_with("NOT MET"));
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown = [0.0, 0.01234, 0.1234, 0.9999, 1.234, 12.34, 123.4, 12345.0].map(short);
        assert_eq!(shown, ["0", "0.0123", "0.123", "1.00", "1.23", "12.3", "123", "12345"]);
    }

    #[test]
    fn the_table_has_each_contender_and_each_demand() {
        let table = table(&[row()]);
        assert!(
            table.contains("plain C                        2.00     6.00     22.0        1.00"),
            "{table}"
        );
        assert!(table.contains("    flatland: 90909 things a second\n"), "{table}");
        assert!(table.contains("asked of flatland: at most 0.500"), "{table}");
    }
}
