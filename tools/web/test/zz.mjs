import { test } from "node:test";
import { browse, open, answered, picture } from "./browser.mjs";
import { listen, serveFolder, ISOLATING } from "./server.mjs";
test("x", async (t) => {
  const server = await listen(t, serveFolder("/work/web/tools/web/dist/site"));
  const context = await browse(t);
  for (let i = 0; i < 4; i++) { const page = await open(context, server.url);
  const t0 = Date.now(); 
  await answered(page); console.log(Date.now()-t0, await page.evaluate(() => performance.now()), await page.locator("#time-list").innerText()); 
  if (i==3) { await page.getByRole("button", {name: "Your own text"}).click(); await picture(page, "own"); }
  await page.close(); }
});
