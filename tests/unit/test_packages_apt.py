"""apt itself, on directories of tiny packages and on a signed repository of this machine's own."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import deb_helpers
import pytest
from deb_helpers import Gpg, make_deb, make_repository, status

from selfinstall.errors import HostError, InputError
from selfinstall.events import Event
from selfinstall.packages import hostapt
from selfinstall.packages.aptroot import AptInput, AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.fetch import fetch
from selfinstall.packages.problems import Unreachable
from selfinstall.packages.resolution import Fetched, Resolution, Step
from selfinstall.packages.resolve import resolve
from selfinstall.packages.target import architectures, target_sources

needs_apt = pytest.mark.skipif(
    any(shutil.which(p) is None for p in ("apt-get", "gpg", "gpgv", "dpkg-deb")),
    reason="no apt, gpg, gpgv or dpkg-deb",
)
BASE = ("base", "1")


class Bench:
    """A target, a cache, and folders for what a test makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work, ü 1"
        self.cache = Cache(folder / "cache")
        self.debs = folder / "my débs, 1"
        self.debs.mkdir()
        self.installed = status(BASE)
        self.events: list[Event] = []

    def deb(self, name: str, version: str = "1", architecture: str = "all", **fields: str) -> Path:
        return make_deb(self.debs, name, version, architecture, **fields)

    def input(self, **more: object) -> AptInput:
        every: dict[str, object] = {"architecture": "amd64", "dpkg_status": self.installed}
        return AptInput(**(every | more))  # type: ignore[arg-type]

    @contextlib.contextmanager
    def root(self, **more: object) -> Iterator[AptRoot]:
        inputs = self.input(**(more or {"packages_dir": self.debs}))
        with AptRoot(inputs, self.work, self.cache, on_event=self.events.append) as root:
            yield root
        assert list(self.work.iterdir()) == []

    def resolve(self, *wanted: str, useful: tuple[str, ...] = (), **more: object) -> Resolution:
        with self.root(**more) as root:
            return resolve(root, wanted, useful, on_event=self.events.append)

    def fetch(self, *wanted: str, **more: object) -> tuple[Fetched, ...]:
        with self.root(**more) as root:
            resolution = resolve(root, wanted)
            return fetch(root, resolution, self.cache, on_event=self.events.append)

    def warnings(self) -> list[str]:
        return [e.message or "" for e in self.events if e.event == "warning"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Whatever the host's configuration, this is the test's.
    configuration = tmp_path / "host-apt.conf"
    configuration.write_text(
        'Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null";\n'
        'Acquire::http::User-Agent "from-the-host"; Acquire::Retries "0";\n'
        'Acquire::AllowInsecureRepositories "true";\n'
        f'APT::Update::Pre-Invoke {{"touch {tmp_path}/hook-ran"; }};\n'
        f'APT::Update::Post-Invoke {{"touch {tmp_path}/hook-ran"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return Bench(tmp_path)


# -- a directory of packages ---------------------------------------------------------------


@needs_apt
def test_what_apt_decided_is_remembered_until_something_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = AptRoot.run

    def spy(root: AptRoot, program: str, *arguments: str) -> hostapt.Output:
        if "--simulate" in arguments:
            asked.append(program)
        return run(root, program, *arguments)

    monkeypatch.setattr(AptRoot, "run", spy)
    bench.deb("app", Depends="lib")
    bench.deb("lib")
    first = bench.resolve("app")
    assert len(asked) == 1
    assert bench.resolve("app") == first
    assert len(asked) == 1
    # Another question, another system, another package: asked anew.
    bench.resolve("lib")
    assert len(asked) == 2
    bench.installed = status(BASE, ("lib", "1"))
    assert bench.resolve("app") != first
    assert len(asked) == 3
    bench.deb("lib", "2")
    bench.installed = status(BASE)
    assert {p.version for p in bench.resolve("app").packages if p.name == "lib"} == {"2"}
    assert len(asked) == 4
    # Damaged memories are none.
    for path in (bench.cache.folder / "decided").iterdir():
        path.write_bytes(path.read_bytes().replace(b"app", b"bpp"))
    assert bench.resolve("lib").packages[0].name == "lib"
    assert len(asked) == 5


@needs_apt
def test_packages_in_dpkg_s_order(bench: Bench) -> None:
    bench.deb("kernel", "1:6.1", "amd64", Pre_Depends="tools | other", Depends="meta (>= 2)")
    bench.deb("tools", Depends="base", files={"x": b"\0" * 5000})  # type: ignore[arg-type]
    bench.deb("meta", "2")
    bench.deb("unrelated")
    resolution = bench.resolve("kernel", "tools")
    facts = {p.name: (p.version, p.architecture, p.automatic) for p in resolution.packages}
    assert facts == {
        "kernel": ("1:6.1", "amd64", False),
        "tools": ("1", "all", False),
        "meta": ("2", "all", True),
    }
    kernel = next(p for p in resolution.packages if p.name == "kernel")
    assert kernel.filename == "kernel_1%3a6.1_amd64.deb"
    assert kernel.installed_size == 3 * 1024
    assert kernel.size == (bench.debs / kernel.filename).stat().st_size
    assert [step.action for step in resolution.steps] == ["unpack", "configure"] * 2
    assert resolution.steps[1] == Step("configure", ("tools:all",))
    assert resolution.steps[2] == Step("unpack", (kernel.filename,))
    assert resolution.steps[3].packages == ("meta:all", "kernel:amd64")


@needs_apt
def test_nothing_lacking(bench: Bench) -> None:
    bench.deb("base", "2")
    # Installed packages are not upgraded for being wanted.
    assert bench.resolve("base") == Resolution()
    assert bench.fetch("base") == ()


@needs_apt
def test_an_upgrade_that_a_dependency_needs(bench: Bench) -> None:
    bench.deb("base", "2")
    bench.deb("new", Depends="base (>= 2)")
    resolution = bench.resolve("new")
    assert {(p.name, p.automatic) for p in resolution.packages} == {("new", False), ("base", True)}


@needs_apt
def test_useful_packages_are_taken_where_they_fit(bench: Bench) -> None:
    bench.deb("kernel")
    bench.deb("good")
    bench.deb("bad", Depends="nowhere")
    bench.deb("rival", Conflicts="base")
    resolution = bench.resolve("kernel", useful=("unknown", "bad", "good", "rival"))
    assert sorted((p.name, p.automatic) for p in resolution.packages) == [
        ("good", False),
        ("kernel", False),
    ]


@needs_apt
def test_the_first_kernel_that_the_suite_has(bench: Bench) -> None:
    bench.deb("kernel-old")
    bench.deb("kernel-common")
    bench.deb("tool")
    for one_of, expected in (
        (("kernel-new", "kernel-old", "kernel-common"), "kernel-old"),
        (("kernel-common", "kernel-old"), "kernel-common"),
    ):
        with bench.root() as root:
            found = resolve(root, ("tool",), one_of=one_of)
        assert {(p.name, p.automatic) for p in found.packages} == {
            ("tool", False),
            (expected, False),
        }
    with bench.root() as root:
        assert [p.name for p in resolve(root, (), one_of=("kernel-old",)).packages] == [
            "kernel-old"
        ]
    # Of several unknown ones, the error names the first.
    with bench.root() as root, pytest.raises(InputError, match="package kernel-a is not in"):
        resolve(root, (), one_of=("kernel-a", "kernel-b"))
    with bench.root() as root, pytest.raises(InputError, match="not a package name"):
        resolve(root, (), one_of=("kernel old",))


@needs_apt
def test_a_kernel_of_another_architecture(bench: Bench) -> None:
    """As an i386 system gets amd64's: its dependencies come of whichever architecture fits."""
    bench.deb("kernel-64", "2", "arm64", Depends="modules, tool, script")
    bench.deb("modules", "2", "arm64")
    bench.deb("tool", "1", "amd64", Multi_Arch="foreign")
    bench.deb("script", "1", "all", Multi_Arch="foreign")
    more = {"packages_dir": bench.debs, "foreign": ("arm64",)}
    with bench.root(**more) as root:
        found = resolve(root, (), one_of=("kernel-32", "kernel-64:arm64"))
    assert {(p.name, p.architecture, p.automatic) for p in found.packages} == {
        ("kernel-64", "arm64", False),
        ("modules", "arm64", True),
        ("tool", "amd64", True),
        ("script", "all", True),
    }
    assert found.steps[-1].packages[-1] == "kernel-64:arm64"


@needs_apt
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("nosuch", "package nosuch is not in"),
        ("unmet", "unmet needs nowhere"),
        ("rival", "would have to be removed: base"),
        ("virtual", "others provide"),
        ("kernel=7", "kernel 7 is not in"),
        ("-o", "not a package name"),
        ("kernel-", "not a package name"),
        ("ker*", "not a package name"),
    ],
)
def test_what_cannot_be_installed(wanted: str, words: str, bench: Bench) -> None:
    bench.deb("kernel")
    bench.deb("unmet", Depends="nowhere")
    bench.deb("rival", Conflicts="base")
    bench.deb("one", Provides="virtual")
    bench.deb("two", Provides="virtual")
    with pytest.raises(InputError, match=words):
        bench.resolve(wanted)


@needs_apt
def test_packages_arrive_whole_and_are_remembered(bench: Bench) -> None:
    content = {"usr/bin/x": b"program" * 1000}
    path = bench.deb("kernel", files=content)  # type: ignore[arg-type]
    (first,) = bench.fetch("kernel")
    with first.path.open("rb") as stream:
        stream.seek(first.data_offset)
        assert stream.read(first.data_size) == deb_helpers.tar(content)
    progress = [e for e in bench.events if e.event == "progress"]
    assert {(e.done, e.total, e.unit) for e in progress} == {
        (path.stat().st_size, path.stat().st_size, "bytes")
    }
    assert bench.fetch("kernel") == (first,)
    first.path.write_bytes(b"damaged")
    assert bench.fetch("kernel") == (first,)
    assert not (bench.cache.folder / "debs" / first.path.name).exists(), "copied for nothing"


@needs_apt
def test_directories_that_cannot_be_used(bench: Bench) -> None:
    with pytest.raises(InputError, match=r"no \.deb in it"):
        bench.resolve("kernel")
    with pytest.raises(InputError, match="No such file"):
        bench.resolve("kernel", packages_dir=bench.folder / "nowhere")
    bench.deb("kernel", "1", "arm64")
    with pytest.raises(InputError, match=r"arm64.*amd64"):
        bench.resolve("kernel")
    bench.deb("kernel", "1", "arm64").write_bytes(b"!<arch>\ncut")
    with pytest.raises(InputError, match=r"kernel_1_arm64\.deb: damaged"):
        bench.resolve("kernel")


@needs_apt
def test_the_host_s_configuration_and_pins_are_not_read(bench: Bench) -> None:
    bench.deb("kernel")
    with bench.root() as root:
        lines = root.run("apt-config", "dump").stdout.splitlines()
    for name in ("main", "parts", "preferences", "preferencesparts", "sourcelist"):
        assert f'Dir::Etc::{name} "/dev/null";' in lines
    assert not [line for line in lines if "Invoke" in line]


# -- a signed repository -------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> Iterator[Gpg]:
    with deb_helpers.gpg() as key:
        yield key


class Quiet(SimpleHTTPRequestHandler):
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("User-Agent", "")))
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Mirror:
    """A signed repository behind HTTP."""

    def __init__(self, folder: Path, key: Gpg) -> None:
        self.folder = folder
        self.key = key
        self.pool = folder / "pool"
        self.pool.mkdir(parents=True)
        handler = type("Handler", (Quiet,), {"seen": []})
        self.seen: list[tuple[str, str]] = handler.seen  # type: ignore[attr-defined]
        bound = functools.partial(handler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def publish(self, *, sign: bool = True, valid_until: str = "") -> None:
        release = make_repository(self.folder, "trixie", "amd64", valid_until=valid_until)
        if sign:
            self.key.sign(release)

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def sources(self, options: str = "") -> dict[str, object]:
        """Inputs of a target that uses this mirror."""
        return {
            "sources": (("etc/apt/sources.list", f"deb [{options}] {self.uri} trixie main\n"),),
            "keyrings": (("etc/apt/trusted.gpg.d/test.asc", self.key.public(armour=True)),),
            "suite": "trixie",
        }


@pytest.fixture
def mirror(tmp_path: Path, key: Gpg) -> Iterator[Mirror]:
    mirror = Mirror(tmp_path / "mirror", key)
    make_deb(mirror.pool, "kernel", "1:6.1", "amd64", Depends="meta")
    make_deb(mirror.pool, "meta")
    yield mirror
    if mirror.thread.is_alive():
        mirror.stop()


@needs_apt
def test_download_verify_cache_and_then_without_the_mirror(bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    first = bench.fetch("kernel", **mirror.sources())
    assert {f.package.name for f in first} == {"kernel", "meta"}
    progress = [e.done for e in bench.events if e.event == "progress"]
    assert progress[0] == 0 and progress[-1] == sum(f.package.size for f in first)
    assert all(agent == "from-the-host" for _, agent in mirror.seen), mirror.seen
    assert not (bench.folder / "hook-ran").exists()

    mirror.seen.clear()
    assert bench.fetch("kernel", **mirror.sources()) == first
    assert [path for path, _ in mirror.seen if "pool" in path or "Packages" in path] == []

    # A damaged entry is noticed and downloaded again.
    deb = bench.cache.folder / "debs" / f"{first[0].package.sha256}.deb"
    deb.write_bytes(b"damaged")
    first[0].path.unlink()
    assert bench.fetch("kernel", **mirror.sources()) == first
    assert len([path for path, _ in mirror.seen if "pool" in path]) == 1
    assert bench.warnings() == []

    mirror.stop()
    assert bench.fetch("kernel", **mirror.sources()) == first
    (warning,) = bench.warnings()
    assert mirror.uri in warning and "last build" in warning
    with pytest.raises(Unreachable) as caught:
        bench.fetch("kernel", **mirror.sources("check-date=no"))
    assert mirror.uri in caught.value.message


@needs_apt
def test_what_apt_computed_stays_until_the_mirror_has_something_new(
    bench: Bench, mirror: Mirror
) -> None:
    def computed() -> set[tuple[str, int]]:
        found = (bench.cache.folder / "lists").rglob("*pkgcache.bin")
        return {(path.name, path.stat().st_mtime_ns) for path in found}

    mirror.publish()
    bench.resolve("kernel", **mirror.sources())
    before = computed()
    assert {name for name, _ in before} == {"pkgcache.bin", "srcpkgcache.bin"}
    bench.resolve("kernel", **mirror.sources())
    assert computed() == before

    make_deb(mirror.pool, "newer", "1", "amd64")
    mirror.publish()
    # HTTP tells times by the second, and this one may not be over.
    later = time.time() + 60
    for path in (mirror.folder / "dists").rglob("*"):
        os.utime(path, (later, later))
    made = bench.resolve("newer", **mirror.sources())
    assert [package.name for package in made.packages] == ["newer"]
    assert computed() != before


@needs_apt
@pytest.mark.parametrize("how", ["signed-by", "fingerprint", "embedded", "keyring", "archive"])
def test_ways_to_name_the_key(how: str, bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    more = mirror.sources()
    armoured = mirror.key.public(armour=True)
    path = "usr/share/keyrings/debian-archive-keyring.pgp"
    match how:
        case "signed-by":
            more |= mirror.sources("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg")
            more["keyrings"] = ((path, mirror.key.public()),)
        case "fingerprint":
            more |= mirror.sources(f"signed-by={mirror.key.fingerprint()}")
        case "embedded":
            block = armoured.decode().replace("\n\n", "\n.\n").replace("\n", "\n ").rstrip()
            text = f"Types: deb\nURIs: {mirror.uri}\nSuites: trixie\nComponents: main\n"
            more["sources"] = (("x.sources", f"{text}Signed-By:\n {block}\n"),)
            more["keyrings"] = (("etc/apt/trusted.gpg.d/x.gpg", b"rubbish"),)
        case "keyring":
            (bench.folder / "mine.asc").write_bytes(armoured)
            more["keyring"] = bench.folder / "mine.asc"
            more["keyrings"] = ()
        case "archive":
            more["keyrings"] = ((path, mirror.key.public()),)
    assert len(bench.resolve("kernel", **more).packages) == 2


@needs_apt
def test_a_key_that_does_not_fit(bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    assert bench.resolve("kernel", **mirror.sources()).packages
    # Any well-formed key packet will do as another key.
    data = bytearray(mirror.key.public())
    data[20] ^= 1
    other = mirror.sources() | {"keyrings": (("etc/apt/trusted.gpg", bytes(data)),)}
    with pytest.raises(InputError, match="key that is not in the keyring") as caught:
        bench.resolve("kernel", **other)
    assert caught.value.hint is not None and "--keyring" in caught.value.hint
    with pytest.raises(InputError, match="there is no keyring /nowhere"):
        bench.resolve("kernel", **mirror.sources("signed-by=/nowhere/x.gpg"))


@needs_apt
def test_unsigned_and_tampered(bench: Bench, mirror: Mirror) -> None:
    mirror.publish(sign=False)
    with pytest.raises(InputError, match="not signed"):
        bench.resolve("kernel", **mirror.sources())
    mirror.publish()
    signed = mirror.folder / "dists/trixie/InRelease"
    signed.write_bytes(signed.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))
    with pytest.raises(InputError, match="bad signature"):
        bench.resolve("kernel", **mirror.sources())


@needs_apt
def test_an_expired_release(bench: Bench, mirror: Mirror) -> None:
    mirror.publish(valid_until="Sun, 02 Jun 2024 00:00:00 UTC")
    with pytest.raises(InputError, match="expired"):
        bench.resolve("kernel", **mirror.sources())


@needs_apt
def test_a_mirror_out_of_step(bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    index = mirror.folder / "dists/trixie/main/binary-amd64/Packages"
    good = index.read_bytes()
    index.write_bytes(good.replace(b"kernel", b"Kernel"))
    with pytest.raises(HostError, match=r"out of step.*Packages"):
        bench.resolve("kernel", **mirror.sources())
    index.write_bytes(good)
    (deb,) = mirror.pool.glob("meta*")
    deb.write_bytes(deb.read_bytes()[:-1] + b"?")
    with pytest.raises(HostError, match=r"out of step.*meta_1_all\.deb"):
        bench.fetch("kernel", **mirror.sources())


@needs_apt
def test_mirror_replaces_and_finds_no_suite(bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    elsewhere = mirror.sources() | {"sources": (("a.list", "deb http://192.0.2.1/ trixie main\n"),)}
    assert bench.resolve("kernel", mirror=mirror.uri, **elsewhere).packages
    nothing = mirror.sources() | {"sources": ()}
    assert bench.resolve("kernel", mirror=mirror.uri, **nothing).packages
    with pytest.raises(InputError, match="no apt sources"):
        bench.resolve("kernel", **nothing)
    with pytest.raises(InputError, match="no such suite"):
        bench.resolve("kernel", mirror=mirror.uri, **(nothing | {"suite": "sid"}))


@needs_apt
def test_sources_of_the_user_replace(bench: Bench, mirror: Mirror) -> None:
    mirror.publish()
    mine = bench.folder / "mine"
    mine.write_text(f"deb file:{mirror.folder} trixie main\n")
    fetched = bench.fetch("kernel", **(mirror.sources() | {"sources_file": mine}))
    assert len(fetched) == 2
    assert mirror.seen == []


# -- without apt ---------------------------------------------------------------------------


def test_no_apt_on_the_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bench.folder))
    with pytest.raises(HostError, match="apt-get") as caught:
        bench.resolve("kernel")
    assert caught.value.hint == "install the package apt"


def test_no_verifier_on_the_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("apt-get", "apt-cache", "apt-config"):
        (bench.folder / program).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(bench.folder))
    hostapt.require_programs(verify=False)
    with pytest.raises(HostError, match="gpgv") as caught:
        hostapt.require_programs(verify=True)
    assert caught.value.hint == "install the package gpgv"


def test_nothing_wanted_asks_nobody(bench: Bench) -> None:
    root = AptRoot(bench.input(), bench.work, bench.cache)
    assert resolve(root, ()) == Resolution()


def test_how_to_reach_mirrors_is_taken_from_the_host() -> None:
    dump = """\
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
Acquire "";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::https::example.org::CaInfo "/etc/ssl/mine.pem";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "de";
Acquire::AllowInsecureRepositories "true";
Acquire::AllowWeakRepositories "1";
Acquire::IndexTargets::deb::Contents-deb::MetaKey "x";
Acquire::GzipIndexes "true";
Acquire::x "two"; APT::Evil "1";
Dir::Etc "etc/apt";
"""
    assert hostapt.acquire_settings(dump).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example.org:3128";',
        'Acquire::https::example.org::CaInfo "/etc/ssl/mine.pem";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_architectures_of_a_status() -> None:
    text = b"""\
Package: a
Status: install ok installed
Architecture: i386

Package: b
Status: deinstall ok config-files
Architecture: arm64

Package: c
Status: hold ok installed
Priority: required
Architecture: all

Package: d
Status: install ok unpacked
Maintainer: x
Architecture: amd64
"""
    assert architectures("amd64", text) == ("amd64", "i386")
    assert architectures("riscv64", b"") == ("riscv64",)
    assert architectures("amd64", text, ("arm64", "i386")) == ("amd64", "arm64", "i386")


def test_files_that_the_user_named_wrongly(tmp_path: Path) -> None:
    inputs = AptInput(architecture="amd64", dpkg_status=b"", sources_file=tmp_path / "no")
    with pytest.raises(InputError, match="No such file"):
        target_sources(inputs, ("amd64",))


@needs_apt
@pytest.mark.parametrize("how", ["unsigned", "another key"])
def test_unsigned_sources_only_when_allowed(how: str, bench: Bench, mirror: Mirror) -> None:
    mirror.publish(sign=how == "another key")
    more = mirror.sources("trusted=yes")
    if how == "another key":
        data = bytearray(mirror.key.public())
        data[20] ^= 1
        more["keyrings"] = (("etc/apt/trusted.gpg", bytes(data)),)
    with pytest.raises(InputError) as caught:
        bench.resolve("kernel", **more)
    assert how == "another key" or "--allow-unsigned" in (caught.value.hint or "")
    assert "trusted=" in bench.warnings()[0].lower()
    assert len(bench.fetch("kernel", **more, allow_unsigned=True)) == 2


@needs_apt
def test_a_status_cannot_give_apt_orders(bench: Bench) -> None:
    bench.deb("kernel")
    ran = bench.folder / "ran"
    evil = f'x";APT::Update::Pre-Invoke{{"touch${{IFS}}{ran}";}};Foo{{"'
    bench.installed = (
        status(BASE)
        + f"\nPackage: x\nStatus: install ok installed\nArchitecture: {evil}\n".encode()
    )
    with pytest.raises(InputError, match="architecture that is none"):
        bench.resolve("kernel")
    assert not ran.exists()
