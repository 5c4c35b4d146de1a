"""Writes the small model that the targets start from, and the seeds that are valid files. Standard library only.

Packed seeds are the engine's own: `CROSSRANK_RENEW_SEEDS=1 cargo test -p crossrank-fuzz`.
"""

import json
import pathlib
import random
import struct

HERE = pathlib.Path(__file__).parent
HIDDEN, HEADS, LAYERS, INTERMEDIATE, VOCAB, POSITIONS = 8, 2, 2, 6, 40, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "where", "do", "rivers", "go", "to", "the", "sea", "##s", "river", ".", ",", "a"]
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")

CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "id2label": {"0": "LABEL_0"},
    "intermediate_size": INTERMEDIATE,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "model_type": "bert",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "type_vocab_size": 2,
    "vocab_size": VOCAB,
}


def write(path, data):
    path = HERE / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def write_json(path, data):
    write(path, json.dumps(data, separators=(",", ":")) + "\n")


def shapes():
    """Name to shape of all tensors."""
    linear = lambda name, n, k: {f"{name}.weight": [n, k], f"{name}.bias": [n]}
    norm = lambda name: {f"{name}.weight": [HIDDEN], f"{name}.bias": [HIDDEN]}
    rows = {"word": VOCAB, "position": POSITIONS, "token_type": 2}
    all = {f"bert.embeddings.{name}_embeddings.weight": [n, HIDDEN] for name, n in rows.items()}
    all |= norm("bert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"bert.encoder.layer.{layer}."
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]:
            all |= linear(prefix + name, HIDDEN, HIDDEN)
        all |= linear(prefix + "intermediate.dense", INTERMEDIATE, HIDDEN)
        all |= linear(prefix + "output.dense", HIDDEN, INTERMEDIATE)
        all |= norm(prefix + "attention.output.LayerNorm") | norm(prefix + "output.LayerNorm")
    return all | linear("bert.pooler.dense", HIDDEN, HIDDEN) | linear("classifier", 1, HIDDEN)


def safetensors(tensors, metadata=None):
    """Of (dtype, shape, bytes) by name."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    header = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + data


def weights():
    values = random.Random(1)
    made = {}
    for name, shape in shapes().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        middle = 1.0 if "LayerNorm.weight" in name else 0.0
        made[name] = (shape, [values.gauss(middle, 0.4) for _ in range(count)])
    return made


def stored(dtype, shape, values):
    if dtype == "BF16":
        return dtype, shape, b"".join(struct.pack("<f", value)[2:] for value in values)
    return dtype, shape, struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)


def quantised(made):
    """Layers in I8 with a scale for each row."""
    tensors = {}
    for name, (shape, values) in made.items():
        if ".layer." not in name or len(shape) < 2:
            tensors[name] = stored("F32", shape, values)
            continue
        rows = [values[i : i + shape[1]] for i in range(0, len(values), shape[1])]
        scales = [max(map(abs, row)) / 127 for row in rows]
        whole = [round(value / scale) for row, scale in zip(rows, scales) for value in row]
        tensors[name] = ("I8", shape, struct.pack(f"<{len(whole)}b", *whole))
        tensors[name + "_scale"] = stored("F32", [shape[0]], scales)
    return safetensors(tensors, {"quantization": "crossrank-int8-rowwise-symmetric", "quantization_version": "1"})


def tokenizer(model, **parts):
    special = lambda i: {"id": i, "content": WORDS[i], "special": True} | dict.fromkeys(
        ["single_word", "lstrip", "rstrip", "normalized"], False
    )
    piece = lambda name, kind, type_id: {kind: {"id": name, "type_id": type_id}}
    first = [piece("[CLS]", "SpecialToken", 0), piece("A", "Sequence", 0), piece("[SEP]", "SpecialToken", 0)]
    second = [piece("B", "Sequence", 1), piece("[SEP]", "SpecialToken", 1)]
    template = {
        "type": "TemplateProcessing",
        "single": first,
        "pair": first + second,
        "special_tokens": {WORDS[i]: {"id": WORDS[i], "ids": [i], "tokens": [WORDS[i]]} for i in (CLS, SEP)},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(i) for i in range(4)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": template,
        "decoder": None,
        "model": model,
    } | parts


def tokenizers():
    vocab = {word: i for i, word in enumerate(WORDS)}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    pieces = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    yield "word-piece", tokenizer(pieces | {"vocab": vocab}, normalizer=bert, pre_tokenizer={"type": "BertPreTokenizer"})
    letters = ["r", "i", "v", "e", "s", "ri", "riv"]
    bpe = {"type": "BPE", "unk_token": "[UNK]", "merges": [["r", "i"], ["ri", "v"]]}
    bpe["vocab"] = vocab | {token: len(WORDS) + i for i, token in enumerate(letters)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pair = {"sep": ["[SEP]", SEP], "cls": ["[CLS]", CLS]}
    yield "bpe", tokenizer(bpe, pre_tokenizer=byte_level, post_processor={"type": "BertProcessing"} | pair)
    unigram = {"type": "Unigram", "unk_id": 1, "byte_fallback": False}
    unigram["vocab"] = [[word.replace("##", "\u2581"), -i / 4] for i, word in enumerate(WORDS)]
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    yield "unigram", tokenizer(unigram, normalizer={"type": "NFKC"}, pre_tokenizer=metaspace)
    regex = lambda text: {"Regex": text}
    replace = {"type": "Replace", "pattern": regex("[0-9]+"), "content": "a"}
    split = {"type": "Split", "pattern": regex("(?=s)\\b|\\s+"), "behavior": "Removed", "invert": False}
    steps = lambda kind, key, *parts: {"type": kind, key: list(parts)}
    yield "word-level", tokenizer(
        {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab},
        normalizer=steps("Sequence", "normalizers", {"type": "Lowercase"}, {"type": "NFD"}, {"type": "StripAccents"}, replace),
        pre_tokenizer=steps("Sequence", "pretokenizers", split, {"type": "Punctuation", "behavior": "Isolated"}),
    )


def main():
    made = weights()
    whole = safetensors({name: stored("F32", *of) for name, of in made.items()})
    write("model/model.safetensors", whole)
    write_json("model/config.json", CONFIG)
    write("seeds/weights/valid-f32", whole)
    halves = {name: stored("F16" if i % 2 else "BF16", *of) for i, (name, of) in enumerate(made.items())}
    write("seeds/weights/valid-halves", safetensors(halves))
    write("seeds/weights/valid-int8", quantised(made))

    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shard = lambda name: files["layer.1" in name or "classifier" in name]
    for file in files:
        write(f"model/shards/{file}", safetensors({n: stored("F32", *of) for n, of in made.items() if shard(n) == file}))
    index = {"metadata": {"total_size": 0}, "weight_map": {name: shard(name) for name in made}}
    write_json("seeds/shard_index/valid-two-shards", index)
    index["weight_map"] = dict(list(index["weight_map"].items())[:1] + list(index["weight_map"].items())[-1:])
    write_json("seeds/shard_index/valid-short", index)

    write_json("seeds/config/valid", CONFIG)
    more = {"num_labels": 1, "dtype": "torch.float16", "is_decoder": False, "position_embedding_type": "absolute"}
    more |= {"tokenizer_class": "BertTokenizer", "sentence_transformers": {"activation_fn": "torch.nn.Identity"}}
    write_json("seeds/config/valid-more", CONFIG | more)
    oldest = {"hidden_act": "silu", "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
    write_json("seeds/config/valid-oldest", CONFIG | oldest)

    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 12}
    settings |= {"unk_token": "[UNK]", "cls_token": {"content": "[CLS]", "lstrip": False}, "sep_token": "[SEP]"}
    added = {"content": "lake", "lstrip": True, "rstrip": False, "normalized": False, "single_word": True, "special": True}
    sentence = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.Identity", "default_prompt_name": "q", "prompts": {"q": "the "}}
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    text = {"max_length": 10, "truncation": "only_second"}
    bert = {"max_seq_length": 14, "do_lower_case": True, "processing_kwargs": {"text": text, "common": {"padding": True}}}
    join = lambda *parts: "====\n".join(json.dumps(part) + "\n" for part in parts)
    write("seeds/neighbours/valid-all", join(settings, sentence, modules, bert))
    write("seeds/neighbours/valid-settings", join(settings | {"added_tokens_decoder": {"15": added}}))
    generic = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1e30, "model_input_names": ["input_ids"]}
    write("seeds/neighbours/valid-generic", join(generic))

    for name, contents in tokenizers():
        write_json(f"seeds/tokenizer/valid-{name}", contents)
        if name == "word-piece":
            write_json("model/tokenizer.json", contents)

    lines = [
        {"query": "where do rivers go", "document": "to the sea"},
        {"id": -12, "text": "\u2028 a \u0085", "title": None, "body": ["a", "b"], "n": 12.5},
        {"id": "a", "text": "", "title": "The sea", "body": {"a": [1, [2, {}]]}},
    ]
    write("seeds/jsonl/valid-lines", "\ufeff" + "\r\n".join(json.dumps(line) for line in lines))
    write("seeds/jsonl/surrogates", '{"text":"cut \\ud83d","\\udc00":1}\n\n{"text":"\\ud83d\\ude00"}\r{"a":1e999}\n')
    write("seeds/jsonl/raw", '{"text":"\u2028\u2029\u0085é", "id": 00, "n":1e400}\n{"text":\r"a"\r}\n')


main()
