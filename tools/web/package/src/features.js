// Which of the four modules runs here. Each feature is found by validating a module of a few bytes that uses it, as
// the GoogleChromeLabs library wasm-feature-detect does.

import { CrossrankError } from "./errors.js";

const HEADER = [0, 97, 115, 109, 1, 0, 0, 0];
// One function without parameters that returns a v128.
const RETURNS_VECTOR = [...HEADER, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0];
// i32.const 0; i8x16.splat
const SPLAT = [65, 0, 253, 15];

const PROBES = {
  // i8x16.popcnt, which came with the last form of the SIMD proposal.
  simd: [...RETURNS_VECTOR, 10, 10, 1, 8, 0, ...SPLAT, 253, 98, 11],
  // i32x4.relaxed_dot_i8x16_i7x16_add
  relaxed: [...RETURNS_VECTOR, 10, 19, 1, 17, 0, ...SPLAT, ...SPLAT, ...SPLAT, 253, 147, 2, 11],
  // A shared memory of one page, and i32.atomic.load.
  threads: [...HEADER, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 65, 0, 254, 16, 2, 0, 26, 11],
};

/** More threads than these gain little on documents of everyday length, and cost memory. */
const MOST_THREADS = 8;

/**
 * What this JavaScript engine has.
 * @returns {{wasm: boolean, simd: boolean, relaxed: boolean, threads: boolean, gunzip: boolean}}
 */
export function detect() {
  const wasm = typeof WebAssembly === "object" && typeof WebAssembly.validate === "function";
  const has = (probe) => wasm && WebAssembly.validate(new Uint8Array(PROBES[probe]));
  // Node has no crossOriginIsolated and may always share memory.
  const mayShare = typeof SharedArrayBuffer === "function" && globalThis.crossOriginIsolated !== false;
  return {
    wasm,
    simd: has("simd"),
    relaxed: has("relaxed"),
    threads: mayShare && has("threads"),
    gunzip: typeof DecompressionStream === "function",
  };
}

/**
 * Chooses a module.
 * @param {ReturnType<typeof detect>} features
 * @param {{isa?: "simd" | "relaxed", threads?: number, cores: number}} wishes
 * @returns {{module: string, isa: "simd" | "relaxed", threads: number}} `module` is the name of its file
 * @throws {CrossrankError} where none runs, or a wish cannot be met
 */
export function choose(features, { isa, threads, cores }) {
  if (!features.wasm) throw unsupported("WebAssembly");
  if (!features.simd) throw unsupported("128-bit SIMD in WebAssembly (browsers since 2023, Node since 16, have it)");
  if (!features.gunzip) throw unsupported("DecompressionStream (browsers since 2023, Node since 18, have it)");
  if (isa === "relaxed" && !features.relaxed) {
    throw new CrossrankError("unsupported", "isa: expected `simd`, as relaxed SIMD is missing here, found `relaxed`");
  }
  if (threads > 1 && !features.threads) {
    throw new CrossrankError(
      "unsupported",
      `threads: expected 1, as memory cannot be shared here (a page must be cross-origin isolated), found ${threads}`,
    );
  }
  const chosen = isa ?? (features.relaxed ? "relaxed" : "simd");
  const count = threads ?? (features.threads ? Math.min(Math.max(cores || 1, 1), MOST_THREADS) : 1);
  return { module: count > 1 ? `${chosen}-threads` : chosen, isa: chosen, threads: count };
}

function unsupported(what) {
  return new CrossrankError("unsupported", `crossrank needs ${what}, which is missing here`);
}
