/** A file of a model. */
export interface ModelFile {
  /** Its name: `config.json`, `tokenizer.json`, `model.safetensors` and such; those of modules with their folder. */
  name: string;
  /** Its length in bytes. */
  bytes: number;
  /** Its SHA-256, 64 hexadecimal digits in lower case. */
  sha256: string;
  /** The SHA-256 of each of its blocks of 1,048,576 bytes: with them it is checked while it arrives, without a copy. */
  blocks?: readonly string[];
  /** Where it is. */
  url: string | URL;
}

/** A model, as packages such as `crossrank-model` export it. */
export interface Model {
  files: readonly ModelFile[];
}

/** How far something has come. */
export interface LoadProgress {
  /** Bytes of the model that are in place. */
  loaded: number;
  /** Bytes of the whole model. */
  total: number;
}

export interface RerankProgress {
  /** Documents that have been scored. */
  done: number;
  /** Documents of the call. */
  total: number;
}

export interface LoadOptions {
  /**
   * The folder of a checkpoint that has a `manifest.json` with its files' lengths and hashes: a URL, or in Node also a
   * path. Or what a model package exports. Default: the package `crossrank-model`.
   */
  model?: string | URL | Model;
  /**
   * Which instructions are used: `relaxed` is relaxed SIMD, which is faster where the processor has integer dot
   * products. Scores are the same. Default: `relaxed` where it is there, else `simd`.
   */
  isa?: "simd" | "relaxed";
  /**
   * Threads that compute, 1 to 64. More than one needs shared memory: Node has it, a page where it is cross-origin
   * isolated. Scores are the same in any number of them. Default: one for each processor, at most 8, or 1 without
   * shared memory.
   */
  threads?: number;
  /** The numbers that weights are multiplied in. Default: what the checkpoint is made for. */
  dtype?: "f32" | "bf16" | "int8";
  /** Tokens of the longest pair, at most what the model allows, which is the default. */
  maxLength?: number;
  /** Whether the model is kept in Cache Storage, in browsers. Default: true. */
  cache?: boolean;
  /** Whether the model's bytes are checked by their hashes. Default: true. */
  verify?: boolean;
  /** Is called while the model arrives. */
  onProgress?: (progress: LoadProgress) => void;
  /** Ends the loading; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
}

export interface RerankOptions {
  /** How many results are returned at most, from 1. Default: all. */
  topK?: number;
  /** The least score of a result. Default: none. */
  minScore?: number;
  /**
   * How a document is scored that is longer than the model's window: by its beginning (`truncate`), or cut into passages
   * of whole sentences, by the best of them (`max`) or by their mean (`mean`). Default: `truncate`.
   */
  long?: "truncate" | "max" | "mean";
  /** Tokens that neighbouring passages share. Default: 0. */
  stride?: number;
  /**
   * What is made of the logits: what the model names (`model`), nothing (`raw`), `sigmoid`, `softmax`, or, of two
   * labels, their `difference`. Default: `model`.
   */
  score?: "model" | "raw" | "sigmoid" | "softmax" | "difference";
  /** The label to rank by, of a model that has several, from 0. Default: the model's own. */
  label?: number;
  /** Is called while documents are scored. */
  onProgress?: (progress: RerankProgress) => void;
  /** Ends the call, whether it waits for its turn or runs; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
}

/** A passage of a document that was scored in passages. */
export interface Passage {
  /** Its number among the document's passages, from 0. */
  index: number;
  /** The number of the document's passages. */
  count: number;
  /** Where it begins and ends in the document, in code units of UTF-16: `document.slice(start, end)`. */
  start: number;
  end: number;
  /** The same in bytes of UTF-8. */
  startByte: number;
  endByte: number;
  /** Its text. */
  text: string;
}

export interface RerankResult<D = string> {
  /** The number of the document in the call, from 0. */
  index: number;
  /** How well it answers the query, by the activation that the model names: from 0 to 1 for the default model. */
  score: number;
  /** What the model computed, before the activation: results are ordered by it. */
  logit: number;
  /** How many tokens were scored, the query's among them. */
  tokens: number;
  /** Whether the query or the document was cut to fit. */
  truncated: boolean;
  /** The best passage, where `long` is `max` or `mean`. */
  passage?: Passage;
  /** The document as it was given. */
  document: D;
}

/** What was loaded. */
export interface RerankerInfo {
  /** The module that runs: `simd`, `relaxed`, `simd-threads` or `relaxed-threads`. */
  readonly module: string;
  /** Threads that compute. */
  readonly threads: number;
  /** The numbers that weights are multiplied in. */
  readonly dtype: string;
  /** Tokens of the longest pair. */
  readonly maxLength: number;
  /** The number of labels. */
  readonly labels: number;
  /** Bytes of the module's memory, the model's among them. */
  readonly memoryBytes: number;
  /** Milliseconds of loading: until the module ran, until the model's bytes were in place, until it could score. */
  readonly timings: { readonly start: number; readonly model: number; readonly build: number };
  /** More that the engine says about the model. */
  readonly [name: string]: unknown;
}

/** A document: a text, or anything that has one as `text`. */
export type Document = string | { text: string };

/**
 * A cross-encoder, in workers of its own. It is safe to call from several places at once: calls take their turns.
 * An idle one does not keep a Node process alive.
 */
export class Reranker {
  private constructor();

  /**
   * Loads a model.
   * @throws {CrossrankError} `unsupported`, `input`, `model` or `worker`
   */
  static load(options?: LoadOptions): Promise<Reranker>;

  /** What was loaded. */
  get info(): RerankerInfo;

  /**
   * Scores each document against the query; best first, equal ones in their order.
   * @throws {CrossrankError} `input` names the argument; `worker` and `disposed` are final
   */
  rerank<D extends Document>(
    query: string,
    documents: readonly D[],
    options?: RerankOptions,
  ): Promise<RerankResult<D>[]>;

  /** Ends its workers and frees all memory. What is pending is rejected, and so are later calls. */
  dispose(): Promise<void>;
}

/** Whatever goes wrong here, except what an `AbortSignal` gives as its reason. */
export class CrossrankError extends Error {
  /**
   * - `unsupported`: this browser or Node lacks something that the engine needs
   * - `input`: an argument is not what was expected; the message names it
   * - `model`: a file of the model is missing, damaged, or of a kind that the engine refuses
   * - `worker`: a worker could not be started or died; the reranker is of no use any more
   * - `disposed`: the reranker was disposed of
   */
  readonly code: "unsupported" | "input" | "model" | "worker" | "disposed";
}
