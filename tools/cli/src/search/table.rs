//! Results for people.

use super::rows::Row;
use crate::table::{BAR, Table, cut, score, words};

/// A line a document: rank, rank in the first stage, score, bar if there is room, a mark where the window cut, id, text:
/// that of the best passage where there are any. Then what the mark means. No line is wider than the terminal.
pub fn lines(table: &Table, rows: &[Row<'_>], max_length: usize) -> Vec<String> {
    let scores: Vec<String> =
        rows.iter().map(|row| row.ranked.map_or("-".into(), |ranked| score(ranked.score))).collect();
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or(0);
    let rank_width = rows.len().to_string().len();
    let first_width = widest(&mut rows.iter().map(|row| row.first_rank.to_string().len()));
    let score_width = widest(&mut scores.iter().map(String::len));
    let with_bar = table.has_room_beside(rank_width + first_width + score_width + 9)
        && rows.iter().any(|row| row.ranked.is_some());
    let mut lines: Vec<String> = rows
        .iter()
        .zip(&scores)
        .map(|(row, score)| {
            let bar = match row.ranked {
                Some(ranked) if with_bar => format!("  {}", table.bar(ranked.score)),
                None if with_bar => format!("  {}", " ".repeat(BAR)),
                _ => String::new(),
            };
            let mark = if row.ranked.is_some_and(|ranked| ranked.truncated) { '*' } else { ' ' };
            let (rank, first) = (row.rank, row.first_rank);
            let line = format!(
                "{rank:>rank_width$}  (was {first:>first_width$})  {score:>score_width$}{bar} {mark}"
            );
            let text = &row.candidate.text;
            let passage = row.ranked.and_then(|ranked| ranked.passage.as_ref());
            let text = passage.map_or(&**text, |passage| passage.text(text));
            let shown = words(&row.candidate.id).chain(":".chars()).chain(words(text));
            cut(line.chars().chain(shown), table.columns).trim_end().to_owned()
        })
        .collect();
    if rows.iter().any(|row| row.ranked.is_some_and(|ranked| ranked.truncated)) {
        let note = format!("* longer than the window of {max_length} tokens: what is beyond was not read");
        lines.push(cut(note.chars(), table.columns));
    }
    lines
}
