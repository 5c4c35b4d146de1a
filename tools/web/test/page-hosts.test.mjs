// The page on hosts of several kinds, without a network, and in browsers that lack something.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { answered, browse, open, texts } from "./browser.mjs";
import { ISOLATING, listen, serveFolder } from "./server.mjs";
import { WEB } from "./support.mjs";

const SITE = join(WEB, "dist/site");
const paths = (server) => server.requests.map(({ path }) => path);
const count = (server, end) => paths(server).filter((path) => path.endsWith(end)).length;

test("after the first visit it works without a network, and the model is not fetched again", async (t) => {
  const server = await listen(t, serveFolder(SITE));
  const context = await browse(t);
  const page = await open(context, server.url);
  await answered(page);
  // What is kept may still be on its way to the disk.
  await page.waitForFunction(async () => {
    const cache = await caches.open("crossrank-models-1");
    return (await cache.keys()).length === 5;
  });
  const first = await texts(page, "after");
  await page.close();

  const again = await open(context, server.url);
  await answered(again);
  assert.equal(count(server, ".safetensors"), 1);
  assert.equal(count(server, ".wasm.gz"), 1);
  await again.close();

  await server.close();
  const offline = await open(context, server.url);
  await answered(offline);
  assert.deepEqual(await texts(offline, "after"), first);
  assert.equal(await offline.evaluate(() => crossOriginIsolated), true);
  await offline.getByRole("button", { name: "Kitchen notes" }).click();
  await answered(offline, "why did my bread dough not rise");
});

test("it has threads by the host's headers, without a second load", async (t) => {
  const server = await listen(t, serveFolder(SITE, ISOLATING));
  const context = await browse(t, { serviceWorkers: "block" });
  const page = await open(context, server.url);
  await answered(page);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  assert.equal(count(server, "/"), 1);
  assert.ok(paths(server).some((path) => path.includes("-threads_bg.wasm.gz")));
});

test("without headers and without a service worker it has one thread, and the same results", async (t) => {
  const server = await listen(t, serveFolder(SITE));
  const context = await browse(t, { serviceWorkers: "block" });
  const page = await open(context, server.url);
  await answered(page);
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  assert.ok(!paths(server).some((path) => path.includes("-threads")));
  assert.match(await page.locator("#times").textContent(), /1 thread/);
  const isolating = await listen(t, serveFolder(SITE, ISOLATING));
  const other = await open(context, isolating.url);
  await answered(other);
  const scores = (page) => page.locator("#after > li .score").allTextContents();
  assert.deepEqual(await scores(other), await scores(page));
});

test("relaxed SIMD gives the scores of plain SIMD", async (t) => {
  const server = await listen(t, serveFolder(SITE));
  const context = await browse(t, { serviceWorkers: "block" });
  const found = [];
  for (const isa of ["simd", "relaxed"]) {
    const page = await open(context, `${server.url}?isa=${isa}`);
    await answered(page);
    assert.match(await page.locator("#times").textContent(), new RegExp(`“${isa}”`));
    found.push(await page.locator("#after > li .score").allTextContents());
  }
  assert.deepEqual(found[0], found[1]);
});

test("foreign hosts are out of reach", async (t) => {
  const [server, foreign] = [await listen(t, serveFolder(SITE, ISOLATING)), await listen(t, serveFolder(SITE))];
  const page = await open(await browse(t, { serviceWorkers: "block" }), server.url);
  await answered(page);
  const violation = await page.evaluate(async (url) => {
    const violated = new Promise((resolve) => addEventListener("securitypolicyviolation", resolve, { once: true }));
    const failed = await fetch(url).then(
      () => "fetched",
      (error) => error.name,
    );
    return [failed, (await violated).effectiveDirective];
  }, foreign.url);
  assert.deepEqual(violation, ["TypeError", "connect-src"]);
  assert.deepEqual(foreign.requests, []);
});

test("a damaged copy of the model is fetched once more, a damaged server is an error", async (t) => {
  const files = serveFolder(SITE, ISOLATING);
  let isDamaged = false;
  const server = await listen(t, (request, response) => {
    if (isDamaged && request.url.endsWith("/tokenizer.json")) return response.end("x".repeat(466_247));
    files(request, response);
  });
  const context = await browse(t, { serviceWorkers: "block" });
  const page = await open(context, server.url);
  await answered(page);
  await page.evaluate(async () => {
    const cache = await caches.open("crossrank-models-1");
    for (;;) {
      const keys = await cache.keys();
      const key = keys.find(({ url }) => url.includes("/tokenizer.json"));
      if (keys.length === 5 && key) return cache.put(key, new Response("x".repeat(466_247)));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  await page.reload();
  await answered(page);
  assert.equal(count(server, "/tokenizer.json"), 2);

  isDamaged = true;
  await page.evaluate(() => caches.delete("crossrank-models-1"));
  await page.reload();
  await page.locator("#trouble:not([hidden])").waitFor();
  assert.match(
    await page.locator("#trouble").textContent(),
    /tokenizer\.json \(http.*expected sha256 [0-9a-f]{64}.*, found [0-9a-f]{64}/,
  );
  assert.equal(count(server, "/tokenizer.json"), 4);
  // BM25's order is there all the same, and the page does not pretend that the other one comes.
  assert.equal((await texts(page, "before")).length, 36);
  assert.equal(await page.locator("#after").getAttribute("aria-busy"), null);
  isDamaged = false;
  await page.reload();
  await answered(page);
});

test("what is missing is said in clear words", async (t) => {
  const server = await listen(t, serveFolder(SITE, ISOLATING));
  const context = await browse(t, { serviceWorkers: "block" });
  const cases = [
    ["WebAssembly.validate = () => false", /crossrank needs 128-bit SIMD in WebAssembly/],
    ["delete globalThis.DecompressionStream", /crossrank needs DecompressionStream/],
    ["delete globalThis.WebAssembly", /crossrank needs WebAssembly/],
  ];
  for (const [script, message] of cases) {
    const page = await context.newPage();
    await page.addInitScript(script);
    await page.goto(server.url);
    await page.locator("#trouble:not([hidden])").waitFor();
    assert.match(await page.locator("#trouble").textContent(), message);
    assert.equal((await texts(page, "before")).length, 36);
    await page.close();
  }
});

test("a script that is missing is an error, not a wait for ever", async (t) => {
  const files = serveFolder(SITE, ISOLATING);
  for (const missing of [/worker-browser\.js/, /engine\/.*\.js/, /\.wasm\.gz/]) {
    const server = await listen(t, (request, response) =>
      missing.test(request.url) ? response.writeHead(404).end() : files(request, response),
    );
    const page = await open(await browse(t, { serviceWorkers: "block" }), server.url);
    await page.locator("#trouble:not([hidden])").waitFor();
    assert.match(await page.locator("#trouble").textContent(), /could not be loaded: /);
  }
});
