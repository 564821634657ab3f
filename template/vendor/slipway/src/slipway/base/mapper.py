"""Where functions over chunks run: in this process, or wherever an engine has workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


class Mapper(Protocol):
    """Where functions over chunks run: this process, or the workers of an engine.

    `threads` is how many threads a function may take there.
    """

    threads: int

    def map(self, function: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """Yield what `function` returns for each chunk, in the order of the chunks.

        Function, chunks and results can be pickled. A chunk is taken when there is room for it: all of them may be
        more than memory holds. Its `str()` is its name in what is told. What `function` raises is raised here, and
        an error of the engine's where that and not the function is at fault.
        """
        ...


class Here:
    """This process, which works on one chunk after the other."""

    threads = os.cpu_count() or 1

    def map(self, function: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """See `Mapper`."""
        return map(function, chunks)


HERE: Mapper = Here()
