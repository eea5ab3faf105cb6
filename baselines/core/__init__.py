"""What turns a step of a YAML into a callable; importing it also makes `core`, `mappers` and `aggregators` importable.

Code written for DCLM says `from core.constants import CONTENT`; the aliases lead to the same modules as
`baselines.core.constants`, never to second copies. A package of the user's with one of these names comes first.
"""

from baselines.core.aliases import install_aliases
from baselines.core.factories import get_aggregator, get_mapper, get_transform
from baselines.core.file_utils import read_jsonl, write_jsonl
from baselines.core.processor import process_single_file

VERSION = 1

install_aliases()

__all__ = ["get_aggregator", "get_mapper", "get_transform", "process_single_file", "read_jsonl", "write_jsonl"]
