"""One BLAS thread for what a search computes.

The matrices are small, so threads only cost time; and how a product is split among threads changes its last bits, so
the same search on machines with more or fewer cores could ask for other mixtures.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded when it is first asked for."""
    import scipy.linalg  # noqa: F401  (brings a BLAS of its own)

    return ThreadpoolController()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within the block, BLAS uses one thread."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
