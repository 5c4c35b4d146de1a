#!/usr/bin/env python3
"""Writes calibration.jsonl: (query, document) pairs for `crossrank quantize --calibrate`, out of SQuAD paragraphs.

    calibration.py [--check] [SQUAD_DIR]

Four pairs a topic, of four paragraphs that answer none of the folder's questions: one under a question about its own
topic, one under its own sentence, one under a sentence of its topic, one under a question about another topic. So
there are pairs of every relevance, and queries that are questions, keywords and text. `--check` writes nothing, and
fails if the file is another.
"""

import argparse
import json
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "calibration.jsonl"
SQUAD = HERE.parents[2] / "shared" / "data" / "squad"
SEED = 7

QUESTIONS = (
    "What is known about {}?",
    "When did {} begin?",
    "who wrote about {}",
    "How does {} work and why does it matter?",
    "{} history",
    "Where is {} found?",
    "What caused the decline of {}?",
    "How many people were involved in {}?",
)
# Of the question about another topic, and of that topic, relative to the paragraph's own.
OTHER_QUESTION, OTHER_TOPIC = 3, 17

# Words of a sentence that is taken, and how many of them are, from the paragraph itself and from another.
SENTENCE = range(5, 41)
OWN_WORDS, OTHER_WORDS = 12, 14


def topics(folder: Path) -> dict[str, list[str]]:
    """Paragraphs by topic, in the order of the corpus, without those that answer a question."""
    with (folder / "qrels.txt").open(encoding="utf-8") as file:
        answers = {line.split()[2] for line in file}
    found: dict[str, list[str]] = {}
    # Only a line feed ends a line: texts may hold every other separator of Unicode.
    with (folder / "corpus.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            paragraph = json.loads(line)
            texts = found.setdefault(paragraph["title"], [])
            if paragraph["id"] not in answers:
                texts.append(paragraph["text"])
    return found


def sentence(rng: random.Random, paragraph: str, words: int, topic: str) -> str:
    """The beginning of one of a paragraph's sentences; the topic where none has the length."""
    sentences = [text.split() for text in re.split(r"(?<=[.!?])\s+", paragraph)]
    fitting = [text for text in sentences if len(text) in SENTENCE]
    return " ".join(rng.choice(fitting)[:words]).strip(".,") if fitting else topic


def pairs(folder: Path) -> list[tuple[str, str]]:
    """All (query, document) pairs, in an order that mixes topics."""
    rng = random.Random(SEED)
    found = topics(folder)
    names = list(found)
    made = []
    for n, (topic, paragraphs) in enumerate(found.items()):
        first, second, third, fourth = rng.sample(paragraphs, 4)
        own = QUESTIONS[n % len(QUESTIONS)].format(topic)
        quoted = sentence(rng, second, OWN_WORDS, topic)
        neighbour = rng.choice([text for text in paragraphs if text != third])
        near = sentence(rng, neighbour, OTHER_WORDS, topic)
        other_topic = names[(n + OTHER_TOPIC) % len(names)]
        other = QUESTIONS[(n + OTHER_QUESTION) % len(QUESTIONS)].format(other_topic)
        made += [(own, first), (quoted, second), (near, third), (other, fourth)]
    rng.shuffle(made)
    return made


def main() -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(description="Write the pairs that the default model was calibrated on.")
    parser.add_argument("folder", nargs="?", type=Path, metavar="SQUAD_DIR", default=SQUAD, help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help=f"compare with {OUT.name} instead of writing it")
    options = parser.parse_args()
    try:
        rows = [{"query": query, "document": document} for query, document in pairs(options.folder)]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
        if not options.check:
            OUT.write_bytes(content)
        elif OUT.read_bytes() != content:
            print(f"calibration: error: {OUT}: not what {options.folder} gives", file=sys.stderr)
            return 1
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"calibration: error: {options.folder}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
