"""Turn a Hugging Face folder into a checkpoint of ours; see `training.huggingface.import_model`."""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from training.huggingface.import_model import main

if __name__ == "__main__":
    raise SystemExit(main())
