"""A table of the experiment database as text, Markdown, CSV, a page with a sortable grid, or a plot."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb.tables import FLOPS, PARAMS, SOURCE, TOKENS, Row, Table
from corpusmith.io import storage

_PAGE = Path(__file__).resolve().with_name("expdb.html")
_DATA_MARK = "__TABLE__"
_SHORT = {"eval_metrics.icl": "icl", "eval_metrics.downstream_perpexity": "ppl", "hyperparameters.": ""}
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_COUNTED = frozenset({PARAMS, TOKENS, "num_tokens"})
_FIRST = (SOURCE, "uuid", "dataset_name", "model", PARAMS, TOKENS, "low_variance_datasets")


def shown(column: str, value: Any) -> str:
    """A cell for people: counts with a unit, numbers in four digits, nothing for what is absent."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    if column in _COUNTED:
        factor, unit = next(((factor, unit) for factor, unit in _UNITS if abs(value) >= factor), (1.0, ""))
        return f"{value / factor:.4g}{unit}"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def header(column: str) -> str:
    """A column's name, shortened where it is well known."""
    for long, short in _SHORT.items():
        if column.startswith(long):
            return (short + column[len(long) :]).removeprefix(".")
    return column


def to_text(table: Table, max_colwidth: int) -> str:
    """Aligned columns, one row a line, long cells cut."""
    cells = [[header(column) for column in table.columns]]
    cells += [[shown(column, row.get(column)) for column in table.columns] for row in table.rows]
    cut = [[_cut(cell.replace("\n", " "), max_colwidth) for cell in line] for line in cells]
    widths = [max(len(line[place]) for line in cut) for place in range(len(table.columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cut)
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 1)]}…"


def to_markdown(table: Table) -> str:
    """A table of GitHub's Markdown, cells in full."""

    def line(cells: Sequence[str]) -> str:
        escaped = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(escaped)} |"

    rows = [line([shown(column, row.get(column)) for column in table.columns]) for row in table.rows]
    return (
        "\n".join([line([header(column) for column in table.columns]), "|" + "---|" * len(table.columns), *rows]) + "\n"
    )


def to_csv(table: Table) -> str:
    """All values in full, lists as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow(_csv_cell(row.get(column)) for column in table.columns)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def to_html(table: Table, name: str) -> str:
    """A self-contained page: the rows of the table `name` as JSON, and a grid that sorts and filters them."""
    columns = [column for column in _FIRST if column in table.columns]
    columns += [column for column in table.columns if column not in columns]
    data = {
        "name": name,
        "columns": [{"name": column, "header": header(column), "first": column in _FIRST} for column in columns],
        "rows": [[row.get(column) for column in columns] for row in table.rows],
        "counted": sorted(_COUNTED),
        "sort": next((column for column in ("low_variance_datasets", "creation_date") if column in columns), None),
    }
    # `<` would end the script element where a value holds `</script>`
    text = json.dumps(_without_nan(data), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return _PAGE.read_text(encoding="utf-8").replace(_DATA_MARK, text)


def _without_nan(value: Any) -> Any:
    """The same tree with null for numbers that are none."""
    if isinstance(value, dict):
        return {key: _without_nan(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_nan(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot(table: Table, y_column: str, url: str) -> list[Row]:
    """Draw `y_column` against training compute, one colour per data set; returns the rows that could not be drawn.

    The picture's format is that of the file's suffix (png, svg, pdf).

    Raises:
        InputError: no row has both numbers, or an unknown suffix.
    """
    drawable = [row for row in table.rows if _is_number(row.get(FLOPS)) and _is_number(row.get(y_column))]
    if not drawable:
        raise InputError(f"nothing to plot: no row has both {FLOPS} and {y_column} as numbers")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    groups: dict[str, list[Row]] = {}
    for row in sorted(drawable, key=itemgetter(FLOPS)):
        groups.setdefault(str(row.get("dataset_name", "unknown")), []).append(row)
    for name, rows in groups.items():
        xs, ys = [row[FLOPS] for row in rows], [row[y_column] for row in rows]
        axes.plot(xs, ys, marker="o", linestyle="-", linewidth=1, markersize=5, label=_cut(name, 60))
    axes.set_xscale("log")
    axes.set_xlabel("training compute, FLOPs (6 · parameters · tokens)")
    axes.set_ylabel(header(y_column))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize="small", frameon=False)
    buffer = io.BytesIO()
    suffix = storage.basename(url).rpartition(".")[2].lower()
    if suffix not in canvas.get_supported_filetypes():
        raise InputError(f"{url}: unknown kind of picture; use .png, .svg or .pdf")
    figure.savefig(buffer, format=suffix, dpi=150)
    storage.write_bytes(url, buffer.getvalue())
    return [row for row in table.rows if row not in drawable]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
