// What ships: the READMEs' examples run, the types hold, licences and model card are there, and no training text is.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { WEB } from "./support.mjs";

const run = promisify(execFile);
const PACKAGES = ["crossrank", "crossrank-model"].map((name) => join(WEB, "dist/npm", name));

/** The JavaScript in a README, block by block. */
function examples(folder) {
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  return Array.from(readme.matchAll(/^```js\n(.*?)^```$/gms), ([, code]) => code);
}

/** What each example of the package's README prints. */
const PRINTS = [
  /^0\.\d{3} Rivers run downhill until they reach the sea\.\n0\.\d{3} .*\n$/,
  /^a 0 0\.\d+ -?\d+\.\d+ \d+ false Yeast makes the gas that lifts a dough\.\n/,
  /^TimeoutError\n$/,
  /^Rivers run downhill until they reach the sea\.\n$/,
  /^Rivers run downhill until they reach the sea\. 0\.\d+\n$/,
];

test("each example of the README runs in Node and prints what it should", async () => {
  const codes = examples(PACKAGES[0]);
  assert.equal(codes.length, PRINTS.length);
  for (const [i, code] of codes.entries()) {
    const { stdout, stderr } = await run(process.execPath, ["--input-type=module", "-e", code], {
      cwd: WEB,
      timeout: 120_000,
    });
    assert.match(stdout, PRINTS[i], code);
    assert.equal(stderr, "");
  }
  const [code] = examples(PACKAGES[1]);
  await run(process.execPath, ["--input-type=module", "-e", `${code}\nawait reranker.dispose();`], {
    cwd: WEB,
    timeout: 120_000,
  });
});

test("the types hold, and refuse what the code refuses", async (t) => {
  const folder = mkdtempSync(join(WEB, "test/types-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const usage = `
    import { rerank } from "ai";
    import type { BaseDocumentCompressorInterface } from "./langchain.js";
    import { CrossrankError, Reranker, type RerankResult } from "crossrank";
    import { rerankingModel } from "crossrank/ai";
    import { CrossrankCompressor } from "crossrank/langchain";
    import model from "crossrank-model";

    const reranker: Reranker = await Reranker.load({ model, threads: 2, isa: "simd", onProgress: ({ loaded, total }) => loaded / total });
    const texts: RerankResult<string>[] = await reranker.rerank("q", ["a"], { topK: 1, minScore: 0.5, long: "max", signal: AbortSignal.timeout(9) });
    const objects = await reranker.rerank("q", [{ text: "a", id: 7 }]);
    const id: number = objects[0]!.document.id;
    const text: string | undefined = texts[0]!.passage?.text;
    const { ranking } = await rerank({ model: rerankingModel(reranker, { rerank: { long: "mean" } }), query: "q", documents: ["a"] });
    const kept: BaseDocumentCompressorInterface = new CrossrankCompressor(reranker, { topK: 3 });
    const { threads, memoryBytes, timings, maxLength } = reranker.info;
    export const all = [id, text, ranking, kept, threads, memoryBytes, timings.build, maxLength];
    try {
      await reranker.dispose();
    } catch (error) {
      if (error instanceof CrossrankError) error.code satisfies "unsupported" | "input" | "model" | "worker" | "disposed";
    }
    // @ts-expect-error a Reranker is made by load
    new Reranker();
    // @ts-expect-error there is no such option
    await reranker.rerank("q", ["a"], { top_k: 1 });
    // @ts-expect-error a document has a text
    await reranker.rerank("q", [{ txt: "a" }]);
    // @ts-expect-error there is no such way
    await reranker.rerank("q", ["a"], { long: "best" });
  `;
  writeFileSync(join(folder, "usage.mts"), usage);
  writeFileSync(
    join(folder, "langchain.d.ts"),
    'import { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";\nexport type BaseDocumentCompressorInterface = BaseDocumentCompressor;\n',
  );
  const tsc = join(WEB, "node_modules/typescript/bin/tsc");
  const options = [
    "--noEmit",
    "--strict",
    "--exactOptionalPropertyTypes",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--lib",
    "es2023,dom,esnext.disposable",
    "--types",
    "node",
  ];
  const { stdout, stderr } = await run(process.execPath, [tsc, ...options, join(folder, "usage.mts")], {
    cwd: WEB,
  }).catch((error) => error);
  assert.equal(stderr, "");
  // The declarations of others are not ours to judge.
  assert.deepEqual(
    stdout.split("\n").filter((line) => !/^(node_modules\/|\s|$)/.test(line)),
    [],
  );
});

test("each package has the licences and the model card, and packs what it needs", async () => {
  for (const folder of PACKAGES) {
    const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: folder });
    const packed = JSON.parse(stdout)[0].files.map(({ path }) => path);
    for (const name of [
      "LICENSE-MIT",
      "LICENSE-APACHE",
      "LICENSE-MODEL",
      "MODEL_CARD.md",
      "README.md",
      "package.json",
    ]) {
      assert.ok(packed.includes(name), `${folder}: ${name}`);
    }
    assert.deepEqual([...packed].sort(), list(folder).sort(), "nothing is left behind");
    const card = readFileSync(join(folder, "MODEL_CARD.md"), "utf8");
    for (const text of ["SQuAD 1.1", "TrecQA", "CACM", "NQ-open", "MCTest", "CC BY-SA 4.0", "all-MiniLM-L6-v2"])
      assert.ok(card.includes(text), text);
    assert.match(readFileSync(join(folder, "LICENSE-MODEL"), "utf8"), /Apache License, Version 2\.0/);
    assert.match(readFileSync(join(folder, "LICENSE-APACHE"), "utf8"), /Apache License\s+Version 2\.0/);
  }
});

test("no text that the model was made with ships", () => {
  const lines = readFileSync(join(WEB, "../../models/default/calibration.jsonl"), "utf8").trim().split("\n");
  assert.ok(lines.length > 100);
  // Of each the middle, which no common phrase is.
  const pieces = lines.map((line) => {
    const text = Object.values(JSON.parse(line))
      .filter((value) => typeof value === "string")
      .sort((a, b) => b.length - a.length)[0];
    return Buffer.from(text.slice(text.length / 2, text.length / 2 + 40));
  });
  for (const folder of [...PACKAGES, join(WEB, "dist/site")]) {
    for (const path of list(folder)) {
      assert.ok(!path.endsWith(".jsonl"), path);
      const data = readFileSync(join(folder, path));
      for (const piece of pieces) assert.ok(!data.includes(piece), `${path} has “${piece}”`);
    }
  }
});

/** The files of a folder. */
function list(folder) {
  const paths = readdirSync(folder, { recursive: true }).map(String);
  return paths.filter((path) => statSync(join(folder, path)).isFile());
}
