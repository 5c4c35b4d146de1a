// The model on its way into the page.

import { Reranker } from "../crossrank/src/browser.js";
import { byId } from "./dom.js";

/**
 * Loads the engine and its model, and shows how far that is.
 * @returns {Promise<{reranker: Reranker, milliseconds: number}>}
 * @throws {Error} with a message for the visitor
 */
export async function loadModel() {
  const section = byId("engine");
  const progress = byId("engine-progress");
  section.hidden = false;
  const begin = performance.now();
  const onProgress = ({ loaded, total }) => {
    progress.max = total;
    progress.value = loaded;
    byId("engine-amount").textContent = `${megabytes(loaded)} of ${megabytes(total)} MB`;
  };
  try {
    const reranker = await Reranker.load({ model: new URL("../model/", import.meta.url), onProgress, ...wishes() });
    return { reranker, milliseconds: performance.now() - begin };
  } finally {
    section.hidden = true;
  }
}

/** `?threads=1&isa=simd`: for comparisons, and where something is wrong. */
function wishes() {
  const asked = new URLSearchParams(location.search);
  const result = {};
  if (asked.has("threads")) result.threads = Number(asked.get("threads"));
  if (asked.has("isa")) result.isa = asked.get("isa");
  return result;
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}
