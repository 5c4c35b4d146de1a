"""What many write themselves: FastAPI around sentence-transformers with its OpenVINO back end.

    BATCH=32 LOCK=1 MODEL=OUT_FOLDER python -m uvicorn fastapi_openvino:app --port 8082 --no-access-log

BATCH is the batch size of `predict`. With LOCK=1 requests are scored one after the other, else by the threads of FastAPI's pool.
"""

import contextlib
import os
import threading

from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

model = CrossEncoder(
    os.environ["MODEL"], backend="openvino", max_length=512, model_kwargs={"file_name": "openvino_model.xml"}, local_files_only=True
)
batch_size = int(os.environ.get("BATCH", "32"))
guard = threading.Lock() if os.environ.get("LOCK", "1") == "1" else contextlib.nullcontext()
app = FastAPI()


class Request(BaseModel):
    query: str
    documents: list[str]
    model: str | None = None
    return_documents: bool = False


@app.post("/rerank")
def rerank(request: Request):
    with guard:
        ranking = model.rank(request.query, request.documents, batch_size=batch_size, show_progress_bar=False)
    results = [{"index": item["corpus_id"], "relevance_score": float(item["score"])} for item in ranking]
    return {"results": results}
