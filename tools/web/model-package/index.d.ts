/** The model's files: what `model` of `Reranker.load` takes, and its default. */
declare const model: {
  readonly files: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly blocks: readonly string[];
    readonly url: URL;
  }[];
};
export default model;
