// Which module is chosen, and what is said where none runs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choose, detect } from "../package/src/features.js";

const ALL = { wasm: true, simd: true, relaxed: true, threads: true, gunzip: true };
const chosen = (features, wishes) => choose({ ...ALL, ...features }, { cores: 4, ...wishes });

test("the best module that runs is chosen", () => {
  assert.deepEqual(chosen({}), { module: "relaxed-threads", isa: "relaxed", threads: 4 });
  assert.deepEqual(chosen({ relaxed: false }), { module: "simd-threads", isa: "simd", threads: 4 });
  assert.deepEqual(chosen({ threads: false }), { module: "relaxed", isa: "relaxed", threads: 1 });
  assert.deepEqual(chosen({}, { cores: 1 }), { module: "relaxed", isa: "relaxed", threads: 1 });
  assert.equal(chosen({}, { cores: 64 }).threads, 8);
  assert.equal(chosen({}, { cores: undefined }).threads, 1);
});

test("wishes are met or refused", () => {
  assert.deepEqual(chosen({}, { isa: "simd", threads: 1 }), { module: "simd", isa: "simd", threads: 1 });
  assert.equal(chosen({}, { threads: 12 }).threads, 12);
  assert.throws(() => chosen({ relaxed: false }, { isa: "relaxed" }), {
    code: "unsupported",
    message: /^isa: .*relaxed/,
  });
  assert.throws(() => chosen({ threads: false }, { threads: 2 }), {
    code: "unsupported",
    message: /^threads: expected 1,.* found 2/,
  });
});

test("what is missing is named", () => {
  assert.throws(() => chosen({ wasm: false }), { code: "unsupported", message: /needs WebAssembly/ });
  assert.throws(() => chosen({ simd: false }), { code: "unsupported", message: /SIMD/ });
  assert.throws(() => chosen({ gunzip: false }), { code: "unsupported", message: /DecompressionStream/ });
});

test("Node has SIMD and shared memory; relaxed SIMD since 22", () => {
  const major = Number(process.versions.node.split(".")[0]);
  assert.deepEqual(detect(), { ...ALL, relaxed: major >= 22 });
});
