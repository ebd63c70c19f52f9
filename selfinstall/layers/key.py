"""What a layer is kept under: a hash of everything that went into it.

A chain over the hooks: each link holds the hook's text and the values of the
settings that its header declares.  What is not an input (host name, keys,
users, the disk's size, the image's format, the guest's memory, qemu's version)
is not in it, because no hook up to the point declares it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from selfinstall import version
from selfinstall.arch import Arch
from selfinstall.fingerprint import fingerprint
from selfinstall.initramfs.hooks import load_hook
from selfinstall.layers import POINTS
from selfinstall.plan import Plan
from selfinstall.rootfs.facts import RootfsFacts

#: To be changed with what a layer holds or how it is kept.
FORMAT = 1
#: Settings of hooks before a point that leave no trace in the layer.  HOOKS: what it selects
#: is in the chain by itself.  The label is written anew on each disk.  The payload's way,
#: the number of progress events and the names of ports and disks are the machine's.
WITHOUT_TRACE = frozenset(
    {"HOOKS", "LABEL_TAIL_SECTOR", "PAYLOAD", "PAYLOAD_SERIAL", "PACKAGES_SERIAL", "DISK_SERIAL"}
)


def layer_keys(
    plan: Plan, arch: Arch, facts: RootfsFacts, files: Mapping[str, bytes]
) -> dict[str, str]:
    """The keys of the layers of *plan*, by the point at which each is taken.

    :param plan: with the hooks of a whole build.
    :param files: what else the guest finds, by its path there: static and rendered files, the
        EFI partition's content.
    """
    state = _hash("", _inputs(plan, arch, facts, files))
    keys: dict[str, str] = {}
    for name in plan.hooks:
        if name in POINTS:
            keys[name] = state
        state = _hash(state, _link(name, plan.settings))
    return keys


def _hash(before: str, values: Any) -> str:
    text = json.dumps([before, values], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _link(name: str, settings: Mapping[str, str]) -> Any:
    hook = load_hook(name)
    values = {need: settings[need] for need in hook.needs if need not in WITHOUT_TRACE}
    return [name, hook.text, values]


def _inputs(plan: Plan, arch: Arch, facts: RootfsFacts, files: Mapping[str, bytes]) -> Any:
    return {
        "format": FORMAT,
        "selfinstall": [version.VERSION, fingerprint()],
        "arch": arch.name,
        "tarball": facts.sha256,
        "packages": [[p.filename, p.version, p.sha256] for p in plan.packages],
        "steps": [[step.action, *step.packages] for step in plan.steps],
        "unpack": plan.unpack,
        "kernel": plan.kernel,
        "guest": plan.installer_args,
        "time": plan.settings["SOURCE_DATE_EPOCH"],
        "root": [plan.root_bytes, plan.root_uuid, plan.root_hash_seed],
        "disk": [plan.disk.uuid, *_partitions(plan)],
        "files": {path: hashlib.sha256(files[path]).hexdigest() for path in files},
    }


def _partitions(plan: Plan) -> Iterator[Any]:
    for part in plan.disk.partitions:
        size = None if part is plan.disk.root else part.size
        yield [part.role, part.type, part.number, part.start, size, part.uuid]
