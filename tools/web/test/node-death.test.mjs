// A worker that dies ends everything that waits for it, by name; nothing hangs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

import { Reranker } from "crossrank";

import { HERE, PASSAGES, noThreads } from "./support.mjs";

/** A Reranker whose workers `spawn` makes, or lets through. */
function withWorkers(spawn) {
  return class extends Reranker {
    static host = { ...Reranker.host, spawn: (hear) => spawn(hear, Reranker.host.spawn) };
  };
}

/** A worker that runs this script in place of ours. */
function impostor(script, { message, death }) {
  const worker = new Worker(script, { eval: true });
  worker.on("message", message);
  worker.on("error", (error) => death(error.message));
  worker.on("exit", (code) => death(`it ended with exit code ${code}`));
  return { post: (data) => worker.postMessage(data), end: () => worker.terminate(), hold: () => {} };
}

test("a worker that dies while it loads is an error", async () => {
  for (const [script, message] of [
    ["process.exit(3)", /a worker died: it ended with exit code 3/],
    ["throw new Error('no luck')", /a worker died: no luck/],
  ]) {
    const Dying = withWorkers((hear) => impostor(script, hear));
    await assert.rejects(Dying.load({ ...HERE, threads: 1 }), { code: "worker", message });
  }
});

test("a helper that dies is an error, too", { skip: noThreads }, async () => {
  let made = 0;
  const Dying = withWorkers((hear, spawn) => (made++ === 2 ? impostor("process.exit(4)", hear) : spawn(hear)));
  await assert.rejects(Dying.load({ threads: 2 }), { code: "worker", message: /exit code 4/ });
});

test("when the engine's worker fails, what is pending and what comes later is rejected", async () => {
  const handles = [];
  const Watched = withWorkers((hear, spawn) => {
    const handle = spawn(hear);
    handles.push(handle);
    return handle;
  });
  for (const threads of noThreads ? [1] : [1, 2]) {
    handles.length = 0;
    const reranker = await Watched.load({ ...HERE, threads });
    const many = Array.from({ length: 400 }, () => PASSAGES[1]);
    const pending = Promise.allSettled([reranker.rerank("q", many), reranker.rerank("q", PASSAGES)]);
    // What no caller can send: the worker takes it for a request, and stumbles.
    handles[0].post({ type: "rank", id: 99 });
    for (const { reason } of await pending) assert.equal(reason?.code, "worker", String(reason));
    await assert.rejects(reranker.rerank("q", PASSAGES), { code: "worker" });
    await reranker.dispose();
  }
});

test("where shared memory cannot be had, one thread does, unless several were asked for", async () => {
  const made = [];
  // As a device does that has not enough of it.
  const refusing = `
    const { parentPort } = require("node:worker_threads");
    const error = { code: "unsupported", message: "memory that threads share cannot be had here", isOurs: true };
    parentPort.on("message", () => parentPort.postMessage({ type: "fatal", error }));
  `;
  const Poor = withWorkers((hear, spawn) => {
    made.push(hear);
    return made.length === 1 ? impostor(refusing, hear) : spawn(hear);
  });
  Poor.host.cores = () => 4;
  const { threads, ...isa } = HERE;
  const reranker = await Poor.load(isa);
  assert.equal(reranker.info.threads, 1);
  assert.equal((await reranker.rerank("q", PASSAGES)).length, 4);
  await reranker.dispose();

  made.length = 0;
  await assert.rejects(Poor.load({ ...isa, threads: 4 }), {
    code: "unsupported",
    message: /memory that threads share/,
  });
});
