// The parts of the page that need no browser: BM25, and how text becomes passages. And the samples themselves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reranker } from "crossrank";

import { HERE } from "./support.mjs";
import { Bm25, spans, words } from "../page/app/bm25.js";
import { guessUnit, readText, split } from "../page/app/split.js";
import { samples } from "../page/samples/index.js";

test("BM25 has the scores of bm25s", () => {
  const texts = [
    "The river runs to the sea, and the sea is wide.",
    "Bread is baked in an oven.",
    "The bank by the river closes at four.",
    "A river, a river, a river!",
    "Sea salt.",
    "Nothing at all.",
  ];
  // bm25s 0.3.16, BM25(method="lucene", k1=1.2, b=0.75), on these words in lower case; it computes in f32.
  const expected = [2.004315137863159, 0, 1.4539668560028076, 0.495105117559433, 0.6435121297836304, 0];
  const ranking = new Bm25(texts).rank("Where does the river meet the sea?");
  assert.deepEqual(
    ranking.map(({ index }) => index),
    [0, 2, 4, 3, 1, 5],
  );
  for (const { index, score } of ranking) assert.ok(Math.abs(score - expected[index]) < 1e-6, `${index}: ${score}`);
  assert.deepEqual(new Bm25([]).rank("sea"), []);
  assert.deepEqual(
    new Bm25(["", "?"]).rank("sea").map(({ score }) => score),
    [0, 0],
  );
});

test("words are those of `crossrank search`, and lie where they are said to", () => {
  // The cases of tools/search/src/words.rs that need no list of scripts.
  assert.deepEqual(words('  The Höhe: 3,5 km\u2014"well-known" u.s. _x_ '), [
    "the",
    "höhe",
    "3,5",
    "km",
    "well",
    "known",
    "u.s",
    "_x_",
  ]);
  assert.deepEqual(words("don\u2019t don't"), ["don't", "don't"]);
  assert.deepEqual(words("ｗｉｄｅ ﬁne e\u0301t\u00e9"), ["wide", "fine", "\u00e9t\u00e9"]);
  assert.deepEqual(words("?! ... 🦀 \0"), []);
  const text = "🦀 Crabs, crabs";
  assert.deepEqual(
    spans(text).map(({ start, end }) => text.slice(start, end)),
    ["Crabs", "crabs"],
  );
});

test("text becomes passages, none of them empty", () => {
  const text = " one\r\ntwo\n\n \nthree\rfour\n";
  assert.deepEqual(split(text, "line"), ["one", "two", "three", "four"]);
  assert.deepEqual(split(text, "paragraph"), ["one\ntwo", "three\nfour"]);
  assert.deepEqual(split(text, "all"), ["one\ntwo\n\n \nthree\nfour"]);
  assert.deepEqual(split(" \n\n", "paragraph"), []);
  assert.equal(guessUnit("one\ntwo\n"), "line");
  assert.equal(guessUnit("one\n\ntwo\n"), "paragraph");
  assert.equal(guessUnit("one\ntwo\n\nthree"), "paragraph");
  assert.equal(guessUnit(""), "line");
});

test("a file that is no text, or too long, is refused by name", async () => {
  assert.equal(await readText(new File(["\ufeffgrün"], "a.txt")), "grün");
  await assert.rejects(
    readText(new File([new Uint8Array([0xff, 0xfe, 65, 0])], "b.txt")),
    /^Error: b\.txt: expected a text in UTF-8/,
  );
  await assert.rejects(readText(new File(["a\0b"], "c.bin")), /c\.bin: expected a text/);
  await assert.rejects(
    readText(new File([new Uint8Array(5 << 20)], "d.txt")),
    /d\.txt: expected at most 4 MB, found 5\.2 MB/,
  );
});

/** The mean of 1 / (the place of the first answer). */
function reciprocalRank(orders) {
  const of = ({ order, answers }) => 1 / (order.findIndex((index) => answers.includes(index)) + 1);
  return orders.reduce((sum, order) => sum + of(order), 0) / orders.length;
}

test("the model does well on each sample but the one that says that it does not", async () => {
  const reranker = await Reranker.load(HERE);
  for (const { id, questions, answers, passages, long } of samples) {
    assert.deepEqual(Object.keys(answers), questions, id);
    const [first, second] = [[], []];
    for (const question of questions) {
      assert.ok(answers[question].every((index) => index in passages));
      const found = new Bm25(passages).rank(question);
      const results = await reranker.rerank(question, passages, { long: long ? "max" : "truncate" });
      first.push({ order: found.map(({ index }) => index), answers: answers[question] });
      second.push({ order: results.map(({ index }) => index), answers: answers[question] });
    }
    const [words, model] = [reciprocalRank(first), reciprocalRank(second)];
    if (id === "hotels") assert.ok(model < 0.75, `${id}: ${model}`);
    else assert.ok(model > 0.9 && model > words + 0.2, `${id}: ${words} by words, ${model} by the model`);
  }
  await reranker.dispose();
});
