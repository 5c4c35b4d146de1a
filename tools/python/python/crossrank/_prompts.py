"""Prompts: texts by name, one of which may be put in front of queries."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FILE = "config_sentence_transformers.json"


def of_model(
    folder: str, prompts: Mapping[str, str] | None, default: str | None
) -> tuple[dict[str, str], str | None]:
    """The prompts of a checkpoint, under those of the caller, and the name of the one that counts unless a call names
    another."""
    own = dict(prompts) if prompts is not None else {}
    for name, prompt in own.items():
        if not isinstance(name, str) or not isinstance(prompt, str):
            raise TypeError(f"prompts: expected strings by name, found {prompt!r:.80} under {name!r:.80}")
    path = os.path.join(folder, _FILE)
    # As sentence-transformers reads it: of a folder that has modules.
    if os.path.exists(path) and os.path.exists(os.path.join(folder, "modules.json")):
        import json

        # The engine has read it, and found it sound.
        with open(path, encoding="utf-8-sig") as file:
            settings: dict[str, Any] = json.load(file)
        for name, prompt in (settings.get("prompts") or {}).items():
            own.setdefault(name, prompt if isinstance(prompt, str) else "")
        if default is None:
            default = settings.get("default_prompt_name")
    if default is not None and default not in own:
        raise ValueError(f"default_prompt_name: expected one of {sorted(own)}, found {default!r:.80}")
    return own, default


def resolve(
    prompts: Mapping[str, str], default: str | None, prompt_name: str | None, prompt: str | None
) -> str | None:
    """What is put in front of queries; None for nothing."""
    if prompt is None:
        if prompt_name is not None:
            try:
                prompt = prompts[prompt_name]
            except (KeyError, TypeError):
                raise ValueError(f"prompt_name: expected one of {sorted(prompts)}, found {prompt_name!r:.80}") from None
        elif default is not None:
            prompt = prompts.get(default)
    if prompt is not None and not isinstance(prompt, str):
        raise TypeError(f"prompt: expected a string, found {type(prompt).__name__}")
    return prompt or None
