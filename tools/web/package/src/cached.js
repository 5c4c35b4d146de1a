// A model's files in a browser: fetched once, then kept in Cache Storage under their hashes.

import { CrossrankError } from "./errors.js";

const CACHE = "crossrank-models-1";

/** The cache, where there is one: not on plain http, and not where the visitor forbade it. */
async function openCache(wanted) {
  if (!wanted || !globalThis.caches) return undefined;
  return caches.open(CACHE).catch(() => undefined);
}

/** Reads `manifest.json` of a folder: the server's, or, where that cannot be reached, the one of last time. */
export async function readManifest(folder, wanted) {
  const url = new URL("manifest.json", folder).href;
  const cache = await openCache(wanted);
  let response;
  try {
    response = await get(url, "no-cache");
    await cache?.put(url, response.clone()).catch(() => {});
  } catch (error) {
    response = await cache?.match(url);
    if (!response) throw error;
  }
  return response.json().catch((error) => {
    throw new CrossrankError("model", `${url}: expected JSON: ${error.message}`);
  });
}

/** Where the bytes of a model's files come from. @implements {import("./fill.js").Source} */
export class CachedSource {
  #files;
  #wanted;
  /** What is still being kept. */
  #keeping = [];

  constructor(files, wanted) {
    this.#files = files;
    this.#wanted = wanted;
    this.settle = () => this.#settle();
  }

  async open(file, anew) {
    // Bundlers make `data:` URLs of small files, which are in the page already.
    const cache = await openCache(this.#wanted && /^https?:/.test(file.url));
    const key = keyOf(file);
    const kept = anew ? undefined : await cache?.match(key);
    const response = kept ?? (await get(file.url, anew ? "reload" : "default"));
    if (!kept && cache) {
      // A full disk costs the next visit a download, and nothing else.
      this.#keeping.push(cache.put(key, response.clone()).catch(() => {}));
    }
    return chunks(response.body, file.url);
  }

  async forget(file) {
    await Promise.all(this.#keeping);
    const cache = await openCache(this.#wanted);
    await cache?.delete(keyOf(file));
    return true;
  }

  /** Waits for what is being kept, and drops what these files replace. */
  async #settle() {
    await Promise.all(this.#keeping);
    const cache = await openCache(this.#wanted);
    const current = new Map(this.#files.map((file) => [file.url, keyOf(file)]));
    for (const { url } of (await cache?.keys()) ?? []) {
      const replaced = current.get(withoutHash(url));
      if (replaced !== undefined && replaced !== url) await cache.delete(url);
    }
  }
}

/** The hash is part of the key: a file that changed on the server is another one. */
function keyOf(file) {
  const url = new URL(file.url);
  url.searchParams.set("crossrank-sha256", file.sha256);
  url.hash = "";
  return url.href;
}

function withoutHash(key) {
  const url = new URL(key);
  if (!url.searchParams.has("crossrank-sha256")) return undefined;
  url.searchParams.delete("crossrank-sha256");
  return url.href;
}

async function get(url, cache) {
  const response = await fetch(url, { cache }).catch((error) => {
    throw new CrossrankError("model", `${url}: ${error.message}`);
  });
  if (!response.ok) throw new CrossrankError("model", `${url}: the server answers ${response.status}`);
  return response;
}

async function* chunks(stream, url) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw new CrossrankError("model", `${url}: the download broke off: ${error.message}`);
      });
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
