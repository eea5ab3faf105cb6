"""Write a checkpoint as a Hugging Face folder (DCLM's script name); see `training.huggingface.export`."""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

from training.huggingface.export import main

if __name__ == "__main__":
    raise SystemExit(main())
