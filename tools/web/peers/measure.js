// What `compare.mjs` runs in the page.

import { Reranker } from "/crossrank/src/browser.js";
import {
  AutoModelForSequenceClassification,
  AutoTokenizer,
  env,
} from "/modules/@huggingface/transformers/dist/transformers.web.min.js";

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "/models/";
env.backends.onnx.wasm.wasmPaths = "/modules/onnxruntime-web/dist/";
env.backends.onnx.wasm.numThreads = 1;

const BATCH = 8;
const DTYPES = { int8: "q8", f32: "fp32" };

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function timed(work) {
  const start = performance.now();
  const result = await work();
  return [performance.now() - start, result];
}

/** Logits in the order of the documents. */
async function byTransformers(tokenizer, model, { query, docs }, size) {
  const order = docs.map((_, i) => i);
  if (size < docs.length) order.sort((a, b) => docs[a].length - docs[b].length);
  const logits = new Array(docs.length);
  for (let first = 0; first < docs.length; first += size) {
    const batch = order.slice(first, first + size);
    const options = { text_pair: batch.map((i) => docs[i]), padding: true, truncation: true };
    const { logits: found } = await model(tokenizer(new Array(batch.length).fill(query), options));
    batch.forEach((i, at) => (logits[i] = found.data[at]));
  }
  return logits;
}

async function byCrossrank(reranker, { query, docs }) {
  const logits = new Array(docs.length);
  for (const { index, logit } of await reranker.rerank(query, docs)) logits[index] = logit;
  return logits;
}

globalThis.measure = async (rounds, isa) => {
  const workloads = await (await fetch("/workloads.json")).json();
  const milliseconds = {};
  const apart = {};
  const firstScore = {};
  for (const [dtype, theirs] of Object.entries(DTYPES)) {
    // The second load is out of the cache.
    for (const attempt of ["cold", "warm"]) {
      const [time, reranker] = await timed(async () => {
        const reranker = await Reranker.load({ model: `/${dtype}/`, dtype, threads: 1, isa });
        await byCrossrank(reranker, workloads.pair);
        return reranker;
      });
      firstScore[`${dtype} ${attempt}`] = time;
      await reranker.dispose();
    }
    const reranker = await Reranker.load({ model: `/${dtype}/`, dtype, threads: 1, isa });
    const tokenizer = await AutoTokenizer.from_pretrained("peer");
    const model = await AutoModelForSequenceClassification.from_pretrained("peer", { dtype: theirs, device: "wasm" });
    milliseconds[dtype] = {};
    apart[dtype] = {};
    for (const [name, count] of Object.entries(rounds)) {
      const work = workloads[name];
      const times = { crossrank: [], whole: [], batches: [] };
      for (let round = 0; round <= count; round++) {
        const [ours, found] = await timed(() => byCrossrank(reranker, work));
        const [whole, expected] = await timed(() => byTransformers(tokenizer, model, work, work.docs.length));
        const [batches] = await timed(() => byTransformers(tokenizer, model, work, BATCH));
        apart[dtype][name] = Math.max(...found.map((logit, i) => Math.abs(logit - expected[i])));
        // The first round warms all of them up.
        if (round === 0) continue;
        times.crossrank.push(ours);
        times.whole.push(whole);
        times.batches.push(batches);
      }
      milliseconds[dtype][name] = {
        crossrank: median(times.crossrank),
        transformers: Math.min(median(times.whole), median(times.batches)),
      };
    }
    await model.dispose();
    await reranker.dispose();
  }
  return { milliseconds, apart, firstScore };
};
globalThis.ready = true;
