"""What must be there before a run: tarballs, names of packages, a cache in a known state."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import tarballs, tools
from bench.cases import Case
from bench.folders import mirror
from bench.tarballs import Tarball
from bench.tools import Places

Say = Callable[[str], None]
#: Runs a command of selfinstall as its user; gives its output, or raises :class:`Unusable`.
Ask = Callable[[Sequence[str], str], str]


class Unusable(Exception):
    """The benchmark cannot go on."""


class Supplies:
    """Makes what is missing, once in a session.

    :param bases: the folder of the base tarballs.
    :param ask: how to run selfinstall for its answer.
    """

    def __init__(self, places: Places, bases: Path, ask: Ask, say: Say) -> None:
        self._places = places
        self._bases = bases
        self._ask = ask
        self._say = say
        self._described: dict[str, Tarball] = {}
        self._packages: dict[str, tuple[str, ...]] = {}

    def base(self, case: Case) -> Path:
        """The tarball that a case starts from."""
        path = tarballs.base_path(self._bases, case.base)
        if not path.exists():
            self._say(f"  making {path.name} by mmdebstrap")
            tarballs.make_base(path, case.base)
        return path

    def tarball(self, case: Case) -> tuple[Tarball, bool]:
        """A case's tarball, and whether this session sees it for the first time."""
        if case.tarball in self._described:
            return self._described[case.tarball], False
        base = path = self.base(case)
        if case.extra_gb:
            path = self._places.work / "tarballs" / f"{case.tarball}.tar.zst"
            if not path.exists() or path.stat().st_mtime < base.stat().st_mtime:
                self._say(f"  making {path.name}")
                tarballs.enlarge(base, path, case.extra_gb * 10**9, case.tarball)
        self._described[case.tarball] = tarballs.describe(path)
        return self._described[case.tarball], True

    def salted(self, case: Case) -> Path:
        """The base tarball and a small file: never the same twice, so that no cache knows it."""
        path = self._places.work / "tarballs" / f"{case.base}-salted.tar.zst"
        tarballs.enlarge(self.base(case), path, 4096, secrets.token_hex(8))
        return path

    def packages(self, case: Case) -> tuple[str, ...]:
        """What selfinstall would add, so that peers add the same."""
        if case.base not in self._packages:
            # Not in its usual cache, which is in a known state.
            cache = self._places.user / "cache-plan"
            command = [str(self._places.program), "--dry-run", "--json"]
            command += ["--tarball", str(self.base(case)), "--cache", str(cache)]
            said = self._ask(command, f"{case.base}-plan")
            self._packages[case.base] = packages_of_plan(said)
        return self._packages[case.base]

    def empty_cache(self) -> None:
        """Forget what earlier sessions left: it may know the tarballs that are measured."""
        for folder in (self._places.cache, self._places.primed):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()

    def reset_cache(self) -> None:
        """Back to what the uncounted builds of other tarballs left."""
        mirror(self._places.primed, self._places.cache)

    def keep_cache(self) -> None:
        """Remember the cache's state for :meth:`reset_cache`."""
        # Layers are of measured tarballs, or of salted ones that nobody will see again.
        mirror(self._places.cache, self._places.primed, without="layers")

    def appliance_kernel(self) -> None:
        """A kernel for guestfish's appliance, where the host has none."""
        if tools.host_has_kernel() or (self._places.kernel / "complete").exists():
            return
        self._say("  no kernel in /boot: downloading one for guestfish's appliance")
        command = [str(tools.PEERS / "appliance-kernel"), str(self._places.kernel)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        if not Path("/lib/modules").exists():
            # supermin 5.2 looks there even when SUPERMIN_MODULES names another folder.
            self._say("  making the empty folder /lib/modules, which supermin wants to see")
            Path("/lib/modules").mkdir()


def packages_of_plan(text: str) -> tuple[str, ...]:
    """The names of packages in what ``--dry-run --json`` prints, whatever precedes it.

    :raises Unusable: that is no plan.
    """
    try:
        plan = json.loads(text[text.index("{\n") :])
        return tuple(str(package["name"]) for package in plan["resolution"]["packages"])
    except (ValueError, KeyError, TypeError):
        raise Unusable("selfinstall --dry-run --json printed no plan") from None
