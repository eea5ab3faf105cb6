"""Deduplication against its peers: Bloom-filter dedup, MinHash signatures, whole MinHash dedup, scale and memory.

All in one run on one core, CPU seconds; `make peers` makes the environments of dolma, rensa and datatrove, and a peer
that is not there is a row that says so. What each row compares stands in `_dedup_bff.py`, `_dedup_minhash.py` and
`_dedup_scale.py`.
"""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

import sys

from benchmarks._bench import make_parser, report
from benchmarks._dedup_bff import bff_rows
from benchmarks._dedup_minhash import minhash_rows
from benchmarks._dedup_scale import scale_rows
from corpusmith.errors import CorpusmithError

PARTS = {"bff": bff_rows, "minhash": minhash_rows, "scale": scale_rows}


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part of the rows")
    arguments = parser.parse_args()
    try:
        parts = [arguments.only] if arguments.only else list(PARTS)
        rows = [row for part in parts for row in PARTS[part](arguments.source, arguments.quick)]
    except CorpusmithError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    report(rows, arguments.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
