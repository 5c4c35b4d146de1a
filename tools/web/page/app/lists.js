// The two lists: what BM25 found, and what the model makes of it.

import { spans, words } from "./bm25.js";
import { counted, element, spoken } from "./dom.js";

/** Characters that a card shows at first. */
const SHORT = 170;
/** Of the text around the best passage of a long document. */
const AROUND = 60;

/**
 * @typedef {object} Candidate
 * @property {number} index the passage's number
 * @property {string} text
 * @property {number} score BM25's
 * @property {boolean} isAnswer whether a sample says that it answers the question
 */

/** @param {Candidate[]} candidates best first */
export function beforeItems(candidates, question) {
  const asked = new Set(words(question));
  const best = Math.max(...candidates.map(({ score }) => score), 0.001);
  return candidates.map((candidate, rank) => {
    const { score, text, index, isAnswer } = candidate;
    const facts = [bar(score / best), element("span", { class: "score", text: score.toFixed(2) })];
    if (isAnswer) facts.push(tick());
    if (score === 0) facts.push(element("span", { class: "fact", text: "no word in common" }));
    return element("li", { "data-index": index }, [
      head(rank, facts),
      body(text, text.length > SHORT, (range) => marked(text, range, asked), index),
    ]);
  });
}

/**
 * @param {import("../crossrank/index.js").RerankResult<Candidate>[]} results best first
 * @param {Map<number, number>} ranks where BM25 had each passage, from 0
 */
export function afterItems(results, ranks) {
  return results.map((result, rank) => {
    const { document: candidate, score, tokens, truncated, passage } = result;
    const moved = ranks.get(candidate.index) - rank;
    const facts = [
      bar(score),
      element("span", { class: "score" }, [spoken("score "), score.toFixed(3)]),
      movement(moved),
      element("span", { class: "fact", text: `${tokens} tokens` }),
    ];
    if (candidate.isAnswer) facts.push(tick());
    if (truncated) facts.push(element("span", { class: "fact cut", text: "cut to fit" }));
    const { text } = candidate;
    const isPart = passage && passage.end - passage.start < text.trim().length;
    const show = isPart ? (range) => withPassage(text, range, passage) : ([start, end]) => [text.slice(start, end)];
    const item = body(text, isPart || text.length > SHORT, show, candidate.index, isPart ? passage : undefined);
    return element("li", { "data-index": candidate.index, "data-moved": Math.sign(moved) }, [head(rank, facts), item]);
  });
}

function head(rank, facts) {
  return element("div", { class: "head" }, [
    element("span", { class: "rank" }, [spoken("Place "), String(rank + 1)]),
    ...facts,
  ]);
}

function bar(share) {
  const filled = element("span", { class: "filled" });
  filled.style.width = `${Math.round(share * 1000) / 10}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, [filled]);
}

function tick() {
  return element("span", { class: "fact tick", text: "✓ answers it" });
}

function movement(moved) {
  if (moved === 0) return element("span", { class: "moved", "data-way": "0" }, ["=", spoken(" same place as before")]);
  const [sign, way] = moved > 0 ? ["▲", "up"] : ["▼", "down"];
  return element("span", { class: "moved", "data-way": Math.sign(moved) }, [
    element("span", { "aria-hidden": "true", text: `${sign} ${Math.abs(moved)}` }),
    spoken(`${way} ${counted(Math.abs(moved), "place")}`),
  ]);
}

/** The text, which a button unfolds where it is long. */
function body(text, isLong, show, index, passage) {
  const paragraph = element("p", { class: "text" });
  if (!isLong) {
    paragraph.append(...show([0, text.length]));
    return paragraph;
  }
  const folded = () => {
    const [start, end] = excerpt(text, passage);
    paragraph.replaceChildren(start > 0 ? "… " : "", ...show([start, end]), end < text.length ? " …" : "");
  };
  const button = element("button", { type: "button", class: "more", "aria-expanded": "false" });
  const label = (verb) => button.replaceChildren(verb, spoken(` of passage ${index + 1}`));
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) folded();
    else paragraph.replaceChildren(...show([0, text.length]));
    label(isOpen ? "Show all" : "Show less");
  });
  label("Show all");
  folded();
  return element("div", {}, [paragraph, button]);
}

/** What of a long text is shown: its beginning, or the best passage's with a little of what comes before. */
function excerpt(text, passage) {
  const from = passage ? Math.max(0, passage.start - AROUND) : 0;
  const start = from === 0 ? 0 : boundary(text, from);
  const length = passage ? 2 * SHORT : SHORT;
  return [start, start + length >= text.length ? text.length : boundary(text, start + length)];
}

/** The end of the word before a place: no character is cut in two. */
function boundary(text, place) {
  const space = text.lastIndexOf(" ", place);
  if (space > place - 40) return space;
  const isInPair = /[\udc00-\udfff]/.test(text[place] ?? "");
  return isInPair ? place - 1 : place;
}

/** A text with the question's words set off. */
function marked(text, [start, end], asked) {
  const parts = [];
  let at = start;
  for (const span of spans(text.slice(0, end))) {
    if (span.start < start || !asked.has(span.word)) continue;
    parts.push(text.slice(at, span.start), element("b", { text: text.slice(span.start, span.end) }));
    at = span.end;
  }
  return [...parts, text.slice(at, end)];
}

/** A text with its best passage marked. */
function withPassage(text, [start, end], passage) {
  const [from, to] = [Math.max(start, passage.start), Math.min(end, passage.end)];
  return [text.slice(start, from), element("mark", { text: text.slice(from, to) }), text.slice(to, end)];
}
