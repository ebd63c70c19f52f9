"""How each tool is called, and what it needs to be there."""

from __future__ import annotations

import dataclasses
import grp
import os
import platform
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cases import SELFINSTALL, Case, Tool
from bench.measure import User

PEERS = Path(__file__).resolve().parent / "peers"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Debian packages of the peers, for those who want to measure them all.
PACKAGES = (
    "fdisk dosfstools e2fsprogs util-linux mount tar zstd vmdb2 zerofree parted kpartx guestfish"
)
#: Programs that each script calls.
PROGRAMS = {
    "by-hand": "losetup partx sfdisk mkfs.vfat mkfs.ext4 blkid tar zstd unshare chroot",
    "vmdb2": "vmdb2 losetup partx parted mkfs.vfat mkfs.ext4 blkid tar zstd unshare",
    "guestfish": "guestfish supermin qemu-system-x86_64 zstd",
}
#: Proxies reach everybody.
_KEPT = ("http_proxy", "https_proxy", "no_proxy")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where things are: *work* is the benchmark's folder, *program* selfinstall's."""

    work: Path
    program: Path

    @property
    def user(self) -> Path:
        """The ordinary user's own part."""
        return self.work / "user"

    @property
    def root(self) -> Path:
        """The part of tools that need root."""
        return self.work / "root"

    @property
    def cache(self) -> Path:
        """selfinstall's cache."""
        return self.user / "cache"

    @property
    def primed(self) -> Path:
        """What that cache is put back to."""
        return self.user / "cache-primed"

    @property
    def kernel(self) -> Path:
        """The kernel of guestfish's appliance, where the host has none."""
        return self.work / "kernel"

    def image(self, tool: Tool) -> Path:
        """Where a tool's image goes."""
        return (self.root if tool.root else self.user) / "images" / f"{tool.name}.img"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What is to be made: of *tarball*, an image of *size* (as truncate(1) takes it).

    :param packages: names of those that the tarball lacks.
    """

    tarball: Path
    image: Path
    size: str
    hostname: str
    packages: Sequence[str]


def user_named(name: str) -> User:
    """:raises KeyError: there is no such user."""
    entry = pwd.getpwnam(name)
    groups = tuple(g.gr_gid for g in grp.getgrall() if name in g.gr_mem)
    return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups)


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """A plain environment: nothing of the caller's but proxies.

    No TMPDIR: vmdb2 hands its environment on to programs in the chroot.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "PATH": PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }


def build_command(tool: Tool, places: Places, build: Build, accel: str) -> list[str]:
    """The command that makes an image."""
    if tool.name == SELFINSTALL:
        return [
            str(places.program),
            "--tarball",
            str(build.tarball),
            "--output",
            str(build.image),
            "--format",
            "raw",
            "--size",
            build.size,
            "--hostname",
            build.hostname,
            "--accel",
            accel,
            "--cache",
            str(places.cache),
            "--no-verify",
            "--quiet",
            "--manifest",
            f"{build.image}.json",
        ]
    assert tool.program is not None
    # Variants share what they download.
    cache = (places.root if tool.root else places.user) / f"cache-{tool.program}"
    return [
        str(PEERS / tool.program),
        str(build.tarball),
        str(build.image),
        build.size,
        build.hostname,
        str(cache),
        *build.packages,
    ]


def verify_command(places: Places, image: Path, accel: str, firmware: str = "") -> list[str]:
    """The command that boots an image."""
    chosen = ["--firmware", firmware] if firmware else []
    return [str(places.program), "verify", str(image), *chosen, "--accel", accel, "--quiet"]


def obstacle(tool: Tool, case: Case, *, root: bool) -> str | None:
    """Why a tool cannot be measured here; None when it can."""
    if tool.program is None:
        return None
    if tool.root and not root:
        return "needs root"
    if platform.machine() != "x86_64":
        return "makes amd64 images on amd64 only"
    if tool.program == "guestfish" and case.base != "complete":
        return "complete tarballs only"
    lacking = [p for p in PROGRAMS[tool.program].split() if shutil.which(p, path=PATH) is None]
    if tool.program == "vmdb2" and not tool.environment and not shutil.which("zerofree", path=PATH):
        lacking.append("zerofree")
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if tool.root and not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    if tool.root and not _fat():
        return "the kernel has no vfat, and fusefat is not installed"
    return None


def _fat() -> bool:
    words = Path("/proc/filesystems").read_text().split()
    return "vfat" in words or bool(shutil.which("fusefat", path=PATH)) or _vfat_module()


def _vfat_module() -> bool:
    modules = Path("/lib/modules") / platform.release() / "modules.dep"
    return modules.exists() and "/vfat.ko" in modules.read_text()


def host_has_kernel() -> bool:
    """Whether supermin finds a kernel by itself."""
    return any(Path("/boot").glob("vmlinuz-*"))
