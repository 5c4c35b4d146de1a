// A worker of Node: where its modules and its model come from.

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { parentPort } from "node:worker_threads";

import { CrossrankError } from "./errors.js";
import { bytes, compile, glue } from "./glue.js";
import { BLOCK } from "./manifest.js";
import { serve } from "./serve.js";

/** Files of a disk or of a server, none of which is kept: a service has its disk. */
const source = {
  open: async (file) => {
    if (!file.url.startsWith("file:")) return (await get(file.url)).body;
    return chunks(new URL(file.url));
  },
  // A disk gives the same bytes again; of a server it is worth another try.
  forget: async (file) => !file.url.startsWith("file:"),
};

const take = serve((message) => parentPort.postMessage(message), {
  glue: (module) => glue[module](),
  compile: async (module) => compile(await readFile(bytes[module]())),

  manifest: async (folder) => {
    const url = new URL("manifest.json", folder);
    const text = url.protocol === "file:" ? await read(url) : await (await get(url.href)).text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new CrossrankError("model", `${url}: expected JSON: ${error.message}`);
    }
  },

  source: () => source,
  turn: () => new Promise((resolve) => setImmediate(resolve)),
});

parentPort.on("message", take);

async function* chunks(url) {
  try {
    yield* createReadStream(url, { highWaterMark: BLOCK });
  } catch (error) {
    throw new CrossrankError("model", `${url}: ${error.message}`);
  }
}

async function read(url) {
  return readFile(url, "utf8").catch((error) => {
    throw new CrossrankError("model", `${url}: ${error.message}`);
  });
}

async function get(url) {
  const response = await fetch(url).catch((error) => {
    throw new CrossrankError("model", `${url}: ${error.cause?.message ?? error.message}`);
  });
  if (!response.ok) throw new CrossrankError("model", `${url}: the server answers ${response.status}`);
  return response;
}
