"""Print the line coverage of each room from `.coverage`, and fail where one is below the limit.

    python tools/coverage_by_room.py [LIMIT]

Rooms are the `source` folders of `[tool.coverage.run]`; what a room below the limit lacks is listed by module.
"""

from __future__ import annotations

import argparse
import io
import sys

import coverage


def measure(data: coverage.Coverage, room: str) -> tuple[float, str]:
    """Percent of a room's lines that ran, and coverage's table of its modules."""
    table = io.StringIO()
    return data.report(include=f"{room}/*", file=table, sort="cover"), table.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where a room is below the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("limit", type=float, nargs="?", default=90.0, help="percent that each room needs (default 90)")
    limit = parser.parse_args(arguments).limit
    data = coverage.Coverage()
    data.load()
    rooms = data.get_option("run:source")
    assert isinstance(rooms, list), "pyproject.toml names the rooms"
    found = {room: measure(data, room) for room in rooms}
    for room, (percent, _) in found.items():
        print(f"{percent:6.1f} %  {room}")  # noqa: T201 - a script's output
    below = {room: table for room, (percent, table) in found.items() if percent < limit}
    for room, table in below.items():
        print(f"\n{room} is below {limit:g} %:\n{table}", file=sys.stderr)  # noqa: T201
    return int(bool(below))


if __name__ == "__main__":
    sys.exit(main())
