//! A ranking for people.

use crossrank::Ranked;
use unicode_width::UnicodeWidthChar;

use crate::documents::Document;
use crate::text::steers_terminal;

/// Columns of a bar.
pub const BAR: usize = 10;
/// Where text would get less than this, there is no bar.
const LEAST_TEXT: usize = 20;
/// Characters without width would otherwise make a line of any length.
const CHARS_PER_COLUMN: usize = 4;

/// Scores that draw an empty and a full bar.
pub struct Scale {
    pub from: f32,
    pub to: f32,
}

/// How it is drawn.
pub struct Table {
    pub columns: usize,
    pub scale: Scale,
}

impl Table {
    /// A line a document: rank, score, bar if there is room, a mark where the window cut, text: that of the best passage
    /// where there are any. Then what is said of those without a score, and what the mark means. No line is wider than the terminal.
    pub fn lines(
        &self,
        ranking: &[Ranked],
        documents: &[Document],
        last: &[String],
        max_length: usize,
    ) -> Vec<String> {
        let scores: Vec<String> = ranking.iter().map(|ranked| score(ranked.score)).collect();
        let score_width = scores.iter().map(String::len).max().unwrap_or(0);
        let rank_width = (ranking.len() + last.len()).to_string().len();
        let with_bar = self.has_room_beside(rank_width + score_width + 4);
        let mut lines: Vec<String> = ranking
            .iter()
            .zip(&scores)
            .enumerate()
            .map(|(i, (ranked, score))| {
                let bar = if with_bar { format!("  {}", self.bar(ranked.score)) } else { String::new() };
                let mark = if ranked.truncated { '*' } else { ' ' };
                let rank = i + 1;
                let line = format!("{rank:>rank_width$}  {score:>score_width$}{bar} {mark}");
                let text = &documents[ranked.index].text;
                let text = ranked.passage.as_ref().map_or(&**text, |passage| passage.text(text));
                cut(line.chars().chain(words(text)), self.columns).trim_end().to_owned()
            })
            .collect();
        for (i, reason) in last.iter().enumerate() {
            let rank = ranking.len() + i + 1;
            let line = format!("{rank:>rank_width$}  {:>score_width$}", "-");
            lines.push(cut(line.chars().chain(words(reason)), self.columns));
        }
        if ranking.iter().any(|ranked| ranked.truncated) {
            let note =
                format!("* longer than the window of {max_length} tokens: what is beyond was not read");
            lines.push(cut(note.chars(), self.columns));
        }
        lines
    }

    /// Whether a bar leaves enough for the text, beside so many columns of figures and spaces.
    pub fn has_room_beside(&self, columns: usize) -> bool {
        self.columns >= columns + BAR + 3 + LEAST_TEXT
    }

    pub fn bar(&self, score: f32) -> String {
        const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        // In f64: the difference of two f32 may exceed f32.
        let (from, to) = (f64::from(self.scale.from), f64::from(self.scale.to));
        let part = if to > from { (f64::from(score) - from) / (to - from) } else { 1.0 };
        let eighths = (part.clamp(0.0, 1.0) * (8 * BAR) as f64).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        if !eighths.is_multiple_of(8) {
            bar.push(EIGHTHS[eighths % 8]);
        }
        format!("{bar:<BAR$}")
    }
}

/// A score, in few characters.
pub fn score(score: f32) -> String {
    if score.abs() < 1e6 { format!("{score:.4}") } else { format!("{score:.3e}") }
}

/// The words of a text, a space before each; what steers a terminal is replaced.
pub fn words(text: &str) -> impl Iterator<Item = char> {
    let shown = |c| if steers_terminal(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.split_whitespace().flat_map(move |word| std::iter::once(' ').chain(word.chars().map(shown)))
}

/// What fits into so many columns, the last of them an ellipsis where not all does.
pub fn cut(line: impl Iterator<Item = char>, columns: usize) -> String {
    let mut out = String::new();
    let mut width = 0;
    // Where to cut if it turns out too long: there must be room for the ellipsis.
    let mut end = 0;
    for (i, c) in line.enumerate() {
        width += c.width().unwrap_or(1);
        if width > columns || i >= columns * CHARS_PER_COLUMN {
            out.truncate(end);
            out.push('…');
            break;
        }
        out.push(c);
        if width < columns {
            end = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn fit(text: &str, columns: usize) -> String {
        cut(words(text).skip(1), columns)
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let document = |text: &str| {
            let text = text.repeat(30);
            Document { index: 0, line: 1, text, object: None, left_out: None }
        };
        let documents = ["tower of 東京 ", "東京 ", "a ", "\u{301}", "abc"].map(document);
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/gelu-60");
        let reranker = crossrank::Reranker::load(model).unwrap();
        let ranking = reranker.rerank("tower", &documents, &Default::default()).unwrap();
        for columns in 1..120 {
            let table = Table { columns, scale: Scale { from: -1.0, to: 1.0 } };
            let lines = table.lines(&ranking, &documents, &[], 512);
            assert_eq!(lines.len(), 6);
            for line in &lines {
                assert!(line.width() <= columns, "{columns}: {line}");
                let bar = columns >= 60 && !line.starts_with('*');
                if columns == 40 || columns == 60 {
                    assert_eq!(line.contains('█'), bar, "{columns}: {line}");
                    let cut = line.ends_with('…') && line.width() >= columns - 1;
                    assert_eq!(cut, !line.contains('\u{301}'), "{columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn text_is_cut_to_columns_not_characters() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdefg", 6), "abcde…");
        assert_eq!(fit("東京都庁", 8), "東京都庁");
        assert_eq!(fit("東京都庁", 7), "東京都…");
        assert_eq!(fit("東京都庁", 6), "東京…");
        assert_eq!(fit(&format!("e{}", "\u{301}".repeat(1000)), 6).chars().count(), 25);
    }

    #[test]
    fn text_stays_on_its_line_and_cannot_steer_the_terminal() {
        assert_eq!(fit(" a\n\tb  c\r\n", 20), "a b c");
        assert_eq!(fit("a\u{1b}[31mb\u{202e}c\u{7f}\u{9b}", 20), "a\u{fffd}[31mb\u{fffd}c\u{fffd}\u{fffd}");
        assert_eq!(fit("a\u{2028}b\u{85}c", 20), "a b c");
    }

    #[test]
    fn bars_show_probabilities_as_they_are_and_others_between_worst_and_best() {
        let bar = |from, to, score| Table { columns: 80, scale: Scale { from, to } }.bar(score);
        assert_eq!(bar(0.0, 1.0, 0.5), "█████     ");
        assert_eq!(bar(0.0, 1.0, 1.0), "██████████");
        assert_eq!(bar(0.0, 1.0, 0.06), "▋         ");
        assert_eq!(bar(-8.0, 2.0, -8.0), "          ");
        assert_eq!(bar(-8.0, 2.0, -3.0), "█████     ");
        assert_eq!(bar(3.0, 3.0, 3.0), "██████████");
        assert_eq!(bar(f32::MIN, f32::MAX, 0.0), "█████     ");
    }
}
