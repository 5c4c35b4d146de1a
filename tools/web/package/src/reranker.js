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
    const message = { type: "load", model: where, cache, verify, options: rest };
    try {
      return await start(this, chosen, message, { signal, onProgress });
    } catch (error) {
      // Some devices have no room for memory that threads share, which has to be set aside as a whole.
      const isWorthATry = error.code === "unsupported" && threads === undefined && chosen.threads > 1;
      if (!isWorthATry) throw error;
      const alone = choose(detect(), { isa, threads: 1, cores: 1 });
      return await start(this, alone, message, { signal, onProgress });
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

  /** Runs a call when those before it are over. A signal ends it at once for the caller, whether it waits or runs. */
  #inTurn(signal, run) {
    const before = this.#last;
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(signal.reason);
      signal?.addEventListener("abort", giveUp, { once: true });
      this.#last = before.then(async () => {
        // The next call waits until the worker is done with this one, whatever came of it.
        if (!signal?.aborted) await run().then(resolve, reject);
        signal?.removeEventListener("abort", giveUp);
      });
    });
  }

  async #run(request, signal, onProgress) {
    const id = this.#nextId++;
    const abort = () => this.#client.tell({ type: "abort", id });
    signal?.addEventListener("abort", abort, { once: true });
    const total = request.documents.length;
    try {
      return await this.#client.ask({ type: "rank", id, ...request }, ({ done }) => {
        if (!signal?.aborted) onProgress?.({ done, total });
      });
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** Only `load` has it. */
const KEY = Symbol("load");

/** Makes the workers and loads a model in them. */
async function start(Class, chosen, message, { signal, onProgress }) {
  const client = new Client(Class.host.spawn, chosen.threads);
  const abort = () => client.end(signal.reason);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const { module, threads } = chosen;
    const ready = await client.ask({ ...message, module, threads }, ({ loaded, total }) =>
      onProgress?.({ loaded, total }),
    );
    const { info, memoryBytes, timings } = ready;
    return new Class(KEY, client, { ...info, module, threads, memoryBytes, timings });
  } catch (error) {
    await client.end(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** A result as callers get it. */
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
