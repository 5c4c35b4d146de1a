// A document compressor of LangChain.js: keeps what answers the query best.

import { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";

/** @see langchain.d.ts */
export class CrossrankCompressor extends BaseDocumentCompressor {
  #reranker;
  #options;

  constructor(reranker, options = {}) {
    super();
    this.#reranker = reranker;
    this.#options = options;
  }

  async compressDocuments(documents, query) {
    const texts = documents.map((document) => document.pageContent);
    const results = await this.#reranker.rerank(query, texts, this.#options);
    return results.map(({ index, score, passage }) => {
      const document = documents[index];
      const metadata = { ...document.metadata, relevanceScore: score };
      if (passage) metadata.passage = { start: passage.start, end: passage.end };
      // A copy: the retriever's documents may be shared.
      return Object.assign(Object.create(Object.getPrototypeOf(document)), document, { metadata });
    });
  }
}
