"""Write a checkpoint as a Hugging Face folder (DCLM's script name); see `training.huggingface.export`."""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from training.huggingface.export import main

if __name__ == "__main__":
    raise SystemExit(main())
