// The page as a visitor sees it first, on a host without any settings: the one browser test of `check.sh ci`.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { answered, browse, open, picture, texts } from "./browser.mjs";
import { listen, serveFolder } from "./server.mjs";
import { WEB } from "./support.mjs";

/** What a first visit may cost, apart from the model. */
const MOST_BYTES = 1_000_000;

test("a visitor sees a sample reranked, pastes passages of their own, and nothing leaves the page", async (t) => {
  const server = await listen(t, serveFolder(join(WEB, "dist/site")));
  const context = await browse(t);
  const page = await open(context, server.url);
  await answered(page);

  // Both orders are there, with a line for each result, and the answer is first.
  assert.equal((await texts(page, "before")).length, 36);
  const after = await texts(page, "after");
  assert.equal(after.length, 8);
  assert.equal(await page.locator("#lines path").count(), 8);
  assert.match(after[0], /^A hull pushes aside/);
  assert.match(await page.locator("#after > li").first().textContent(), /0\.\d{3}.*\d+ tokens.*answers it/);
  assert.match(
    await page.locator("#status").textContent(),
    /^36 passages reranked in .* was number \d\d by words, and is number 1 now\.$/,
  );
  assert.match(await page.locator("#times").textContent(), /BM25.* ms.*Tokenizer and model.* ms.*36 pairs of/s);

  // The service worker has isolated the page, so that it has threads.
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);

  // The first visit is small, and fetches one module.
  const sent = server.requests.filter(({ path }) => !/^\/model\/(?!manifest)/.test(path));
  const bytes = sent.reduce((sum, request) => sum + request.bytes, 0);
  t.diagnostic(`first visit: ${bytes} bytes in ${sent.length} requests, the model apart`);
  assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
  assert.equal(server.requests.filter(({ path }) => path.endsWith(".wasm.gz")).length, 1);
  const weights = server.requests.filter(({ path }) => path.endsWith(".safetensors"));
  assert.equal(weights.length, 1);

  // From here on nothing leaves the page. Every request is noted twice: by the browser and by the server.
  const asked = [];
  context.on("request", (request) => asked.push(request.url()));
  const before = server.requests.length;
  await page.getByRole("button", { name: "Your own text" }).click();
  await page
    .getByLabel("Passages", { exact: true })
    .fill(
      [
        "Bread is baked in an oven.",
        "The bank by the river closes at four.",
        "Rivers run downhill until they reach the sea.",
      ].join("\n"),
    );
  await page.getByLabel("Question", { exact: true }).fill("where do rivers go");
  await page.getByRole("button", { name: "Rerank", exact: true }).click();
  await answered(page, "where do rivers go");
  assert.equal((await texts(page, "after"))[0], "Rivers run downhill until they reach the sea.");
  for (const name of ["Kitchen notes", /handbook/, /^Where it fails/]) {
    await page.getByRole("button", { name }).click();
    await answered(page, await page.locator("#question").inputValue());
  }
  // The browser itself asks, some time after each visit, whether there is a newer service worker, with nothing in the
  // question.
  const own = ({ path }) => path !== "/sw.js";
  assert.deepEqual(asked, []);
  assert.deepEqual(server.requests.slice(before).filter(own), []);
  const kept = await page.evaluate(() => [
    document.cookie,
    ...Object.values({ ...localStorage }),
    ...Object.values({ ...sessionStorage }),
  ]);
  assert.deepEqual(kept, ["", "yes"], "nothing typed is kept: the one entry says that the page was loaded anew");
  assert.deepEqual(page.wrong, []);
  await picture(page, "page");
});
