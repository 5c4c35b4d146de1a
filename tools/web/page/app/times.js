// Where the time went, in milliseconds.

import { byId, counted, element, milliseconds } from "./dom.js";

/**
 * @param {{load: number, info: import("../crossrank/index.js").RerankerInfo, first: number, model: number,
 *   results: {tokens: number}[], all: number}} times `all` is how many passages there are
 */
export function showTimes({ load, info, first, model, results, all }) {
  const { timings, module, threads } = info;
  const tokens = results.reduce((sum, result) => sum + result.tokens, 0);
  const pairs = results.length;
  const rows = [
    [
      "Loading, once",
      milliseconds(load),
      `program ${milliseconds(timings.start)}, model ${milliseconds(timings.model)}, building ${milliseconds(timings.build)}`,
    ],
    ["BM25", milliseconds(first), `all ${counted(all, "passage")}`],
    [
      "Tokenizer and model",
      milliseconds(model),
      `${counted(pairs, "pair")} of ${counted(tokens, "token")}, ${milliseconds(model / pairs)} each`,
    ],
    [
      "On",
      counted(threads, "thread"),
      `WebAssembly module “${module}”, ${(info.memoryBytes / 1e6).toFixed(0)} MB of memory`,
    ],
  ];
  byId("time-list").replaceChildren(
    ...rows.map(([name, value, note]) =>
      element("div", {}, [
        element("dt", { text: name }),
        element("dd", {}, [element("strong", { text: value }), element("span", { text: note })]),
      ]),
    ),
  );
  byId("times").hidden = false;
}
