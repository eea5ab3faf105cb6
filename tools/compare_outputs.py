"""Compare what two commits made of the same inputs, file by file; `tools/compare_commits.sh` calls it.

Files are equal if their bytes are. Where they aren't, some kinds of files are compared by what they say:

- reference JSONs, statistics, records set aside, evaluation items and the trainer's logs (`.json`, `.jsonl`) as JSON,
  where dates, times, rates, commit, diff and fingerprints only have to be there, a uuid stands for the reference that
  bears it, the folder of a stage for any, and an object's address in a message of some library for any;
- checkpoints (`.pt`) by their tensors: the rest of such a file holds times and paths.

Left out: reports, text logs, and what a run remembers for itself (`run/`: plans, records, events, fingerprints), but
for the build log of token shards and the report of a mixture.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

#: written into a run's folder by the caller when the run's command failed
FAILED = "FAILED"
LEFT_OUT_SUFFIXES = (".html", ".log", ".lock")
#: below these folders JSON is compared by what it says
JSON_FOLDERS = frozenset({"exp_data", "stats", "errors", "logs"})
JSON_NAMES = frozenset({"global_stats.jsonl", "mixture.json"})
#: different in each run, or by design in each commit
CHANGING_KEYS = frozenset({"creation_date", "dcnlp_commit_hash", "dcnlp_diff", "fingerprint"})
TIME_KEY = re.compile(r"(^|_)(secs|seconds|time)($|/)|per_second")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STAGE_HASH = re.compile(r"(?<=/stages/)([^/]+)-[0-9a-f]{8}(?=/)")
ADDRESS = re.compile(r"(?<= at 0x)[0-9a-f]+(?=>)")
STAGE_FOLDER = re.compile(r"(?<=/stages/)[^/]+(?=/)")
#: members of a checkpoint that hold no tensor
NOT_TENSORS = ("/data.pkl", "/.data/serialization_id")
CHUNK_BYTES = 1 << 20
SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """The outputs of one commit: a folder that holds a folder for each run, and the name of each uuid's reference."""

    folder: pathlib.Path
    references: Mapping[str, str]


@dataclass(kw_only=True, slots=True)
class RunComparison:
    """What was found in one run: how many files were compared, and what differs, by file."""

    name: str
    files: int = 0
    differences: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


# --- one side ---------------------------------------------------------------------------------------------------


def open_side(folder: pathlib.Path) -> Side:
    """Read which uuid belongs to which reference JSON, in all runs of a commit."""
    references: dict[str, str] = {}
    for path in sorted(folder.rglob("exp_data/**/*.json")):
        reference = _read_json(path)
        if isinstance(reference, dict) and isinstance(uuid := reference.get("uuid"), str):
            references[uuid] = str(path.relative_to(folder))
    return Side(folder=folder, references=references)


def compared_files(run: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files of a run that are compared, by a name in which the hashes of stage folders are left out."""
    files = {}
    for path in run.rglob("*"):
        relative = path.relative_to(run)
        if path.is_file() and _is_compared(relative):
            files[STAGE_HASH.sub(r"\1", f"/{relative}")[1:]] = path
    return files


def _is_compared(relative: pathlib.Path) -> bool:
    folders = relative.parts[:-1]
    if relative.suffix in LEFT_OUT_SUFFIXES:
        return False
    return "run" not in folders or relative.name == "mixture.json" or "log" in folders


# --- one file ---------------------------------------------------------------------------------------------------


def file_difference(name: str, old: pathlib.Path, new: pathlib.Path, sides: tuple[Side, Side]) -> str | None:
    """What differs between two files of one name, in a few words, or None if nothing does that counts."""
    difference = _bytes_difference(old, new)
    if difference is None:
        return None
    if name.endswith(".pt") and zipfile.is_zipfile(old) and zipfile.is_zipfile(new):
        return _checkpoint_difference(old, new)
    if _is_json(name):
        texts = [_read_documents(path) for path in (old, new)]
        if texts[0] is not None and texts[1] is not None:
            before, after = (
                _normalized(documents, side.references) for documents, side in zip(texts, sides, strict=True)
            )
            return json_difference(before, after)
    return difference


def json_difference(old: Json, new: Json, where: str = "") -> str | None:
    """The first place at which two JSON values differ (`$`: as a whole), and both values there; None if equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            place = f"{where}.{key}" if where else key
            if key not in new or key not in old:
                return f"{place}: {'gone' if key in old else 'new'}"
            if difference := json_difference(old[key], new[key], place):
                return difference
        return None
    if isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            if difference := json_difference(before, after, f"{where}[{index}]"):
                return difference
        return None if len(old) == len(new) else f"{where or '$'}: {len(old)} entries became {len(new)}"
    # 1, 1.0 and true are equal in Python
    return None if type(old) is type(new) and old == new else f"{where or '$'}: {_shown(old)} became {_shown(new)}"


def _bytes_difference(old: pathlib.Path, new: pathlib.Path) -> str | None:
    with old.open("rb") as before, new.open("rb") as after:
        place = _first_difference(before, after)
    if place is None:
        return None
    return f"byte {place} ({old.stat().st_size} bytes became {new.stat().st_size})"


def _first_difference(old: BinaryIO, new: BinaryIO) -> int | None:
    offset = 0
    while True:
        before, after = old.read(CHUNK_BYTES), new.read(CHUNK_BYTES)
        if before != after:
            pairs = zip(before, after, strict=False)
            same = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
            return offset + (min(len(before), len(after)) if same is None else same)
        if not before:
            return None
        offset += len(before)


def _checkpoint_difference(old: pathlib.Path, new: pathlib.Path) -> str | None:
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(new) as after:
        names, others = ({name for name in archive.namelist() if _is_tensor(name)} for archive in (before, after))
        for name in sorted(names | others):
            if name not in names or name not in others:
                return f"tensor {name}: {'gone' if name in names else 'new'}"
            if before.read(name) != after.read(name):
                return f"tensor {name} differs"
    return None


def _is_tensor(member: str) -> bool:
    return not member.endswith(NOT_TENSORS)


def _is_json(name: str) -> bool:
    path = pathlib.PurePath(name)
    if path.suffix not in (".json", ".jsonl"):
        return False
    return path.name in JSON_NAMES or not JSON_FOLDERS.isdisjoint(path.parts[:-1])


def _read_documents(path: pathlib.Path) -> Json:
    """The JSON of a file, that of each line of a `.jsonl`; None where it isn't JSON."""
    if path.suffix == ".json":
        return _read_json(path)
    try:
        return [_parse(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        return None


def _read_json(path: pathlib.Path) -> Json:
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _parse(text: str) -> Json:
    # NaN is not equal to itself; its name is
    value: Json = json.loads(text, parse_constant=str)
    return value


def _normalized(value: Json, references: Mapping[str, str]) -> Json:
    """The value with what may change from run to run put into words that don't."""
    if isinstance(value, dict):
        return {
            key: "(changes)" if item is not None and _may_change(key) else _normalized(item, references)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_normalized(item, references) for item in value]
    if isinstance(value, str):
        if UUID.fullmatch(value):
            return f"(uuid of {references.get(value, 'no reference')})"
        return ADDRESS.sub("(address)", STAGE_FOLDER.sub("(stage)", value))
    return value


def _may_change(key: str) -> bool:
    return key in CHANGING_KEYS or TIME_KEY.search(key) is not None


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- all of it --------------------------------------------------------------------------------------------------


def compare_run(name: str, old: Side, new: Side) -> RunComparison:
    """Compare the folders of a run. A run that failed, and one that left nothing to compare, is a difference too.

    A run that the old commit hasn't (a config that is new) is named and counts as no difference.
    """
    found = RunComparison(name=name)
    before, after = old.folder / name, new.folder / name
    for side, folder in (("old", before), ("new", after)):
        if (folder / FAILED).exists():
            found.differences.append((FAILED, f"the {side} commit's run: {(folder / FAILED).read_text().strip()}"))
    if found.differences:
        return found
    if not before.is_dir() and after.is_dir():
        found.note = "new, nothing to compare with"
        return found
    old_files, new_files = compared_files(before), compared_files(after)
    for file in sorted(old_files.keys() | new_files.keys()):
        found.files += 1
        if file not in new_files or file not in old_files:
            found.differences.append((file, "missing in the new commit" if file in old_files else "only in the new"))
        elif difference := file_difference(file, old_files[file], new_files[file], (old, new)):
            found.differences.append((file, difference))
    if not found.files:
        found.differences.append(("no file", "there is nothing to compare"))
    return found


def render(comparisons: Sequence[RunComparison]) -> str:
    """The table, with the first differences of each run below its line."""
    width = max(len("run"), *(len(comparison.name) for comparison in comparisons))
    lines = [f"{'run':<{width}}  files  equal  different"]
    for comparison in comparisons:
        different = len(comparison.differences)
        equal = max(comparison.files - different, 0)
        note = f"  {comparison.note}" if comparison.note else ""
        lines.append(f"{comparison.name:<{width}}  {comparison.files:>5}  {equal:>5}  {different:>9}{note}")
        lines += [f"    {file}: {what}" for file, what in comparison.differences[:SHOWN]]
        if different > SHOWN:
            lines.append(f"    and {different - SHOWN} more")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 if all runs are equal, 1 if not, 2 if a folder is missing."""
    parser = argparse.ArgumentParser(prog="compare_outputs.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=pathlib.Path, help="outputs of the old commit: a folder for each run")
    parser.add_argument("new", type=pathlib.Path, help="those of the new one")
    parser.add_argument("runs", nargs="+", help="names of the runs to compare")
    arguments = parser.parse_args(argv)
    for folder in (arguments.old, arguments.new):
        if not folder.is_dir():
            parser.error(f"no folder {folder}")
    sides = open_side(arguments.old), open_side(arguments.new)
    comparisons = [compare_run(name, *sides) for name in arguments.runs]
    sys.stdout.write(render(comparisons))
    return 1 if any(comparison.differences for comparison in comparisons) else 0


if __name__ == "__main__":
    raise SystemExit(main())
