//! A ranking for people.

use crossrank::Ranked;
use unicode_width::UnicodeWidthChar;

use crate::documents::Document;
use crate::text::steers_terminal;

const BAR: usize = 10;
/// Text gets this much however narrow the terminal is.
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
    /// A line a document: rank, score, bar, a mark where the window cut, text. Then what the mark means.
    pub fn lines(&self, ranking: &[Ranked], documents: &[Document], max_length: usize) -> Vec<String> {
        let scores: Vec<String> = ranking.iter().map(|ranked| score(ranked.score)).collect();
        let score_width = scores.iter().map(String::len).max().unwrap_or(0);
        let rank_width = ranking.len().to_string().len();
        let taken = rank_width + score_width + BAR + 8;
        let text_width = self.columns.saturating_sub(taken).max(LEAST_TEXT);
        let mut lines: Vec<String> = ranking
            .iter()
            .zip(&scores)
            .enumerate()
            .map(|(i, (ranked, score))| {
                let bar = self.bar(ranked.score);
                let mark = if ranked.truncated { '*' } else { ' ' };
                let text = fit(&documents[ranked.index].text, text_width);
                let rank = i + 1;
                let line = format!("{rank:>rank_width$}  {score:>score_width$}  {bar} {mark} {text}");
                line.trim_end().to_owned()
            })
            .collect();
        if ranking.iter().any(|ranked| ranked.truncated) {
            lines.push(format!(
                "* longer than the window of {max_length} tokens: what is beyond was not read"
            ));
        }
        lines
    }

    fn bar(&self, score: f32) -> String {
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

fn score(score: f32) -> String {
    if score.abs() < 1e6 { format!("{score:.4}") } else { format!("{score:.3e}") }
}

/// The text on one line of at most `columns`: white space is one space, and what steers a terminal is replaced.
fn fit(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let (mut width, mut chars) = (0, 0);
    // Where to cut if it turns out too long: there must be room for the ellipsis.
    let mut cut = 0;
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space = !out.is_empty();
            continue;
        }
        let c = if steers_terminal(c) { char::REPLACEMENT_CHARACTER } else { c };
        for c in std::mem::take(&mut space).then_some(' ').into_iter().chain([c]) {
            width += c.width().unwrap_or(1);
            chars += 1;
            if width > columns || chars > columns * CHARS_PER_COLUMN {
                out.truncate(cut);
                out.push('…');
                return out;
            }
            out.push(c);
            if width < columns {
                cut = out.len();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
