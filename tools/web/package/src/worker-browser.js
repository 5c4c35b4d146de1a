// A worker of a browser: where its modules and its model come from.

import { CrossrankError } from "./errors.js";
import { bytes, compile, glue } from "./glue.js";
import { serve } from "./serve.js";
import { CachedSource, readManifest } from "./cached.js";

const turns = new MessageChannel();
let resume;
turns.port1.onmessage = () => resume();

const take = serve((message) => postMessage(message), {
  glue: (module) => glue[module](),

  compile: async (module) => {
    const url = bytes[module]();
    const response = await fetch(url).catch((error) => {
      throw new CrossrankError("worker", `${url}: ${error.message}`);
    });
    if (!response.ok) throw new CrossrankError("worker", `${url}: the server answers ${response.status}`);
    return compile(new Uint8Array(await response.arrayBuffer()));
  },

  manifest: readManifest,
  source: (files, cache) => new CachedSource(files, cache),

  // Not a timer: those wait for 4 ms at least.
  turn: () =>
    new Promise((resolve) => {
      resume = resolve;
      turns.port2.postMessage(null);
    }),
});

onmessage = ({ data }) => take(data);
