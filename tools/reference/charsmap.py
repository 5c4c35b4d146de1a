"""A small character map in the form of SentencePiece's `precompiled_charsmap`.

The published maps (nmt_nfkc) take 300 kB; this one has the same form and covers the characters that the fixtures' texts
use: the NFKC forms of some blocks, and SentencePiece's own rules for white space and control characters.

Form: a little-endian u32, the size in bytes of a double-array trie, then the trie, then the replacements, each ended
by NUL. A key's value in the trie is the offset of its replacement. A unit of the trie (darts-clone) is a u32: its
label in the low byte, bit 8 where a value hangs below it, bit 9 where the offset in bits 10 to 30 counts 256s; a value
has bit 31.
"""

import struct
import unicodedata

SPACES = [0x09, 0x0A, 0x0D, 0xA0, 0x1680, *range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
REMOVED = [*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]
BLOCKS = [(0xA1, 0x100), (0x2010, 0x2070), (0x2070, 0x20A0), (0x2100, 0x2190), (0x2460, 0x24F0), (0xFB00, 0xFB07)]
BLOCKS += [(0xFF01, 0xFFE7)]


def replacements() -> dict[str, str]:
    """What stands for what; a removed character has the empty text."""
    found = {}
    for start, end in BLOCKS:
        for char in map(chr, range(start, end)):
            form = unicodedata.normalize("NFKC", char)
            if form != char:
                found[char] = form
    found |= {chr(c): " " for c in SPACES}
    found |= {chr(c): "" for c in REMOVED}
    # Letters followed by an accent, so that the longest of several keys has to win.
    for letter in "aeiou":
        for accent in "\u0300\u0301\u0308":
            found[letter + accent] = unicodedata.normalize("NFKC", letter + accent)
    return found


def double_array(values: dict[bytes, int]) -> list[int]:
    """The trie of keys without NUL, each with its value."""
    tree: dict = {}
    for key, value in values.items():
        node = tree
        for byte in key:
            node = node.setdefault(byte, {})
        node[0] = value  # byte 0 ends a key
    units: dict[int, int] = {0: 0}

    def place(node: dict, position: int) -> None:
        labels = sorted(node)
        base = 1  # the children's positions are base ^ label, and base is the parent's position ^ its offset
        while any((base ^ label) in units for label in labels) or not storable(position ^ base):
            base += 1
        units[position] |= offset_bits(position ^ base) | (0x100 if 0 in node else 0)
        for label in labels:
            units[base ^ label] = node[0] | 0x8000_0000 if label == 0 else label
        for label in labels:
            if label:
                place(node[label], base ^ label)

    place(tree, 0)
    # A unit that no key leads to has a label that no byte has.
    return [units.get(i, 0x8000_0000) for i in range(-(-(max(units) + 1) // 256) * 256)]


def storable(offset: int) -> bool:
    return offset < 1 << 21 or offset & 0xFF == 0


def offset_bits(offset: int) -> int:
    return offset << 10 if offset < 1 << 21 else (offset >> 8) << 10 | 0x200


def precompiled() -> bytes:
    table, offsets = bytearray(), {}
    for key, value in sorted(replacements().items()):
        offsets[key.encode()] = len(table)
        table += value.encode() + b"\0"
    units = double_array(offsets)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(table)
