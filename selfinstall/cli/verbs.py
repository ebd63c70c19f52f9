"""What each verb does: from a parsed :class:`~selfinstall.cli.parser.Command` to an exit status.

The library's modules are imported by the verb that needs them, so that
``--help`` and ``doctor`` are quick, and work where a Python module lacks.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfinstall.arch import all_arches, get
from selfinstall.cli import values
from selfinstall.cli.parser import Command
from selfinstall.cli.streams import put
from selfinstall.cli.terminal import Plain, view
from selfinstall.cli.wording import duration, size
from selfinstall.errors import HostError, InputError, SelfinstallError, UsageError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.invocation import command_line, here
from selfinstall.request import STDIN, SUFFIXES, Request


def _from_environment(name: str, convert: Callable[[str], int]) -> int | None:
    text = os.environ.get(name, "")
    if not text:
        return None
    try:
        return convert(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"environment variable {name}: {error}") from None


def _format(given: dict[str, Any]) -> dict[str, Any]:
    """The format that the output's suffix names, when the options name none."""
    output: Path | None = given.get("output")
    if "format" in given or output is None:
        return {}
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    return {"format": by_suffix.get(output.suffix.lower(), "raw")}


def to_request(given: dict[str, Any]) -> Request:
    """The request that the options stand for; what was not given has the Request's default.

    :raises UsageError: when an environment variable makes no sense.
    """
    fields = {field.name for field in dataclasses.fields(Request)}
    chosen = {name: value for name, value in given.items() if name in fields}
    chosen["include"] = tuple(name for names in given.get("include", ()) for name in names)
    chosen["profiles"] = tuple(name for names in given.get("profiles", ()) for name in names)
    for name in ("customize_hooks", "customize_environment"):
        chosen[name] = tuple(given.get(name, ()))
    chosen["source_date_epoch"] = _from_environment("SOURCE_DATE_EPOCH", values.epoch)
    if "cache_limit" not in given:
        limit = _from_environment("SELFINSTALL_CACHE_LIMIT", values.size_or_none)
        chosen["cache_limit"] = limit
    return Request(**{**chosen, **_format(given)})


@contextlib.contextmanager
def _events(command: Command) -> Iterator[OnEvent]:
    """The command's view; with ``--json`` its last line is the verdict of the whole."""
    step = command.verb.name
    with view(
        sys.stdout,
        sys.stderr,
        json=command.get("json", False),
        quiet=command.get("quiet", False),
        verbose=command.get("verbose", 0) > 0,
    ) as on_event:
        try:
            yield on_event
        except SelfinstallError as error:
            on_event(Event("verdict", step, message=error.message, ok=False))
            raise


@contextlib.contextmanager
def _quiet_events(command: Command) -> Iterator[OnEvent]:
    """A view that leaves standard output to one document."""
    if command.get("json"):
        yield ignore
    else:
        with _events(command) as on_event:
            yield on_event


def build(command: Command) -> int:
    """Build an image, or print the plan of it."""
    from selfinstall.pipeline import build as build_image
    from selfinstall.pipeline import make_plan

    again = command_line(command.words, here(), os.environ)
    request = dataclasses.replace(to_request(command.given), invocation=again)
    if command.get("dry_run"):
        with _quiet_events(command) as on_event:
            plan = make_plan(request, on_event)
        text = plan.to_json() if command.get("json") else plan.to_text()
        put(sys.stdout, text.removesuffix("\n"))
        return 0
    with _events(command) as on_event:
        result = build_image(request, on_event)
        on_event(Event("verdict", "build", message=str(result.image), ok=True))
    if command.get("quiet"):
        put(sys.stdout, str(result.image))
    elif not command.get("json"):
        image = shlex.quote(str(result.image))
        tested = "" if request.verify else " (not boot-tested)"
        put(sys.stdout, f"{image} is ready{tested}; run it: selfinstall boot {image}")
    return 0


def _machine(command: Command) -> dict[str, Any]:
    """The options that say how to run a guest, as keyword arguments."""
    arguments = {name: command.get(name) for name in ("arch", "memory", "smp", "qemu")}
    return {**arguments, "accel": command.get("accel", "auto")}


def _seed(command: Command) -> Any:
    """The seed for cloud-init that the options ask for, None when they ask for none."""
    from selfinstall import inputs
    from selfinstall.seed import Seed, check_user_data

    user_data, key = command.get("user_data"), command.get("ssh_key")
    if not (command.get("cloud_seed") or user_data or key or command.get("hostname")):
        return None
    content = None
    if user_data is not None:
        content = check_user_data(inputs.read_bounded(user_data, "user-data"), user_data)
    keys = inputs.public_keys(key) if key is not None else b""
    return Seed(user_data=content, ssh_keys=keys, hostname=command.get("hostname"))


def boot(command: Command) -> int:
    """Run an image with its console on the terminal, or tell how to run it."""
    # No bars: the terminal is the guest's.  Notes even so: one tells how to leave it.
    on_event: OnEvent = ignore if command.get("quiet") else Plain(sys.stderr, verbose=True)
    arguments = {
        "firmware": command.get("firmware"),
        "forwards": tuple(command.get("forwards", ())),
        "shares": tuple(command.get("shares", ())),
        "seed": _seed(command),
        "write": command.get("write", False),
        "on_event": on_event,
        **_machine(command),
    }
    style, refresh = command.get("print"), command.get("refresh", False)
    if style is not None and refresh:
        raise UsageError("--export comes after a boot, and --print boots nothing")
    if style is not None:
        from selfinstall.boot import printed

        put(sys.stdout, printed(command.get("file"), style, **arguments).removesuffix("\n"))
        return 0
    from selfinstall.boot import boot as boot_image

    boot_image(command.get("file"), refresh=refresh, **arguments)
    return 0


def export(command: Command) -> int:
    """Bring kernel and initramfs beside an image up to date."""
    from selfinstall.exporting import export as export_kernel

    image: Path = command.get("file")
    with _events(command) as on_event:
        found = export_kernel(image, arch=command.get("arch"), on_event=on_event)
        on_event(Event("verdict", "export", message=str(found.kernel), ok=True))
    if command.get("quiet"):
        put(sys.stdout, str(found.kernel))
    elif not command.get("json"):
        put(sys.stdout, f"kernel {found.version} of {shlex.quote(str(image))}: {found.kernel}")
    return 0


def verify(command: Command) -> int:
    """Boot an image until its system is up."""
    from selfinstall.verification import verify as verify_image

    name = command.get("firmware", "both")
    manifest: Path | None = command.get("manifest")
    with _events(command) as on_event:
        if manifest is not None:
            from selfinstall.manifest import check

            check(manifest, command.get("file"))
        reports = verify_image(
            command.get("file"),
            firmware=None if name == "both" else (name,),
            stall=command.get("stall"),
            log=command.get("log"),
            on_event=on_event,
            **_machine(command),
        )
        on_event(Event("verdict", "verify", message=str(command.get("file")), ok=True))
    if not (command.get("json") or command.get("quiet")):
        image = shlex.quote(str(command.get("file")))
        told = ", ".join(f"{r.firmware} in {duration(r.seconds)}" for r in reports)
        put(sys.stdout, f"{image} boots: {told}")
    return 0


def _facts(path: Path, on_event: OnEvent) -> Any:
    from selfinstall.cli.holdings import is_image

    try:
        image = path != STDIN and is_image(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if image:
        from selfinstall.image.inspect import inspect_image

        return inspect_image(path)
    from selfinstall.rootfs.inspect import inspect as inspect_rootfs

    return inspect_rootfs(path, on_event=on_event).facts


def inspect(command: Command) -> int:
    """Tell what a tarball or an image holds."""
    from selfinstall.cli import holdings

    with _quiet_events(command) as on_event:
        facts = _facts(command.get("file"), on_event)
    write = holdings.to_json if command.get("json") else holdings.to_text
    put(sys.stdout, write(facts))
    return 0


def cache(command: Command) -> int:
    """List what the cache holds, or clear it."""
    from selfinstall import cachefolder
    from selfinstall.cli import holdings
    from selfinstall.packages.cache import default_folder

    folder = command.get("cache") or default_folder(os.environ)
    kinds = tuple(command.get("kinds", cachefolder.KINDS))
    if command.get("file") == "clear":
        freed = cachefolder.clear(folder, kinds)
        if command.get("json"):
            put(sys.stdout, holdings.to_json({"freed": freed}))
        elif not command.get("quiet"):
            put(sys.stdout, f"{size(freed)} freed in {folder}")
        return 0
    found = [each for each in cachefolder.holdings(folder) if each.kind in kinds]
    put(sys.stdout, holdings.to_json(found) if command.get("json") else holdings.held(found))
    return 0


def arches(command: Command) -> int:
    """List the architectures."""
    from selfinstall.cli import arches as table
    from selfinstall.cli.holdings import to_json

    rows = table.rows([arch for _, arch in sorted(all_arches().items())])
    put(sys.stdout, to_json(rows) if command.get("json") else table.to_text(rows))
    return 0


def doctor(command: Command) -> int:
    """Tell what this host lacks."""
    from selfinstall.cli import arches as table
    from selfinstall.cli import doctor as checks
    from selfinstall.cli.holdings import to_json

    name = command.get("arch")
    every = [arch for _, arch in sorted(all_arches().items())]
    chosen = [get(name)] if name else every
    if not name and not command.get("all"):
        own = checks.native(every)
        chosen = [own] if own else []
    others = [] if name else table.rows([arch for arch in every if arch not in chosen])
    found = checks.examine(chosen, command.get("cache") or checks.default_cache())
    venv = checks.in_venv()
    lines = checks.commands(found, venv=venv)
    lacking = checks.lacking(found)
    if command.get("json"):
        document = {
            "ok": not lacking,
            "findings": found,
            "packages": checks.packages(found, venv=venv),
            "commands": lines,
            "others": others,
        }
        put(sys.stdout, to_json(document))
    else:
        shown = lacking if command.get("quiet") else found
        if shown:
            put(sys.stdout, checks.to_text(shown))
        if others and not command.get("quiet"):
            put(sys.stdout, "\nOther architectures (--arch NAME, --all):")
            put(sys.stdout, table.to_text(others) + "\n")
        for line in lines:
            put(sys.stdout, line)
        if not lacking and not command.get("quiet"):
            put(sys.stdout, "nothing is missing")
    return HostError.exit_status if lacking else 0


def report(command: Command) -> int:
    """Print what is needed to look into a failure."""
    from selfinstall.cli import report as reports
    from selfinstall.cli.holdings import to_json

    told = reports.make(command.get("file"))
    put(sys.stdout, to_json(told) if command.get("json") else reports.to_text(told))
    return 0


VERBS: dict[str, Callable[[Command], int]] = {
    "build": build,
    "boot": boot,
    "verify": verify,
    "export": export,
    "inspect": inspect,
    "cache": cache,
    "report": report,
    "arches": arches,
    "doctor": doctor,
}
