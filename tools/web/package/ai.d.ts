import type { RerankingModelV3 } from "@ai-sdk/provider";
import type { Reranker, RerankOptions } from "./index.js";

export interface RerankingModelOptions {
  /** The name that the SDK reports. Default: `crossrank-model`. */
  modelId?: string;
  /** Options of each call. `providerOptions: { crossrank: {...} }` of a call comes before them. */
  rerank?: Omit<RerankOptions, "signal" | "onProgress">;
}

/**
 * A reranking model for `rerank` of the Vercel AI SDK (`ai` 6). Documents that are objects are scored by their `text`
 * where they have one, else as JSON.
 */
export function rerankingModel(reranker: Reranker, options?: RerankingModelOptions): RerankingModelV3;
