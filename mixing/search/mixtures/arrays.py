"""The array types of the search; k groups, n mixtures, t tasks."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
Rng: TypeAlias = np.random.Generator
Json: TypeAlias = dict[str, Any]
