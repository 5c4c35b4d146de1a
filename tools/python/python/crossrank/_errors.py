"""Errors that are no plain `ValueError` or `TypeError`."""


class InputError(TypeError, ValueError):
    """An argument that holds no texts, or a text that is none; the message says which, what was expected and what was
    found. It is a TypeError, as that is what is wrong, and a ValueError, which sentence-transformers raises of it."""
