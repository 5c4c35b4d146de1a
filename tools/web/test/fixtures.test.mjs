// The modules themselves beside PyTorch's logits: every fixture of the engine, the default model in bytes, and relaxed
// products beside the others.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { detect } from "../package/src/features.js";
import { WEB } from "./support.mjs";

const DIST = join(WEB, "dist");
const ROOT = join(WEB, "../..");
const { relaxed } = detect();

/// What f32 promises, and what the small models of the fixtures keep to on every instruction set.
const OF_FIXTURES = 3e-5;
/// What int8 of the default model promises in the mean and at worst, in parts of the standard deviation of its source's.
const INT8 = { mean: 0.03, worst: 0.12, leastMean: 0.002 };

const FIXTURES = join(ROOT, "tests/fixtures");
const names = readdirSync(FIXTURES).filter((name) => existsSync(join(FIXTURES, name, "reference.jsonl")));

// One thread is enough here, so a module with threads that are never started serves as well.
const module = (relaxed ? ["relaxed", "relaxed-threads"] : ["simd", "simd-threads"]).find((name) =>
  existsSync(join(DIST, `${name}.js`)),
);
const { Engine, initSync } = await import(join(DIST, `${module}.js`));
initSync({ module: readFileSync(join(DIST, `${module}_bg.wasm`)) });

const isWeights = (name) => /^model(-.*)?\.safetensors$/.test(name);
const isSetting = (name) => /^(config|tokenizer|special_tokens|modules|sentence).*\.json$/.test(name);

/** The files of a model's folder that the engine reads, by their paths. */
function filesOf(folder) {
  const files = new Map();
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) {
      for (const inner of readdirSync(path)) files.set(`${name}/${inner}`, readFileSync(join(path, inner)));
    } else if (isWeights(name) || isSetting(name)) {
      files.set(name, readFileSync(path));
    }
  }
  return files;
}

function load(files, options) {
  const loader = Engine.begin();
  for (const [name, bytes] of files) {
    loader.reserve(name, bytes.length);
    // In two pieces, of which one ends anywhere.
    loader.write(name, bytes.subarray(0, bytes.length >> 1));
    loader.write(name, bytes.subarray(bytes.length >> 1));
  }
  return loader.finish(JSON.stringify(options));
}

const pairsOf = (path) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

const logitsOf = (engine, pair) => Array.from(engine.logits(pair.query, [pair.document]));

test(`fixtures give PyTorch's logits (${module})`, (t) => {
  assert.ok(names.length >= 15, `${names.length} fixtures`);
  for (const name of names) {
    const engine = load(filesOf(join(FIXTURES, name)), { dtype: "f32" });
    const pairs = pairsOf(join(FIXTURES, name, "reference.jsonl"));
    assert.ok(pairs.length >= 20);
    let worst = 0;
    for (const [i, pair] of pairs.entries()) {
      const found = logitsOf(engine, pair);
      assert.equal(found.length, pair.logits.length);
      for (const [label, expected] of pair.logits.entries()) {
        const off = Math.abs(found[label] - expected);
        worst = Math.max(worst, off);
        assert.ok(off <= OF_FIXTURES, `${name}, pair ${i}: expected ${expected}, found ${found[label]}`);
      }
    }
    t.diagnostic(`${name}: ${pairs.length} pairs, worst ${worst.toExponential(1)}`);
    engine.free();
  }
});

test(`the default model in bytes stays near its source's logits (${module})`, (t) => {
  const engine = load(filesOf(join(DIST, "model")), {});
  assert.equal(JSON.parse(engine.info()).dtype, "int8");
  const pairs = pairsOf(join(FIXTURES, "default-source.jsonl"));
  const source = pairs.map((pair) => pair.logits[0]);
  const middle = source.reduce((a, b) => a + b) / source.length;
  const deviation = Math.sqrt(source.reduce((sum, x) => sum + (x - middle) ** 2, 0) / source.length);
  const moved = pairs.map((pair, i) => Math.abs(logitsOf(engine, pair)[0] - source[i]) / deviation);
  const mean = moved.reduce((a, b) => a + b) / moved.length;
  const worst = Math.max(...moved);
  t.diagnostic(`mean ${mean.toFixed(4)}, worst ${worst.toFixed(4)}`);
  assert.ok(mean <= INT8.mean && worst <= INT8.worst, `mean ${mean}, worst ${worst}`);
  assert.ok(mean >= INT8.leastMean, `mean ${mean}, nearer than bytes can be`);
  engine.free();
});

test(`a pair has the same bits in any company (${module})`, () => {
  const folder = join(FIXTURES, "gelu-60");
  const pairs = pairsOf(join(folder, "reference.jsonl"));
  for (const dtype of ["f32", "int8"]) {
    const engine = load(filesOf(folder), { dtype });
    const documents = pairs.map((pair) => pair.document);
    const alone = documents.map((document) => engine.logits(pairs[0].query, [document])[0]);
    assert.deepEqual(Array.from(engine.logits(pairs[0].query, documents)), alone);
    const request = engine.request(pairs[0].query, documents.toReversed(), "{}");
    while (!request.step());
    const ranking = JSON.parse(request.finish());
    assert.equal(ranking.length, documents.length);
    for (const { index, logit } of ranking) {
      assert.equal(Math.fround(logit), alone[documents.length - 1 - index]);
    }
    engine.free();
  }
});

const beside = relaxed ? false : "this engine has no relaxed SIMD: relaxed products are not compared with the others";
test("relaxed products give the same integers as the others", { skip: beside }, () => {
  // Integers are all that differs, so the same integers are the same bits of logits.
  const same = (files, pairs, options) => {
    const engines = ["simd128", "simd128_relaxed"].map((isa) => load(files, { ...options, isa }));
    assert.deepEqual(
      engines.map((engine) => JSON.parse(engine.info()).isa),
      ["simd128", "simd128_relaxed"],
    );
    const [plain, relaxed] = engines.map((engine) => pairs.map((pair) => logitsOf(engine, pair)));
    assert.deepEqual(relaxed, plain);
    engines.forEach((engine) => engine.free());
    return plain;
  };
  for (const name of names) {
    const folder = join(FIXTURES, name);
    same(filesOf(folder), pairsOf(join(folder, "reference.jsonl")), { dtype: "int8" });
  }
  // Bytes at the very end of their range, which no relaxed product may take for what they are.
  const files = filesOf(join(ROOT, "models/default"));
  const pairs = pairsOf(join(FIXTURES, "default-model.jsonl")).slice(0, 8);
  const before = same(files, pairs, {});
  const after = same(
    new Map(files).set("model.safetensors", withLowestBytes(files.get("model.safetensors"))),
    pairs,
    {},
  );
  assert.notDeepEqual(after, before);
});

/** The weights with -128 in the place of every -127 of their Linear layers. */
function withLowestBytes(weights) {
  const changed = Buffer.from(weights);
  const header = Number(changed.readBigUInt64LE());
  const tensors = JSON.parse(changed.toString("utf8", 8, 8 + header));
  let count = 0;
  for (const [name, { dtype, data_offsets: offsets }] of Object.entries(tensors)) {
    if (dtype !== "I8" || !name.includes(".layer.")) continue;
    for (let at = 8 + header + offsets[0]; at < 8 + header + offsets[1]; at++) {
      if (changed.readInt8(at) !== -127) continue;
      changed.writeInt8(-128, at);
      count++;
    }
  }
  assert.ok(count > 1000, `${count} bytes changed`);
  return changed;
}
