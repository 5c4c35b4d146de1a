"""Tokenizers of each kind, trained on the texts at hand: their pipelines are those of the families' published files."""

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from peers.errors import SetupError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPACE = "\u2581"
# Vocabularies are trained up to these sizes; a short corpus gives fewer pieces.
WORD_PIECES = 30_000
BYTE_PIECES = 50_000
UNIGRAM_PIECES = 30_000
LONGEST_PIECE = 12


def special(text: str, *, lstrip: bool = False) -> "AddedToken":
    """A special token, found in texts as it stands."""
    from tokenizers import AddedToken

    return AddedToken(text, lstrip=lstrip, normalized=False, special=True)


def template(tokenizer: "Tokenizer", pair: str) -> None:
    """Puts the special tokens around texts; `pair` is the template for two, whose first three words are that for one."""
    from tokenizers.processors import TemplateProcessing

    names = sorted({word.split(":")[0] for word in pair.split()} - {"$A", "$B"})
    single = " ".join(pair.split()[:3])
    tokenizer.post_processor = TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )


BERT_PAIR = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
FAIRSEQ_PAIR = "<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0"


def word_pieces(first: list[str], texts: list[str], pair: str) -> "Tokenizer":
    """BERT's pipeline with lower case; `first` are the special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=WORD_PIECES, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    template(tokenizer, pair)
    return tokenizer


def wordpiece(texts: list[str]) -> "Tokenizer":
    """The kind of BERT, DistilBERT and ELECTRA."""
    return word_pieces(BERT, texts, BERT_PAIR)


def mpnet(texts: list[str]) -> "Tokenizer":
    """BERT's pieces between fairseq's special tokens."""
    return word_pieces([*FAIRSEQ, "[UNK]", "<mask>"], texts, FAIRSEQ_PAIR)


def byte_bpe(texts: list[str]) -> "Tokenizer":
    """The kind of ModernBERT: bytes and merges, NFC."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_PIECES,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # They come last, as in ModernBERT's own vocabulary.
    tokenizer.add_special_tokens([special(text, lstrip=text == "[MASK]") for text in BERT])
    template(tokenizer, BERT_PAIR)
    return tokenizer


def pieces(words: Counter[str], room: int) -> list[tuple[str, float]]:
    """Beginnings, ends and wholes of words, and all letters, with the logarithm of their share of the text. They are
    counted, not trained: the trainer's pieces depend on the order of a hash map.
    """
    counts: Counter[str] = Counter()
    for word, times in words.items():
        marked = SPACE + word
        for start in range(len(marked)):
            for end in range(start + 1, min(len(marked), start + LONGEST_PIECE) + 1):
                if end - start == 1 or start == 0 or end == len(marked):
                    counts[marked[start:end]] += times
    letters = [piece for piece in counts if len(piece) == 1]
    longer = sorted((p for p in counts if len(p) > 1), key=lambda p: (-counts[p] * (len(p) - 1), p))
    kept = sorted(letters) + longer[: max(0, room - len(letters))]
    total = sum(counts[piece] for piece in kept)
    return [(piece, round(math.log(counts[piece] / total), 6)) for piece in kept]


def unigram(first: list[str], last: list[str], texts: list[str], normalizer: object, pair: str) -> "Tokenizer":
    """SentencePiece's kind: white space is part of the words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = Counter(word for text in texts for word in normalizer.normalize_str(text).split())
    scored = pieces(words, UNIGRAM_PIECES - len(first) - len(last))
    vocabulary = [(text, 0.0) for text in first] + scored + [(text, 0.0) for text in last]
    unknown = first.index("<unk>")
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([special(text, lstrip="mask" in text.lower()) for text in first + last])
    template(tokenizer, pair)
    return tokenizer


def xlmr(texts: list[str]) -> "Tokenizer":
    """The kind of XLM-RoBERTa."""
    from tokenizers.normalizers import NFKC

    return unigram(FAIRSEQ, ["<mask>"], texts, NFKC(), FAIRSEQ_PAIR)


def albert(texts: list[str]) -> "Tokenizer":
    """The kind of ALBERT: lower case, no accents, BERT's template."""
    from tokenizers import normalizers

    parts = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    first = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    return unigram(first, [], texts, normalizers.Sequence(parts), BERT_PAIR)


KINDS: dict[str, Callable[[list[str]], "Tokenizer"]] = {
    "wordpiece": wordpiece,
    "mpnet": mpnet,
    "byte-bpe": byte_bpe,
    "xlmr": xlmr,
    "albert": albert,
}
# Beside tokenizer.json; the class is the one that takes the file as it is.
BERT_NAMES = {f"{text[1:-1].lower()}_token": text for text in BERT}
FAIRSEQ_NAMES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
}
NAMES: dict[str, dict[str, str]] = {
    "wordpiece": BERT_NAMES,
    "mpnet": FAIRSEQ_NAMES | {"unk_token": "[UNK]"},
    "byte-bpe": BERT_NAMES,
    "xlmr": FAIRSEQ_NAMES,
    "albert": BERT_NAMES | {"pad_token": "<pad>", "unk_token": "<unk>"},
}


def given(path: str) -> "Tokenizer":
    """XLM-RoBERTa's tokenizer from a file, with the template for pairs that such a file may lack."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    ids = [tokenizer.token_to_id(text) for text in FAIRSEQ]
    if ids != [0, 1, 2, 3]:
        raise SetupError(f"--xlmr-tokenizer {path}: expected <s>, <pad>, </s>, <unk> at 0 to 3, found {ids}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    template(tokenizer, FAIRSEQ_PAIR)
    return tokenizer
