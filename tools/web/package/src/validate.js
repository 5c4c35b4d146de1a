// Arguments are checked here, by name, before anything is sent to the worker.

import { CrossrankError } from "./errors.js";

/** How documents longer than the model's window are scored. */
const LONG = ["truncate", "max", "mean"];

const LOAD_OPTIONS = {
  model: (value) => (isModel(value) ? null : "a folder (URL or path), or the export of a model package"),
  isa: oneOf(["simd", "relaxed"]),
  dtype: oneOf(["f32", "bf16", "int8"]),
  threads: integer(1, 64),
  maxLength: integer(8, 1 << 20),
  cache: boolean,
  verify: boolean,
  onProgress: callback,
  signal,
};

const RERANK_OPTIONS = {
  topK: integer(1, Number.MAX_SAFE_INTEGER),
  minScore: (value) => (Number.isFinite(value) ? null : "a finite number"),
  long: oneOf(LONG),
  stride: integer(0, 1 << 20),
  label: integer(0, 1 << 20),
  score: oneOf(["model", "raw", "sigmoid", "softmax", "difference"]),
  onProgress: callback,
  signal,
};

/** The options of `Reranker.load`, of which each is what it should be. */
export function loadOptions(options) {
  return checked("load", options, LOAD_OPTIONS);
}

/** The options of `rerank`, of which each is what it should be. */
export function rerankOptions(options) {
  return checked("rerank", options, RERANK_OPTIONS);
}

/** The query. */
export function queryText(query) {
  if (typeof query !== "string") throw wrong("query", "a string", query);
  return query;
}

/** The documents' texts. */
export function documentTexts(documents) {
  if (!Array.isArray(documents)) throw wrong("documents", "an array", documents);
  // Not `map`, which skips holes.
  return Array.from(documents, (document, index) => {
    if (typeof document === "string") return document;
    if (document === null || typeof document !== "object") {
      throw wrong(`documents[${index}]`, "a string or an object with `text`", document);
    }
    if (typeof document.text !== "string") throw wrong(`documents[${index}].text`, "a string", document.text);
    return document.text;
  });
}

function checked(method, options = {}, known) {
  if (options === null || typeof options !== "object") throw wrong("options", "an object", options);
  const result = {};
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(", ");
      throw new CrossrankError("input", `options of ${method}: expected ${names}, found \`${name}\``);
    }
    if (value === undefined) continue;
    const expected = known[name](value);
    if (expected) throw wrong(name, expected, value);
    result[name] = value;
  }
  return result;
}

function integer(least, most) {
  const expected =
    most === Number.MAX_SAFE_INTEGER ? `a whole number from ${least}` : `a whole number from ${least} to ${most}`;
  return (value) => (Number.isSafeInteger(value) && value >= least && value <= most ? null : expected);
}

function oneOf(values) {
  const expected = values.map((value) => `\`${value}\``).join(" or ");
  return (value) => (values.includes(value) ? null : expected);
}

function boolean(value) {
  return typeof value === "boolean" ? null : "true or false";
}

function callback(value) {
  return typeof value === "function" ? null : "a function";
}

function signal(value) {
  const isSignal = typeof value?.aborted === "boolean" && typeof value.addEventListener === "function";
  return isSignal ? null : "an AbortSignal";
}

function isModel(value) {
  return typeof value === "string" || value instanceof URL || Array.isArray(value?.files);
}

function wrong(name, expected, found) {
  return new CrossrankError("input", `${name}: expected ${expected}, found ${shown(found)}`);
}

/** A value in few words: it may be huge, or refuse to become a string. */
function shown(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (["number", "boolean", "bigint"].includes(typeof value)) return String(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
