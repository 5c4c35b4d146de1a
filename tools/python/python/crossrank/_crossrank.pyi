"""The compiled half of the package; no part of its interface, except `ModelError`."""

from collections.abc import Callable, Iterable
from typing import Any, final

__version__: str
SHORT_NAMES: list[str]

class ModelError(ValueError):
    """A checkpoint that is broken, incomplete, or of a kind that is not supported."""

@final
class Stop:
    def __new__(cls) -> Stop: ...
    def stop(self) -> None: ...

@final
class Model:
    def __new__(
        cls,
        path: str,
        max_length: int | None,
        dtype: str,
        threads: int | None,
        tokenizer: str,
        weights: str,
    ) -> Model: ...
    def predict(
        self,
        inputs: Iterable[Any],
        mode: str,
        prompt: str | None,
        stop: Stop | None,
        watcher: Callable[[int], object] | None,
    ) -> bytearray: ...
    def predict_columns(
        self,
        queries: Any,
        documents: Any,
        mode: str,
        prompt: str | None,
        stop: Stop | None,
        watcher: Callable[[int], object] | None,
    ) -> bytearray: ...
    def rank(
        self,
        query: str,
        documents: Any,
        options: dict[str, Any],
        stop: Stop | None,
        watcher: Callable[[int], object] | None,
    ) -> list[dict[str, Any]]: ...
    def info(self) -> dict[str, Any]: ...

def snapshot(name: str, overrides: list[tuple[str, str]]) -> tuple[str, list[str]]: ...
