import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

import { CrossrankError } from "./errors.js";
import { Reranker as Common } from "./reranker.js";

export { CrossrankError };

/** Makes workers, and knows where a model lies, in Node. */
const host = {
  cores: availableParallelism,

  locate: (model) => {
    if (Array.isArray(model.files)) {
      return { files: model.files.map((file) => ({ ...file, url: String(file?.url) })) };
    }
    if (model instanceof URL || /^(https?|file):/.test(model)) return folder(new URL(model));
    const path = resolve(model);
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
      throw new CrossrankError("model", `model: expected a folder, found none at ${path}`);
    }
    return folder(pathToFileURL(path));
  },

  spawn: ({ message, death }) => {
    // Flags of the process are not the worker's: `--input-type`, for one, is refused there.
    const options = { name: "crossrank", execArgv: [] };
    const worker = new Worker(new URL("./worker-node.js", import.meta.url), options);
    let isEnding = false;
    worker.on("message", message);
    worker.on("messageerror", (error) => death(error.message));
    worker.on("error", (error) => death(error.message));
    worker.on("exit", (code) => {
      if (!isEnding) death(`it ended with exit code ${code}`);
    });
    return {
      post: (data) => worker.postMessage(data),
      end: async () => {
        isEnding = true;
        await worker.terminate();
      },
      // Whoever ends it waits for its end.
      hold: (isBusy) => {
        if (!isEnding) isBusy ? worker.ref() : worker.unref();
      },
    };
  },
};

function folder(url) {
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

export class Reranker extends Common {
  static host = host;
}
