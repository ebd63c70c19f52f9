"""What the guest's hooks find under ``/selfinstall``: settings, data, files of the image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.resources import files as resources
from pathlib import Path

from selfinstall.arch import Arch
from selfinstall.image.label import make_esp, make_label
from selfinstall.initramfs.assemble import ExtraFile
from selfinstall.inputs import Inputs
from selfinstall.plan import Plan
from selfinstall.profiles import RESERVED, Profile
from selfinstall.render import render
from selfinstall.rootfs.inspect import Inspection
from selfinstall.unpacking.rounds import Arranged, by_dpkg

#: Static files that the hooks copy into the image.
IMAGE_FILES = (
    "selfinstall-grow-root",
    "selfinstall-grow-root.service",
    "selfinstall-grow-root.init",
    "selfinstall-boot-writes.init",
    "selfinstall-host-keys.service",
    "selfinstall-host-keys.init",
)
#: Static files that they need while they run.
TOOL_FILES = ("selfinstall-shortcuts", "selfinstall-perl", "selfinstall-perl-stand-in")


def files_before_layers(
    plan: Plan, arch: Arch, esp: bytes, profiles: Iterable[Profile] = ()
) -> dict[str, bytes]:
    """What the hooks find that are no settings and of no build alone, by their path."""
    brought = profile_files(plan, arch, profiles).items()
    texts = {name: text.encode() for name, text in rendered(plan, arch).items()}
    del texts["settings"]
    shipped = ("init", "lib.sh", *(f"files/{name}" for name in (*IMAGE_FILES, *TOOL_FILES)))
    return {
        **texts,
        **{name: static(name) for name in shipped},
        **{path: (b"x" if program else b"-") + content for path, (content, program) in brought},
        "esp.head": esp,
    }


def own_files(
    plan: Plan, arch: Arch, inputs: Inputs, work: Path, arranged: Arranged | None = None
) -> Iterator[ExtraFile]:
    """What every build has of its own."""
    yield from _rendered(plan, arch, arranged)
    for path, (content, program) in profile_files(plan, arch, inputs.profiles).items():
        yield ExtraFile(f"selfinstall/{path}", 0o755 if program else 0o644, content)
    if not plan.from_image:
        label = make_label(plan.disk, work)
        yield ExtraFile("selfinstall/label.head", 0o644, label.head)
        yield ExtraFile("selfinstall/label.tail", 0o644, label.tail)
    yield from _inputs(plan, inputs)


def _rendered(plan: Plan, arch: Arch, arranged: Arranged | None) -> Iterator[ExtraFile]:
    for name, text in rendered(plan, arch, arranged).items():
        yield ExtraFile(f"selfinstall/{name}", 0o644, text.encode())
    for name in (*IMAGE_FILES, *TOOL_FILES):
        yield ExtraFile(f"selfinstall/files/{name}", 0o644, static(f"files/{name}"))


def rendered(plan: Plan, arch: Arch, arranged: Arranged | None = None) -> dict[str, str]:
    """The guest's data files by their path under ``/selfinstall``.  Pure.

    :param arranged: who unpacks what; None for the guest's dpkg everything.
    """
    if arranged is None:
        arranged = by_dpkg(plan.steps, "")
    return {
        "settings": render("settings.j2", settings=plan.settings),
        "dpkg-steps": render("dpkg-steps.j2", steps=arranged.steps),
        "extended_states": render(
            "extended_states.j2", packages=[p for p in plan.packages if p.automatic]
        ),
        "files/grub.cfg": render(
            "grub.cfg.j2",
            distributor=plan.distributor,
            kernel_args=plan.image_args,
            terminal=arch.grub_terminal,
            serial_command=arch.grub_serial,
        ),
    }


def profile_files(
    plan: Plan, arch: Arch, profiles: Iterable[Profile]
) -> dict[str, tuple[bytes, bool]]:
    """What *profiles* bring, by the path under ``/selfinstall``, and whether it is a program."""
    found: dict[str, tuple[bytes, bool]] = {}
    for profile in profiles:
        if not profile.acts:
            continue
        folder = f"profiles/{profile.name}"
        settings = {
            **profile.settings,
            f"{RESERVED}PROFILE": profile.name,
            f"{RESERVED}ARCH": arch.name,
            f"{RESERVED}INIT": plan.init,
            f"{RESERVED}CONSOLE": arch.console,
            f"{RESERVED}SECOND_SERIAL": arch.second_serial or "",
        }
        text = render("settings.j2", settings=settings)
        found[f"{folder}/settings"] = text.encode(), False
        if profile.hook:
            found[f"{folder}/hook"] = profile.hook, True
        for path, file in profile.files.items():
            found[f"{folder}/files/{path}"] = file
    return found


def _inputs(plan: Plan, inputs: Inputs) -> Iterator[ExtraFile]:
    for name, content in inputs.secrets.items():
        yield ExtraFile(f"selfinstall/secrets/{name}", 0o600, content)
    for name, (_, content) in zip(plan.customize_hooks, inputs.customize, strict=True):
        yield ExtraFile(f"selfinstall/customize/{name}", 0o755, content)
    yield ExtraFile("selfinstall/customize-environment", 0o600, inputs.environment)


def acls(inspection: Inspection) -> Iterator[ExtraFile]:
    """Names of members, for a second reading that takes their ACLs from attributes."""
    if inspection.acl_attributes:
        names = b"".join(os.fsencode(name) + b"\0" for name in inspection.acl_attributes)
        yield ExtraFile("selfinstall/acl-attributes", 0o644, names)


def esp_content(plan: Plan, work: Path) -> bytes:
    """The empty EFI partition without the zeros at its end; nothing where there is none.

    :raises HostError: mkfs.vfat is missing or fails.
    """
    esp = plan.disk.partition("esp")
    return b"" if esp is None else make_esp(esp.size, plan.esp_id, work)


def static(name: str) -> bytes:
    """The content of a shipped file below ``hooks/``."""
    return (resources("selfinstall") / "hooks" / name).read_bytes()
