"""What ends a run, and what only takes one engine out of it."""

import sys
from collections.abc import Callable


class SetupError(Exception):
    """Something that the run needs is missing; nothing can be measured without it."""


class Refused(Exception):
    """One engine at one setting cannot take part; the others go on, and the record says why."""


def exit_code(command: str, run: Callable[[], None]) -> int:
    """Of a command: 1 and a line on stderr when something is missing."""
    try:
        run()
    except SetupError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 1
    return 0
