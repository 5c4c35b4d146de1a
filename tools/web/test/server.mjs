// A server of static files for the tests, which can withhold, change, count and add headers.

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".md": "text/markdown; charset=utf-8",
};

/** The headers of a host that isolates its pages. */
export const ISOLATING = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Answers with the files of a folder, as a host without any settings does: with tags by which browsers ask again. */
export function serveFolder(folder, headers = {}) {
  return (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return response.writeHead(404).end("no such file");
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const { size, mtimeMs } = statSync(file);
    const tag = `"${size}-${mtimeMs}"`;
    if (request.headers["if-none-match"] === tag) return response.writeHead(304, { ETag: tag, ...headers }).end();
    response.writeHead(200, { "Content-Type": type, "Content-Length": size, ETag: tag, ...headers });
    createReadStream(file).pipe(response);
  };
}

/** Listens until the test is over. `requests` has the path of each request, with the bytes of its answer. */
export async function listen(test, handler) {
  const requests = [];
  const server = createServer((request, response) => {
    const entry = { path: request.url, bytes: 0 };
    requests.push(entry);
    const write = response.write.bind(response);
    const count = (chunk) =>
      (entry.bytes += typeof chunk === "string" || chunk instanceof Uint8Array ? chunk.length : 0);
    response.write = (chunk, ...rest) => (count(chunk), write(chunk, ...rest));
    handler(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  test.after(close);
  return { url: `http://127.0.0.1:${server.address().port}/`, requests, close };
}
