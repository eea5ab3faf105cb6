"""UT1's archive: the wanted files of all categories in order, and nothing else of what somebody may have put there."""

from __future__ import annotations

import io
import pathlib
import tarfile

import pytest

from baselines.asset_table import ASSETS
from baselines.ut1 import CATEGORIES, LISTS, build_ut1_list
from corpusmith.assets import main
from corpusmith.errors import InputError

DOMAINS, URLS, BOTH = LISTS


def write_archive(path: pathlib.Path, files: dict[str, bytes], links: tuple[str, ...] = ()) -> pathlib.Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return path


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    """All categories, the last first, the first without a final line end; two have URLs; one is nobody's."""
    files = {f"blacklists/{name}/domains": f"{name}.example\n".encode() for name in reversed(CATEGORIES)}
    files["blacklists/adult/domains"] = b"adult.example"
    files["blacklists/chat/urls"] = b"chat.example/room\n"
    files["blacklists/adult/urls"] = b"adult.example/page\n"
    files["blacklists/bank/domains"] = b"bank.example\n"
    return write_archive(tmp_path / "blacklists.tar.gz", files, links=("blacklists/ddos/urls",))


def test_domains_stand_in_the_order_of_the_categories(archive: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "list.txt"
    build_ut1_list(str(archive), DOMAINS, str(target))
    assert target.read_text().splitlines() == [f"{name}.example" for name in CATEGORIES]
    build_ut1_list(str(archive), URLS, str(target))
    assert target.read_text().splitlines() == ["adult.example/page", "chat.example/room"]
    build_ut1_list(str(archive), BOTH, str(target))
    assert target.read_text().splitlines()[:3] == ["adult.example", "adult.example/page", "phishing.example"]


def test_an_archive_that_lacks_a_category_or_is_damaged_gives_no_list(
    archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "list.txt"
    short = write_archive(tmp_path / "short.tar.gz", {"blacklists/adult/domains": b"a.example\n"})
    with pytest.raises(InputError, match=r"short\.tar\.gz: holds no domains of the category phishing"):
        build_ut1_list(str(short), DOMAINS, str(target))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cut\.tar\.gz: not a readable tar\.gz archive"):
        build_ut1_list(str(cut), DOMAINS, str(target))
    with pytest.raises(InputError, match="no such file"):
        build_ut1_list(str(tmp_path / "none.tar.gz"), DOMAINS, str(target))
    assert not target.exists()


def test_the_command_makes_the_lists_of_the_archive(
    archive: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path / "cache"))
    names = [asset.name for asset in ASSETS.values() if asset.build]
    assert names == [DOMAINS, URLS, BOTH]
    assert main(["fetch", *names, "--from", str(archive.parent)]) == 0
    made = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "cache" / "banlists").iterdir()}
    assert made == dict(zip(names, (10, 2, 12), strict=True))
    assert main(["verify", *names]) == 0
