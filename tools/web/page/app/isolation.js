// Threads need a page that is cross-origin isolated. Where the host does not send the headers the service worker does,
// from its second load on: so the first visit loads the page twice, before anything else is fetched.

/** Longer than it takes to install the service worker over a slow line: then the page goes on with one thread. */
const PATIENCE = 8000;
const TRIED = "crossrank-reloaded";

/**
 * Registers the service worker, and loads the page anew where that isolates it.
 * @param {() => boolean} isTouched whether the visitor has begun: then nothing is loaded anew
 * @returns {Promise<void>} resolves when the page may go on; never if it is about to be loaded anew
 */
export async function isolate(isTouched) {
  // Not on plain http, and not in some private windows.
  if (!navigator.serviceWorker) return;
  const registered = navigator.serviceWorker.register("sw.js");
  // A host that refuses it costs the page nothing but the next visit without a network.
  registered.catch(() => {});
  if (globalThis.crossOriginIsolated || navigator.serviceWorker.controller) return;
  try {
    await registered;
    const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE));
    await Promise.race([controlled(), patience]);
  } catch {
    return;
  }
  if (!navigator.serviceWorker.controller || isTouched() || sessionStorage.getItem(TRIED)) return;
  // So that a browser in which it does not help is not caught in a circle.
  sessionStorage.setItem(TRIED, "yes");
  location.reload();
  await new Promise(() => {});
}

function controlled() {
  return new Promise((resolve) => {
    if (navigator.serviceWorker.controller) return resolve();
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
  });
}
