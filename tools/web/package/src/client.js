// The calling thread's side: makes the workers, hears when one dies, and hands out what the engine's worker answers.

import { CrossrankError, unpackError } from "./errors.js";

/**
 * The engine in its workers. All of them are made by this thread, so that it hears of their deaths: the engine's own
 * worker is deaf while it computes.
 *
 * @typedef {object} WorkerHandle a worker of a browser or of Node
 * @property {(message: object) => void} post
 * @property {() => Promise<void>} end stops it, whatever it does; resolves when it is gone
 * @property {(isBusy: boolean) => void} hold whether it keeps the process alive
 */
export class Client {
  #spawn;
  #engine;
  #helpers = [];
  /** Resolves or rejects what is being waited for: the load, or the request under way. */
  #waiting;
  /** Why nothing more will come. */
  #dead;
  #ended;
  /** Helpers that are not there yet. */
  #missing;

  /**
   * @param {(hear: {message(message: object): void, death(reason: string): void}) => WorkerHandle} spawn
   * @param {number} threads
   */
  constructor(spawn, threads) {
    this.#spawn = spawn;
    this.#missing = threads;
    this.#engine = this.#make((message) => this.#answer(message));
    // They read their script while the engine's worker compiles what they will run.
    for (let i = 0; threads > 1 && i < threads; i++) {
      const helper = this.#make(() => this.#count());
      helper.hold(false);
      this.#helpers.push(helper);
    }
  }

  /** Why nothing more will come, once that is so. */
  get dead() {
    return this.#dead;
  }

  /**
   * Sends a message and waits for the one that ends what it began.
   * @param {object} message
   * @param {(message: object) => void} [onStep] hears of progress
   */
  ask(message, onStep) {
    if (this.#dead) return Promise.reject(this.#dead);
    this.#engine.hold(true);
    const answer = new Promise((resolve, reject) => (this.#waiting = { resolve, reject, onStep }));
    this.#engine.post(message);
    return answer.finally(() => {
      this.#waiting = undefined;
      this.#engine.hold(false);
    });
  }

  /** Sends a message that has no answer of its own. */
  tell(message) {
    this.#engine.post(message);
  }

  /** Ends all workers. What is pending is rejected with the reason, and so is what comes later. */
  end(reason) {
    this.#dead ??= reason;
    this.#waiting?.reject(this.#dead);
    this.#ended ??= Promise.all([this.#engine, ...this.#helpers].map((worker) => worker.end())).then(() => {});
    return this.#ended;
  }

  #make(message) {
    return this.#spawn({
      message: (data) => {
        if (data.type === "fatal") this.end(unpackError(data.error, "worker"));
        else if (!this.#dead) message(data);
      },
      death: (reason) => this.end(new CrossrankError("worker", `a worker died: ${reason}`)),
    });
  }

  #answer(message) {
    switch (message.type) {
      case "spawn":
        for (const helper of this.#helpers) helper.post({ ...message, type: "help" });
        return;
      case "progress":
      case "step":
        return this.#waiting?.onStep?.(message);
      case "failed":
        return this.#waiting?.reject(unpackError(message.error, "input"));
      default:
        return this.#waiting?.resolve(message);
    }
  }

  /** Tells the engine's worker when all helpers are there. */
  #count() {
    this.#missing -= 1;
    if (this.#missing === 0) this.tell({ type: "helped" });
  }
}
