"""Makes what the OpenVINO rival serves: the checkpoint in int8, calibrated on 300 pairs of texts.

    python prepare.py MODEL_FOLDER WORKLOADS.json OUT_FOLDER
"""

import json
import sys

from datasets import Dataset
from optimum.intel import OVConfig, OVModelForSequenceClassification, OVQuantizationConfig, OVQuantizer
from transformers import AutoTokenizer

folder, texts, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = OVModelForSequenceClassification.from_pretrained(folder, export=True)
workloads = json.load(open(texts))
pairs = [(work["query"], document) for work in workloads.values() for document in work["docs"]]
pairs = (pairs * 3)[:300]
encoded = tokenizer(
    [query for query, _ in pairs], [document for _, document in pairs], padding="max_length", truncation=True, max_length=256
)
calibration = Dataset.from_dict(dict(encoded))
OVQuantizer.from_pretrained(model).quantize(
    calibration_dataset=calibration, save_directory=out, ov_config=OVConfig(quantization_config=OVQuantizationConfig())
)
tokenizer.save_pretrained(out)
model.config.save_pretrained(out)
