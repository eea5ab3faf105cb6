"""How our numba kernels are declared: explicit signatures, cached on disk, without the global interpreter lock.

Kernels check no bounds in production, so they are fed only arrays made from a `str` or by another kernel. With
`NUMBA_BOUNDSCHECK=1` in the environment they are compiled afresh with checks, which is how the tests are run when a
kernel has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

U8Array = NDArray[np.uint8]
U16Array = NDArray[np.uint16]
U32Array = NDArray[np.uint32]
U64Array = NDArray[np.uint64]
I32Array = NDArray[np.int32]
I64Array = NDArray[np.int64]

# The numba types of one-dimensional contiguous arrays; read-only, so that both kinds of buffer are accepted.
U8_IN = types.Array(types.uint8, 1, "C", readonly=True)
U16_IN = types.Array(types.uint16, 1, "C", readonly=True)
U32_IN = types.Array(types.uint32, 1, "C", readonly=True)
U64_IN = types.Array(types.uint64, 1, "C", readonly=True)
I16_IN = types.Array(types.int16, 1, "C", readonly=True)
I32_IN = types.Array(types.int32, 1, "C", readonly=True)
I64_IN = types.Array(types.int64, 1, "C", readonly=True)
F32_IN = types.Array(types.float32, 1, "C", readonly=True)
I32_2D_IN = types.Array(types.int32, 2, "C", readonly=True)
I64_2D_IN = types.Array(types.int64, 2, "C", readonly=True)
F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
# What a kernel fills or changes for its caller.
U8_OUT = types.Array(types.uint8, 1, "C")
U32_OUT = types.Array(types.uint32, 1, "C")
U64_OUT = types.Array(types.uint64, 1, "C")
I32_OUT = types.Array(types.int32, 1, "C")
I64_OUT = types.Array(types.int64, 1, "C")
I64_2D_OUT = types.Array(types.int64, 2, "C")

BOUNDS_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "") not in ("", "0")


def kernel(*arguments: Any) -> Callable[[F], F]:
    """Compile a function for exactly these numba argument types (cached, nogil); the result type is inferred.

    The cache does not know whether a compiled function checks bounds, so checked kernels are never cached.
    """

    def compile_function(function: F) -> F:
        return cast(F, numba.njit([tuple(arguments)], cache=not BOUNDS_CHECKED, nogil=True)(function))

    return compile_function


def helper_kernel(function: F) -> F:
    """Compile a helper that kernels call; its types follow its callers'."""
    return cast(F, numba.njit(cache=not BOUNDS_CHECKED, nogil=True)(function))
