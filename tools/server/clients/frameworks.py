"""Frameworks that still use cohere 5 against a running server: LangChain, LlamaIndex, LiteLLM, rerankers, Haystack.

    python frameworks.py http://127.0.0.1:8080 http://127.0.0.1:8081

The second server asks for the key `secret`.
"""

import os
import sys

# Nothing here may ask anybody but our server.
os.environ.update(
    DO_NOT_TRACK="1", HAYSTACK_TELEMETRY_ENABLED="False", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False"
)

from expected import DOCUMENTS, QUERY, check_order, expected  # noqa: E402


def cohere5(base, closed, best_first):
    import cohere

    for url in (base, base + "/v1"):
        answer = cohere.Client(api_key="any", base_url=url).rerank(query=QUERY, documents=DOCUMENTS, model="m")
        check_order([(result.index, result.relevance_score) for result in answer.results], best_first)
        answer = cohere.ClientV2(api_key="any", base_url=url).rerank(query=QUERY, documents=DOCUMENTS, model="m")
        check_order([(result.index, result.relevance_score) for result in answer.results], best_first)


def langchain(base, closed, best_first):
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    for top_n in (3, None):
        reranker = CohereRerank(model="m", cohere_api_key="any", base_url=base, top_n=top_n)
        found = reranker.rerank(DOCUMENTS, QUERY)
        wanted = best_first[:top_n] if top_n else best_first
        check_order([(result["index"], result["relevance_score"]) for result in found], wanted)
    reranker = CohereRerank(model="m", cohere_api_key="any", base_url=base, top_n=2)
    documents = [Document(page_content=text, metadata={"i": i}) for i, text in enumerate(DOCUMENTS)]
    found = reranker.compress_documents(documents, QUERY)
    check_order([(it.metadata["i"], it.metadata["relevance_score"]) for it in found], best_first[:2])


def llama_index(base, closed, best_first):
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.cohere_rerank import CohereRerank
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    def nodes():
        return [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(DOCUMENTS)]

    def check(found, wanted):
        check_order([(int(it.node.node_id), it.score) for it in found], wanted)

    for url, token in ((base, None), (closed, "Bearer secret")):
        tei = TextEmbeddingInference(base_url=url, top_n=len(DOCUMENTS), model_name="m", auth_token=token)
        check(tei.postprocess_nodes(nodes(), query_str=QUERY), best_first)
    cohere = CohereRerank(model="m", api_key="any", base_url=base, top_n=3)
    check(cohere.postprocess_nodes(nodes(), query_str=QUERY), best_first[:3])


def litellm(base, closed, best_first):
    import litellm

    litellm.telemetry = False
    # An empty text is left out by some of its ways, so that they are asked without it.
    texts = DOCUMENTS[:4]
    wanted = [(index, score) for index, score in best_first if index < 4]

    def check(model, **more):
        answer = litellm.rerank(model=model, query=QUERY, documents=texts, top_n=4, **more)
        check_order([(result["index"], result["relevance_score"]) for result in answer.results], wanted)

    check("cohere/m", api_base=base, api_key="any")
    check("cohere/m", api_base=base + "/v1", api_key="any")
    check("hosted_vllm/m", api_base=base)
    check("hosted_vllm/m", api_base=base + "/v1/rerank", api_key="any")
    check("jina_ai/m", api_base=base + "/v1/rerank", api_key="any")
    check("huggingface/m", api_base=base, api_key="any")


def rerankers(base, closed, best_first):
    from rerankers import Reranker

    for provider, path in (("text-embeddings-inference", "/rerank"), ("cohere", "/v1/rerank"), ("jina", "/v1/rerank")):
        ranker = Reranker("m", model_type="APIRanker", api_provider=provider, api_key="any", url=base + path)
        found = ranker.rank(QUERY, DOCUMENTS, doc_ids=list(range(len(DOCUMENTS))))
        check_order([(result.doc_id, result.score) for result in found.results], best_first)


def haystack(base, closed, best_first):
    from haystack import Document
    from haystack.utils import Secret

    try:
        from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
    except ImportError:
        from haystack.components.rankers.hugging_face_tei import HuggingFaceTEIRanker

    documents = [Document(content=text, meta={"i": i}) for i, text in enumerate(DOCUMENTS)]
    for url, token in ((base, None), (closed, Secret.from_token("secret"))):
        ranker = HuggingFaceTEIRanker(url=url, top_k=len(DOCUMENTS), token=token)
        found = ranker.run(query=QUERY, documents=documents)["documents"]
        check_order([(it.meta["i"], it.score) for it in found], best_first)


def main(base, closed):
    best_first = expected(base)
    failed = []
    for client in (cohere5, langchain, llama_index, litellm, rerankers, haystack):
        try:
            client(base, closed, best_first)
            print(client.__name__, "ok")
        except Exception as error:  # All are asked, and each that fails is named.
            failed.append(client.__name__)
            print(client.__name__, "FAILED:", type(error).__name__, error)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
