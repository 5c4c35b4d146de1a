"""`CrossEncoder`: a model that reads a query and a document together and says how well the document answers."""

from __future__ import annotations

import warnings

from . import _activations, _arguments, _calls, _folders, _progress, _prompts, _scores
from ._crossrank import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from . import _crossrank

    Scores: TypeAlias = NDArray[np.float32]
    Path: TypeAlias = str | os.PathLike[str]

#: What earlier versions of sentence-transformers took by position, behind the model.
_POSITIONAL = ("num_labels", "max_length", "activation_fn", "device")


class CrossEncoder:
    """A loaded cross-encoder, called as sentence-transformers' class of that name.

    Any number of threads may call one object; a call leaves the interpreter to other threads while it scores. In a
    process that was forked after loading, calls make worker threads of their own and share the parent's weights.

    Args:
        model_name_or_path: A checkpoint's folder; or its name on the Hugging Face hub: `org/name`, `org/name@revision`,
            a short name such as `minilm-l6`, or a name of cross-encoder's. None: the model of the wheel
            `crossrank-model`.
        max_length: The most tokens of a pair, special tokens included. None: what the checkpoint says.
        activation_fn: What makes scores of logits: `"sigmoid"`, `"identity"`, `"softmax"`, an instance of torch's
            modules of these names, or a function of a float32 array with a row a pair and a column a label. None: what
            the checkpoint says, else sigmoid for one label and none for several.
        device: None or `"cpu"`.
        prompts: Texts by name, one of which may be put in front of queries; beside those of the checkpoint.
        default_prompt_name: The one that is, unless a call names another. None: what the checkpoint says.
        cache_folder: Where models of the hub are kept. None: where `huggingface_hub` keeps them.
        revision: A branch, tag or commit on the hub.
        local_files_only: Whether the hub is not to be asked.
        token: The hub's; False for none, True or None for that of the environment.
        num_labels: None, or the number that the checkpoint has.
        dtype: How numbers are multiplied: `"f32"`, `"bf16"`, `"int8"`; `"auto"` is what the checkpoint is made for.
        threads: Worker threads, 1 to 1024. None: `CROSSRANK_THREADS`, else the CPUs that the process may use.
        tokenizer: `"author"`, token ids as the checkpoint was trained with, or `"transformers5"`, as transformers
            5.23 makes them, where those differ.
        weights: `"mmap"`, or `"read"` for files that others may overwrite in place while the model lives.
        trust_remote_code, model_kwargs, processor_kwargs, config_kwargs, model_card_data, modules, backend,
            keep_in_fp32_modules: sentence-transformers has them, here they must keep their defaults.

    Raises:
        OSError: A file or the hub cannot be read; FileNotFoundError where there is no such folder.
        ModelError: The checkpoint is broken, or of a kind that is not supported; it is a ValueError.
        ValueError: An option is out of range, or does not fit the model.
        TypeError: An argument has the wrong type, or is one that only torch could honour.
    """

    activation_fn: Any
    prompts: dict[str, str]
    default_prompt_name: str | None

    def __init__(
        self,
        model_name_or_path: Path | None = None,
        *positional: Any,
        max_length: int | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        device: Any = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        num_labels: int | None = None,
        dtype: str = "auto",
        threads: int | None = None,
        tokenizer: str = "author",
        weights: str = "mmap",
        trust_remote_code: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: None = None,
        modules: None = None,
        backend: str | None = None,
        keep_in_fp32_modules: list[str] | None = None,
        **earlier: Any,
    ) -> None:
        if positional or earlier:
            earlier = _arguments.rename(earlier, _arguments.RENAMED, "CrossEncoder")
            if len(positional) > len(_POSITIONAL):
                count = 2 + len(_POSITIONAL)
                raise TypeError(f"CrossEncoder() takes at most {count} positional arguments")
            for name, value in zip(_POSITIONAL, positional):
                warnings.warn(f"CrossEncoder: `{name}` is to be given by its name", DeprecationWarning, stacklevel=2)
                earlier.setdefault(name, value)
            model_name_or_path = earlier.get("model_name_or_path", model_name_or_path)
            cache_folder = earlier.get("cache_folder", cache_folder)
            activation_fn = earlier.get("activation_fn", activation_fn)
            max_length = earlier.get("max_length", max_length)
            num_labels = earlier.get("num_labels", num_labels)
            device = earlier.get("device", device)
            model_kwargs = earlier.get("model_kwargs", model_kwargs)
            processor_kwargs = earlier.get("processor_kwargs", processor_kwargs)
            config_kwargs = earlier.get("config_kwargs", config_kwargs)
        _arguments.device(device)
        _arguments.refuse(
            "transformers is not asked to load the model",
            model_kwargs=model_kwargs,
            processor_kwargs=processor_kwargs,
            config_kwargs=config_kwargs,
            model_card_data=model_card_data,
        )
        _arguments.refuse(
            _calls.NO_TORCH,
            modules=modules,
            keep_in_fp32_modules=keep_in_fp32_modules,
            backend=None if backend == "torch" else backend,
        )
        _arguments.refuse("code of a checkpoint is never run", trust_remote_code=trust_remote_code)
        _activations.resolve(activation_fn)
        for name, value in (("dtype", dtype), ("tokenizer", tokenizer), ("weights", weights)):
            if not isinstance(value, str):
                raise TypeError(f"{name}: expected a string, found {type(value).__name__}")
        max_length = _arguments.optional_whole("max_length", max_length, 1)
        threads = _arguments.optional_whole("threads", threads, 1)
        num_labels = _arguments.optional_whole("num_labels", num_labels, 1)
        revision = _arguments.optional_text("revision", revision)
        folder = _folders.find(model_name_or_path, revision, local_files_only, token, cache_folder)
        self._options = (max_length, dtype, threads, tokenizer, weights)
        self._folder = folder
        self._model = Model(folder, *self._options)
        self._info = self._model.info()
        if num_labels is not None and num_labels != self.num_labels:
            raise ValueError(f"num_labels: expected {self.num_labels}, as the checkpoint has, found {num_labels}")
        self.prompts, self.default_prompt_name = _prompts.of_model(folder, prompts, default_prompt_name)
        self.activation_fn = activation_fn

    @property
    def num_labels(self) -> int:
        """Logits of a pair."""
        return int(self._info["labels"])

    @property
    def label_names(self) -> list[str]:
        """A name for each label."""
        return list(self._info["label_names"])

    @property
    def max_length(self) -> int:
        """The most tokens of a pair, special tokens included."""
        return int(self._info["max_length"])

    @property
    def max_seq_length(self) -> int:
        """`max_length`, by the name that sentence-transformers has for it today."""
        return self.max_length

    @property
    def device(self) -> str:
        """`"cpu"`."""
        return "cpu"

    def info(self) -> dict[str, Any]:
        """What was loaded and how it runs: family, sizes, dtype, instruction set, threads, whose token ids, and notes
        on what the checkpoint's files leave open."""
        return self._model.info()

    def predict(
        self,
        inputs: Iterable[Any] = (),
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        pool: None = None,
        chunk_size: int | None = None,
        **earlier: Any,
    ) -> Any:
        """Scores pairs of texts, in the order in which they come.

        Args:
            inputs: Pairs, each a list, tuple or array of two strings; or one pair.
            prompt_name, prompt: What is put in front of each query: one of `prompts`, or a text of its own.
            batch_size: At least 1. It has no effect: work is cut by tokens, and scores do not depend on how.
            show_progress_bar: Whether progress is shown on stderr.
            activation_fn: As of the class, for this call.
            apply_softmax: Whether scores of several labels are made to sum to one, after the activation.
            convert_to_numpy, convert_to_tensor, device, pool, chunk_size: sentence-transformers has them, here they must
                keep their defaults.

        Returns:
            A float32 array: a score a pair, or a row a pair where there are several labels. Of one pair a
            numpy.float32, or a row. (Of no pairs, as sentence-transformers, an empty array of float64.)

        Raises:
            InputError: A text is no string; the message says which.
            ValueError: A text cannot be scored, or an argument is out of range.
        """
        if earlier:
            inputs, activation_fn = _calls.earlier(inputs, activation_fn, earlier, "predict")
        _calls.refuse_tensors(convert_to_numpy, convert_to_tensor, device, pool, chunk_size)
        return self._predict(
            inputs, prompt_name, prompt, batch_size, show_progress_bar, activation_fn, apply_softmax, None
        )

    async def apredict(
        self,
        inputs: Iterable[Any] = (),
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        pool: None = None,
        chunk_size: int | None = None,
        **earlier: Any,
    ) -> Any:
        """`predict` on a thread of asyncio's, which leaves the loop to others. Cancelling it ends the scoring."""
        if earlier:
            inputs, activation_fn = _calls.earlier(inputs, activation_fn, earlier, "apredict")
        _calls.refuse_tensors(convert_to_numpy, convert_to_tensor, device, pool, chunk_size)
        return await _calls.aside(
            self._predict, inputs, prompt_name, prompt, batch_size, show_progress_bar, activation_fn, apply_softmax
        )

    def predict_columns(
        self,
        queries: Any,
        documents: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        apply_softmax: bool | None = False,
    ) -> Scores:
        """Scores two columns of equal length, row by row.

        Args:
            queries, documents: Columns of strings: whatever has Arrow's PyCapsule interface (of pyarrow, polars, pandas
                with Arrow's strings and others), of which no string is copied; or any iterable of strings.
            prompt_name, prompt, show_progress_bar, activation_fn, apply_softmax: As of `predict`.

        Returns:
            A float32 array: a score a row, or a row of scores where there are several labels.

        Raises:
            InputError: A column is none of strings, or a row is null; the message names it.
            ValueError: The columns have not the same length.
        """
        prompt = _prompts.resolve(self.prompts, self.default_prompt_name, prompt_name, prompt)
        activation = self._activation(activation_fn)
        total = len(documents) if show_progress_bar else 0
        with _progress.bar(show_progress_bar, total) as watcher:
            scores = self._model.predict_columns(
                queries, documents, self._mode(activation), prompt, None, watcher
            )
        return _scores.finish(scores, self.num_labels, activation, apply_softmax)

    def rank(
        self,
        query: str,
        documents: Iterable[str] | Any,
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        device: Any = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        min_score: float | None = None,
        return_tokens: bool = False,
        long: str | None = None,
        stride: int | None = None,
        cascade: Iterable[tuple[CrossEncoder, int]] | None = None,
        **earlier: Any,
    ) -> list[dict[str, Any]]:
        """Ranks documents by how well they answer the query, best first.

        The order is that of the logits, which differ where scores have saturated at 0 or 1; ties are by index. A
        function of the caller's as `activation_fn` orders by what it gives, and by the logit where that is equal.

        Args:
            query: What the documents are to answer.
            documents: Texts: a list, a tuple, an array, a pandas column, or whatever has Arrow's PyCapsule interface.
            top_k: How many results at most. None: all.
            return_documents: Whether results have the texts.
            prompt_name, prompt, batch_size, show_progress_bar, activation_fn: As of `predict`.
            device, pool, chunk_size: sentence-transformers has them, here they must keep their defaults.
            min_score: The least score of a result.
            return_tokens: Whether results say how many tokens were scored, and whether a text was cut.
            long: What counts of a document that does not fit the window: `"truncate"`, its beginning; `"max"`, its best
                passage; `"mean"`, the mean of its passages' logits.
            stride: With `"max"` and `"mean"`, about how many tokens a passage shares with the one before it.
            cascade: Models that come before this one, each with the number of documents that it keeps, as
                `[(fast, 20)]`. Results are the documents that this one scored.

        Returns:
            A dictionary a document: `corpus_id`, its index; `score`, a float; with the options above also `text`,
            `tokens` and `truncated`; with passages `passage`, a dictionary with the best one's `index`, their `count`,
            and where it lies in the text, `start` and `end`, in code points, so that `text[start:end]` is the passage.

        Raises:
            InputError: A text is no string; the message says which.
            ValueError: The model has several labels, a text cannot be scored, or an argument is out of range.
        """
        if earlier:
            documents, activation_fn = _calls.earlier(documents, activation_fn, earlier, "rank")
        _calls.refuse_tensors(True, False, device, pool, chunk_size)
        options = (min_score, return_tokens, long, stride, cascade)
        return self._rank(
            query,
            documents,
            top_k,
            return_documents,
            (prompt_name, prompt, batch_size, show_progress_bar, activation_fn),
            options,
            None,
        )

    async def arank(
        self,
        query: str,
        documents: Iterable[str] | Any,
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        device: Any = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        min_score: float | None = None,
        return_tokens: bool = False,
        long: str | None = None,
        stride: int | None = None,
        cascade: Iterable[tuple[CrossEncoder, int]] | None = None,
        **earlier: Any,
    ) -> list[dict[str, Any]]:
        """`rank` on a thread of asyncio's, which leaves the loop to others. Cancelling it ends the scoring."""
        if earlier:
            documents, activation_fn = _calls.earlier(documents, activation_fn, earlier, "arank")
        _calls.refuse_tensors(True, False, device, pool, chunk_size)
        ranking: list[dict[str, Any]] = await _calls.aside(
            self._rank,
            query,
            documents,
            top_k,
            return_documents,
            (prompt_name, prompt, batch_size, show_progress_bar, activation_fn),
            (min_score, return_tokens, long, stride, cascade),
        )
        return ranking

    def __repr__(self) -> str:
        info = self._info
        size = f"{info['layers']} layers, hidden {info['hidden']}"
        return f"CrossEncoder({self._folder!r}: {info['family']}, {size}, {info['dtype']}, {info['threads']} threads)"

    def __copy__(self) -> CrossEncoder:
        # What is loaded never changes, so copies share it.
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.prompts = dict(self.prompts)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> CrossEncoder:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        # By its folder: weights do not go into pickles.
        return {name: value for name, value in self.__dict__.items() if name not in ("_model", "_info")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._model = Model(self._folder, *self._options)
        self._info = self._model.info()

    def _activation(self, activation_fn: Any) -> str | _activations.Function:
        chosen = activation_fn if activation_fn is not None else self.activation_fn
        return _activations.resolve(chosen)

    def _mode(self, activation: str | _activations.Function) -> str:
        """What the engine is asked for. Over one label softmax is always 1, which it refuses."""
        if not isinstance(activation, str) or (activation == "softmax" and self.num_labels == 1):
            return "identity"
        return activation

    def _predict(
        self,
        inputs: Any,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int,
        show_progress_bar: bool | None,
        activation_fn: Any,
        apply_softmax: bool | None,
        stop: _crossrank.Stop | None,
    ) -> Any:
        _arguments.whole("batch_size", batch_size, 1)
        prompt = _prompts.resolve(self.prompts, self.default_prompt_name, prompt_name, prompt)
        activation = self._activation(activation_fn)
        single = _calls.is_pair(inputs)
        if single:
            inputs = [inputs]
        elif show_progress_bar and not hasattr(inputs, "__len__"):
            inputs = list(inputs)
        with _progress.bar(show_progress_bar, len(inputs) if show_progress_bar else 0) as watcher:
            buffer = self._model.predict(inputs, self._mode(activation), prompt, stop, watcher)
        scores = _scores.finish(buffer, self.num_labels, activation, apply_softmax)
        if len(scores) == 0:
            import numpy as np

            return np.array([])
        return scores[0] if single else scores

    def _rank(
        self,
        query: Any,
        documents: Any,
        top_k: int | None,
        return_documents: bool,
        call: tuple[Any, ...],
        options: tuple[Any, ...],
        stop: _crossrank.Stop | None,
    ) -> list[dict[str, Any]]:
        prompt_name, prompt, batch_size, show_progress_bar, activation_fn = call
        min_score, return_tokens, long, stride, cascade = options
        if self.num_labels != 1:
            raise ValueError(
                f"rank orders by the one label of a model, but this one has {self.num_labels}; predict gives them all"
            )
        _arguments.whole("batch_size", batch_size, 1)
        activation = self._activation(activation_fn)
        keep = _arguments.optional_whole("top_k", top_k, 0)
        least = _arguments.optional_number("min_score", min_score)
        # Whose scores the engine makes; over one label softmax is none of them.
        of_engine = isinstance(activation, str) and activation != "softmax"
        options_of_engine = {
            "prompt": _prompts.resolve(self.prompts, self.default_prompt_name, prompt_name, prompt),
            "mode": self._mode(activation),
            "top_k": keep if of_engine else None,
            "min_score": least if of_engine else None,
            "long": _arguments.optional_text("long", long),
            "stride": 0 if stride is None else _arguments.whole("stride", stride, 0),
            "cascade": _stages(cascade),
            "return_documents": bool(return_documents),
            "return_tokens": bool(return_tokens),
        }
        if show_progress_bar and not hasattr(documents, "__len__"):
            documents = list(documents)
        with _progress.bar(show_progress_bar, len(documents) if show_progress_bar else 0) as watcher:
            ranking = self._model.rank(query, documents, options_of_engine, stop, watcher)
        if of_engine:
            return ranking
        return _scores.order(ranking, activation, keep, least)


def _stages(cascade: Any) -> list[tuple[Model, int]]:
    """The earlier models of a cascade."""
    if cascade is None:
        return []
    stages = []
    for i, stage in enumerate(cascade):
        try:
            model, keep = stage
        except (TypeError, ValueError):
            raise TypeError(f"cascade[{i}]: expected a CrossEncoder and a number, found {stage!r:.80}") from None
        if not isinstance(model, CrossEncoder):
            raise TypeError(f"cascade[{i}]: expected a CrossEncoder, found {type(model).__name__}")
        if model.num_labels != 1:
            raise ValueError(f"cascade[{i}]: expected a model with one label, found {model.num_labels}")
        stages.append((model._model, _arguments.whole(f"cascade[{i}]", keep, 1)))
    return stages
