import type { DocumentInterface } from "@langchain/core/documents";
import { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";
import type { Reranker, RerankOptions } from "./index.js";

/**
 * A document compressor of LangChain.js. It returns the documents best first, as copies whose metadata have
 * `relevanceScore`, and, where documents are scored in passages, `passage` with its `start` and `end`.
 */
export class CrossrankCompressor extends BaseDocumentCompressor {
  /** The options are those of each call; `topK` is how many documents are kept at most. */
  constructor(reranker: Reranker, options?: Omit<RerankOptions, "onProgress">);

  compressDocuments(documents: DocumentInterface[], query: string): Promise<DocumentInterface[]>;
}
