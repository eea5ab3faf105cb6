"""`python dedup/bff …` and `python -m dedup.bff …`: the same as `corpusmith dedup bff …`."""

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # fmt: skip  # noqa: E401, E702, I001

from dedup.bff.command import main

if __name__ == "__main__":
    raise SystemExit(main())
