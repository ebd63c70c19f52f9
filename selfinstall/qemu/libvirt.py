"""A machine as libvirt's domain XML.  Pure: a :class:`Machine` in, text out.

By https://libvirt.org/formatdomain.html; libvirt 9.0 (Debian 12) takes all of it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from xml.etree.ElementTree import Element, SubElement

from selfinstall.arch import FirmwareFiles
from selfinstall.qemu.argv import Drive, Machine, Share, network

#: What the value of -cpu is called there.
_CPU = {"host": "host-passthrough", "max": "maximum"}
_CAPABILITY = "cap-"
#: The namespace of words that libvirt hands to qemu as they are.
_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
ElementTree.register_namespace("qemu", _QEMU)


def domain(machine: Machine, name: str) -> str:
    """The XML for *machine*, whose files somebody else opens at any time.

    :param name: the domain's; characters that libvirt does not take are replaced.
    """
    root = Element("domain", type="kvm" if machine.accel == "kvm" else "qemu")
    SubElement(root, "name").text = domain_name(name)
    SubElement(root, "memory", unit="MiB").text = str(machine.memory)
    SubElement(root, "vcpu").text = str(machine.smp)
    _os(root, machine)
    _features(root, machine)
    words = _cpu(root, machine)
    devices = SubElement(root, "devices")
    _devices(devices, machine)
    words += _interface(devices, machine)
    _commandline(root, words)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def domain_name(name: str) -> str:
    """*name* without what has a meaning in paths or cannot be typed."""
    return re.sub(r"[^A-Za-z0-9_.+:@-]", "-", name).lstrip(".-") or "image"


def _os(root: Element, machine: Machine) -> None:
    os = SubElement(root, "os")
    kind = {"arch": machine.arch.qemu.libvirt, "machine": _properties(machine)[0]}
    SubElement(os, "type", kind).text = "hvm"
    flash = machine.firmware
    if flash is not None and flash.attach == "kernel":
        SubElement(os, "kernel").text = flash.code
    elif flash is not None:
        _loader(os, flash)
    if machine.kernel is not None:
        SubElement(os, "kernel").text = str(machine.kernel)
    if machine.initrd is not None:
        SubElement(os, "initrd").text = str(machine.initrd)
    if machine.append is not None:
        SubElement(os, "cmdline").text = machine.append


def _loader(os: Element, files: FirmwareFiles) -> None:
    if files.attach == "bios":
        SubElement(os, "loader", type="rom").text = files.code
        return
    SubElement(os, "loader", readonly="yes", type="pflash").text = files.code
    if files.vars is not None:
        # Copied for each new domain.
        SubElement(os, "nvram", template=files.vars)


def _properties(machine: Machine) -> list[str]:
    """The machine's type, then its properties."""
    return machine.arch.qemu.machine.split(",")


def _features(root: Element, machine: Machine) -> None:
    features = Element("features")
    flash = machine.firmware
    uefi = flash is not None and flash.attach == "flash"
    if machine.arch.qemu.acpi == "always" or (machine.arch.qemu.acpi == "uefi" and uefi):
        SubElement(features, "acpi")
    for word in _properties(machine)[1:]:
        key, _, value = word.partition("=")
        if not key.startswith(_CAPABILITY):
            raise ValueError(f"no word of libvirt's is known for the machine's property {word}")
        SubElement(features, key.removeprefix(_CAPABILITY), value=value)
    if len(features):
        root.append(features)


def _cpu(root: Element, machine: Machine) -> tuple[str, ...]:
    """Describe its CPU; returns words for qemu where libvirt has none of its own.

    For most architectures it knows no models, or others than qemu.
    """
    qemu = machine.arch.qemu
    given = qemu.cpu_kvm if machine.accel == "kvm" else qemu.cpu_tcg
    model, *properties = given.split(",")
    if model not in _CPU:
        return ("-cpu", given)
    cpu = SubElement(root, "cpu", mode=_CPU[model])
    for word in properties:
        key, _, value = word.partition("=")
        policy = {"on": "require", "off": "disable"}[value]
        SubElement(cpu, "feature", policy=policy, name=key)
    return ()


def _devices(devices: Element, machine: Machine) -> None:
    SubElement(devices, "emulator").text = machine.emulator.program
    for number, drive in enumerate(machine.drives):
        _disk(devices, machine, drive, f"vd{chr(ord('a') + number)}")
    for share in machine.shares:
        _share(devices, machine, share)
    SubElement(devices, "serial", type="pty")
    if machine.rng:
        rng = SubElement(devices, "rng", model="virtio")
        SubElement(rng, "backend", model="builtin")
        _address(rng, machine)
    # What libvirt adds unless told not to.
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "memballoon", model="none")


def _address(device: Element, machine: Machine) -> None:
    """Where libvirt would choose another bus than ours by itself."""
    if machine.arch.qemu.transport == "mmio":
        SubElement(device, "address", type="virtio-mmio")


def _disk(devices: Element, machine: Machine, drive: Drive, target: str) -> None:
    disk = SubElement(devices, "disk", type="file", device="disk")
    driver = SubElement(disk, "driver", name="qemu", type=drive.format)
    if drive.discard:
        driver.set("discard", "unmap")
        driver.set("detect_zeroes", "unmap")
    SubElement(disk, "source", file=str(drive.path))
    SubElement(disk, "target", dev=target, bus="virtio")
    if drive.bootindex is not None and machine.kernel is None:
        SubElement(disk, "boot", order=str(drive.bootindex + 1))
    if drive.read_only:
        SubElement(disk, "readonly")
    if drive.snapshot:
        SubElement(disk, "transient")
    SubElement(disk, "serial").text = drive.serial
    _address(disk, machine)


def _share(devices: Element, machine: Machine, share: Share) -> None:
    # "squash" is its word for qemu's "none".
    filesystem = SubElement(devices, "filesystem", type="mount", accessmode="squash")
    filesystem.set("multidevs", "remap")
    SubElement(filesystem, "source", dir=str(share.path))
    SubElement(filesystem, "target", dir=share.tag)
    if share.read_only:
        SubElement(filesystem, "readonly")
    _address(filesystem, machine)


def _interface(devices: Element, machine: Machine) -> tuple[str, ...]:
    """Describe its network card; returns words for qemu where libvirt has none of its own.

    It knows forwarded ports with passt only, which Debian 12 has not.
    """
    if machine.network is None:
        return ()
    if machine.network.forwards:
        return tuple(word for option in network(machine) for word in option)
    interface = SubElement(devices, "interface", type="user")
    SubElement(interface, "model", type="virtio")
    if machine.arch.qemu.transport == "pci":
        # As :data:`selfinstall.qemu.argv.CARD`.
        SubElement(interface, "rom", enabled="no")
    _address(interface, machine)
    return ()


def _commandline(root: Element, words: tuple[str, ...]) -> None:
    if words:
        commandline = SubElement(root, f"{{{_QEMU}}}commandline")
        for word in words:
            SubElement(commandline, f"{{{_QEMU}}}arg", value=word)
