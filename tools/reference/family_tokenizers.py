"""The tokenizers of the fixtures of families other than BERT, trained on corpus.txt.

Each function gives a tokenizer with the pipeline and template that the family's published tokenizer.json has, and the
settings that stand beside it in tokenizer_config.json.
"""

import json
import math
from collections import Counter

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import charsmap
from reference import HERE, SPECIAL, bert_tokenizer, trained_tokenizer

Json = dict[str, object]
Built = tuple[Tokenizer, Json]

FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]
FAIRSEQ_SETTINGS: Json = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
}
BERT_SETTINGS: Json = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}


def corpus() -> list[str]:
    return (HERE / "corpus.txt").read_text("utf-8").splitlines()


def special(text: str, lstrip: bool = False) -> AddedToken:
    return AddedToken(text, lstrip=lstrip, normalized=False, special=True)


# Byte-level BPE


def byte_bpe(first: list[str], size: int, last: list[str]) -> models.BPE:
    """A byte-level BPE of `size` entries: `first`, the 256 bytes, what merges make, `last`."""
    draft = Tokenizer(models.BPE())
    draft.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(last),
        special_tokens=first,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    draft.train_from_iterator(corpus(), trainer)
    trained = json.loads(draft.to_str())["model"]
    vocab = trained["vocab"] | {text: size - len(last) + i for i, text in enumerate(last)}
    assert len(vocab) == size
    return models.BPE(vocab=vocab, merges=[tuple(merge) for merge in trained["merges"]])


def roberta(size: int) -> Built:
    tokenizer = Tokenizer(byte_bpe(FAIRSEQ, size, ["<mask>"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(text) for text in FAIRSEQ] + [special("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    settings = FAIRSEQ_SETTINGS | {"add_prefix_space": False, "errors": "replace", "trim_offsets": True}
    return tokenizer, settings | {"tokenizer_class": "RobertaTokenizer"}


def modernbert(size: int) -> Built:
    """Special tokens come last, as in ModernBERT's vocabulary."""
    last = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(byte_bpe([], size, last))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(text, lstrip=text == "[MASK]") for text in last])
    tokenizer.post_processor = bert_template(tokenizer)
    settings = BERT_SETTINGS | {"clean_up_tokenization_spaces": True, "tokenizer_class": "PreTrainedTokenizerFast"}
    return tokenizer, settings | {"model_input_names": ["input_ids", "attention_mask"]}


def bert_template(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(text, tokenizer.token_to_id(text)) for text in ("[CLS]", "[SEP]")],
    )


# Unigram


def unigram(first: list[str], unknown: int, size: int, last: list[str], normalizer) -> models.Unigram:
    """`first`, the pieces of highest score, `last`. The pieces and scores are counted here, not trained.

    The trainer's pieces depend on the order of a hash map. A piece here is a beginning, an end or the whole of a word,
    or a letter; its score is near what SentencePiece's is: the logarithm of its share of the text, and a little noise,
    so that no two ways to cut a word tie.
    """
    counts: Counter[str] = Counter()
    for line in corpus():
        for word in normalizer.normalize_str(line).split():
            word = "\u2581" + word
            for start in range(len(word)):
                for end in range(start + 1, min(len(word), start + 9) + 1):
                    if end - start == 1 or start == 0 or end == len(word):
                        counts[word[start:end]] += 1
    letters = sorted(piece for piece in counts if len(piece) == 1)
    room = size - len(first) - len(last) - len(letters)
    longer = sorted((p for p in counts if len(p) > 1), key=lambda p: (-counts[p] * (len(p) - 1), p))[:room]
    total = sum(counts[p] for p in letters + longer)
    noise = np.random.default_rng(size).uniform(0, 0.05, len(letters + longer))
    scored = [(p, round(math.log(counts[p] / total) - x, 6)) for p, x in zip(letters + longer, noise)]
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    vocab = [(text, 0.0) for text in first] + scored + [(text, 0.0) for text in last]
    assert len(vocab) == size
    return models.Unigram(vocab, unk_id=unknown, byte_fallback=False)


def metaspace() -> tuple[pre_tokenizers.PreTokenizer, decoders.Decoder]:
    parts = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")]
    return pre_tokenizers.Sequence(parts), decoders.Metaspace(replacement="\u2581", prepend_scheme="always")


def xlmr(size: int) -> Built:
    normalizer = normalizers.Precompiled(charsmap.precompiled())
    tokenizer = Tokenizer(unigram(FAIRSEQ, 3, size, ["<mask>"], normalizer))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = metaspace()
    tokenizer.add_special_tokens([special(text) for text in FAIRSEQ] + [special("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer, FAIRSEQ_SETTINGS | {"tokenizer_class": "XLMRobertaTokenizer"}


def albert(size: int) -> Built:
    first = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Precompiled(charsmap.precompiled()),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer = Tokenizer(unigram(first, 1, size, [], normalizer))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = metaspace()
    tokenizer.add_special_tokens([special(text, lstrip=text == "[MASK]") for text in first])
    tokenizer.post_processor = bert_template(tokenizer)
    settings = {f"{text[1:-1].lower()}_token": text for text in first}
    settings |= {"bos_token": "[CLS]", "eos_token": "[SEP]", "do_lower_case": True, "keep_accents": False}
    return tokenizer, settings | {"remove_space": True, "tokenizer_class": "AlbertTokenizer"}


# WordPiece


def words(size: int) -> list[str]:
    """The first entries of BERT's vocabulary here after the special tokens: letters, then what merges made of them."""
    vocab = trained_tokenizer().get_vocab(with_added_tokens=False)
    return sorted(vocab, key=vocab.__getitem__)[len(SPECIAL) :][:size]


def wordpiece(size: int, tokenizer_class: str) -> Built:
    """BERT's tokenizer under the name of a class."""
    vocab = {text: i for i, text in enumerate(SPECIAL + words(size - len(SPECIAL)))}
    tokenizer = bert_tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = bert_template(tokenizer)
    settings = BERT_SETTINGS | {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    return tokenizer, settings | {"tokenizer_class": tokenizer_class}


def mpnet(size: int) -> Built:
    """BERT's pieces between fairseq's special tokens; the unknown is [UNK], and <unk> only stands there."""
    first = [*FAIRSEQ, "[UNK]"]
    vocab = {text: i for i, text in enumerate([*first, *words(size - len(first) - 1), "<mask>"])}
    tokenizer = bert_tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens([special(text) for text in first] + [special("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    settings = FAIRSEQ_SETTINGS | {"unk_token": "[UNK]", "do_lower_case": True, "strip_accents": None}
    return tokenizer, settings | {"tokenize_chinese_chars": True, "tokenizer_class": "MPNetTokenizer"}
