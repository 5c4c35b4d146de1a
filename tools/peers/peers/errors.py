"""What ends a run, and what only takes one engine out of it."""


class SetupError(Exception):
    """Something that the run needs is missing; nothing can be measured without it."""


class Refused(Exception):
    """One engine at one setting cannot take part; the others go on, and the record says why."""
