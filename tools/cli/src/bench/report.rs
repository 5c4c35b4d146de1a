//! What was measured, for programs and for people.

use crossrank_kernels::Isa;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::measure::Measured;
use super::workload::Workload;
use crate::text::printable;

/// Of a workload's name in the table.
const MAX_NAME: usize = 40;

/// A line of JSON. Times are in milliseconds, memory in 10^6 bytes.
#[derive(Serialize)]
pub struct Row<'a> {
    workload: &'a str,
    dtype: &'a str,
    threads: usize,
    isa: &'a str,
    pairs: usize,
    tokens: usize,
    runs: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    tokenise_ms: f64,
    forward_ms: f64,
    peak_rss_mb: Option<f64>,
}

impl<'a> Row<'a> {
    pub fn new(workload: &'a Workload, measured: &'a Measured) -> Self {
        let [p50_ms, p90_ms, p99_ms] =
            [50, 90, 99].map(|percent| rounded(percentile(&measured.from_text, percent), 4));
        let forward_ms = rounded(percentile(&measured.from_ids, 50), 4);
        Self {
            workload: &workload.name,
            dtype: &measured.dtype,
            threads: measured.threads,
            isa: &measured.isa,
            pairs: workload.docs.len(),
            tokens: measured.tokens,
            runs: measured.from_text.len(),
            p50_ms,
            p90_ms,
            p99_ms,
            tokenise_ms: rounded((p50_ms - forward_ms).max(0.0), 4),
            forward_ms,
            peak_rss_mb: measured.peak_rss.map(|bytes| rounded(bytes as f64 / 1e6, 2)),
        }
    }
}

/// Nearest rank: the smallest time that so many per cent of the times do not exceed. `sorted` is not empty.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// A table whose rows are written as they come.
pub struct Table {
    name_width: usize,
}

/// The columns after the workload's name, and how wide their cells are.
const COLUMNS: [(&str, usize); 15] = [
    ("dtype", 5),
    ("threads", 7),
    ("isa", isa_width()),
    ("docs", 4),
    ("tokens", 6),
    ("runs", 5),
    ("p50", 6),
    ("p90", 6),
    ("p99", 6),
    ("tokenise", 8),
    ("forward", 7),
    ("docs/s", 6),
    ("tokens/s", 8),
    ("of peak", 7),
    ("MB", 5),
];

/// Of the longest name.
const fn isa_width() -> usize {
    let (mut width, mut i) = (0, 0);
    while i < Isa::NAMES.len() {
        if Isa::NAMES[i].len() > width {
            width = Isa::NAMES[i].len();
        }
        i += 1;
    }
    width
}

impl Table {
    pub fn new(workloads: &[Workload]) -> Self {
        let widths = workloads.iter().map(|workload| name(workload).width());
        Self { name_width: widths.max().unwrap_or(0).max("workload".len()) }
    }

    pub fn head(&self) -> String {
        self.line("workload", COLUMNS.map(|(head, _)| head.to_owned()))
    }

    pub fn row(&self, workload: &Workload, measured: &Measured) -> String {
        let row = Row::new(workload, measured);
        let a_second = |count: f64| count / row.p50_ms * 1e3;
        let share = |peak| format!("{:.0} %", 100.0 * a_second(measured.operations as f64) / peak);
        let unknown = || "-".to_owned();
        self.line(
            &name(workload),
            [
                row.dtype.to_owned(),
                row.threads.to_string(),
                row.isa.to_owned(),
                row.pairs.to_string(),
                row.tokens.to_string(),
                row.runs.to_string(),
                three_digits(row.p50_ms),
                three_digits(row.p90_ms),
                three_digits(row.p99_ms),
                three_digits(row.tokenise_ms),
                three_digits(row.forward_ms),
                three_digits(a_second(row.pairs as f64)),
                format!("{:.0}", a_second(row.tokens as f64)),
                measured.peak_rate.map_or_else(unknown, share),
                row.peak_rss_mb.map_or_else(unknown, three_digits),
            ],
        )
    }

    /// What the columns mean.
    pub fn notes() -> [&'static str; 4] {
        [
            "p50, p90, p99: milliseconds from text to ranking, by nearest rank, and docs/s and tokens/s at the p50.",
            "forward: p50 from ready ids; tokenise: what is left of the p50 from text.",
            "of peak: operations that the model needs, against products of the dtype on registers alone on as many threads.",
            "MB: peak resident memory of a process that did this alone, its load included.",
        ]
    }

    fn line(&self, name: &str, cells: [String; COLUMNS.len()]) -> String {
        let mut line = name.to_owned() + &" ".repeat(self.name_width.saturating_sub(name.width()));
        for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        line
    }
}

fn name(workload: &Workload) -> String {
    printable(&workload.name, MAX_NAME)
}

/// A number of any size with three digits that count, whole where it has more.
fn three_digits(value: f64) -> String {
    match value.abs() {
        x if x >= 99.95 => format!("{value:.0}"),
        x if x >= 9.995 => format!("{value:.1}"),
        x if x >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([50, 90, 99, 100].map(|p| percentile(&times, p)), [100.0, 180.0, 198.0, 200.0]);
        assert_eq!([50, 90, 99].map(|p| percentile(&[1.0, 2.0, 3.0], p)), [2.0, 3.0, 3.0]);
        assert_eq!([1, 99].map(|p| percentile(&[7.0], p)), [7.0; 2]);
    }

    fn measured() -> Measured {
        Measured {
            dtype: "f32".into(),
            isa: "avx512".into(),
            threads: 2,
            tokens: 300,
            operations: 1_000_000_000,
            from_text: vec![10.0, 10.123_456, 12.0],
            from_ids: vec![9.0, 9.5, 30.0],
            peak_rss: Some(123_456_789),
            peak_rate: Some(2e11),
        }
    }

    fn workload(name: &str) -> Workload {
        Workload { name: name.into(), query: "q".into(), docs: vec!["d".into(); 5] }
    }

    #[test]
    fn a_line_of_json_has_its_keys_in_order() {
        let json = serde_json::to_string(&Row::new(&workload("a"), &measured())).unwrap();
        let expected = concat!(
            r#"{"workload":"a","dtype":"f32","threads":2,"isa":"avx512","pairs":5,"tokens":300,"runs":3,"#,
            r#""p50_ms":10.1235,"p90_ms":12.0,"p99_ms":12.0,"tokenise_ms":0.6235,"forward_ms":9.5,"#,
            r#""peak_rss_mb":123.46}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn columns_stand_below_their_heads_whatever_the_name() {
        let workloads = ["pair", "東京 \u{1b}[31m", &"long ".repeat(30)].map(workload);
        let table = Table::new(&workloads);
        let mut unknown = measured();
        (unknown.peak_rss, unknown.peak_rate) = (None, None);
        for measured in [measured(), unknown] {
            for workload in &workloads {
                let row = table.row(workload, &measured);
                assert_eq!(row.width(), table.head().width(), "{row}");
                assert!(!row.contains('\u{1b}'));
            }
        }
        let row = table.row(&workloads[0], &measured());
        // 5 documents, 300 tokens and 10^9 operations in 10.1235 ms.
        for cell in [" 494 ", " 29634 ", " 49 % ", "  123"] {
            assert!(row.contains(cell), "no {cell:?} in {row}");
        }
    }
}
