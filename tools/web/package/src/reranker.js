import { Client } from "./client.js";
import { CrossrankError } from "./errors.js";
import { choose, detect } from "./features.js";
import { documentTexts, loadOptions, queryText, rerankOptions } from "./validate.js";

/** `Symbol.asyncDispose`, which Node 20 has and some browsers lack. */
const ASYNC_DISPOSE = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/**
 * A model in workers of its own, ready to rerank. `index.d.ts` documents what callers see; `host` is set by
 * `browser.js` and `node.js`.
 */
export class Reranker {
  #client;
  #info;
  /** Calls take their turns: each waits for the one before. */
  #last = Promise.resolve();
  #nextId = 0;

  constructor(key, client, info) {
    if (key !== KEY) throw new CrossrankError("input", "a Reranker is made by `await Reranker.load()`");
    this.#client = client;
    this.#info = info;
  }

  static async load(options) {
    const { model, isa, threads, signal, onProgress, cache = true, verify = true, ...rest } = loadOptions(options);
    signal?.throwIfAborted();
    const host = this.host;
    const chosen = choose(detect(), { isa, threads, cores: host.cores() });
    const where = await host.locate(model ?? (await defaultModel()));
    signal?.throwIfAborted();
    const client = new Client(host.spawn, chosen.threads);
    const abort = () => client.end(signal.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const message = { type: "load", ...chosen, model: where, cache, verify };
      const ready = await client.ask({ ...message, options: rest }, ({ loaded, total }) =>
        onProgress?.({ loaded, total }),
      );
      const { info, memoryBytes, timings } = ready;
      return new this(KEY, client, { ...info, module: chosen.module, threads: chosen.threads, memoryBytes, timings });
    } catch (error) {
      await client.end(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  get info() {
    return this.#info;
  }

  async rerank(query, documents, options) {
    const { topK, minScore, signal, onProgress, ...rest } = rerankOptions(options);
    const texts = documentTexts(documents);
    // The module counts in 32 bits.
    const most = topK && Math.min(topK, texts.length);
    const request = { query: queryText(query), documents: texts, options: rest, topK: most, minScore };
    if (this.#client.dead) throw this.#client.dead;
    signal?.throwIfAborted();
    if (texts.length === 0) return [];
    const originals = [...documents];
    const ranked = await this.#inTurn(signal, () => this.#run(request, signal, onProgress));
    this.#info = { ...this.#info, memoryBytes: ranked.memoryBytes };
    return ranked.results.map((result) => withDocument(result, originals, texts));
  }

  async dispose() {
    await this.#client.end(new CrossrankError("disposed", "this Reranker was disposed of"));
  }

  [ASYNC_DISPOSE]() {
    return this.dispose();
  }

  /** Runs a call when those before it are over; it ends at once when it is aborted while it waits. */
  #inTurn(signal, run) {
    const before = this.#last;
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(signal.reason);
      signal?.addEventListener("abort", giveUp, { once: true });
      this.#last = before.then(async () => {
        signal?.removeEventListener("abort", giveUp);
        if (signal?.aborted) return;
        // The next call waits for the end of this one, not for its success.
        await run().then(resolve, reject);
      });
    });
  }

  async #run(request, signal, onProgress) {
    const id = this.#nextId++;
    const abort = () => this.#client.tell({ type: "abort", id });
    signal?.addEventListener("abort", abort, { once: true });
    const total = request.documents.length;
    try {
      const answer = await this.#client.ask({ type: "rank", id, ...request }, ({ done }) =>
        onProgress?.({ done, total }),
      );
      signal?.throwIfAborted();
      return answer;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** Only `load` has it. */
const KEY = Symbol("load");

function withDocument(result, originals, texts) {
  const { passage, ...rest } = result;
  const document = originals[result.index];
  if (!passage) return { ...rest, document };
  const text = texts[result.index].slice(passage.start, passage.end);
  return { ...rest, passage: { ...passage, text }, document };
}

async function defaultModel() {
  try {
    return (await import("crossrank-model")).default;
  } catch (error) {
    throw new CrossrankError(
      "model",
      "model: expected the package `crossrank-model` beside this one, or a model of your own; " +
        `\`npm install crossrank-model\` has the default one (${error.message})`,
      { cause: error },
    );
  }
}
