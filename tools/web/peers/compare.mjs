// crossrank beside transformers.js in headless Chromium, on one thread, by turns in one page:
//
//     python ../../peers/prepare.py --model MODEL_DIR --out ONNX_DIR fused.onnx fused-int8.onnx
//     npm ci --ignore-scripts
//     node compare.mjs MODEL_DIR ONNX_DIR WORKLOADS.json [RECORD.json]
//
// MODEL_DIR is a checkpoint, ONNX_DIR has what `prepare.py` made of it, WORKLOADS.json is {name: {query, docs}}. It needs
// `build.sh simd relaxed` (or `simd` alone), `assemble.mjs` and Debian's chromium. transformers.js takes a workload padded
// in one batch, or in batches of eight of about the same length, and its better one counts.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { browse, open } from "../test/browser.mjs";
import { listen, serveFolder } from "../test/server.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = join(HERE, "../dist");
// A pair takes so little that browsers have not compiled it well after three.
const ROUNDS = { pair: 30, snippets50: 3 };

const SETTINGS = ["config.json", "tokenizer.json", "tokenizer_config.json"];

const [model, onnx, workloadsPath, record] = process.argv.slice(2).map((path) => resolve(path));
if (!workloadsPath) {
  console.error("usage: node compare.mjs MODEL_DIR ONNX_DIR WORKLOADS.json [RECORD.json]");
  process.exit(2);
}

const site = join(HERE, "../../../target/web-peers");
rmSync(site, { recursive: true, force: true });
mkdirSync(join(site, "models/peer/onnx"), { recursive: true });
symlinkSync(join(DIST, "npm/crossrank"), join(site, "crossrank"));
symlinkSync(join(HERE, "node_modules"), join(site, "modules"));
for (const name of SETTINGS) cpSync(join(model, name), join(site, "models/peer", name));
cpSync(join(onnx, "fused.onnx"), join(site, "models/peer/onnx/model.onnx"));
cpSync(join(onnx, "fused-int8.onnx"), join(site, "models/peer/onnx/model_quantized.onnx"));
writeFileSync(join(site, "workloads.json"), readFileSync(workloadsPath));

const { initSync, Engine } = await import(join(DIST, "simd.js"));
initSync({ module: readFileSync(join(DIST, "simd_bg.wasm")) });
for (const dtype of ["f32", "int8"]) {
  const files = [...SETTINGS, "model.safetensors"].map((name) => [name, readFileSync(join(model, name))]);
  if (dtype === "int8") files.at(-1)[1] = packed(files);
  const folder = join(site, dtype);
  mkdirSync(folder);
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
  const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const entries = files.map(([name, bytes]) => ({ name, bytes: bytes.length, sha256: sha256(bytes) }));
  writeFileSync(join(folder, "manifest.json"), JSON.stringify({ files: entries }));
}

function packed(files) {
  const loader = Engine.begin();
  for (const [name, bytes] of files) {
    loader.reserve(name, bytes.length);
    loader.write(name, bytes);
  }
  return loader.finish('{"dtype": "int8"}').pack();
}

writeFileSync(
  join(site, "index.html"),
  `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="importmap">${JSON.stringify({
    imports: {
      "onnxruntime-common": "/modules/onnxruntime-common/dist/esm/index.js",
      "onnxruntime-web/webgpu": "/modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs",
    },
  })}</script><script type="module" src="measure.js"></script>`,
);
cpSync(join(HERE, "measure.js"), join(site, "measure.js"));

const ends = [];
const test = { after: (end) => ends.push(end) };
try {
  const server = await listen(test, serveFolder(site));
  const context = await browse(test);
  const page = await open(context, server.url);
  await page
    .waitForFunction(() => globalThis.ready)
    .catch((error) => {
      throw new Error(page.wrong.join("\n") || String(error));
    });
  const isa = existsSync(join(DIST, "relaxed.js")) ? undefined : "simd";
  const results = await page.evaluate((wishes) => globalThis.measure(...wishes), [ROUNDS, isa]);
  const versions = JSON.parse(readFileSync(join(HERE, "node_modules/onnxruntime-web/package.json"), "utf8")).version;
  const chromium = await page.evaluate(() => navigator.userAgent.replace(/.*Chrome\/(\S+).*/, "$1"));
  const found = {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0].model,
    chromium,
    transformers: "4.3.2",
    onnxruntime: versions,
    ...results,
  };
  console.log(JSON.stringify(found, null, 2));
  for (const [dtype, byWorkload] of Object.entries(results.milliseconds)) {
    for (const [name, { crossrank, transformers }] of Object.entries(byWorkload)) {
      const ratio = (transformers / crossrank).toFixed(2);
      console.log(
        `${dtype} ${name}: ${crossrank.toFixed(1)} ms, transformers.js ${transformers.toFixed(1)} (${ratio})`,
      );
    }
  }
  if (record) writeFileSync(record, `${JSON.stringify(found, null, 2)}\n`);
  if (page.wrong.length) console.error(page.wrong.join("\n"));
} finally {
  for (const end of ends.reverse()) await end();
  if (existsSync(site)) rmSync(site, { recursive: true });
}
