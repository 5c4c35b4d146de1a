// Chromium for the tests, and pages that note whatever is wrong.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { WEB } from "./support.mjs";

const PATH = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A browser with a profile of its own: what it keeps outlives its pages, and not the test. */
export async function browse(test, options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "crossrank-profile-"));
  const { flags = [], ...rest } = options;
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: PATH,
    args: [...FLAGS, ...flags],
    viewport: { width: 1280, height: 900 },
    reducedMotion: "reduce",
    ...rest,
  });
  // Blocking alone leaves a registration that never settles; browsers without service workers have no such property.
  if (rest.serviceWorkers === "block") await context.addInitScript("delete Navigator.prototype.serviceWorker");
  test.after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });
  return context;
}

/** A page. `wrong` gathers errors that nobody caught, and what the console calls an error. */
export async function open(context, url) {
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  if (url) await page.goto(url);
  return Object.assign(page, { wrong });
}

/** Waits until a question has its answer on the page. */
export async function answered(page, question) {
  const done = question === undefined ? "[data-done]" : `[data-done=${JSON.stringify(question)}]`;
  await page.waitForSelector(`#results${done}, #trouble:not([hidden])`, { timeout: 120_000 });
  assert.equal(await page.locator("#trouble").textContent(), "");
}

/** The passages of a list, in its order. */
export function texts(page, list) {
  return page.locator(`#${list} > li .text`).allTextContents();
}

/** Keeps a picture of the page among the artefacts. */
export async function picture(page, name) {
  const folder = join(WEB, "artefacts");
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
