"""Images without a tarball: sources, the base, and the rootfs that is made of it."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile
from pathlib import Path

import pytest
from deb_helpers import COMPRESS, ar, make_deb
from plan_helpers import make_facts, make_package
from tar_helpers import elf_header, folder, hardlink, member, symlink, tar

from selfinstall import plan, suite
from selfinstall.arch import all_arches
from selfinstall.errors import InputError, UsageError
from selfinstall.packages import debian
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.debian import Mirrors
from selfinstall.packages.resolve import resolve
from selfinstall.packages.sources import parse
from selfinstall.request import Request
from selfinstall.rootfs.synthesis import Data, RootfsStream

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt")
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"


# -- the request -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(), "no tarball and no suite"),
        (Request(tarball=Path("x"), suite="sid"), "--suite makes a rootfs and --tarball brings"),
        (Request(tarball=Path("x"), variant="standard"), "--variant chooses packages of a suite"),
    ],
)
def test_requests_that_do_not_fit(request_: Request, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        plan.check_source(request_)
    assert caught.value.hint


def test_the_name_is_suite_and_architecture() -> None:
    asked = Request(suite="trixie", arch="riscv64", format="qcow2")
    assert plan.output_path(asked) == Path("trixie-riscv64.qcow2")


def test_the_architecture_is_the_host_s_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "native_architecture", lambda: "pdp11")
    assert suite.settled(Request(suite="sid")).arch == "pdp11"
    assert suite.settled(Request(suite="sid", arch="vax")).arch == "vax"
    assert suite.settled(Request(tarball=Path("x"))).arch is None


@pytest.mark.parametrize(
    ("include", "init", "packages"),
    [
        ((), "systemd", {"systemd-sysv", "systemd-resolved"}),
        (("sysvinit-core",), "sysvinit", {"sysvinit-core", "ifupdown"}),
        (("openrc=1",), "openrc", {"sysvinit-core", "openrc", "ifupdown"}),
    ],
)
def test_an_included_init_system_is_the_one(
    include: tuple[str, ...], init: str, packages: set[str]
) -> None:
    facts = make_facts(init=None)
    asked = Request(suite="trixie", arch="amd64", include=include)
    needs = plan.needs(asked, facts, all_arches()["amd64"])
    wanted = {name.partition("=")[0] for name in needs.wanted}
    assert packages <= wanted | set(needs.useful)
    assert not {"systemd-sysv", "sysvinit-core", "openrc"} & wanted - packages
    assert plan.chosen_init(asked, facts) == init
    # What the rootfs has stays.
    assert plan.chosen_init(asked, make_facts(init="systemd")) == "systemd"


# -- sources ---------------------------------------------------------------------------------

HOST = f"""Types: deb
URIs: http://mirror.example.org/debian
Suites: bookworm-backports
Components: main
Signed-By: {KEY}

Types: deb
URIs: http://near.example.org/debian http://far.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEY}

Types: deb
URIs: http://sec.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEY}
"""


def test_the_host_s_mirrors_are_used() -> None:
    assert debian.mirrors([("debian.sources", HOST)]) == Mirrors(
        "http://near.example.org/debian", "http://sec.example.org/debian-security"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deb http://archive.example.org/ubuntu noble main\n",
        "deb [signed-by=/k/vendor.gpg] https://vendor.example.org/debian stable main\n",
        "deb mirror+file:/etc/apt/mirrors/debian.list trixie main\n",
        "deb cdrom:[x]/ trixie main\n",
        "not a source\n",
    ],
)
def test_other_sources_of_the_host_are_not_debian_s(text: str) -> None:
    assert debian.mirrors([("sources.list", text)]) == Mirrors(None, None)


def test_a_host_without_a_mirror_of_debian_must_be_told_one() -> None:
    with pytest.raises(InputError, match="no mirror") as caught:
        debian.suite_sources("trixie", Mirrors(None, None), mirror=None, keyring=KEY)
    assert "--mirror" in (caught.value.hint or "")
    own = "http://own.example.org/debian"
    assert own in debian.suite_sources("trixie", Mirrors(None, None), mirror=own, keyring=KEY)


def test_without_a_security_mirror_there_is_no_such_source() -> None:
    used = Mirrors("http://m.example.org/debian", None)
    assert "security" not in debian.suite_sources("trixie", used, mirror=None, keyring=KEY)


def test_old_sources_are_known_by_their_path() -> None:
    text = (
        "deb http://a.example.org/debian/ trixie main\n"
        "deb http://b.example.org/debian-security trixie-security main\n"
    )
    assert debian.mirrors([("sources.list", text)]) == Mirrors(
        "http://a.example.org/debian/", "http://b.example.org/debian-security"
    )


MIRRORS = Mirrors("http://m.example.org/debian", "http://s.example.org/debian-security")


@pytest.mark.parametrize(
    ("name", "mirror", "expected"),
    [
        ("trixie", None, ["m trixie trixie-updates", "s trixie-security"]),
        ("sid", None, ["m sid"]),
        ("unstable", None, ["m unstable"]),
        ("trixie", "http://own.example.org/debian", ["own trixie"]),
    ],
)
def test_the_image_s_sources(name: str, mirror: str | None, expected: list[str]) -> None:
    text = debian.suite_sources(name, MIRRORS, mirror=mirror, keyring=KEY)
    found = parse("debian.sources", text)
    hosts = [source.uris[0].removeprefix("http://").partition(".")[0] for source in found]
    assert [f"{h} {' '.join(s.suites)}" for h, s in zip(hosts, found, strict=True)] == expected
    assert all(s.signed_by == (KEY,) and s.components == ("main",) for s in found)


def test_what_is_no_suite() -> None:
    with pytest.raises(InputError, match="is no suite's name"):
        debian.suite_sources("../x", MIRRORS, mirror=None, keyring=KEY)


def test_the_user_s_sources_and_keyring_become_the_image_s(tmp_path: Path) -> None:
    listed, key = tmp_path / "own.list", tmp_path / "k.gpg"
    listed.write_text("deb http://own.example.org/debian sid main\n")
    key.write_bytes(b"\x98\x01x")
    files = suite.image_files(Request(suite="sid", arch="amd64", sources=listed, keyring=key))
    assert files["etc/apt/sources.list.d/debian.list"] == listed.read_bytes()
    assert files["etc/apt/keyrings/selfinstall.gpg"] == b"\x98\x01x"
    files = suite.image_files(Request(suite="sid", arch="amd64", keyring=key))
    text = files["etc/apt/sources.list.d/debian.sources"].decode()
    assert "Signed-By: /etc/apt/keyrings/selfinstall.gpg" in text


# -- the rootfs ------------------------------------------------------------------------------


def archive(path: Path, content: bytes) -> Data:
    """*content* somewhere in the file at *path*."""
    path.write_bytes(b"before" + content + b"behind it")
    return Data(path, 6, len(content))


def unpacked(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        return {info.name: info for info in made}


def test_a_rootfs_of_packages_has_merged_usr(tmp_path: Path) -> None:
    secret = folder("./etc")
    secret[0].mode = 0o700
    one = tar(
        [
            folder("./"), folder("./bin"), member("./bin/sh", b"shell"), secret,
            hardlink("./bin/ash", "./bin/sh"), folder("./lib64"),
            symlink("./lib64/ld.so", "/lib/x/ld.so"), member("./usr/bin/both", b"1"),
        ]
    )  # fmt: skip
    two = tar(
        [
            folder("./"), symlink("./bin", "usr/bin"), folder("./usr"), folder("./etc"),
            member("./usr/bin/both", b"22"), member("./lib/x/ld.so", b"loader"),
        ]
    )  # fmt: skip
    packages = [archive(tmp_path / "1", one), archive(tmp_path / "2", two)]
    stream = RootfsStream(packages, {"var/lib/dpkg/status": b"text"})
    data = stream.read()
    assert data is not None
    found = unpacked(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        names = made.getnames()
    assert len(names) == len(set(names))
    for top in ("bin", "sbin", "lib", "lib64"):
        assert found[top].issym()
        assert found[top].linkname == f"usr/{top}"
        assert names.index(f"usr/{top}") < names.index(top)
    assert "lib32" not in found
    assert found["usr/bin/ash"].linkname == "usr/bin/sh"
    assert found["usr/lib64/ld.so"].linkname == "/lib/x/ld.so"
    assert found["usr/bin/both"].size == 1
    assert found["etc"].mode == 0o700
    assert found["dev/null"].ischr()
    assert found["var/lib/dpkg/status"].size == 4
    assert not any(name.startswith(("bin/", "lib/", "lib64/")) for name in found)


def test_it_is_read_in_pieces_of_any_size(tmp_path: Path) -> None:
    data = archive(tmp_path / "1", tar([member("./bin/sh", b"x" * 100_000)]))
    whole = RootfsStream([data], {}).read()
    stream = RootfsStream([data], {})
    pieces = b"".join(iter(lambda: stream.read(777) or b"", b""))
    assert pieces == whole


def test_a_damaged_package_is_an_input_error(tmp_path: Path) -> None:
    data = archive(tmp_path / "1", tar([member("./bin/sh", b"x" * 3000)])[:1600])
    with pytest.raises(InputError, match="damaged"):
        RootfsStream([data], {}).read()


# -- with apt --------------------------------------------------------------------------------


def system_deb(folder: Path, name: str, **fields: str) -> None:
    make_deb(folder, name, "1", "amd64", **fields)


def dpkg_deb(folder: Path) -> None:
    """A package of dpkg whose program has an architecture."""
    control = b"Package: dpkg\nVersion: 1\nArchitecture: amd64\nEssential: yes\n"
    data = tar(
        [member("./usr/bin/dpkg", elf_header()), member("./usr/lib/os-release", "ID=debian\n")]
    )
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": COMPRESS[".xz"](tar([member("./control", control)])),
        "data.tar.xz": COMPRESS[".xz"](data),
    }
    (folder / "dpkg_1_amd64.deb").write_bytes(ar(parts))


@needs_apt
def test_from_packages_to_a_rootfs(tmp_path: Path) -> None:
    debs = tmp_path / "debs"
    debs.mkdir()
    dpkg_deb(debs)
    system_deb(debs, "base-passwd", Priority="required")
    system_deb(debs, "helpers", Essential="yes", Depends="usrmerge | usr-is-merged")
    for name in ("usrmerge", "usr-is-merged", "apt", "extra"):
        system_deb(debs, name, Priority="optional")
    system_deb(debs, "systemd-sysv", Priority="important")
    system_deb(debs, "editor", Priority="important", Depends="libedit")
    system_deb(debs, "libedit")
    system_deb(debs, "session", Priority="important", Depends="libedit, login-manager | odd")
    system_deb(
        debs, "manager", Priority="optional", Provides="login-manager", Depends="systemd-sysv"
    )
    system_deb(debs, "manual", Priority="standard")
    asked = Request(
        suite="trixie", arch="amd64", packages=debs, variant="important",
        include=("sysvinit-core",),
    )  # fmt: skip
    files = {"var/lib/dpkg/status": b""}
    cache = Cache(tmp_path / "cache")
    with AptRoot(suite.apt_input(asked, files), tmp_path / "work", cache) as root:
        base = suite.find_base(asked, root, fetching=True, on_event=lambda event: None)
        names = [p.name for p in base.second_stage.base]
        assert names[0] == "base-passwd"
        # apt itself counts as essential to apt.
        assert set(names) - {"apt"} == {"base-passwd", "dpkg", "helpers", "usr-is-merged"}
        assert {p.name for p in base.second_stage.base if p.automatic} - {"apt"} == {
            "usr-is-merged"
        }
        # The variant's own init system makes way for the one that is included.
        assert set(base.second_stage.wanted) == {"apt", "editor"}
        spool = tmp_path / "spool"
        inspection = suite.make_rootfs(asked, base, files, spool=spool, on_event=lambda event: None)
        facts = inspection.facts
        assert (facts.architecture, facts.merged_usr, facts.init) == ("amd64", True, None)
        assert set(facts.packages) == set(names)
        assert spool.stat().st_size == facts.tar_bytes
        assert inspection.layer["usr/bin/dpkg"].read() == elf_header()
    status = base.second_stage.status
    apt = dataclasses.replace(suite.apt_input(asked, files), dpkg_status=status)
    with AptRoot(apt, tmp_path / "work", cache) as root:
        rest = resolve(root, base.second_stage.wanted)
    assert {p.name for p in rest.packages} == {"editor", "libedit"}
    plain = dataclasses.replace(asked, variant="standard", include=())
    with AptRoot(suite.apt_input(plain, files), tmp_path / "work", cache) as root:
        base = suite.find_base(plain, root, fetching=False, on_event=lambda event: None)
    assert {"apt", "editor", "manual", "session", "systemd-sysv"} == set(base.second_stage.wanted)
    assert base.fetched == ()


@needs_apt
def test_a_suite_without_the_architecture(tmp_path: Path) -> None:
    debs = tmp_path / "debs"
    debs.mkdir()
    make_deb(debs, "lonely")
    asked = Request(suite="trixie", arch="amd64", packages=debs)
    inputs = suite.apt_input(asked, {})
    with (
        AptRoot(inputs, tmp_path / "work", Cache(tmp_path / "cache")) as root,
        pytest.raises(InputError, match="has no packages for amd64"),
    ):
        suite.find_base(asked, root, fetching=False, on_event=lambda event: None)


def test_a_base_has_one_architecture_whatever_the_kernel_s() -> None:
    """Else apt would take what is essential of the kernel's architecture too."""
    asked = Request(suite="sid", arch="i386", kernel="linux-image-amd64:amd64")
    assert suite.apt_input(asked, {}).foreign == ()


def test_estimates_for_a_plan_that_is_only_shown() -> None:
    base = suite.Base(
        second_stage=suite.stage.SecondStage(status=b"", base=(make_package("dpkg"),)),
        held=(),
        fetched=(),
    )
    facts = suite.make_rootfs(
        Request(suite="sid", arch="amd64"), base, {}, spool=None, on_event=lambda event: None
    ).facts
    assert facts.tar_bytes == 1 << 20
    assert facts.packages == {"dpkg": "1.0-1"}
