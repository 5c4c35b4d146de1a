// The service worker: the page without a network, and isolated where the host does not do that. `assemble.mjs` fills in
// the list and the version, so that a new version of any file makes a new worker, which takes over at the next visit.

const SHELL = "SHELL";
const CACHE = `crossrank-page-${"VERSION"}`;

/** What threads need, and, for the workers' scripts as well, that nothing is asked of other hosts. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
    "style-src 'self'; img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(CACHE).then((cache) => cache.addAll(SHELL.map((path) => new Request(path, { cache: "no-cache" })))),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("crossrank-page-") && name !== CACHE) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const scope = self.registration.scope;
  if (event.request.method !== "GET" || !url.href.startsWith(scope)) return;
  const file = url.pathname.slice(new URL(scope).pathname.length);
  const path = ["", "index.html"].includes(file) ? "./" : file;
  // The model's bytes are kept by the package itself, under their hashes.
  if (path.startsWith("model/") && !SHELL.includes(path)) return;
  event.respondWith(answer(event.request, path));
});

async function answer(request, path) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(path);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  // A module is kept once it was used, so that only that one is fetched.
  if (response.ok && path.startsWith("crossrank/engine/")) await cache.put(path, response.clone()).catch(() => {});
  return isolated(response);
}

function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
