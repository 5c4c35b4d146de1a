"""From what a user calls a model to its folder."""

from __future__ import annotations

import os
import warnings

from . import _crossrank

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What asks for the hub even where a folder of that name is there.
FORCES_HUB = "hf:"
#: Whose models a name without a slash means, as in sentence-transformers.
ORGANISATION = "cross-encoder"


def find(
    name: str | os.PathLike[str] | None,
    revision: str | None,
    local_files_only: bool,
    token: bool | str | None,
    cache_folder: str | None,
) -> str:
    """The folder of a model; one of the hub is downloaded unless the cache has it."""
    if name is None:
        return default()
    if isinstance(name, bytes) or not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"model_name_or_path: expected a folder, a model's name or None, found {type(name).__name__}")
    path = os.fspath(name)
    if not path.startswith(FORCES_HUB) or not isinstance(name, str):
        if os.path.isdir(path):
            return path
        if os.path.exists(path):
            raise NotADirectoryError(f"{path}: expected the folder of a model, found a file")
        if not isinstance(name, str) or _is_a_path(path):
            raise FileNotFoundError(f"{path}: there is no folder of that name")
    return _of_hub(path.removeprefix(FORCES_HUB), revision, local_files_only, token, cache_folder)


def default() -> str:
    """The folder of the model in the wheel `crossrank-model`."""
    try:
        import crossrank_model
    except ModuleNotFoundError as error:
        if error.name != "crossrank_model":
            raise
        raise FileNotFoundError(
            "no model was named, and the default one is not installed: pip install crossrank-model"
        ) from None
    return str(crossrank_model.folder())


def _is_a_path(name: str) -> bool:
    return name == "" or name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _of_hub(
    name: str, revision: str | None, local_files_only: bool, token: bool | str | None, cache_folder: str | None
) -> str:
    name, at, own = name.partition("@")
    if at and revision is not None:
        raise ValueError(f"revision: expected one, found {own!r} in the name and {revision!r} beside it")
    if "/" not in name and name not in _crossrank.SHORT_NAMES:
        name = f"{ORGANISATION}/{name}"
    wanted = own if at else revision
    if at or revision is not None:
        name = f"{name}@{wanted}"
    overrides: list[tuple[str, Any]] = []
    cache_folder = cache_folder if cache_folder is not None else os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    if cache_folder:
        overrides.append(("HF_HUB_CACHE", os.fspath(cache_folder)))
    if local_files_only:
        overrides.append(("HF_HUB_OFFLINE", "1"))
    if token is False:
        overrides.append(("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"))
    elif isinstance(token, str):
        overrides += [("HF_TOKEN", token), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "")]
    elif token is True:
        overrides.append(("HF_HUB_DISABLE_IMPLICIT_TOKEN", ""))
    folder, notes = _crossrank.snapshot(name, overrides)
    for note in notes:
        warnings.warn(note, stacklevel=4)
    return folder
