import { Reranker as Common } from "./reranker.js";

export { CrossrankError } from "./errors.js";

/** Makes workers, and knows where a model lies, in a browser. */
const host = {
  cores: () => navigator.hardwareConcurrency,

  locate: (model) => {
    if (Array.isArray(model.files)) return plain(model);
    return folder(new URL(model, globalThis.document?.baseURI ?? globalThis.location.href));
  },

  spawn: ({ message, death }) => {
    const worker = new Worker(new URL("./worker-browser.js", import.meta.url), { type: "module", name: "crossrank" });
    worker.onmessage = ({ data }) => message(data);
    worker.onmessageerror = () => death("a message could not be read");
    worker.onerror = (event) => {
      event.preventDefault();
      death(event.message || "its script could not be loaded");
    };
    return {
      post: (data) => worker.postMessage(data),
      end: async () => worker.terminate(),
      hold: () => {},
    };
  },
};

function folder(url) {
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

/** The export of a model package as it can be sent to a worker. */
function plain(model) {
  return { files: model.files.map((file) => ({ ...file, url: String(file?.url) })) };
}

export class Reranker extends Common {
  static host = host;
}
