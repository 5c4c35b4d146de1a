/**
 * What can go wrong, with a `code` for programs and a message for people.
 *
 * - `unsupported`: this browser or Node lacks something that the engine needs
 * - `input`: an argument is not what was expected; the message names it
 * - `model`: a file of the model is missing, damaged, or of a kind that the engine refuses
 * - `worker`: a worker could not be started or died; the reranker is of no use any more
 * - `disposed`: the reranker was disposed of
 */
export class CrossrankError extends Error {
  /**
   * @param {"unsupported" | "input" | "model" | "worker" | "disposed"} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = "CrossrankError";
    this.code = code;
  }
}

/** How an error crosses from a worker: as plain data. */
export function packError(error) {
  const message = error instanceof Error ? error.message : String(error);
  return { code: error?.code, message, isOurs: error instanceof CrossrankError };
}

/** The error that {@link packError} took apart; `code` is what it gets where it had none. */
export function unpackError(packed, code) {
  return new CrossrankError(packed.isOurs ? packed.code : code, packed.message);
}
