// The page: takes a question and passages, shows BM25's order, has the model rerank it, shows that.

import { Bm25 } from "./bm25.js";
import { byId, counted, milliseconds } from "./dom.js";
import { isolate } from "./isolation.js";
import { Lines } from "./lines.js";
import { afterItems, beforeItems } from "./lists.js";
import { loadModel } from "./model.js";
import { Texts } from "./texts.js";
import { showTimes } from "./times.js";

/** The model reads each of them: more would take seconds. */
const MOST_CANDIDATES = 100;
/** Results whose answers are counted aloud. */
const FIRST = 3;

const question = byId("question");
const candidates = byId("candidates");
const top = byId("top");
const lines = new Lines(byId("lines"), byId("before"), byId("after"));

let isTouched = false;
for (const event of ["input", "drop"]) addEventListener(event, () => (isTouched = true), { once: true, capture: true });

/** The model, or the reason why there is none. */
const ready = isolate(() => isTouched).then(loadModel);
ready
  .catch((error) => trouble(`The model could not be loaded: ${error.message}.`))
  .finally(() => {
    document.documentElement.dataset.ready = "settled";
  });

/** Where the visitor left the sliders, whatever there is to rank just now. */
const wanted = { candidates: MOST_CANDIDATES, top: 8 };
/** What ends the run that is under way. */
let running = new AbortController();
/** Shows the last run anew. */
let show = () => {};

const texts = new Texts({ ask, change: limits, trouble });
// After a turn, in which the worker has begun to load.
setTimeout(() => texts.begin(ask));

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
candidates.addEventListener("input", () => {
  wanted.candidates = Number(candidates.value);
  outputs();
});
candidates.addEventListener("change", run);
byId("long").addEventListener("change", run);
top.addEventListener("input", () => {
  wanted.top = Number(top.value);
  outputs();
  show();
});

function ask(text) {
  question.value = text;
  run();
}

/** The sliders go as far as there are passages. */
function limits() {
  const most = Math.max(1, Math.min(MOST_CANDIDATES, texts.passages.length));
  for (const slider of [candidates, top]) {
    slider.max = String(most);
    slider.value = String(Math.min(most, wanted[slider.id]));
  }
  outputs();
}

function outputs() {
  byId("candidates-value").textContent = candidates.value;
  byId("top-value").textContent = top.value;
}

async function run() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  trouble("");
  const asked = question.value.trim();
  const passages = texts.passages;
  if (asked === "") return stop("Please type a question.", question);
  if (passages.length === 0)
    return stop("There are no passages yet: choose a sample, or paste a text.", byId("passages"));

  const begin = performance.now();
  const ranking = new Bm25(passages).rank(asked);
  const first = performance.now() - begin;
  const answers = texts.answers(asked);
  const found = ranking.slice(0, Number(candidates.value)).map(({ index, score }) => ({
    index,
    score,
    text: passages[index],
    isAnswer: Boolean(answers?.includes(index)),
  }));
  showBefore(found, asked);
  try {
    const { reranker, milliseconds: load } = await ready;
    signal.throwIfAborted();
    const start = performance.now();
    const onProgress = ({ done, total }) => status(`Reading ${done} of ${counted(total, "passage")} …`);
    const long = byId("long").checked ? "max" : "truncate";
    const results = await reranker.rerank(asked, found, { long, signal, onProgress });
    signal.throwIfAborted();
    const model = performance.now() - start;
    showTimes({ load, info: reranker.info, first, model, results, all: passages.length });
    show = () => showAfter(found, results);
    show();
    status(summary(found, results, model));
    byId("results").dataset.done = asked;
  } catch (error) {
    if (signal.aborted) return;
    status("");
    // Why there is no model has been said.
    if (error.code === "input") trouble(`This could not be scored: ${error.message}.`);
    else if (byId("trouble").hidden) trouble(error.message);
  } finally {
    if (!signal.aborted) byId("after").removeAttribute("aria-busy");
  }
}

function showBefore(found, asked) {
  byId("results").hidden = false;
  delete byId("results").dataset.done;
  byId("before").replaceChildren(...beforeItems(found, asked));
  byId("after").replaceChildren();
  byId("after").setAttribute("aria-busy", "true");
  show = () => {};
  lines.draw();
  status("BM25’s order is there. The model reads …");
}

function showAfter(found, results) {
  const ranks = new Map(found.map(({ index }, rank) => [index, rank]));
  const shown = results.slice(0, Number(top.value));
  const kept = new Set(shown.map(({ document }) => document.index));
  byId("after").replaceChildren(...afterItems(shown, ranks));
  for (const item of byId("before").children) item.classList.toggle("left-out", !kept.has(Number(item.dataset.index)));
  lines.draw();
}

function summary(found, results, model) {
  const said = `${counted(results.length, "passage")} reranked in ${milliseconds(model)}.`;
  const all = found.filter(({ isAnswer }) => isAnswer).length;
  if (all === 0) return said;
  const among = (list) => list.slice(0, FIRST).filter(({ isAnswer }) => isAnswer).length;
  const after = among(results.map(({ document }) => document));
  const answers = all === 1 ? "The one answer" : `Of the ${all} answers`;
  if (all === 1)
    return `${said} ${answers} was ${place(found)} by words, and is ${place(results.map(({ document }) => document))} now.`;
  return `${said} ${answers}, ${among(found)} ${among(found) === 1 ? "was" : "were"} among the first ${FIRST} by words, and ${after} ${after === 1 ? "is" : "are"} now.`;
}

/** `number 7`, of the first answer. */
function place(list) {
  return `number ${list.findIndex(({ isAnswer }) => isAnswer) + 1}`;
}

function stop(message, focus) {
  status(message);
  if (focus === byId("passages")) byId("texts").open = true;
  focus.focus();
}

function status(message) {
  byId("status").textContent = message;
}

function trouble(message) {
  byId("trouble").textContent = message;
  byId("trouble").hidden = message === "";
}
