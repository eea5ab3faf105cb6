"""The report in a real browser: it loads nothing, runs nothing, complains of nothing, and fits a phone.

Chromium is driven by its command line. A page of our own shows the report in a frame of the wanted width, measures it
and writes what it found into itself, which `--dump-dom` prints; both come from a server on this machine.
"""

from __future__ import annotations

import functools
import html
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from corpusmith.report.command import write_report

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60
HOSTILE = "<script>parent.hacked = 1</script><img src=/stolen onerror='parent.hacked = 1'>\u202e" + "W" * 400
MEASURE = """<!DOCTYPE html><link rel="icon" href="data:,"><iframe id="frame" src="/report.html"
 style="border:0;width:WIDTHpx;height:800px"></iframe><pre id="found"></pre><script>
document.getElementById('frame').onload = (event) => {
  const page = event.target.contentDocument;
  page.querySelectorAll('details').forEach((part) => { part.open = true; });
  const style = (element) => event.target.contentWindow.getComputedStyle(element);
  const bars = [...page.querySelectorAll('.funnel svg.bar')];
  document.getElementById('found').textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    overflowing: [...page.querySelectorAll('main *, header *')].filter((element) =>
      !element.closest('.scroll, .text, pre, svg') && element.getBoundingClientRect().right > WIDTH + 1)
      .map((element) => element.outerHTML.slice(0, 200)),
    background: style(page.body).backgroundColor,
    hacked: window.hacked === undefined ? null : window.hacked,
    bars: bars.map((bar) => Math.round(100 * bar.querySelector('rect').getBoundingClientRect().width
      / bar.getBoundingClientRect().width)),
    visible: page.body.innerText,
  });
};
</script>"""


class _Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: list[str]

    def __init__(self, *arguments: Any, asked: list[str], **named: Any) -> None:
        self.asked = asked
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


def step(name: str, arrived: int, removed: int) -> dict[str, Any]:
    return {
        "step": name,
        "func": name,
        "arguments": {"very_long_argument_name": "x" * 120},
        "pages_in": arrived,
        "pages_out": arrived - removed,
        "removed": removed,
        "errors": 0,
        "tokens_removed": removed,
        "seconds": 0.5,
    }


def write_run(base: pathlib.Path) -> None:
    """One stage of two steps over 1000 pages: the first keeps three quarters, the second half of all."""
    sample = {"index": 3, "url": "javascript:alert(1)", "text": HOSTILE, "reason": "a_filter(max_length=9)" * 20}
    record = {
        "unit": "a/very/deep/folder/with_a_long_shard_name_0000000000000000000.jsonl.zst",
        "outputs": [{"name": "a", "bytes": 10, "checksum": "c", "records": 500}],
        "counts": {"read": 1000, "added": 0, "kept": 500, "removed": {"00-first": 250, "01-second": 250}},
        "details": {
            "steps": [step("00-first", 1000, 250), step("01-second", 750, 250)],
            "samples": {"00-first": [sample]},
            "tokens_in": 1000,
            "tokens_out": 500,
            "histograms": {"tokens_in": [0, 1000], "tokens_out": [0, 500]},
            "seconds": 1.0,
        },
    }
    records = base / "run" / "stages" / "00-local-01234567" / "records"
    records.mkdir(parents=True)
    (records / "a.json").write_text(json.dumps(record))
    (base / "run" / "plan.json").write_text(json.dumps({"seed": 1, "input": {"a": "1"}, "stages": []}))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of the report and its frames, and the list of what was asked of it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("report")
    write_run(folder)
    write_report(str(folder))
    for width in (360, 1200):
        (folder / f"frame{width}.html").write_text(MEASURE.replace("WIDTH", str(width)))
    asked: list[str] = []
    handler = functools.partial(_Server, directory=str(folder), asked=asked)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def browse(url: str, profile: pathlib.Path, *flags: str) -> tuple[str, list[str]]:
    """The page's elements after it has loaded, and what it wrote to the console."""
    assert CHROMIUM is not None
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=5000", f"--user-data-dir={profile}"),
        *("--window-size=1300,900", *flags, "--dump-dom", url),
    ]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
    log = done.stderr.decode("utf-8", "replace").splitlines()
    return done.stdout.decode("utf-8", "replace"), [line for line in log if "CONSOLE" in line]


def measure(served: str, width: int, profile: pathlib.Path, *flags: str) -> tuple[dict[str, Any], list[str]]:
    """What the frame of this width found, and the console's lines."""
    dom, console = browse(f"{served}/frame{width}.html", profile, *flags)
    match = re.search(r'<pre id="found">(\{.*?\})</pre>', dom, re.DOTALL)
    assert match is not None, dom[:2000]
    return json.loads(html.unescape(match.group(1))), console


@pytest.mark.parametrize("width", [360, 1200])
def test_report_fits_its_window_with_everything_unfolded(
    served: tuple[str, list[str]], tmp_path: pathlib.Path, width: int
) -> None:
    found, console = measure(served[0], width, tmp_path)
    assert found["overflowing"] == []
    assert found["width"] <= width
    assert console == []


def test_report_asks_for_nothing_and_hostile_text_does_nothing(
    served: tuple[str, list[str]], tmp_path: pathlib.Path
) -> None:
    address, asked = served
    asked.clear()
    found, console = measure(address, 1200, tmp_path)
    assert sorted(set(asked)) == ["/frame1200.html", "/report.html"]
    assert found["hacked"] is None
    assert "<script>parent.hacked = 1</script>" in found["visible"]
    assert "U+202E" in found["visible"]
    assert console == []


def test_bars_show_the_share_of_pages_left(served: tuple[str, list[str]], tmp_path: pathlib.Path) -> None:
    found, _ = measure(served[0], 1200, tmp_path)
    assert found["bars"] == [100, 75, 50]


def test_colours_follow_the_reader(served: tuple[str, list[str]], tmp_path: pathlib.Path) -> None:
    light, _ = measure(served[0], 1200, tmp_path / "light", "--blink-settings=preferredColorScheme=1")
    dark, _ = measure(served[0], 1200, tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    brightness = [sum(map(int, re.findall(r"\d+", each["background"])[:3])) for each in (light, dark)]
    assert brightness[0] > 3 * 200
    assert brightness[1] < 3 * 60
