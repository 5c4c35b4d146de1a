"""A progress bar, for those who ask for one."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Bar:
    """A bar of tqdm where it is installed, else a line on stderr. Within `with`, `update` is to be told how many of
    `total` documents have been scored."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=total, desc="Scoring", unit="pair")

    def update(self, done: int) -> None:
        """Shows how many have been scored."""
        done = min(done, self._total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        else:
            sys.stderr.write(f"\rScoring: {done} of {self._total}")
            sys.stderr.flush()

    def __enter__(self) -> Callable[[int], object]:
        return self.update

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            sys.stderr.write("\n")


class NoBar:
    """Shows nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def bar(show: bool | None, total: int) -> Bar | NoBar:
    """A bar if it is to be shown."""
    return Bar(total) if show else NoBar()
