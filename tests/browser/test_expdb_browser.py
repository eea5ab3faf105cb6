"""The page of the experiment database in a real browser: it sorts, filters, and shows hostile values as text."""

from __future__ import annotations

import html
import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest

from corpusmith.expdb.output import to_html
from corpusmith.expdb.tables import Table

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror='window.hacked = 1'>"
TABLE = Table(
    columns=["model", "uuid", "low_variance_datasets", "hyperparameters.tokens", "eval_metrics.icl.copa"],
    rows=[
        {"model": "a", "uuid": "u1", "low_variance_datasets": 0.25, "hyperparameters.tokens": 8_000_000_000},
        {"model": HOSTILE, "uuid": "u2", "low_variance_datasets": 0.75, "eval_metrics.icl.copa": 0.5},
        {"model": "b", "uuid": "u3", "low_variance_datasets": 0.5, "hyperparameters.tokens": 28_800_000_000},
    ],
)
ACTIONS = """<pre id="found"></pre><script>
const uuids = () => [...document.querySelectorAll('#body tr')].map(row => row.cells[0].textContent);
const place = name => table.columns.findIndex(column => column.name === name);
const header = name => document.querySelectorAll('#head th')[place(name)];
const type = (input, text) => { input.value = text; input.dispatchEvent(new Event('input')); };
const found = { first: uuids(), cells: [...document.querySelectorAll('#body tr')].map(row => row.innerText) };
header('low_variance_datasets').querySelector('button').click();
found.ascending = uuids();
type(header('hyperparameters.tokens').querySelector('input'), '>=10B');
found.large = uuids();
type(header('hyperparameters.tokens').querySelector('input'), '');
type(header('model').querySelector('input'), '^[ab]$');
found.named = uuids();
type(header('model').querySelector('input'), '(');
found.wrong = header('model').querySelector('input').className;
type(header('model').querySelector('input'), '^b');
document.getElementById('reload').click();
found.code = document.getElementById('code').value;
type(document.getElementById('columns'), 'nothing');
found.headers = [...document.querySelectorAll('#head th')].map(cell => cell.title);
found.hash = decodeURIComponent(location.hash);
found.hacked = window.hacked === undefined ? null : window.hacked;
document.getElementById('found').textContent = JSON.stringify(found);
</script>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    folder: pathlib.Path = tmp_path_factory.mktemp("page")
    page = folder / "evals.html"
    page.write_text(to_html(TABLE, "evals").replace("</body>", f"{ACTIONS}</body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stdout[-500:]
    read: dict[str, Any] = json.loads(html.unescape(match[1]))
    return read


def test_rows_come_sorted_by_core_and_a_click_turns_the_order(found: dict[str, Any]) -> None:
    assert found["first"] == ["u2", "u3", "u1"]
    assert found["ascending"] == ["u1", "u3", "u2"]


def test_filters_take_numbers_with_units_and_regular_expressions(found: dict[str, Any]) -> None:
    assert found["large"] == ["u3"]
    assert found["named"] == ["u1", "u3"]
    assert found["wrong"] == "wrong"


def test_what_is_shown_can_be_loaded_again_and_linked(found: dict[str, Any]) -> None:
    assert '"u3"' in found["code"]
    assert '"u1"' not in found["code"]
    assert 'table="evals"' in found["code"]
    assert '"model":"^b"' in found["hash"]
    assert found["headers"] == ["uuid", "model", "hyperparameters.tokens", "low_variance_datasets"]


def test_hostile_values_are_text(found: dict[str, Any]) -> None:
    assert found["hacked"] is None
    assert any(HOSTILE in cell for cell in found["cells"])
    assert any("28.8B" in cell for cell in found["cells"])
