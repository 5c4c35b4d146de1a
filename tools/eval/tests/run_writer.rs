//! Whatever scores a ranking has, the text that is written gives it to every tool.

use crossrank_eval::{Lines, Run, RunWriter};
use proptest::prelude::*;

/// Finite scores, many of them equal, near one another, or at the ends of the range.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let edges =
        [0.0, -0.0, 1.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1)];
    let any = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite());
    let near = (0..4_u32).prop_map(|i| f32::from_bits(0x4109_b6d0 + i));
    let score = prop_oneof![prop::sample::select(edges.to_vec()), any, near];
    prop_oneof![
        prop::collection::vec(score.clone(), 1..60),
        (score, 1..600_usize).prop_map(|(score, len)| vec![score; len]),
    ]
}

/// The ids, as each of the tools ranks the lines of a query: by a float or a double, and of equal scores up or down.
fn rankings(written: &str) -> [Vec<String>; 5] {
    let rows: Vec<(String, String)> = written
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(fields.len(), 6, "{line}");
            (fields[2].to_owned(), fields[4].to_owned())
        })
        .collect();
    let sorted = |double: bool, up: bool| {
        let value = |score: &str| -> f64 {
            let double_value: f64 = score.parse().unwrap();
            if double { double_value } else { f64::from(double_value as f32) }
        };
        let mut rows = rows.clone();
        rows.sort_by(|(a, x), (b, y)| {
            let ids = if up { a.cmp(b) } else { b.cmp(a) };
            value(y).partial_cmp(&value(x)).unwrap().then(ids)
        });
        rows.into_iter().map(|(id, _)| id).collect()
    };
    let as_written = rows.iter().map(|(id, _)| id.clone()).collect();
    [sorted(false, true), sorted(false, false), sorted(true, true), sorted(true, false), as_written]
}

proptest! {
    #[test]
    fn scores_fall_strictly_when_they_are_read_back(mut scores in scores(), sorted: bool, seed: u64) {
        if sorted {
            scores.sort_by(|a, b| b.partial_cmp(a).unwrap());
        }
        let mut ids: Vec<String> = (0..scores.len()).map(|i| format!("d{i}")).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut ids);
        let ranking: Vec<(&str, f32)> = ids.iter().map(String::as_str).zip(scores).collect();
        let mut run = RunWriter::new(Vec::new(), "tag").unwrap();
        run.query("q", &ranking).unwrap();
        let written = String::from_utf8(run.into_inner()).unwrap();

        let floats: Vec<f32> = written.lines().map(|l| l.split(' ').nth(4).unwrap().parse().unwrap()).collect();
        prop_assert!(floats.iter().all(|x| x.is_finite()));
        prop_assert!(floats.windows(2).all(|two| two[0] > two[1]), "{written}");
        let ranks: Vec<usize> = written.lines().map(|l| l.split(' ').nth(3).unwrap().parse().unwrap()).collect();
        prop_assert!(ranks.into_iter().eq(1..=ids.len()));
        for tool in rankings(&written) {
            prop_assert_eq!(&tool, &ids);
        }
        let run = Run::read(Lines::of("run".into(), written.into())).unwrap();
        let read: Vec<&str> = run.ranking("q").unwrap().iter().map(|(id, _)| id).collect();
        prop_assert_eq!(read, ids);
    }

    #[test]
    fn scores_that_fall_by_themselves_are_not_touched(mut scores in scores()) {
        scores.sort_by(|a, b| b.partial_cmp(a).unwrap());
        scores.dedup();
        let ids: Vec<String> = (0..scores.len()).map(|i| i.to_string()).collect();
        let ranking: Vec<(&str, f32)> = ids.iter().map(String::as_str).zip(scores.iter().copied()).collect();
        let mut run = RunWriter::new(Vec::new(), "tag").unwrap();
        run.query("q", &ranking).unwrap();
        let written = String::from_utf8(run.into_inner()).unwrap();
        let floats: Vec<f32> = written.lines().map(|l| l.split(' ').nth(4).unwrap().parse().unwrap()).collect();
        prop_assert_eq!(floats, scores);
    }
}
