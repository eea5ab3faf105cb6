"""`python dedup/exact …` and `python -m dedup.exact …`: the same as `corpusmith dedup exact …`."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])

from dedup.exact.command import main

if __name__ == "__main__":
    raise SystemExit(main())
