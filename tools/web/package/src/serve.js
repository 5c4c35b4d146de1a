// What runs in the workers: the one that holds the engine, and those that help it compute. Messages are plain objects;
// `type` says what they are.

import { CrossrankError, packError } from "./errors.js";
import { fill } from "./fill.js";
import { modelFiles } from "./manifest.js";

/**
 * Answers messages, for as long as the worker lives.
 *
 * @param {(message: object) => void} post to the thread that made this worker
 * @param {Host} host
 * @returns {(message: object) => void} takes the messages that come from there
 *
 * @typedef {object} Host what differs between browsers and Node
 * @property {(module: string) => Promise<object>} glue imports a module's bindings
 * @property {(module: string) => Promise<WebAssembly.Module>} compile
 * @property {(folder: string, cache: boolean) => Promise<unknown>} manifest reads a folder's manifest.json
 * @property {(files: import("./manifest.js").ModelFile[], cache: boolean) => Source} source
 * @property {() => Promise<void>} turn lets messages in that have arrived meanwhile
 * @typedef {import("./fill.js").Source & {settle?: () => Promise<void>}} Source
 */
export function serve(post, host) {
  const worker = new Worker(post, host);
  return (message) => {
    worker.take(message).catch((error) => post({ type: "fatal", error: packError(error) }));
  };
}

class Worker {
  #post;
  #host;
  /** The engine once it is loaded. */
  #engine;
  /** The module's memory. */
  #memory;
  /** Called when the helpers are at work. */
  #helped;
  /** The number of a request that shall end. */
  #aborted;

  constructor(post, host) {
    this.#post = post;
    this.#host = host;
  }

  async take(message) {
    switch (message.type) {
      case "load":
        return this.#load(message);
      case "help":
        return this.#help(message);
      case "helped":
        return this.#helped();
      case "rank":
        return this.#rank(message);
      case "abort":
        this.#aborted = message.id;
    }
  }

  async #load({ module, threads, model, cache, verify, options }) {
    const begin = performance.now();
    const [{ glue, helped }, files] = await Promise.all([this.#start(module, threads), this.#files(model, cache)]);
    const started = performance.now();
    const source = this.#host.source(files, cache);
    const loader = glue.Engine.begin();
    await this.#fill(loader, files, source, verify);
    // The helpers have come meanwhile, or nearly so.
    await helped;
    const filled = performance.now();
    if (threads > 1) glue.start_pool(threads);
    this.#engine = finish(loader, options);
    this.#post({
      type: "ready",
      info: JSON.parse(this.#engine.info()),
      memoryBytes: this.#memory.buffer.byteLength,
      timings: { start: started - begin, model: filled - started, build: performance.now() - filled },
    });
    // What is kept for the next time may still be on its way to the disk.
    await source.settle?.();
  }

  /** Compiles the module, and has helpers made where it is one with threads: `helped` resolves when they are there. */
  async #start(name, threads) {
    const [glue, module] = await Promise.all([this.#host.glue(name), this.#host.compile(name)]);
    this.#memory = initialize(glue, module, threads);
    if (threads === 1) return { glue };
    const helped = new Promise((resolve) => (this.#helped = resolve));
    this.#post({ type: "spawn", module, memory: this.#memory, name });
    return { glue, helped };
  }

  async #files(model, cache) {
    if (typeof model !== "string") return modelFiles(model, "model");
    return modelFiles(await this.#host.manifest(model, cache), new URL("manifest.json", model).href, model);
  }

  /** Writes the model's files into the loader. */
  async #fill(loader, files, source, verify) {
    const total = files.reduce((sum, file) => sum + file.bytes, 0);
    let before = 0;
    for (const file of files) {
      const report = (bytes) => this.#post({ type: "progress", loaded: before + bytes, total });
      await fill(file, loader, source, { verify, report });
      before += file.bytes;
    }
  }

  /** Computes for another worker's engine until that one ends. */
  async #help({ module, memory, name }) {
    const glue = await this.#host.glue(name);
    glue.initSync({ module, memory });
    this.#post({ type: "helping" });
    glue.run_worker();
  }

  async #rank({ id, query, documents, options, topK, minScore }) {
    let request;
    try {
      request = this.#engine.request(query, documents, JSON.stringify(options));
      for (;;) {
        const done = request.step();
        this.#post({ type: "step", id, done: request.done() });
        if (done) break;
        await this.#host.turn();
        if (this.#aborted === id) return this.#post({ type: "aborted", id });
      }
      const over = request;
      // `finish` takes the request with it, whatever comes of it.
      request = undefined;
      const results = JSON.parse(over.finish(topK, minScore));
      this.#post({ type: "ranked", id, results, memoryBytes: this.#memory.buffer.byteLength });
    } catch (error) {
      if (!isOfTheEngine(error)) throw error;
      this.#post({ type: "failed", id, error: packError(new CrossrankError("input", error.message)) });
    } finally {
      request?.free();
    }
  }
}

/** Makes an engine of what the loader has got. */
function finish(loader, options) {
  try {
    return loader.finish(JSON.stringify(options));
  } catch (error) {
    throw isOfTheEngine(error) ? new CrossrankError("model", error.message) : error;
  }
}

/** Makes an instance of the module, with memory of its own. */
function initialize(glue, module, threads) {
  try {
    return glue.initSync({ module }).memory;
  } catch (error) {
    const whose = threads > 1 ? "memory that threads share" : "memory for the module";
    throw new CrossrankError("unsupported", `${whose} cannot be had here: ${error.message}`);
  }
}

/** Whether the engine threw it, with a reason; anything else (a trap, an exhausted stack) leaves it in no state to go on. */
function isOfTheEngine(error) {
  return Object.getPrototypeOf(error) === Error.prototype;
}
