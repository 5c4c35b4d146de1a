// Loading in Node: what a model may be, and what is said of one that is not.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { CrossrankError, Reranker } from "crossrank";
import model from "crossrank-model";

import { listen, serveFolder } from "./server.mjs";
import { HERE, MODEL, PASSAGES, copyOfModel, editManifest, noThreads, rewrite, sha256 } from "./support.mjs";

const logits = async (options) => {
  const reranker = await Reranker.load({ ...HERE, ...options });
  try {
    return (await reranker.rerank("where do rivers go", PASSAGES)).map(({ index, logit }) => [index, logit]);
  } finally {
    await reranker.dispose();
  }
};

const refuses = (options, code, message) =>
  assert.rejects(Reranker.load(options && { ...HERE, ...options }), (error) => {
    assert.ok(error instanceof CrossrankError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });

test("a model is a package's export, a path, or a URL, and the default is the package", async (t) => {
  const expected = await logits({});
  const server = await listen(t, serveFolder(MODEL));
  const folders = [MODEL, `${MODEL}/`, pathToFileURL(MODEL), pathToFileURL(MODEL).href, server.url];
  for (const given of [model, ...folders]) assert.deepEqual(await logits({ model: given }), expected);
});

test("scores are the same in one thread and in several", { skip: noThreads }, async () => {
  const alone = await logits({ threads: 1 });
  for (const threads of [2, 3]) assert.deepEqual(await logits({ threads }), alone);
});

test("it says what was loaded, and how far it is", async () => {
  const progress = [];
  const reranker = await Reranker.load({ threads: 1, isa: "simd", onProgress: (step) => progress.push(step) });
  const total = model.files.reduce((sum, file) => sum + file.bytes, 0);
  assert.deepEqual(progress.at(-1), { loaded: total, total });
  assert.ok(progress.every(({ loaded }, i) => i === 0 || loaded >= progress[i - 1].loaded));
  const { module, threads, dtype, maxLength, memoryBytes } = reranker.info;
  assert.deepEqual([module, threads, dtype, maxLength], ["simd", 1, "int8", 512]);
  assert.ok(memoryBytes >= 0);
  await reranker.dispose();
});

test("a file that is not what the manifest says is refused by name", async (t) => {
  const folder = copyOfModel(t);
  const flip = (at) => (data) => {
    data[at] ^= 1;
    return data;
  };
  rewrite(folder, "model.safetensors", flip(5_000_000), { manifest: false });
  await refuses(
    { model: folder },
    "model",
    /model\.safetensors \(file:.*expected sha256 [0-9a-f]{64} in bytes 4194304 to 5242880, found [0-9a-f]{64}/,
  );
  // Without hashes of blocks it is found all the same.
  let whole;
  editManifest(folder, (files) => {
    for (const file of files) delete file.blocks;
    whole = files.find(({ name }) => name === "model.safetensors").sha256;
  });
  await refuses({ model: folder }, "model", new RegExp(`model\\.safetensors .*expected sha256 ${whole}, found `));
  rewrite(folder, "model.safetensors", flip(5_000_000), { manifest: false });
  assert.equal((await logits({ model: folder })).length, PASSAGES.length);

  rewrite(folder, "config.json", (data) => data.subarray(0, 900), { manifest: false });
  await refuses({ model: folder }, "model", /config\.json .*expected 959 bytes, found 900/);
  rewrite(folder, "config.json", (data) => Buffer.concat([data, Buffer.alloc(100)]), { manifest: false });
  await refuses({ model: folder }, "model", /config\.json .*expected 959 bytes, found more/);
  rmSync(join(folder, "config.json"));
  await refuses({ model: folder }, "model", /config\.json/);
});

test("a server's wrong file is fetched once more", async (t) => {
  const folder = copyOfModel(t);
  let damaged = 0;
  const files = serveFolder(folder);
  const server = await listen(t, (request, response) => {
    if (!request.url.endsWith("/config.json") || damaged++ > 0) return files(request, response);
    response.end("x".repeat(959));
  });
  assert.equal((await logits({ model: server.url })).length, PASSAGES.length);
  assert.equal(damaged, 2);

  let asked = 0;
  const stubborn = await listen(t, (request, response) => {
    if (!request.url.endsWith("/config.json")) return files(request, response);
    asked += 1;
    response.end("x".repeat(959));
  });
  const wrong = sha256("x".repeat(959));
  await refuses({ model: stubborn.url }, "model", new RegExp(`${stubborn.url}config.json.*found ${wrong}`));
  assert.equal(asked, 2);
});

test("a server that has nothing, or is not there, is named", async (t) => {
  const server = await listen(t, (_, response) => response.writeHead(404).end());
  await refuses({ model: server.url }, "model", /manifest\.json: the server answers 404/);
  const gone = createServer();
  await new Promise((resolve) => gone.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${gone.address().port}/`;
  await new Promise((resolve) => gone.close(resolve));
  await refuses({ model: url }, "model", new RegExp(`${url}manifest.json: .*ECONNREFUSED`));
});

test("a manifest that cannot be is refused by its field", async (t) => {
  const folder = copyOfModel(t);
  const cases = [
    [(files) => (files.length = 0), /`files`: expected a list of files, found \[\]/],
    [
      (files) => (files[0].name = "../config.json"),
      /`files\[0\]\.name`: expected a file's name, with a folder at most, found "\.\.\/config\.json"/,
    ],
    [(files) => (files[1].name = files[0].name), /`files\[1\]\.name`: expected each file once/],
    [(files) => (files[0].bytes = -1), /`files\[0\]\.bytes`: expected a whole number/],
    [(files) => (files[0].bytes = 1e15), /`files\[0\]\.bytes`: expected a whole number/],
    [(files) => (files[0].sha256 = "abc"), /`files\[0\]\.sha256`: expected 64 hexadecimal digits, found "abc"/],
    [(files) => files[0].blocks.push(files[0].blocks[0]), /`files\[0\]\.blocks`: expected a hash for each of 1 blocks/],
  ];
  const kept = [];
  editManifest(folder, (files) => kept.push(...files.map((file) => ({ ...file, blocks: [...file.blocks] }))));
  for (const [change, message] of cases) {
    editManifest(folder, (files) => {
      files.splice(0, files.length, ...structuredClone(kept));
      change(files);
    });
    await refuses({ model: folder }, "model", message);
  }
  writeFileSync(join(folder, "manifest.json"), "{");
  await refuses({ model: folder }, "model", /manifest\.json: expected JSON/);
  await refuses({ model: { files: [{ ...model.files[0], url: undefined }] } }, "model", /files\[0\]\.url|undefined/);
});

test("a model that the engine refuses is refused with the engine's reason", async (t) => {
  const folder = copyOfModel(t);
  rewrite(folder, "config.json", () => Buffer.from("{"));
  await refuses({ model: folder }, "model", /./);
});

test("options are checked by name", async () => {
  await refuses({ model: "/nowhere/at/all" }, "model", /expected a folder, found none at .*nowhere/);
  await refuses({ modle: "x" }, "input", /options of load: expected model, .*found `modle`/);
  await refuses({ threads: 0 }, "input", /threads: expected a whole number from 1 to 64, found 0/);
  await refuses({ isa: "avx2" }, "input", /isa: expected `simd` or `relaxed`, found "avx2"/);
  await refuses({ signal: {} }, "input", /signal: expected an AbortSignal, found an object/);
  await refuses(null, "input", /options: expected an object, found null/);
  assert.throws(() => new Reranker(), /Reranker\.load\(\)/);
});

test("loading can be given up", async () => {
  const reason = new Error("enough");
  await assert.rejects(Reranker.load({ signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const onProgress = () => controller.abort(reason);
  await assert.rejects(Reranker.load({ ...HERE, signal: controller.signal, onProgress }), reason);
});
