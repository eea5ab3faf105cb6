"""`python dedup/bff …` and `python -m dedup.bff …`: the same as `corpusmith dedup bff …`."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])

from dedup.bff.command import main

if __name__ == "__main__":
    raise SystemExit(main())
