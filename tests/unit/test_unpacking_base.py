"""A base that is extracted already: dpkg's database from the host comes to the same as dpkg's."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from unpacking_helpers import archive, entry, make_package, parents, run_dpkg, tree

from selfinstall.packages.resolution import Fetched, Step
from selfinstall.unpacking.prepare import Prepared, prepare

#: An extracted base: files of packages, merged /usr, and an empty status file.
EXTRACTED = {
    "usr/bin/": "",
    "bin": "-> usr/bin",
    "etc/": "",
    "var/log/": "",
    "var/lib/dpkg/status": "",
}
FILES = {
    "bin/tool": "tool",
    "bin/same": "=> ./bin/tool",
    "etc/tool.conf": "set",
    "bin/sh": "-> tool",
}
CONTROL = {
    "conffiles": "/etc/tool.conf\n",
    "postinst": "#!/bin/sh\n",
    "triggers": "interest-noawait /usr/share/x\nactivate-noawait other\n",
}  # fmt: skip


def base_of(
    folder: Path, *fetched: Fetched, rootfs: Mapping[str, str | None] | None = None
) -> Prepared:
    """What the guest gets for a base whose files are extracted, with changes to the rootfs."""
    there = {
        **EXTRACTED,
        **{path.replace("bin/", "usr/bin/", 1): value for path, value in FILES.items()},
        **(rootfs or {}),
    }
    spool = folder / "rootfs.tar"
    members = [
        entry(k, v) for k, v in parents({k: v for k, v in there.items() if v is not None}).items()
    ]
    spool.write_bytes(archive(members, tarfile.GNU_FORMAT))
    return prepare(
        (Step("base", tuple(f.package.filename for f in fetched)),), fetched, spool=spool,
        spool_size=spool.stat().st_size, status=b"", out=folder / "packages.tar", epoch=5,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg")
def test_the_same_as_dpkg(tmp_path: Path) -> None:
    tool = make_package(tmp_path, "tool", FILES, control=CONTROL)
    plain = make_package(tmp_path, "plain", {"bin/plain": ""}, Depends="tool")
    found = base_of(tmp_path, tool, plain, rootfs={"usr/bin/plain": "", "bin/plain": None})
    assert found.arranged.reasons == {}
    assert [s.action for s in found.arranged.steps] == ["extract", "settle"]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        root.mkdir()
        subprocess.run(["tar", "-xpf", tmp_path / "rootfs.tar", "-C", root], check=True)
        database = root / "var/lib/dpkg"
        for name in ("info", "triggers", "updates"):
            (database / name).mkdir()
        (database / "info/format").write_text("1\n")
    run_dpkg(theirs, "--force-depends", "--unpack", tool.path, plain.path)
    with (tmp_path / "packages.tar").open("rb") as stream:
        subprocess.run(
            ["tar", "-x", "--record-size=512K", "-pf", "-", "-C", ours], stdin=stream, check=True
        )
    for file in found.files:
        path = ours / file.path.removeprefix("selfinstall/unpacked/1/")
        assert isinstance(file.content, bytes)
        with path.open("ab") as out:
            out.write(file.content)
    for root in (ours, theirs):
        run_dpkg(root, "--force-depends", "--configure", "--pending")
        # dpkg keeps the last versions of its files, and times of its own.
        for path in (*root.rglob("*-old"), *root.rglob("var/log/dpkg.log")):
            path.unlink()
    assert "etc/tool.conf.dpkg-new" not in tree(ours)
    assert tree(ours) == tree(theirs)
    assert b" /etc/tool.conf newconffile" not in (ours / "var/lib/dpkg/status").read_bytes()


MEDDLING = {"preinst": "#!/bin/sh\ndpkg-divert --add /x\n"}


@pytest.mark.parametrize(
    ("control", "rootfs", "why"),
    [
        (MEDDLING, {}, "its preinst works on more"),
        ({"md5sums": None}, {}, "no checksums"),
        ({"conffiles": "remove-on-upgrade /etc/old\n"}, {}, "no plain one"),
        ({"conffiles": "/bin/sh\n"}, {}, "no plain one"),
        ({}, {"usr/bin/tool": None, "usr/bin/same": "x"}, "is not in the rootfs"),
        ({}, {"usr/bin/tool": "-> elsewhere"}, "is not in the rootfs"),
    ],
)
def test_left_to_dpkg(
    control: dict[str, str | None], rootfs: dict[str, str | None], why: str, tmp_path: Path
) -> None:
    tool = make_package(tmp_path, "tool", FILES, control=control)
    free = make_package(tmp_path, "free", {"etc/": ""})
    found = base_of(tmp_path, tool, free, rootfs=rootfs).arranged
    assert why in found.reasons["tool"]
    assert [(s.action, s.words) for s in found.steps] == [
        ("debs", ()),
        ("extract", ("1", "free")),
        ("base", ("tool_1_all.deb",)),
        ("settle", ()),
    ]


def test_a_file_of_two_packages_is_dpkgs_business(tmp_path: Path) -> None:
    both = [make_package(tmp_path, name, {"bin/tool": ""}) for name in ("one", "two")]
    found = base_of(tmp_path, *both).arranged
    assert sorted(found.reasons) == ["one", "two"]
    assert [s.action for s in found.steps] == ["debs", "base", "settle"]


def test_preinsts_come_in_the_order_of_the_base(tmp_path: Path) -> None:
    script = {"preinst": "#!/bin/sh\necho hello\n"}
    first = make_package(tmp_path, "zero", {"etc/": ""}, control=script)
    second = make_package(tmp_path, "one", {"etc/": ""}, control=script)
    found = base_of(tmp_path, first, second).arranged
    assert [s.words[:2] for s in found.steps] == [
        ("1/0", "zero"),
        ("1/1", "one"),
        ("1", "zero"),
        (),
    ]
