"""`python -m corpusmith` is the console command."""

from corpusmith.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
