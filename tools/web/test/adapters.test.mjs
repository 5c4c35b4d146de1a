// The adapters, with the real packages.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Document } from "@langchain/core/documents";
import { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";
import { rerank } from "ai";
import { Reranker } from "crossrank";
import { rerankingModel } from "crossrank/ai";
import { CrossrankCompressor } from "crossrank/langchain";

import { HERE, PASSAGES } from "./support.mjs";

const QUERY = "where do rivers go";
let reranker, expected;
before(async () => {
  reranker = await Reranker.load(HERE);
  expected = await reranker.rerank(QUERY, PASSAGES);
});
after(() => reranker.dispose());

test("the AI SDK ranks texts, the first n of them", async () => {
  const result = await rerank({ model: rerankingModel(reranker), query: QUERY, documents: PASSAGES, topN: 2 });
  const ranking = expected.slice(0, 2).map(({ index, score, document }) => ({ originalIndex: index, score, document }));
  assert.deepEqual(result.ranking, ranking);
  assert.deepEqual(
    result.rerankedDocuments,
    ranking.map(({ document }) => document),
  );
  assert.equal(result.response.modelId, "crossrank-model");
});

test("the AI SDK ranks objects, by their text or as JSON", async () => {
  const model = rerankingModel(reranker, { modelId: "mine", rerank: { topK: 3 } });
  const texts = PASSAGES.map((text, id) => ({ id, text }));
  const result = await rerank({ model, query: QUERY, documents: texts });
  assert.deepEqual(
    result.ranking.map(({ originalIndex, score }) => [originalIndex, score]),
    expected.slice(0, 3).map(({ index, score }) => [index, score]),
  );
  assert.equal(result.rerankedDocuments[0], texts[expected[0].index]);
  assert.equal(result.response.modelId, "mine");
  const plain = PASSAGES.map((body) => ({ body }));
  const [best] = (await rerank({ model, query: QUERY, documents: plain })).ranking;
  const [same] = await reranker.rerank(
    QUERY,
    plain.map((document) => JSON.stringify(document)),
  );
  assert.deepEqual([best.originalIndex, best.score], [same.index, same.score]);
});

test("the AI SDK hands on options, refusals and signals", async () => {
  const call = (options) =>
    rerank({ model: rerankingModel(reranker), query: QUERY, documents: PASSAGES, maxRetries: 0, ...options });
  const minScore = (expected[0].score + expected[1].score) / 2;
  assert.equal((await call({ providerOptions: { crossrank: { minScore } } })).ranking.length, 1);
  await assert.rejects(call({ providerOptions: { crossrank: { top_k: 1 } } }), /found `top_k`/);
  const reason = new Error("enough");
  await assert.rejects(call({ abortSignal: AbortSignal.abort(reason) }), reason);
});

test("LangChain's compressor keeps the best documents, as copies", async () => {
  const compressor = new CrossrankCompressor(reranker, { topK: 2 });
  assert.ok(compressor instanceof BaseDocumentCompressor);
  assert.ok(BaseDocumentCompressor.isBaseDocumentCompressor(compressor));
  const documents = PASSAGES.map(
    (pageContent, id) => new Document({ pageContent, id: `d${id}`, metadata: { source: "a book" } }),
  );
  const kept = await compressor.compressDocuments(documents, QUERY);
  const wanted = expected
    .slice(0, 2)
    .map(({ index, score }) => [`d${index}`, { source: "a book", relevanceScore: score }]);
  assert.deepEqual(
    kept.map(({ id, metadata }) => [id, metadata]),
    wanted,
  );
  assert.ok(kept.every((document) => document instanceof Document));
  assert.ok(documents.every(({ metadata }) => !("relevanceScore" in metadata)));
  assert.deepEqual(await compressor.compressDocuments([], QUERY), []);
});

test("LangChain's compressor says where the best passage is", async () => {
  const compressor = new CrossrankCompressor(reranker, { long: "max" });
  const filler = "The crab 🦀 sat on a stone by the wall and said nothing at all. ".repeat(80);
  const pageContent = `${filler}${PASSAGES[1]} That is where rivers go. ${filler}`;
  const [{ metadata }] = await compressor.compressDocuments([new Document({ pageContent })], QUERY);
  assert.ok(pageContent.slice(metadata.passage.start, metadata.passage.end).includes(PASSAGES[1]));
});
