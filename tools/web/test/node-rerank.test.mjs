// Reranking in Node: results, arguments, turns, giving up, and the end.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { CrossrankError, Reranker } from "crossrank";

import { HERE, PASSAGES, WEB, noThreads } from "./support.mjs";

const QUERY = "where do rivers go";
const MANY = Array.from(
  { length: 600 },
  (_, i) => `Passage ${i} tells of rivers, of the sea, and of the rain that falls between.`,
);

async function load(t) {
  const reranker = await Reranker.load({ ...HERE, threads: 1 });
  t.after(() => reranker.dispose());
  return reranker;
}

test("results are best first and carry their documents", async (t) => {
  const reranker = await load(t);
  const documents = PASSAGES.map((text, id) => ({ id, text }));
  const results = await reranker.rerank(QUERY, documents);
  assert.equal(results[0].index, 1);
  assert.deepEqual(results.map(({ index }) => index).sort(), [0, 1, 2, 3]);
  for (const [i, { index, score, logit, tokens, truncated, document, passage }] of results.entries()) {
    assert.equal(document, documents[index]);
    assert.ok(Math.abs(score - 1 / (1 + Math.exp(-logit))) < 1e-6);
    assert.ok(i === 0 || logit <= results[i - 1].logit);
    assert.ok(Number.isInteger(tokens) && tokens > 5);
    assert.deepEqual([truncated, passage], [false, undefined]);
  }
  const texts = await reranker.rerank(QUERY, PASSAGES);
  assert.deepEqual(
    texts.map(({ index, logit }) => [index, logit]),
    results.map(({ index, logit }) => [index, logit]),
  );
});

test("topK and minScore leave out what they say", async (t) => {
  const reranker = await load(t);
  const all = await reranker.rerank(QUERY, PASSAGES);
  assert.deepEqual(await reranker.rerank(QUERY, PASSAGES, { topK: 2 }), all.slice(0, 2));
  assert.deepEqual(await reranker.rerank(QUERY, PASSAGES, { topK: 99 }), all);
  const minScore = (all[0].score + all[1].score) / 2;
  assert.deepEqual(await reranker.rerank(QUERY, PASSAGES, { minScore }), all.slice(0, 1));
  assert.deepEqual(await reranker.rerank(QUERY, []), []);
});

test("a pair has the same logit in any company", async (t) => {
  const reranker = await load(t);
  const [alone] = await reranker.rerank(QUERY, [PASSAGES[1]]);
  const company = await reranker.rerank(QUERY, [...MANY.slice(0, 30), PASSAGES[1], ...PASSAGES]);
  const found = company.filter(({ document }) => document === PASSAGES[1]);
  assert.deepEqual(
    found.map(({ logit }) => logit),
    [alone.logit, alone.logit],
  );
});

test("the best passage of a long document lies where its offsets say, whatever comes before", async (t) => {
  const reranker = await load(t);
  const filler = "The crab 🦀 sat on a stone by the harbour wall and said nothing at all — for hours. ".repeat(60);
  const answer = "Rivers run downhill until they reach the sea, and that is where rivers go.";
  const text = `${filler}${answer} ${filler}`;
  const [{ passage, truncated }] = await reranker.rerank(QUERY, [text], { long: "max" });
  assert.equal(truncated, false);
  assert.equal(text.slice(passage.start, passage.end), passage.text);
  assert.ok(passage.text.includes(answer) && passage.text.length < text.length / 2, passage.text);
  const bytes = Buffer.from(text).subarray(passage.startByte, passage.endByte);
  assert.equal(bytes.toString(), passage.text);
  assert.ok(passage.startByte > passage.start, "crabs take two units of UTF-16 and four bytes");
  const [cut] = await reranker.rerank(QUERY, [text]);
  assert.deepEqual([cut.truncated, cut.passage], [true, undefined]);
});

test("texts that are hardly texts are scored or refused, and nothing breaks", async (t) => {
  const reranker = await load(t);
  const texts = ["\ud800 half a pair", "\0\u0001", "🦀".repeat(3000), "a".repeat(50_000), " x "];
  const results = await reranker.rerank("\udc00?", texts, { long: "max" });
  assert.equal(results.length, texts.length);
  for (const { document, passage } of results) assert.equal(passage.text, document.slice(passage.start, passage.end));
  assert.equal((await reranker.rerank(QUERY, PASSAGES)).length, 4);
});

test("arguments are checked by name", async (t) => {
  const reranker = await load(t);
  const refuses = (args, message) =>
    assert.rejects(reranker.rerank(...args), (error) => {
      assert.ok(error instanceof CrossrankError && error.code === "input", String(error));
      assert.match(error.message, message);
      return true;
    });
  await refuses([3, PASSAGES], /query: expected a string, found 3/);
  await refuses([QUERY, "text"], /documents: expected an array, found "text"/);
  await refuses([QUERY, ["a", "b", "c", 4]], /documents\[3\]: expected a string or an object with `text`, found 4/);
  await refuses([QUERY, ["a", { txt: "b" }]], /documents\[1\]\.text: expected a string, found undefined/);
  // eslint-disable-next-line no-sparse-arrays
  await refuses([QUERY, ["a", , "c"]], /documents\[1\]: .*found undefined/);
  await refuses([QUERY, PASSAGES, { topK: 0 }], /topK: expected a whole number from 1, found 0/);
  await refuses([QUERY, PASSAGES, { topK: 1.5 }], /topK: .*found 1\.5/);
  await refuses([QUERY, PASSAGES, { minScore: NaN }], /minScore: expected a finite number, found NaN/);
  await refuses([QUERY, PASSAGES, { long: "best" }], /long: expected `truncate` or `max` or `mean`, found "best"/);
  await refuses([QUERY, PASSAGES, { top_k: 3 }], /options of rerank: expected topK, .*found `top_k`/);
  await refuses([QUERY, PASSAGES, { label: 7 }], /label/);
  assert.equal((await reranker.rerank(QUERY, PASSAGES)).length, 4);
});

test("calls take their turns, and each gets its own answer", async (t) => {
  const reranker = await load(t);
  const order = [];
  const call = async (name, documents) => {
    const results = await reranker.rerank(QUERY, documents);
    order.push(name);
    return results;
  };
  const [first, second, third] = await Promise.all([
    call("first", MANY.slice(0, 100)),
    call("second", PASSAGES),
    call("third", [PASSAGES[1]]),
  ]);
  assert.deepEqual(order, ["first", "second", "third"]);
  assert.deepEqual([first.length, second.length, third.length], [100, 4, 1]);
  assert.equal(second[0].logit, third[0].logit);
});

test("a call is given up before it begins, while it waits, and while it runs", async (t) => {
  const reranker = await load(t);
  const reason = new Error("enough");
  await assert.rejects(reranker.rerank(QUERY, MANY, { signal: AbortSignal.abort(reason) }), reason);

  const [running, waiting] = [new AbortController(), new AbortController()];
  let done = 0;
  const onProgress = (progress) => {
    done = progress.done;
    assert.equal(progress.total, MANY.length);
    running.abort(reason);
  };
  const run = reranker.rerank(QUERY, MANY, { signal: running.signal, onProgress });
  const wait = reranker.rerank(QUERY, MANY, { signal: waiting.signal });
  const after = reranker.rerank(QUERY, PASSAGES);
  waiting.abort(reason);
  await assert.rejects(wait, reason);
  assert.equal(done, 0, "what waited did not wait for its turn to end");
  await assert.rejects(run, reason);
  assert.ok(done < MANY.length, `all ${done} were scored`);
  assert.equal((await after).length, 4);
});

test("after dispose nothing is pending and nothing goes on", async () => {
  for (const threads of noThreads ? [1] : [1, 2]) {
    const reranker = await Reranker.load({ ...HERE, threads });
    const pending = [reranker.rerank(QUERY, MANY), reranker.rerank(QUERY, PASSAGES)];
    const settled = Promise.allSettled(pending);
    await reranker.dispose();
    for (const { reason } of await settled) assert.equal(reason?.code, "disposed");
    await assert.rejects(reranker.rerank(QUERY, PASSAGES), { code: "disposed" });
    await reranker.dispose();
  }
});

test("an idle reranker does not keep the process alive, a busy one does", async () => {
  const script = `
    import { Reranker } from "crossrank";
    const reranker = await Reranker.load(${JSON.stringify({ threads: 2, ...HERE })});
    reranker.rerank("a", ["b", "c"]).then((results) => console.log(results.length));
  `;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    cwd: WEB,
    timeout: 60_000,
  });
  assert.equal((await run).stdout, "2\n");
});
