//! Counting agreement, showing it, requiring it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use kiln_tests::target_dir;

use crate::case::Case;
use crate::compare::{ASPECTS, Verdict};
use crate::deviations;
use crate::performed::Performed;

/// The share of cases that must agree in an aspect, in percent.
const REQUIRED: [(&str, f64); 10] = [
    ("ok", 100.0),
    ("error line", 98.0),
    ("config", 98.0),
    ("history", 98.0),
    ("layer count", 98.0),
    ("files", 98.0),
    ("layers", 98.0),
    ("warnings", 98.0),
    ("run output", 98.0),
    ("lint", 98.0),
];

/// What was found so far.
#[derive(Default)]
pub(crate) struct Score {
    agree: BTreeMap<&'static str, usize>,
    total: BTreeMap<&'static str, usize>,
    on_purpose: Vec<String>,
    no_longer: Vec<String>,
    differences: BTreeMap<String, String>,
}

impl Score {
    pub(crate) fn add(&mut self, case: &Case, performed: &Performed, verdicts: Vec<Verdict>) {
        let mut text = String::new();
        let comparable =
            verdicts.into_iter().filter(|(aspect, _)| !deviations::of_the_machine(&case.id, aspect));
        for (aspect, verdict) in comparable {
            match (verdict, deviations::on_purpose(&case.id, aspect)) {
                (Err(_), Some(why)) => self.on_purpose.push(format!("{} ({aspect}): {why}", case.id)),
                (Ok(()), Some(why)) if deviations::may_be_absent(why) => {}
                (Ok(()), Some(_)) => self.no_longer.push(format!("{} ({aspect})", case.id)),
                (verdict, None) => {
                    *self.total.entry(aspect).or_default() += 1;
                    match verdict {
                        Ok(()) => *self.agree.entry(aspect).or_default() += 1,
                        Err(difference) => {
                            writeln!(text, "[{aspect}]\n{difference}").expect("a string takes it");
                        }
                    }
                }
            }
        }
        if !text.is_empty() {
            let command = &performed.outcome.command;
            self.differences.insert(case.id.clone(), format!("== {}\n{command}\n{text}", case.id));
        }
    }

    fn percent(&self, aspect: &str) -> f64 {
        let count = |of: &BTreeMap<&'static str, usize>| of.get(aspect).copied().unwrap_or(0) as f64;
        100.0 * count(&self.agree) / count(&self.total).max(1.0)
    }

    fn table(&self) -> String {
        let mut table = format!("{:<12} {:>6} {:>6} {:>8}\n", "aspect", "agree", "of", "percent");
        for aspect in ASPECTS {
            let count = |of: &BTreeMap<&'static str, usize>| of.get(aspect).copied().unwrap_or(0);
            let (agree, total) = (count(&self.agree), count(&self.total));
            writeln!(table, "{aspect:<12} {agree:>6} {total:>6} {:>8.1}", self.percent(aspect))
                .expect("a string");
        }
        writeln!(table, "on purpose   {:>6}", self.on_purpose.len()).expect("a string takes it");
        table
    }

    /// Prints the table, and the differences too if the run was about few cases.
    pub(crate) fn report(&self, in_full: bool) {
        let differences: String = self.differences.values().map(|text| format!("{text}\n")).collect();
        println!("{}", self.table());
        for line in &self.on_purpose {
            println!("differs on purpose: {line}");
        }
        if in_full {
            return println!("{differences}");
        }
        let file = target_dir().join("golden.txt");
        fs::create_dir_all(target_dir()).expect("make the tests' own directory");
        fs::write(&file, format!("{}\n{differences}", self.table())).expect("write the differences");
        println!("{} cases differ: {}", self.differences.len(), file.display());
    }

    /// Fails if too little agrees, or if a deviation is listed that is none any more.
    pub(crate) fn require(&self) {
        assert!(self.no_longer.is_empty(), "listed as deviating, but agree: {:#?}", self.no_longer);
        for (aspect, required) in REQUIRED {
            let percent = self.percent(aspect);
            assert!(
                percent >= required,
                "{aspect}: {percent:.1} % agree, {required} % are required\n{}\n{}",
                self.table(),
                self.differences.values().map(|text| format!("{text}\n")).collect::<String>()
            );
        }
    }
}
