//! Samples and the table that shows them.

use std::time::{Duration, Instant};

/// Durations of one thing, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    /// The value below which `share` of the samples lie.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }

    /// The middle.
    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// `median (min–p90)`.
    pub(crate) fn show(&self) -> String {
        match (self.median(), self.quantile(0.0), self.quantile(0.9)) {
            (Some(median), Some(least), Some(high)) => format!("{median:.1} ({least:.1}–{high:.1})"),
            _ => "–".into(),
        }
    }
}

/// How long `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

/// Rows of what was measured, its bar, and whether it holds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
    missed: usize,
}

impl Table {
    /// A row with a bar.
    pub(crate) fn bar(&mut self, what: &str, bar: &str, measured: String, holds: Option<bool>) {
        let verdict = match holds {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "not measured",
        };
        self.missed += usize::from(holds != Some(true));
        self.rows.push([what.into(), bar.into(), measured, verdict.into()]);
    }

    /// A row for comparison.
    pub(crate) fn row(&mut self, what: &str, measured: String) {
        self.rows.push([what.into(), String::new(), measured, String::new()]);
    }

    /// Prints the table; how many bars do not hold.
    pub(crate) fn print(&self) -> usize {
        let heads = ["what", "bar", "measured", ""];
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or(0)
        };
        let line = |cells: [&str; 4]| {
            let padded: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(column, cell)| format!("{cell:<w$}", w = width(column)))
                .collect();
            println!("| {} |", padded.join(" | "));
        };
        line(heads);
        println!("|{}|", (0..4).map(|column| "-".repeat(width(column) + 2)).collect::<Vec<_>>().join("|"));
        for [a, b, c, d] in &self.rows {
            line([a, b, c, d]);
        }
        self.missed
    }
}
