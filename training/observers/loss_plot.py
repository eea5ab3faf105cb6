"""The loss curves of runs as a picture, from the train log and the results of validation that a run leaves.

`python -m training.observers.loss_plot RUN [RUN …] --output loss.png` compares runs; each run also gets its own
`loss.png` at the end. The training loss is drawn as it was logged, and smoothed by an exponential mean; validation
losses are points. The x-axis counts tokens, so that runs of different batch sizes can be compared.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.state.run_folder import CHECKPOINTS, RESULTS_NAME, TRAIN_LOG

PLOT_NAME = "loss.png"
SMOOTHING_POINTS = 40
_DOTS_PER_INCH = 120
_MARKERS = "osd^v*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One run: tokens and losses of the logged steps; (tokens, loss) by validation set."""

    name: str
    tokens: list[float]
    losses: list[float]
    validation: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def read_curve(folder: str) -> Curve:
    """The curve of an experiment's folder; lines that a kill cut short are passed over.

    Raises:
        InputError: the folder has no train log, or an empty one.
    """
    url = storage.join(folder, TRAIN_LOG)
    rows = [row for row in _read_rows(url) if isinstance(row, dict) and {"tokens", "loss"} <= row.keys()]
    if not rows:
        raise InputError(f"{url}: no logged step to draw")
    validation: dict[str, list[tuple[float, float]]] = {}
    results = storage.join(folder, CHECKPOINTS, RESULTS_NAME)
    for line in _read_rows(results) if storage.exists(results) else []:
        for result in line if isinstance(line, list) else []:
            if result.get("train_tokens") is not None and result.get("val_data"):
                name = short_name(str(result["val_data"][0]))
                validation.setdefault(name, []).append((float(result["train_tokens"]), float(result["loss"])))
    return Curve(
        name=storage.basename(folder),
        tokens=[float(row["tokens"]) for row in rows],
        losses=[float(row["loss"]) for row in rows],
        validation=validation,
    )


def _read_rows(url: str) -> list[Any]:
    """The JSON documents of a file's lines."""
    rows = []
    for line in storage.read_bytes(url).splitlines():
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return rows


def short_name(path: str) -> str:
    """A validation set's name: its file's, or its folder's where the file is a manifest."""
    name = storage.basename(path)
    return storage.basename(storage.parent(path)) if name.startswith("manifest") else name.split(".")[0]


def smoothed(losses: Sequence[float], points: int = SMOOTHING_POINTS) -> list[float]:
    """The exponential mean of the losses with bias correction: over about a `points`-th of the curve at a time."""
    keep = 1 - min(1.0, max(points / max(len(losses), 1), 1e-3))
    mean, weight, found = 0.0, 0.0, []
    for loss in losses:
        if math.isfinite(loss):
            mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        found.append(mean / weight if weight else loss)
    return found


def draw_curves(curves: Sequence[Curve], title: str = "") -> bytes:
    """A PNG of the curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        colour = f"C{index}"
        axes.plot(curve.tokens, curve.losses, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(curve.tokens, smoothed(curve.losses), color=colour, label=f"{curve.name} (training)", linewidth=1.5)
        for index_of_set, (name, points) in enumerate(sorted(curve.validation.items())):
            marker = _MARKERS[index_of_set % len(_MARKERS)]
            label = f"{curve.name} ({name})"
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=":", label=label)
    axes.set_xlabel("tokens")
    axes.set_ylabel("loss, nats per token")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    return picture.getvalue()


def plot_run(folder: str) -> str:
    """Draw an experiment's own `loss.png`; returns its URL."""
    curve = read_curve(folder)
    url = storage.join(folder, PLOT_NAME)
    storage.write_bytes(url, draw_curves([_plain(curve)], curve.name))
    return url


def _plain(curve: Curve) -> Curve:
    """The curve under a short name: the title has the run's."""
    return Curve(name="loss", tokens=curve.tokens, losses=curve.losses, validation=curve.validation)


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = make_parser(
        "python -m training.observers.loss_plot",
        "Draw the loss curves of runs into one picture.",
        "python -m training.observers.loss_plot logs/run_a logs/run_b --output loss.png",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="experiment folders (or URLs)")
    parser.add_argument("--output", default=PLOT_NAME, help=f"the PNG to write (default {PLOT_NAME})")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Draw as the flags say."""
    curves = [read_curve(folder) for folder in arguments.runs]
    storage.write_bytes(arguments.output, draw_curves(curves))
    say(f"drew {len(curves)} runs: {arguments.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
