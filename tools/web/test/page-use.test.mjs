// Using the page: files, long documents, sliders, the keyboard, a phone, and what screen readers get.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { answered, browse, open, picture, texts } from "./browser.mjs";
import { ISOLATING, listen, serveFolder } from "./server.mjs";
import { WEB } from "./support.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const QUESTION = "where do rivers go";
const RIVERS = "Rivers run downhill until they reach the sea.";

// One browser for all of them: each has a page of its own.
let context, url;
const ends = [];
const suite = { after: (end) => ends.push(end) };
before(async () => {
  url = (await listen(suite, serveFolder(join(WEB, "dist/site"), ISOLATING))).url;
  context = await browse(suite);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

async function visit(t) {
  const page = await open(context, url);
  t.after(() => page.close());
  await answered(page);
  return page;
}

async function ask(page, question) {
  await page.getByLabel("Question", { exact: true }).fill(question);
  await page.keyboard.press("Enter");
  await answered(page, question);
}

async function paste(page, text) {
  await page.getByRole("button", { name: "Your own text" }).click();
  await page.getByLabel("Passages", { exact: true }).fill(text);
}

test("a text file is chosen or dropped, and what is no text is refused by name", async (t) => {
  const page = await visit(t);
  const buffer = Buffer.from(`Bread is baked.\r\n\r\nThe bank closes at four.\r\nIt is red.\r\n\r\n${RIVERS}\r\n`);
  await page.locator("#file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer });
  await page.waitForFunction(() => document.getElementById("count").textContent === "3 passages");
  await ask(page, QUESTION);
  assert.equal((await texts(page, "after"))[0], RIVERS);

  const drop = (name, bytes) =>
    page.evaluate(
      ([name, bytes]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
        for (const type of ["dragover", "drop"]) {
          document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
        }
      },
      [name, [...bytes]],
    );
  await drop("lines.txt", Buffer.from(`one line\n${RIVERS}\n`));
  await page.waitForFunction(() => document.getElementById("count").textContent === "2 passages");
  assert.match(await page.locator("#about").textContent(), /lines\.txt/);
  await drop("picture.png", [0x89, 0x50, 0x4e, 0x47, 0, 255]);
  await page.locator("#trouble:not([hidden])").waitFor();
  assert.match(await page.locator("#trouble").textContent(), /picture\.png: expected a text in UTF-8/);
  assert.equal(await page.locator("#count").textContent(), "2 passages");
});

test("the best passage of a long document is marked, whatever characters come before it", async (t) => {
  const page = await visit(t);
  const filler = "The crab 🦀 sat on a stone by the wall and said nothing at all — for hours. ".repeat(60);
  const answer = `${RIVERS} That is where rivers go.`;
  await paste(page, `${filler}${answer} ${filler}\n\nA short one: 🦀.`);
  await page.getByLabel("a paragraph").check();
  await page.getByLabel("Score long documents in passages").check();
  await ask(page, QUESTION);
  await page
    .locator("#after > li")
    .first()
    .getByRole("button", { name: /^Show all/ })
    .click();
  const mark = await page.locator("#after > li mark").textContent();
  assert.ok(mark.includes(answer), mark);
  assert.match(mark, /^The crab 🦀 sat|^Rivers/);
  assert.match(mark, /\.$/);
  assert.equal(await page.locator("#after mark").count(), 1, "a document of one passage is not marked");
  await picture(page, "long-documents");

  await page.getByLabel("Score long documents in passages").uncheck();
  await answered(page, QUESTION);
  assert.equal(await page.locator("#after .cut").count(), 1);
});

test("the sliders say how many candidates are read, and how many results are shown", async (t) => {
  const page = await visit(t);
  await page.locator("#candidates").fill("10");
  await page.waitForFunction(() => document.querySelectorAll("#before > li").length === 10);
  await answered(page);
  assert.match(await page.locator("#status").textContent(), /^10 passages reranked/);
  await page.locator("#top").fill("3");
  assert.equal((await texts(page, "after")).length, 3);
  assert.equal(await page.locator("#lines path").count(), 3);
  assert.equal(await page.locator("#before > li.left-out").count(), 7);
});

test("nothing to ask, or nothing to search, is said", async (t) => {
  const page = await visit(t);
  await page.getByLabel("Question", { exact: true }).fill("  ");
  await page.keyboard.press("Enter");
  assert.match(await page.locator("#status").textContent(), /type a question/);
  await paste(page, " \n\n");
  await page.getByLabel("Question", { exact: true }).fill(QUESTION);
  await page.keyboard.press("Enter");
  assert.match(await page.locator("#status").textContent(), /no passages yet/);
  assert.deepEqual(page.wrong, []);
});

test("a question that is changed while the model reads is the one that is answered", async (t) => {
  const page = await visit(t);
  for (const name of ["Kitchen notes", "A shop’s help pages", "Questions of a child"]) {
    await page.getByRole("button", { name }).click({ noWaitAfter: true });
  }
  const question = await page.locator("#question").inputValue();
  await answered(page, question);
  assert.equal(question, "why does a heavy ship not sink");
  assert.match((await texts(page, "after"))[0], /^A hull/);
  assert.deepEqual(page.wrong, []);
});

test("everything can be done by keyboard, and one sees where one is", async (t) => {
  const page = await visit(t);
  const reached = [];
  const focused = () =>
    page.evaluate(() => {
      if (document.activeElement === document.body) return { name: "nothing" };
      const { id, textContent, type } = document.activeElement;
      const { outlineStyle } = getComputedStyle(document.activeElement);
      return { name: id || textContent.trim().slice(0, 30) || type, outlineStyle };
    });
  for (;;) {
    await page.keyboard.press("Tab");
    const { name, outlineStyle } = await focused();
    // Past the last link focus leaves the page.
    if (name === "nothing") break;
    reached.push(name);
    assert.notEqual(outlineStyle, "none", `no outline around ${name}`);
    if (name === "Kitchen notes") {
      await page.keyboard.press("Enter");
      await answered(page, "why did my bread dough not rise");
    }
    if (name.endsWith("edit, paste") || name.includes("passages")) await page.keyboard.press("Enter");
    if (name === "top") await page.keyboard.press("Home");
  }
  for (const name of ["Kitchen notes", "question", "Rerank", "passages", "file", "candidates", "top", "long"]) {
    assert.ok(reached.includes(name), `${name} is not among ${reached.join(" | ")}`);
  }
  assert.equal((await texts(page, "after")).length, 1, "Home on the slider shows one result");
});

test("axe has nothing serious to say, in light, dark and on a phone", async (t) => {
  const page = await visit(t);
  await page.getByText("edit, paste your own").click();
  const looks = [
    ["light", { colorScheme: "light" }, { width: 1280, height: 900 }],
    ["dark", { colorScheme: "dark" }, { width: 1280, height: 900 }],
    ["phone", { colorScheme: "light" }, { width: 360, height: 740 }],
    ["phone-dark", { colorScheme: "dark" }, { width: 360, height: 740 }],
  ];
  for (const [name, media, size] of looks) {
    await page.emulateMedia(media);
    await page.setViewportSize(size);
    const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(scroll <= size.width, `${name}: ${scroll} pixels in ${size.width}`);
    await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate(() => axe.run());
    assert.ok(passes.length > 20, "axe looked at the page");
    const said = violations.map(
      ({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html.slice(0, 100)).join(", ")}`,
    );
    assert.deepEqual(said, [], name);
    await picture(page, name);
  }
});

test("screen readers get names, places, and the news", async (t) => {
  const page = await visit(t);
  const tree = await page.locator("body").ariaSnapshot();
  for (const expected of [
    /textbox "Question"/,
    /button "Questions of a child" \[pressed\]/,
    /slider "Candidates that BM25 hands on"/,
    /slider "Results shown"/,
    /status: 36 passages reranked/,
    /region "Before: by words BM25"/,
    /region "After: by meaning cross-encoder"/,
    /Place 1 score 0\.\d+ up \d+ places? \d+ tokens ✓ answers it/,
  ]) {
    assert.match(tree, expected);
  }
  assert.equal(await page.locator("#after").getAttribute("aria-busy"), null);
});
