"""Scores pairs of a Ray dataset, on all of a cluster's workers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

try:
    import pyarrow as pa
    import ray
    import ray.data
except ImportError as error:
    raise ImportError('crossrank.ray needs Ray Data: pip install "ray[data]" numpy') from error

from crossrank import _adapters
from crossrank._columns import Columns

__all__ = ["rerank"]


def rerank(
    dataset: ray.data.Dataset,
    model: str | None = None,
    *,
    query: str = "query",
    document: str = "document",
    query_id: str | None = "query_id",
    document_id: str | None = "document_id",
    row: str | None = "row",
    score: str = "score",
    scored: str = "scored",
    nulls: str = "error",
    keep: Sequence[str] | None = None,
    workers: int | tuple[int, int] | None = None,
    threads: int = 1,
    batch_size: int = 1024,
    restarts: int = 3,
    options: Mapping[str, Any] | None = None,
) -> ray.data.Dataset:
    """Gives a dataset with the columns of ``keep`` (all unless it names some), ``score`` and ``scored``. It is lazy.

    The score of a pair has the same bits on every worker of one kind of CPU, however the rows are split into blocks, and
    though a batch is run again. Rows come in whatever order Ray gives them in: ``row`` is there to sort them by.

    ``model``: a name or path as :class:`crossrank.CrossEncoder` takes it, ``None`` for the default model. Each worker, an
    actor, loads it once, from its own machine, with its weights mapped. ``workers``: how many actors, or the fewest and the
    most of them; by default from one to as many as the cluster has CPUs for, which leaves some to what reads the data.
    ``threads``: the CPUs that an actor reserves and the threads it scores with. ``batch_size``: rows that are scored at
    once. ``options``: other arguments of :class:`crossrank.CrossEncoder`. The names of columns and ``nulls`` are as in
    :func:`crossrank.table.rerank`.

    A worker holds one batch and has at most one more waiting; what is downstream slows it down, as Ray Data does for every
    dataset. A worker that dies is started again, and its batch run again, up to ``restarts`` times; the error after that names
    the first row of the batch that it died with. A batch that raises ends the job at once, with its first row in the error.

    Raises ``ValueError`` for a column that is missing, naming those that are there (at once where the schema is known
    without running anything, else when the dataset runs), and ``TypeError`` for a model that is not a name.
    """
    _adapters.by_name(model)
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 0:
        raise ValueError(f"restarts: expected a number of 0 or more, found {restarts!r}")
    for name, value in (("threads", threads), ("batch_size", batch_size)):
        if _adapters.positive(name, value) is None:
            raise TypeError(f"{name}: expected a whole number, found None")
    columns = Columns(query, document, query_id, document_id, row, score, scored, nulls, keep)
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None and schema.names:
        columns.check(schema.names)
    deaths = ray.remote(num_cpus=0)(_Deaths).remote()
    with warnings.catch_warnings():
        # Ray 2.60 warns that other names than those it lists will go, and has no listed name for these two yet.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        return dataset.map_batches(
            _Worker,
            batch_size=batch_size,
            batch_format="pyarrow",
            compute=_pool(workers, threads),
            num_cpus=threads,
            fn_constructor_args=(columns, model, {"threads": threads, **dict(options or {})}, restarts, deaths),
            udf_modifying_row_count=False,
            # One more than is asked for: the worker itself then says with which batch it died.
            max_restarts=restarts + 1,
            max_task_retries=restarts + 1,
        )


def _pool(workers: int | tuple[int, int] | None, threads: int) -> ray.data.ActorPoolStrategy:
    limits = {"max_tasks_in_flight_per_actor": 2}
    if workers is None:
        most = int(ray.cluster_resources().get("CPU", 1)) // threads
        return ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, most), **limits)
    if isinstance(workers, tuple):
        fewest, most = workers
        return ray.data.ActorPoolStrategy(min_size=fewest, max_size=most, **limits)
    _adapters.positive("workers", workers)
    return ray.data.ActorPoolStrategy(size=workers, **limits)


class _Worker:
    """An actor of the pool: one encoder, and the batches it is given one after another."""

    def __init__(
        self, columns: Columns, model: str | None, options: dict[str, Any], restarts: int, deaths: Any
    ) -> None:
        self._columns = columns
        self._restarts = restarts
        self._deaths = deaths
        # The id stays the same when Ray starts the actor again.
        self._id = ray.get_runtime_context().get_actor_id()
        try:
            self._encoder = _adapters.load(model, options)
        except Exception as error:
            raise RuntimeError(f"a worker cannot load its model: {type(error).__name__}: {error}") from error

    def __call__(self, batch: pa.Table) -> pa.Table:
        beginning = self._columns.beginning(batch)
        died, last = ray.get(self._deaths.begin.remote(self._id, beginning))
        if died > self._restarts:
            raise RuntimeError(f"a worker died {died} times, the last time with the {last}; no restart is left")
        try:
            return self._columns.score_table(self._encoder, batch)
        finally:
            # Also after an error, which is no death: a dataset may be told to go on without its batch.
            ray.get(self._deaths.end.remote(self._id))


class _Deaths:
    """Counts for each worker how often it died with a batch: a worker cannot tell after its death.

    It holds two entries for each worker, whatever the number of batches.
    """

    def __init__(self) -> None:
        self._running: dict[str, str] = {}
        self._died: dict[str, tuple[int, str]] = {}

    def begin(self, worker: str, beginning: str) -> tuple[int, str]:
        """Notes what a worker begins with; gives how often it died, and the batch that it last died with."""
        count, last = self._died.get(worker, (0, ""))
        if worker in self._running:
            count, last = count + 1, self._running[worker]
            self._died[worker] = (count, last)
        self._running[worker] = beginning
        return count, last

    def end(self, worker: str) -> None:
        """Notes that a worker has ended what it began."""
        self._running.pop(worker, None)
