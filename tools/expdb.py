"""Look into the experiment database: the script of DCLM's name for `corpusmith expdb`."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from corpusmith.expdb.command import main

if __name__ == "__main__":
    raise SystemExit(main())
