#!/usr/bin/env bash
# minisearch 7.2.0: the score of a query of several words is not the sum of its words' BM25+ scores, as the formula has it
# and as `bm25` of its options lets one expect, but that sum times the number of the query's words that the document has.
#
# So a document with two common words comes before one with a single rare word whose score is higher than theirs together,
# and with d = 0 the order is not that of Lucene's BM25. Nothing in its documentation says so, and no option turns it off.
# Needs Node and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts minisearch@7.2.0
cat >run.mjs <<'NODE'
import { readFileSync } from "node:fs";
import MiniSearch from "minisearch";

const texts = ["red apple", "zebra", ...Array(3).fill("red"), ...Array(3).fill("apple"), ...Array(4).fill("plum")];
const index = new MiniSearch({ fields: ["text"], searchOptions: { bm25: { k: 1.2, b: 0.75, d: 0 } } });
index.addAll(texts.map((text, id) => ({ id, text })));
const score = (query, id) => index.search(query).find((found) => found.id === id)?.score ?? 0;

const words = ["red", "apple", "zebra"];
const sums = [0, 1].map((id) => words.reduce((sum, word) => sum + score(word, id), 0));
const whole = [0, 1].map((id) => score(words.join(" "), id));
const { version } = JSON.parse(readFileSync("node_modules/minisearch/package.json", "utf8"));
console.log(`minisearch ${version}, Node ${process.versions.node}`);
console.log(`"red apple" has two words of the query: the sum of their scores is ${sums[0].toFixed(4)}, its score ${whole[0].toFixed(4)}`);
console.log(`"zebra" has one: the sum is ${sums[1].toFixed(4)}, its score ${whole[1].toFixed(4)}`);
const isTwice = Math.abs(whole[0] - 2 * sums[0]) < 1e-9 && Math.abs(whole[1] - sums[1]) < 1e-9;
const isTurned = sums[0] < sums[1] && whole[0] > whole[1];
if (!isTwice || !isTurned) {
  console.error("it changed: expected twice the sum for two words, and so another order");
  process.exit(1);
}
NODE
node run.mjs
