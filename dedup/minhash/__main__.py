"""`python dedup/minhash …` and `python -m dedup.minhash …`: the same as `corpusmith dedup minhash …`."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])

from dedup.minhash.command import main

if __name__ == "__main__":
    raise SystemExit(main())
