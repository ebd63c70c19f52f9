"""What the host unpacks is what dpkg itself would have unpacked."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tar_helpers import stanza
from unpacking_helpers import (
    make_package,
    make_root,
    run_dpkg,
    steps_for,
    tree,
)

from selfinstall.packages.resolution import Fetched, Step
from selfinstall.unpacking import rule
from selfinstall.unpacking.prepare import Prepared, prepare
from selfinstall.unpacking.rounds import Arranged
from selfinstall.unpacking.view import Node, View, scan

LONG = "usr/share/" + "d" * 90 + "/" + "f" * 120


EXTRACT = ("tar", "--extract", "--file=-", "--record-size=512K", "-p", "--no-overwrite-dir", "-C")


def prepared(
    folder: Path,
    root: Path,
    steps: Sequence[Step],
    fetched: Sequence[Fetched],
    *,
    in_guest: bool = False,
    early: bool = False,
) -> Prepared:
    return prepare(
        steps, fetched, spool=root, spool_size=root.stat().st_size,
        status=status_of(root), out=folder / "packages.tar", epoch=5, in_guest=in_guest,
        early=folder / "early.tar" if early else None,
    )  # fmt: skip


def status_of(root: Path) -> bytes:
    with tarfile.open(root) as archive:
        stream = archive.extractfile("./var/lib/dpkg/status")
        assert stream is not None
        return stream.read()


def decide(
    folder: Path, *fetched: Fetched, root: Mapping[str, str | None] | None = None
) -> Arranged:
    """The guest's steps for packages in a root with *changes*."""
    made = make_root(folder, root)
    return prepared(folder, made, steps_for(*fetched), fetched).arranged


def extracted(folder: Path, root: Path, found: Prepared) -> Path:
    """What the host and the guest's hook would make of it."""
    target = folder / "ours"
    target.mkdir()
    early = folder / "early.tar"
    for archive in (root, early):
        if archive.exists() and archive.stat().st_size:
            subprocess.run(["tar", "-xpf", archive, "-C", target], check=True)
    with (folder / "packages.tar").open("rb") as stream:
        for step in found.arranged.steps:
            if step.action not in ("extract", "extracted"):
                continue
            if step.action == "extract":
                # Each tar reads on where the one before stopped, from the same descriptor.
                subprocess.run([*EXTRACT, target], stdin=stream, check=True)
            prefix = f"selfinstall/unpacked/{step.words[0]}/"
            for file in found.files:
                if file.path.startswith(prefix):
                    assert isinstance(file.content, bytes)
                    with (target / file.path.removeprefix(prefix)).open("ab") as out:
                        out.write(file.content)
    return target


def everything(folder: Path) -> tuple[Fetched, ...]:
    """Packages with all that the host unpacks."""
    return (
        make_package(
            folder, "one",
            {
                "usr/bin/one": "program", "usr/bin/two": "=> ./usr/bin/one",
                "lib/aliased/": "", "lib/aliased/x": "below a link",
                "lib/aliased/y": "=> ./lib/aliased/x",
                "etc/one/main.conf": "setting", "etc/one/more.conf": "=1",
                "usr/share/watched/": "", "usr/lib/both/": "",
                "usr/share/doc/one/": "", "usr/share/doc/one/link": "-> ../two\n".strip(),
                LONG: "long", "usr/share/long-link": f"-> /{LONG}", "-rf": "odd",
                "usr/share/sp ace": "", "usr/share/é": "",
            },
            modes={"usr/bin/one": 0o4755, "usr/bin/two": 0o4755, "usr/share/doc/one/": 0o2775},
            control={
                "conffiles": "/etc/one/main.conf\n/etc/one/more.conf\n"
                "remove-on-upgrade /etc/one/old\n",
                "triggers": "# no\ninterest own\ninterest-noawait /usr/share/own\n"
                "activate-noawait named\nactivate nobody\n",
                "preinst": "#!/bin/sh\nset -e\n", "shlibs": "libone 1 one\n", "with.dot": "x",
                "templates": "Template: one/a\nType: string\nDescription: d\n",
            },
        ),
        make_package(
            folder, "two", {
                "usr/share/own/two": "", "usr/share/doc/one/by-two": "", "lib/x": "2",
                "bin": "-> usr/bin",
            },
            control={"triggers": "activate named\n"}, Multi_Arch="same",
            architecture=subprocess.check_output(
                ["dpkg", "--print-architecture"], text=True).strip(),
            Depends="one", modes={"usr/share/doc/one/": 0o700}, format=tarfile.USTAR_FORMAT,
        ),
    )  # fmt: skip


def forget(root: Path) -> None:
    """What has no meaning after dpkg has run."""
    for name in ("status-old", "available", "lock", "lock-frontend", "triggers/Lock", "arch"):
        (root / "var/lib/dpkg" / name).unlink(missing_ok=True)
    shutil.rmtree(root / "var/log", ignore_errors=True)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("configured", [False, True])
def test_the_same_as_dpkg(tmp_path: Path, configured: bool, early: bool) -> None:
    fetched = everything(tmp_path)
    root = make_root(tmp_path)
    found = prepared(tmp_path, root, steps_for(*fetched), fetched, early=early)
    assert found.arranged.reasons == {}
    actions = [step.action for step in found.arranged.steps]
    assert actions == ["extracted" if early else "extract", "configure"]
    ours = extracted(tmp_path, root, found)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    subprocess.run(["tar", "-xpf", root, "-C", theirs], check=True)
    run_dpkg(theirs, "--unpack", *(f.path for f in fetched))
    for target in (ours, theirs):
        # Takes up what is in triggers/Unincorp and writes the status file anew.
        run_dpkg(target, *(["--configure", "two", "one"] if configured else ["--set-selections"]))
        forget(target)
    assert tree(ours) == tree(theirs)


NEW = {"usr/bin/new": "x"}
OBJECTIONS: dict[str, tuple[dict[str, str], dict[str, object], dict[str, str | None], str]] = {
    "known": (NEW, {"name": "base"}, {}, "is or was there"),
    "config-files": (
        NEW, {}, {"var/lib/dpkg/status": stanza("new", state="config-files")}, "is or was there"
    ),
    "file": ({"usr/base": "x"}, {}, {}, "/usr/base is there already"),
    "below a link": ({"bin/old": "x"}, {}, {"usr/bin/old": "x"}, "/bin/old is there already"),
    "file for folder": ({"usr/base/x": "x"}, {}, {}, "/usr/base is there already"),
    "dangling": ({"opt/": ""}, {}, {"opt": "-> nowhere"}, "/opt is there already"),
    "circle": ({"opt/x": ""}, {}, {"opt": "-> opt"}, "/opt is there already"),
    "link": ({"usr/l": "-> a"}, {}, {"usr/l": "-> b"}, "/usr/l is there already"),
    "own link": ({"usr/l": "-> bin", "usr/l/x": "x"}, {}, {}, "/usr/l is in two packages"),
    "diverted": ({"usr/bin/diverted": "x"}, {}, {}, "diverted"),
    "diversion": ({"usr/bin/diverted.old": "x"}, {}, {}, "diverted"),
    "overridden": ({"usr/bin/overridden": "x"}, {}, {}, "has an owner set"),
    "no md5sums": (NEW, {"control": {"md5sums": None}}, {}, "no checksums"),
    "conffile is a link": (
        {"etc/c": "-> x"}, {"control": {"conffiles": "/etc/c\n"}}, {}, "/etc/c is no file"
    ),
    "link to a conffile": (
        {"etc/c": "x", "etc/d": "=> ./etc/c"}, {"control": {"conffiles": "/etc/c\n"}}, {}, "link"
    ),
    "divert": (NEW, {"control": {"preinst": "#!/bin/sh\ndpkg-divert --add /x\n"}}, {}, "preinst"),
    "query": (NEW, {"control": {"preinst": "#!/bin/sh\nif dpkg -s x\n"}}, {}, "preinst"),
    "program": (NEW, {"control": {"preinst": "ELF"}}, {}, "is no script"),
    "pax": (NEW, {"format": tarfile.PAX_FORMAT}, {}, "extended"),
    "interrupted": (NEW, {}, {"etc/x.dpkg-new": "x"}, "interrupted"),
    "format": (NEW, {}, {"var/lib/dpkg/info/format": None}, "another format"),
    "admindir": (NEW, {}, {"var/lib/dpkg/triggers/File": None, "var/lib/dpkg/triggers/named": None,
        "var/lib/dpkg/triggers/Unincorp": None, "var/lib/dpkg/triggers": "-> /x"}, "is no folder"),
    "filters": (NEW, {}, {"etc/dpkg/dpkg.cfg.d/x": "path-exclude /usr/*\n"}, "path-exclude"),
    "other log": (NEW, {}, {"etc/dpkg/dpkg.cfg": "log=/var/log/other\n"}, "log /var/log/other"),
}  # fmt: skip


@pytest.mark.parametrize("case", OBJECTIONS)
def test_left_to_dpkg(case: str, tmp_path: Path) -> None:
    files, more, root, reason = OBJECTIONS[case]
    values = {"name": "new", **more}
    deb = make_package(tmp_path, files=files, **values)  # type: ignore[arg-type]
    found = decide(tmp_path, deb, root=root)
    assert reason in found.reasons[deb.package.name], found.reasons
    actions = [(step.action, step.words) for step in found.steps]
    assert actions[:2] == [("debs", ()), ("unpack", (deb.package.filename,))]
    assert found.left == {deb.package.filename} and not found.rounds


def test_nothing_objects_to_an_ordinary_package(tmp_path: Path) -> None:
    script = "#!/bin/sh\n# dpkg-divert\nif dpkg --compare-versions 1 lt 2; then :; fi\n"
    found = decide(
        tmp_path,
        make_package(
            tmp_path, "new", {**NEW, "usr/share/dpkg-divert": "", "var/lib/": ""},
            control={"preinst": script}, Conflicts="virtual, base (<< 0)", Breaks="base (<< 0)",
        ),
    )  # fmt: skip
    assert found.reasons == {} and not found.left
    assert [(s.action, s.words) for s in found.steps] == [
        ("preinst", ("1/0", "new", "all")),
        ("extract", ("1", "new")),
        ("configure", ("new:all",)),
    ]


def test_what_meets_between_packages_is_dpkgs_business(tmp_path: Path) -> None:
    both = [make_package(tmp_path, name, {"usr/bin/same": name}) for name in ("one", "two")]
    folder = make_package(tmp_path, "three", {"usr/x/y": ""})
    file = make_package(tmp_path, "four", {"usr/x": ""})
    upgrade = make_package(tmp_path, "base", {"usr/base": "new"})
    breaks = make_package(tmp_path, "five", {"usr/five": ""}, Breaks="base (<< 1)")
    free = make_package(tmp_path, "six", {"usr/six": ""})
    found = decide(tmp_path, *both, folder, file, upgrade, breaks, free)
    assert sorted(found.reasons) == ["base", "five", "four", "one", "three", "two"]
    assert [s.action for s in found.steps] == ["debs", "extract", "unpack", "configure"]


def test_rounds_keep_the_order_of_steps(tmp_path: Path) -> None:
    """What waits for others to be configured gets its preinst and its files after that."""
    preinst = {"preinst": "#!/bin/sh\necho hello\n"}
    first = make_package(tmp_path, "first", {"usr/first/": ""}, control=preinst)
    divert = {"preinst": "#!/bin/sh\ndpkg-divert --list\n"}
    left = make_package(tmp_path, "left", {"usr/first/left": ""}, control=divert)
    second = make_package(tmp_path, "second", {"usr/first/second": ""}, control=preinst)
    steps = (
        Step("unpack", (left.package.filename, first.package.filename)),
        Step("configure", ("first:all",)),
        Step("unpack", (second.package.filename,)),
        Step("configure", ("left:all", "second:all")),
    )
    found = prepared(tmp_path, make_root(tmp_path), steps, (first, left, second)).arranged
    assert [(s.action, s.words) for s in found.steps] == [
        ("debs", ()),
        ("preinst", ("1/0", "first", "all")),
        ("extract", ("1", "first")),
        ("unpack", (left.package.filename,)),
        ("configure", ("first:all",)),
        ("preinst", ("2/0", "second", "all")),
        ("extract", ("2", "second")),
        ("configure", ("left:all", "second:all")),
    ]
    # Folders that are there by then are not in the archive, so that they stay as they are.
    assert found.rounds[1].packages[0].places == (None, None, None, "usr/first/second")


def test_the_guest_can_be_asked_to_do_all(tmp_path: Path) -> None:
    deb = make_package(tmp_path, "new", NEW)
    found = prepared(tmp_path, make_root(tmp_path), steps_for(deb), (deb,), in_guest=True)
    assert [s.action for s in found.arranged.steps] == ["debs", "unpack", "configure"]
    with tarfile.open(tmp_path / "packages.tar") as archive:
        assert archive.getnames() == [deb.package.filename]


@pytest.mark.parametrize(
    ("script", "nothing"),
    [
        ("", True),
        ("#!/bin/sh\nset -e\n# Automatically added\n\nexit 0\n", True),
        ('#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x 1.2\\~ -- "$@"\n', True),
        ('#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x -- "$@"; rm /x\n', False),
        ('#!/bin/sh\ndpkg-maintscript-helper supports x -- "$@"\n', False),
        ("#!/bin/sh\nmkdir /x\n", False),
        ("#!/bin/sh -e\nexit 0\n", True),
    ],
)
def test_preinsts_with_nothing_to_do(script: str, nothing: bool) -> None:
    assert rule.idle(script) == nothing


def test_paths_through_links() -> None:
    view = View(
        {
            "usr/lib": Node("dir"),
            "lib": Node("symlink", "usr/lib"),
            "var/run": Node("symlink", "/run"),
            "run": Node("dir"),
            "up": Node("symlink", "../../../lib/./x"),
            "round": Node("symlink", "about"),
            "about": Node("symlink", "round"),
        }
    )
    assert view.place("lib") == "lib" and view.resolve("lib") == "usr/lib"
    assert view.place("lib/a") == "usr/lib/a"
    assert view.place("var/run/a/b") == "run/a/b"
    assert view.place("up/a") == "usr/lib/x/a"
    assert view.place("round/a") is None
    assert view.is_folder("var/run") and not view.is_folder("up")


def test_only_what_packages_touch_is_kept_of_a_rootfs(tmp_path: Path) -> None:
    changes: dict[str, str | None] = {f"srv/{n}": "x" for n in range(50)}
    root = make_root(tmp_path, {**changes, "srv/one/usr": "", "srv/link": "-> one"})
    found = scan(root, root.stat().st_size, ["usr/bin/x"])
    assert found.view.get("srv/49") is None
    assert found.view.get("srv/one/usr") == Node("file")
    assert found.view.get("srv/link") == Node("symlink", "one")
    assert found.files["var/lib/dpkg/info/format"] == b"1\n"


def test_long_names_and_the_rest_of_a_header(tmp_path: Path) -> None:
    """A name in two parts (ustar) becomes one of GNU's, and owners and times stay."""
    name = "usr/" + "a" * 90 + "/" + "b" * 60
    deb = make_package(tmp_path, "new", {name: "x"}, format=tarfile.USTAR_FORMAT)
    prepared(tmp_path, make_root(tmp_path), steps_for(deb), (deb,))
    with tarfile.open(tmp_path / "packages.tar") as made:
        info = made.getmember(name)
    assert (info.uname, info.mtime, info.mode, info.size) == ("root", 1_600_000_000, 0o644, 1)


KERNEL_PREINST = """\
#!/bin/sh -e

version=6.12.107+deb13-amd64
image_path=/boot/vmlinuz-$version

if [ "$1" = abort-upgrade ]; then
    exit 0
fi

if [ "$1" = install ]; then
    # Create a flag file for postinst
    mkdir -p /lib/modules/$version
    touch /lib/modules/$version/.fresh-install
fi

linux-run-hooks image preinst $version $image_path -- "$@"

exit 0
"""
#: As kernels of bookworm and before have it.
OLD_HOOKS = """\
if [ -d /etc/kernel/preinst.d ]; then
    DEB_MAINT_PARAMS="$*" run-parts --report --exit-on-error --arg=$version \\
\t      --arg=$image_path /etc/kernel/preinst.d
fi
"""
OLD_KERNEL_PREINST = re.sub(r"(?m)^linux-run-hooks.*\n", lambda _: OLD_HOOKS, KERNEL_PREINST)


@pytest.mark.parametrize("script", [KERNEL_PREINST, OLD_KERNEL_PREINST])
def test_a_kernel_s_preinst_does_not_look_at_its_files(script: str) -> None:
    assert rule.indifferent(script) and not rule.idle(script)
    assert not rule.indifferent(script + "[ -e /boot/vmlinuz ] || exit 1\n")
    assert not rule.indifferent(script.replace("mkdir -p", "rmdir"))
    assert not rule.indifferent("")


def early_actions(
    folder: Path, steps: Sequence[Sequence[Fetched]], root: Mapping[str, str | None] | None = None
) -> list[str]:
    """The guest's actions, with what each is about, when the host puts early files in place."""
    fetched = [package for step in steps for package in step]
    every = [one for step in steps for one in steps_for(*step)]
    found = prepared(folder, make_root(folder, root), every, fetched, early=True)
    return [f"{step.action} {' '.join(step.words[1:])}" for step in found.arranged.steps]


def test_what_is_in_place_before_the_guest_begins(tmp_path: Path) -> None:
    idle = make_package(tmp_path, "idle", {"usr/bin/idle": ""})
    script = {"preinst": "#!/bin/sh\nadduser x\n"}
    busy = make_package(tmp_path, "busy", {"usr/bin/busy": ""}, control=script)
    kernel = make_package(
        tmp_path, "linux", {"boot/vmlinuz": ""}, control={"preinst": KERNEL_PREINST}
    )
    later = make_package(tmp_path, "later", {"usr/bin/later": ""})
    # No script but the kernel's own runs between its files and its turn.
    assert early_actions(tmp_path, [[idle, busy], [kernel, later]]) == [
        "extracted idle", "preinst busy all", "extract busy", "configure busy:all",
        "preinst linux all", "extracted linux", "extract later", "configure later:all",
    ]  # fmt: skip
    with tarfile.open(tmp_path / "early.tar") as archive:
        names = archive.getnames()
    assert "usr/bin/idle" in names and "boot/vmlinuz" in names
    assert not {"usr/bin/busy", "usr/bin/later"} & set(names)


@pytest.mark.parametrize("where", ["rootfs", "package"])
def test_hooks_of_others_may_look_at_a_kernel_s_files(tmp_path: Path, where: str) -> None:
    first = make_package(tmp_path, "first", {"usr/bin/first": ""}, control={"preinst": "exec x"})
    kernel = make_package(
        tmp_path, "linux", {"boot/vmlinuz": ""}, control={"preinst": KERNEL_PREINST}
    )
    hooks = {"etc/kernel/preinst.d/": "", "etc/kernel/preinst.d/hook": ""}
    if where == "package":
        first = make_package(tmp_path, "first", {"usr/bin/first": "", **hooks})
    found = early_actions(tmp_path, [[first], [kernel]], hooks if where == "rootfs" else None)
    assert "extract linux" in found


def test_nothing_is_early_behind_packages_that_are_to_be_finished(tmp_path: Path) -> None:
    idle = make_package(tmp_path, "idle", {"usr/bin/idle": ""})
    steps = (Step("pending"), *steps_for(idle))
    found = prepared(tmp_path, make_root(tmp_path), steps, [idle], early=True)
    assert [step.action for step in found.arranged.steps] == ["pending", "extract", "configure"]
    assert (tmp_path / "early.tar").stat().st_size == 0
