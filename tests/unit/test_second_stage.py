"""Unfinished tarballs: recognised, ordered, planned."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from deb_helpers import ar, deb_bytes
from plan_helpers import SEED, make_facts, make_package, make_resolution
from tar_helpers import inspect_bytes, member, rootfs, stanza, tar

from selfinstall import guestfiles, plan, stage
from selfinstall.arch import all_arches
from selfinstall.errors import InputError
from selfinstall.packages import control
from selfinstall.packages.deb import control_in_stream
from selfinstall.request import Request
from selfinstall.rootfs.dpkg import as_configured, parse_status
from selfinstall.rootfs.facts import HeldDeb
from selfinstall.rootfs.inspect import Inspection

ARCHIVES = "./var/cache/apt/archives"


def deb(name: str, architecture: str = "amd64", **fields: str) -> tuple[str, bytes]:
    return name, deb_bytes(name, "1:2", architecture, **fields)  # type: ignore[arg-type]


#: What a first stage of debootstrap could hold.
PACKAGES = dict(
    (
        deb("base-passwd", Priority="required", Depends="libdebconf0"),
        deb("awful", Priority="important", Pre_Depends="libx"),
        deb("dpkg", Essential="yes", Pre_Depends="libc, tar (>= 1)"),
        deb("libc", Depends="libgcc", Provides="libc-abi (= 3)"),
        deb("libdebconf0", Depends="libc-abi"),
        deb("libgcc", Depends="libc"),
        deb("libx"),
        deb("merged", Depends="no-such | libc"),
        deb("tar", Essential="yes", Priority="required", Depends="nowhere | merged"),
    )
)


def first_stage(
    packages: dict[str, bytes] = PACKAGES, *, status: str = "", marked: bool = True
) -> bytes:
    extra = [member(f"{ARCHIVES}/{n}_1%3a2_amd64.deb", data) for n, data in packages.items()]
    mark = [member("./debootstrap/debootstrap")] if marked else []
    # Packages may come before the database, and the other way round.
    return tar([*extra, *rootfs(mark, status=status)])


def inspected(tmp_path: Path, data: bytes, *, spool: bool = False) -> Inspection:
    return inspect_bytes(data, tmp_path, spool=spool)


def controls(held: tuple[HeldDeb, ...]) -> list[control.Control]:
    return [control.parse(deb.control) for deb in held]


def test_a_first_stage_is_recognised(tmp_path: Path) -> None:
    for marked in (True, False):
        facts = inspected(tmp_path, first_stage(marked=marked)).facts
        assert facts.architecture == "amd64"
        assert facts.packages == dict.fromkeys(PACKAGES, "1:2")
        assert [c.name for c in controls(facts.held)] == sorted(PACKAGES)


def test_a_first_stage_has_the_init_system_that_its_packages_will_make(tmp_path: Path) -> None:
    more = PACKAGES | dict((deb("sysvinit-core"),))
    data = first_stage(more)
    extra = rootfs(
        [member(f"{ARCHIVES}/{n}.deb", d) for n, d in more.items()],
        without={"./usr/sbin/init", "./usr/lib/systemd/systemd"},
        status="",
    )
    assert inspected(tmp_path, tar(extra)).facts.init == "sysvinit"
    assert inspected(tmp_path, data).facts.init == "systemd"


def test_packages_that_apt_kept_are_none_of_a_finished_system(tmp_path: Path) -> None:
    damaged = PACKAGES | {"odd": b"no package", "short": PACKAGES["tar"][:100]}
    facts = inspected(tmp_path, first_stage(damaged, status=stanza("dpkg"), marked=False)).facts
    assert facts.held == ()
    assert facts.packages == {"dpkg": "1.0"}


def test_a_second_stage_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    done = stanza("dpkg", "1:2") + stanza("tar", "1:2")
    held = inspected(tmp_path, first_stage(status=done)).facts.held
    assert {c.name for c in controls(held)} == set(PACKAGES) - {"dpkg", "tar"}


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ({"tar": b"no package"}, "tar_1%3a2_amd64.deb' in .*: not a Debian package"),
        ({"tar": PACKAGES["tar"][:150]}, "damaged"),
        ({"tar": ar({"debian-binary": b"2.0\n", "data.tar": b""})}, "not a package that can be"),
        ({"tar": PACKAGES["tar"]}, "no package of dpkg itself"),
        ({}, "without its packages"),
    ],
)
def test_first_stages_that_cannot_be_finished(
    packages: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        inspected(tmp_path, first_stage(packages))


def test_a_package_that_is_there_in_part_is_an_error(tmp_path: Path) -> None:
    status = stanza("dpkg") + stanza("half", state="half-installed")
    with pytest.raises(InputError, match="interrupted while it unpacked half"):
        inspected(tmp_path, tar(rootfs(status=status)))


def test_the_base_is_what_is_required_and_all_it_needs_dependencies_first() -> None:
    every = [control.parse(text) for text in map(_control, PACKAGES.values())]
    names = [c.name for c in control.base(every)]
    assert names[0] == "base-passwd"
    assert set(names) == set(PACKAGES) - {"awful", "libx"}
    assert names.index("libc") < names.index("libdebconf0")
    assert names.index("merged") < names.index("tar") < names.index("dpkg")


def _control(data: bytes) -> str:
    return control_in_stream(io.BytesIO(data).read, "x")[0].dump()


def test_a_deep_chain_of_dependencies_is_no_problem() -> None:
    texts = [
        f"Package: p{n}\nVersion: 1\nArchitecture: all\nDepends: p{n + 1}\n" for n in range(5000)
    ]
    texts[0] += "Essential: yes\n"
    names = [c.name for c in control.base(map(control.parse, texts))]
    assert names == [f"p{n}" for n in reversed(range(5000))]


def test_apt_starts_from_a_finished_base(tmp_path: Path) -> None:
    inspection = inspected(tmp_path, first_stage(), spool=True)
    second = stage.of_tarball(inspection.dpkg_status, inspection.facts.held)
    database = parse_status(second.status)
    assert set(database.packages) == {p.name for p in second.base}
    assert database.unconfigured == ()
    assert second.wanted == ("awful=1:2", "libx=1:2")
    assert [c.name for c in controls(second.rest)] == ["awful", "libx"]
    assert second.base[0].filename == "base-passwd_1%3a2_amd64.deb"
    assert not any(p.automatic for p in second.base)
    held = inspection.facts.held
    places = stage.cut_out(held, tmp_path / "spool", tmp_path)
    for deb, name in zip(held, sorted(PACKAGES), strict=True):
        assert places[deb.sha256].read_bytes() == PACKAGES[name]


def test_unconfigured_packages_count_as_configured_for_apt() -> None:
    status = "".join(
        stanza(state, state=state)
        for state in ("unpacked", "half-configured", "triggers-awaited", "config-files")
    )
    found = parse_status(as_configured(status.encode()))
    assert set(found.packages) == {"unpacked", "half-configured", "triggers-awaited"}
    assert found.unconfigured == ()


def test_the_plan_of_a_first_stage() -> None:
    base = (make_package("base-passwd"), make_package("libc6", automatic=True))
    facts = make_facts()
    arch = all_arches()[facts.architecture]
    made = plan.make(
        Request(tarball=Path("x.tar")), facts, arch, make_resolution(), base=base, seed=SEED
    )
    assert "42-second-stage" in made.hooks
    assert made.settings["PACKAGES_TOTAL"] == "4"
    rendered = guestfiles.rendered(made, arch)
    lines = rendered["dpkg-steps"].splitlines()
    assert lines[0].split() == ["debs"]
    assert lines[1] == "base base-passwd_1.0-1_amd64.deb libc6_1.0-1_amd64.deb"
    assert lines[2].strip() == "settle"
    assert lines[3].startswith("unpack kmod")
    assert lines[-1] == "pending"
    assert "Package: libc6\n" in rendered["extended_states"]
    assert "base-passwd" not in rendered["extended_states"]
    assert "2 packages to install first" in made.to_text()


def test_the_plan_of_an_unconfigured_system() -> None:
    facts = make_facts(unconfigured=("new", "half"))
    arch = all_arches()[facts.architecture]
    made = plan.make(Request(tarball=Path("x.tar")), facts, arch, make_resolution(), seed=SEED)
    assert "42-second-stage" not in made.hooks
    assert made.settings["UNCONFIGURED"] == "2"
    steps = guestfiles.rendered(made, arch)["dpkg-steps"].splitlines()
    assert steps[1].strip() == steps[-1] == "pending"
    assert "to finish:    2 packages" in made.to_text()
