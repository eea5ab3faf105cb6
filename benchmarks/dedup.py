"""Deduplication against its peers: Bloom-filter dedup, MinHash signatures, whole MinHash dedup, scale and memory.

All in one run on one core, CPU seconds; `make peers` makes the environments of dolma, rensa and datatrove, and a peer
that is not there is a row that says so. What each row compares stands in `_dedup_bff.py`, `_dedup_minhash.py` and
`_dedup_scale.py`.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse

from benchmarks._bench import Row, make_parser, run
from benchmarks._dedup_bff import bff_rows
from benchmarks._dedup_minhash import minhash_rows
from benchmarks._dedup_scale import scale_rows

PARTS = {"bff": bff_rows, "minhash": minhash_rows, "scale": scale_rows}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """The rows of the part that is asked for, or of all."""
    parts = [arguments.only] if arguments.only else list(PARTS)
    return [row for part in parts for row in PARTS[part](arguments.source, arguments.quick)]


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part of the rows")
    return run(parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
