"""A private root for the host's apt: the target's status, sources and keys, nothing of the host's.

apt runs in the root's folder and is told that everything lies below
``/proc/self/cwd``.  So the paths that its caches remember are the same in
each build, and no character in a temporary folder's name can upset it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from types import TracebackType

from selfinstall.errors import InputError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import room_in
from selfinstall.packages import localrepo, sources
from selfinstall.packages.cache import Cache
from selfinstall.packages.hostapt import (
    Output,
    acquire_settings,
    dump,
    password_files,
    require_programs,
)
from selfinstall.packages.hostapt import run as run_program
from selfinstall.packages.keys import Keys
from selfinstall.packages.problems import Unreachable, acquire_problem
from selfinstall.packages.sources import Source
from selfinstall.packages.target import AptInput as AptInput
from selfinstall.packages.target import architectures, target_sources
from selfinstall.rootfs.facts import HeldDeb

HERE = "/proc/self/cwd"
SOURCES_HINT = "name a mirror with --mirror URI, sources with --sources FILE, or --packages DIR"
_CONFIGURATION = """\
Dir "{here}/";
Dir::State "{here}/";
Dir::State::lists "{here}/lists/";
Dir::State::status "{here}/status";
Dir::State::extended_states "{here}/extended_states";
Dir::Cache "{here}/cache/";
Dir::Cache::archives "{here}/cache/archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc "{here}/";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::netrc "{here}/auth.conf";
Dir::Etc::netrcparts "{here}/auth.conf.d/";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{here}/sources.list.d/";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "{here}/trusted.gpg.d/";
Dir::Log "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ {architectures} }};
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Update::Error-Mode "any";
APT::Get::Always-Include-Phased-Updates "true";
Acquire::Languages "none";
Debug::NoLocking "true";
"""


class AptRoot:
    """The private root, below *work* while it is entered.

    :param inputs: about target and user.
    :param work: a folder for temporary files, best on the cache's file system; made if need be.
    :param cache: where index files are kept.
    :param on_event: is told of sources that are not used, and of stale lists.
    """

    def __init__(
        self, inputs: AptInput, work: Path, cache: Cache, *, on_event: OnEvent = ignore
    ) -> None:
        self.inputs = inputs
        self.architectures = architectures(inputs.architecture, inputs.dpkg_status, inputs.foreign)
        self.cache = cache
        self.local: dict[str, Path] = {}
        self.sources: tuple[Source, ...] = ()
        self._work = work
        self._on_event = on_event
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lists_key: str | None = None
        self._lists_taken: frozenset[tuple[str, int, int]] = frozenset()

    @property
    def folder(self) -> Path:
        """The root's folder."""
        assert self._temporary is not None, "not entered"
        return Path(self._temporary.name)

    @property
    def _online(self) -> bool:
        """Whether mirrors are asked."""
        return self.inputs.packages_dir is None and not self.inputs.offline

    def __enter__(self) -> AptRoot:
        """Make the root.

        :raises HostError: when the host has no apt.
        :raises InputError: for sources, keyrings or packages that cannot be used.
        """
        require_programs(verify=self._online)
        self._work.mkdir(parents=True, exist_ok=True)
        self._temporary = tempfile.TemporaryDirectory(prefix="apt-", dir=self._work)
        try:
            with room_in(self._work):
                self._fill()
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._temporary is not None
        self._temporary.cleanup()
        self._temporary = None

    def _fill(self) -> None:
        for name in (
            "lists/partial",
            "cache/archives/partial",
            "sources.list.d",
            "keyrings",
            "trusted.gpg.d",
            "auth.conf.d",
            "debs",
        ):
            (self.folder / name).mkdir(parents=True)
        self._write_status()
        self._write_configuration()
        if self.inputs.packages_dir is not None:
            self._use_directory(self.inputs.packages_dir)
        elif self._online:
            self._use_sources()
        if self.inputs.held:
            self._use_held(self.inputs.held)
        text = sources.render(self.sources)
        (self.folder / "sources.list.d" / "target.sources").write_text(text)
        if self._online:
            self._take_lists(text)

    def _write_status(self) -> None:
        path = self.folder / "status"
        path.write_bytes(self.inputs.dpkg_status)
        # apt's package cache knows a status file by its size and time: make that its content.
        seconds = int(hashlib.sha256(self.inputs.dpkg_status).hexdigest()[:7], 16)
        os.utime(path, (seconds, seconds))

    def _write_configuration(self) -> None:
        names = "".join(f'"{name}"; ' for name in self.architectures)
        text = acquire_settings(dump(), self.inputs.proxy) + _CONFIGURATION.format(
            here=HERE, architecture=self.inputs.architecture, architectures=names
        )
        (self.folder / "apt.conf").write_text(text)
        self._link_passwords()

    def _link_passwords(self) -> None:
        file, parts = password_files()
        if file is not None:
            (self.folder / "auth.conf").symlink_to(file)
        for path in parts:
            (self.folder / "auth.conf.d" / path.name).symlink_to(path)

    def _use_directory(self, folder: Path) -> None:
        text, self.local = localrepo.index(folder, self.architectures)
        (self.folder / "debs" / "Packages").write_text(text)
        self.sources = (
            Source(
                origin=str(folder),
                uris=(f"copy:{HERE}/debs",),
                suites=("./",),
                options=(("Trusted", "yes"),),
            ),
        )

    def _use_held(self, debs: tuple[HeldDeb, ...]) -> None:
        (self.folder / "held").mkdir()
        (self.folder / "held" / "Packages").write_text(localrepo.describe_held(debs))
        self.sources += (
            Source(
                origin="the tarball",
                uris=(f"copy:{HERE}/held",),
                suites=("./",),
                options=(("Trusted", "yes"),),
            ),
        )

    def _use_sources(self) -> None:
        found, dropped = target_sources(self.inputs, self.architectures)
        for sentence in dropped:
            self._on_event(Event("warning", "packages", message=sentence))
        if not found:
            raise InputError("there are no apt sources to get packages from", SOURCES_HINT)
        keys = Keys(self.inputs, self.folder, HERE)
        self.sources = tuple(keys.apply(source) for source in found)

    def run(self, program: str, *arguments: str) -> Output:
        """Run an apt *program* in the root, without input, its messages untranslated."""
        return run_program([program, *arguments], self.folder, self.environment())

    def environment(self) -> dict[str, str]:
        """The environment that makes apt use the root; proxies in the caller's stay."""
        own = {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C", "LANGUAGE": "C"}
        return {**os.environ, **own}

    def refresh(self) -> None:
        """Bring the index files up to date, signatures verified.

        When no mirror can be reached and an earlier build left index files
        (which were verified then), these serve, with a warning.

        :raises HostError: for an unreachable or inconsistent mirror.
        :raises InputError: for signatures that do not fit, or a suite that is not there.
        """
        retries: tuple[str, ...] = ()
        if "Acquire::Retries " not in (self.folder / "apt.conf").read_text():
            # apt's own default of three takes 7 s to find out that there is no network.
            retries = ("-o", "Acquire::Retries=1")
        # Else it removes its caches and makes them anew, also where nothing has changed;
        # whichever program needs them next sees whether they fit, and mends them.
        keep = ("-o", "pkgCacheFile::Generate=false")
        output = self.run("apt-get", *retries, *keep, "update")
        if output.status == 0:
            return
        problem = acquire_problem(output.text)
        if not (isinstance(problem, Unreachable) and self._lists_taken):
            raise problem
        # apt may have renewed some lists and not others: back to a set that fits together.
        self._empty_lists()
        self._copy_lists()
        self._on_event(
            Event(
                "warning",
                "packages",
                message=f"{problem.message}; going on with the package lists of the last build",
            )
        )

    def keep_lists(self) -> None:
        """Keep the index files, and what apt computed from them, for later builds."""
        now = self._lists_state()
        if self._lists_key is not None and now != self._lists_taken:
            self.cache.keep_lists(self._lists_key, self._list_files())
            self._lists_taken = now

    def _take_lists(self, text: str) -> None:
        trusted = [path.read_bytes() for path in (self.folder / "trusted.gpg.d").iterdir()]
        # Keyrings that sources name are called by their content's hash, so the text covers them.
        parts = [text, self.architectures, [hashlib.sha256(data).hexdigest() for data in trusted]]
        self._lists_key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        self._copy_lists()

    def _copy_lists(self) -> None:
        assert self._lists_key is not None
        incoming = self.folder / "incoming"
        incoming.mkdir()
        self.cache.take_lists(self._lists_key, incoming)
        for path in incoming.iterdir():
            path.rename(self.folder / _list_place(path.name))
        incoming.rmdir()
        self._lists_taken = self._lists_state()

    def _empty_lists(self) -> None:
        for path in self._list_files():
            path.unlink()

    def _list_files(self) -> list[Path]:
        folders = (self.folder / "lists", self.folder / "cache")
        return [path for folder in folders for path in folder.iterdir() if path.is_file()]

    def _lists_state(self) -> frozenset[tuple[str, int, int]]:
        facts = ((path.name, path.stat()) for path in self._list_files() if path.name != "lock")
        return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in facts)


def _list_place(name: str) -> str:
    """Where in the root a kept file belongs."""
    return f"cache/{name}" if name.endswith("pkgcache.bin") else f"lists/{name}"
