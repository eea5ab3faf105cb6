"""What is run together: the sequences of one row share what they begin with, and rows of like length share a batch.

Upstream pads every sequence to the full context and runs each choice from its first token; scores don't depend on
either. Here a row's common beginning is run once and continued by each choice, and a batch holds as many tokens as
memory allows: a budget that is estimated first and halved whenever memory runs out.
"""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from corpusmith.errors import CorpusmithError
from eval.models.language_model import LanguageModel
from eval.tasks.prompts import ScoredInput

Item = TypeVar("Item")
Result = TypeVar("Result")

#: items that are sorted together, so that a large task needn't be held in memory as a whole
WINDOW = 2048
#: an upper bound for the numbers that are the logits of one batch: on a CPU they should stay in its caches
_MAX_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 28}
#: share of the free memory that a batch may take by our estimate
_MEMORY_SHARE = 0.4
#: tokens beyond which a larger batch brings no more speed; on a CPU, long sequences are faster alone, without padding
_MAX_TOKENS = {"cpu": 1 << 11, "cuda": 1 << 17}
_MIN_TOKENS = 256
#: what a machine that doesn't say is taken to have
_FREE_BYTES_UNKNOWN = 4 << 30
#: share of a row's tokens that a common beginning must save to be worth two passes
_WORTH_SHARING = 0.2


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows a common beginning: its last `scored` tokens (and no fewer than one) are the answer."""

    choice: int
    tokens: list[int]
    scored: int

    @property
    def scored_in_prefix(self) -> int:
        """Answer tokens that logits of the beginning predict."""
        return max(0, self.scored - len(self.tokens) + 1)


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Sequences of one row that begin alike."""

    row: int
    prefix: list[int]
    endings: tuple[Ending, ...]

    @property
    def keep(self) -> int:
        """Last positions of the beginning whose logits are needed, at least one."""
        return max(1, *(ending.scored_in_prefix for ending in self.endings))


def prefix_groups(inputs: Sequence[ScoredInput], share: bool = True) -> list[PrefixGroup]:
    """The sequences of one row as one group where they have enough in common, else as one group each.

    They have little in common where an answer's length moves the window of a context that is too long. `share` False
    gives one group with endings of more than one token to no row.
    """
    common = _common_length([item.tokens for item in inputs])
    common = min(common, *(item.span_start for item in inputs))
    whole = sum(len(item.tokens) - 1 for item in inputs)
    saved = common * (len(inputs) - 1)
    one_token_each = all(len(item.tokens) == common + 1 for item in inputs)
    if common and saved >= _WORTH_SHARING * whole and (share or one_token_each):
        return [_group(inputs, common)]
    return [_group([item], len(item.tokens) - 1) for item in inputs]


def _group(inputs: Sequence[ScoredInput], common: int) -> PrefixGroup:
    endings = tuple(
        Ending(choice=item.choice, tokens=item.tokens[common:], scored=len(item.tokens) - item.span_start)
        for item in inputs
    )
    return PrefixGroup(row=inputs[0].row, prefix=inputs[0].tokens[:common], endings=endings)


def _common_length(sequences: Sequence[list[int]]) -> int:
    """Number of first tokens in which all sequences agree."""
    first = sequences[0]
    length = min(map(len, sequences))
    for other in sequences[1:]:
        if first[:length] != other[:length]:
            pairs = zip(first[:length], other, strict=False)
            length = next(position for position, (mine, theirs) in enumerate(pairs) if mine != theirs)
    return length


class TokenBudget:
    """How many padded tokens a batch may hold, and how many positions may have logits."""

    def __init__(self, model: LanguageModel, max_tokens: int | None = None) -> None:
        """With `max_tokens` that is the budget to begin with; else it is estimated from free memory."""
        self.tokens = max_tokens or _estimate(model)
        self.logits = max(1, _of_device(_MAX_LOGITS, model.device) // model.vocab_size)

    def halve(self) -> None:
        """Allow half as much from now on."""
        self.tokens = max(1, self.tokens // 2)
        self.logits = max(1, self.logits // 2)


def run_in_batches(
    items: Iterable[Item],
    length: Callable[[Item], int],
    positions: Callable[[Item], int],
    budget: TokenBudget,
    run: Callable[[list[Item]], Iterable[Result]],
) -> Iterator[Result]:
    """What `run` makes of all items, in batches of like length, longest first within a window.

    A batch's items times the longest `length` stay within the budget of tokens, times the most `positions` within that
    of logits; one item alone may exceed both. Where memory runs out the budget is halved and the batch tried again.

    Raises:
        CorpusmithError: memory does not suffice for a single item.
    """
    iterator = iter(items)
    while window := list(itertools.islice(iterator, WINDOW)):
        pending = sorted(window, key=length, reverse=True)
        while pending:
            batch = _first_batch(pending, length, positions, budget)
            try:
                results = list(run(batch))
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                results = None
            if results is not None:
                del pending[: len(batch)]
                yield from results
            elif len(batch) == 1:
                raise CorpusmithError(f"memory does not suffice for one sequence of {length(batch[0])} tokens")
            else:
                budget.halve()
                _free_memory()


def _first_batch(
    pending: Sequence[Item], length: Callable[[Item], int], positions: Callable[[Item], int], budget: TokenBudget
) -> list[Item]:
    """As many items from the front as the budget holds, at least one."""
    longest, most = length(pending[0]), 0
    for count, item in enumerate(pending, start=1):
        most = max(most, positions(item))
        if count > 1 and (count * longest > budget.tokens or count * most > budget.logits):
            return list(pending[: count - 1])
    return list(pending)


def _estimate(model: LanguageModel) -> int:
    """Tokens that free memory holds."""
    free = _free_bytes(model.device)
    most = _of_device(_MAX_TOKENS, model.device)
    return max(_MIN_TOKENS, min(most, int(free * _MEMORY_SHARE / model.bytes_per_token)))


def _of_device(limits: Mapping[str, int], device: torch.device) -> int:
    """The limit of a kind of device; accelerators other than CUDA's are taken for CUDA's."""
    return limits["cpu" if device.type == "cpu" else "cuda"]


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return _FREE_BYTES_UNKNOWN
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else _FREE_BYTES_UNKNOWN


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out; on the CPU only its text says so."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "allocate memory" in text
        or "not enough memory" in text
    )


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
