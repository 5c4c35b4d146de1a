// What the tests share.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { BLOCK } from "../package/src/manifest.js";

export const WEB = fileURLToPath(new URL("..", import.meta.url));
export const MODEL = join(WEB, "dist/npm/crossrank-model/model");

/** Whether a module was built: `build.sh ci` leaves some out. */
const has = (module) => existsSync(join(WEB, "dist/npm/crossrank/engine", `${module}.js`));

/** What is asked of `Reranker.load` so that it takes a module that is there. Nothing, where all of them are. */
export const HERE = has("simd")
  ? { ...(has("relaxed") ? {} : { isa: "simd" }), ...(has("simd-threads") ? {} : { threads: 1 }) }
  : { isa: "relaxed", threads: 2 };

/** Why tests of threads are skipped, if they are. */
export const noThreads = has("simd-threads") ? false : "SKIPPED: this build has no module `simd-threads`";

export const PASSAGES = [
  "Bread is baked in an oven.",
  "Rivers run downhill until they reach the sea.",
  "The bank by the river closes at four.",
  "A kettle boils water for tea.",
];

/** The test's own copy of the model, removed after it. */
export function copyOfModel(test) {
  const folder = mkdtempSync(join(tmpdir(), "crossrank-model-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(MODEL, folder, { recursive: true });
  return folder;
}

/** Rewrites one file of a model, and its manifest unless that shall be wrong. */
export function rewrite(folder, name, change, { manifest = true } = {}) {
  const data = change(readFileSync(join(folder, name)));
  writeFileSync(join(folder, name), data);
  if (!manifest) return;
  editManifest(folder, (files) => {
    const file = files.find((file) => file.name === name);
    const blocks = Array.from({ length: Math.ceil(data.length / BLOCK) }, (_, i) =>
      sha256(data.subarray(i * BLOCK, (i + 1) * BLOCK)),
    );
    Object.assign(file, { bytes: data.length, sha256: sha256(data), blocks });
  });
}

/** Changes what a model's manifest lists. */
export function editManifest(folder, change) {
  const path = join(folder, "manifest.json");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  change(manifest.files);
  writeFileSync(path, JSON.stringify(manifest));
}

export function sha256(data) {
  return createHash("sha256").update(data).digest("hex");
}
