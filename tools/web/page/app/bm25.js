// The first stage: BM25, by the formula and the words of this project's `crossrank search` (tools/search), for texts that
// fit on a page. Libraries of its kind were looked at: MiniSearch has BM25+ and multiplies a score by the number of words
// that match; okapibm25 and wink-bm25-text-search bring words of their own. None gives plain BM25's order.

/** Lucene's. */
const K1 = 1.2;
const B = 0.75;

/**
 * The words of a text in lower case, by Unicode's annex 29, after NFKC: nothing is stemmed, nothing is left out. Scripts
 * without spaces are left to the browser's dictionary, by which `crossrank search` does not go.
 * @param {string} text
 */
export function words(text) {
  return spans(text.normalize("NFKC")).map(({ word }) => word);
}

/** Firefox has it since 2024; before, runs of letters and digits have to do. */
const segmenter = Intl.Segmenter && new Intl.Segmenter("en", { granularity: "word" });

/** The words of a text and where they begin and end in it, in UTF-16. */
export function spans(text) {
  const found = [];
  for (const { segment, index, isWordLike } of segments(text)) {
    if (!isWordLike) continue;
    found.push({ word: segment.replaceAll("\u2019", "'").toLowerCase(), start: index, end: index + segment.length });
  }
  return found;
}

function segments(text) {
  if (segmenter) return segmenter.segment(text);
  const runs = text.matchAll(/[\p{L}\p{N}\p{M}'\u2019]+/gu);
  return Array.from(runs, ({ 0: segment, index }) => ({ segment, index, isWordLike: true }));
}

/** Texts, ready to be searched. */
export class Bm25 {
  /** For each word, the documents that have it, and how often. */
  #postings = new Map();
  #lengths = [];
  #mean;

  /** @param {string[]} texts */
  constructor(texts) {
    for (const [index, text] of texts.entries()) {
      const all = words(text);
      this.#lengths.push(all.length);
      for (const word of all) {
        const counts = this.#postings.get(word) ?? new Map();
        counts.set(index, (counts.get(index) ?? 0) + 1);
        this.#postings.set(word, counts);
      }
    }
    this.#mean = this.#lengths.reduce((sum, length) => sum + length, 0) / this.#lengths.length || 1;
  }

  /**
   * Scores all texts, best first, equal ones in their order. Those that share no word with the query have 0.
   * @param {string} query
   * @returns {{index: number, score: number}[]}
   */
  rank(query) {
    const scores = new Float64Array(this.#lengths.length);
    for (const word of words(query)) {
      const counts = this.#postings.get(word);
      if (!counts) continue;
      const idf = Math.log(1 + (scores.length - counts.size + 0.5) / (counts.size + 0.5));
      for (const [index, count] of counts) {
        const saturation = K1 * (1 - B + (B * this.#lengths[index]) / this.#mean);
        scores[index] += (idf * count) / (count + saturation);
      }
    }
    const order = Array.from(scores, (score, index) => ({ index, score }));
    return order.sort((a, b) => b.score - a.score || a.index - b.index);
  }
}
