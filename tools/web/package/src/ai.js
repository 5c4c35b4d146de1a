// The reranking model of the Vercel AI SDK, by its specification v3 (`ai` 6).

/** @see ai.d.ts */
export function rerankingModel(reranker, options = {}) {
  return {
    specificationVersion: "v3",
    provider: "crossrank",
    modelId: options.modelId ?? "crossrank-model",

    async doRerank({ documents, query, topN, abortSignal, providerOptions }) {
      const own = { ...options.rerank, ...providerOptions?.crossrank };
      const wishes = { ...own, topK: topN ?? own.topK, signal: abortSignal };
      const results = await reranker.rerank(query, texts(documents), wishes);
      return { ranking: results.map(({ index, score }) => ({ index, relevanceScore: score })) };
    },
  };
}

/** Objects are scored by their `text` where they have one, else as JSON, as hosted rerankers do. */
function texts({ type, values }) {
  if (type === "text") return values;
  return values.map((value) => (typeof value.text === "string" ? value.text : JSON.stringify(value)));
}
