from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from initramfs_helpers import Content, Plain, elf_module, make_tree

from selfinstall.errors import InputError
from selfinstall.initramfs import modules
from selfinstall.rootfs.tree import Tree

VERSION = "6.12.9+deb13-amd64"
ROOT = f"usr/lib/modules/{VERSION}"


def tree_of(folder: Path, /, *, root: str = ROOT, **found: bytes) -> Tree:
    """Modules by name; ``crypto__x`` lies in ``kernel/crypto``, ``x`` in ``kernel/fs``."""
    files: dict[str, Plain] = {}
    for name, content in found.items():
        place, _, rest = name.rpartition("__")
        files[f"{root}/kernel/{place or 'fs'}/{rest}.ko.xz"] = Plain(lzma.compress(content))
    files[f"{root}/modules.builtin"] = Plain(
        b"kernel/drivers/virtio/virtio_pci.ko\nkernel/fs/nls/nls-base.ko\n"
    )
    files[f"{root}/modules.builtin.modinfo"] = Plain(
        b"sha256_generic.license=GPL\0sha256_generic.alias=crypto-sha256\0sha256_generic.alias=sha256\0"
    )
    return make_tree(folder, files)


def order(tree: Tree, *names: str) -> list[str]:
    return [module.name for module in modules.module_closure(tree, VERSION, names)]


def test_dependencies_come_first_and_once(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        ext4=elf_module(depends="jbd2,mbcache"),
        jbd2=elf_module(depends="crc16"),
        crc16=elf_module(depends=""),
        mbcache=elf_module(depends="crc16"),
        other=b"never read",
    )
    assert order(tree, "ext4", "jbd2") == ["crc16", "jbd2", "mbcache", "ext4"]
    loaded = modules.module_closure(tree, VERSION, ["jbd2"])
    assert loaded[1] == modules.LoadModule(f"{ROOT}/kernel/fs/jbd2.ko.xz", "jbd2")


def test_dash_and_underscore_are_equal(tmp_path: Path) -> None:
    files = {
        f"{ROOT}/kernel/fs/nls_iso8859-1.ko": Plain(elf_module(depends="dm_mod")),
        f"{ROOT}/kernel/md/dm-mod.ko": Plain(elf_module()),
    }
    tree = make_tree(tmp_path, files)
    assert order(tree, "nls-iso8859_1") == ["dm_mod", "nls_iso8859_1"]


def test_built_in_modules_are_left_out(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, fat=elf_module(depends="nls_base"))
    assert order(tree, "virtio-pci", "fat") == ["fat"]


def test_optional_and_missing(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, fat=elf_module())
    assert order(tree, "?gone", "?fat") == ["fat"]
    with pytest.raises(InputError, match=f"kernel {VERSION.replace('+', '.')} has no module a, b"):
        order(tree, "a", "fat", "b")


def test_missing_dependency_is_named(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, fat=elf_module(depends="nls_gone"))
    with pytest.raises(InputError, match="module fat needs nls_gone"):
        order(tree, "fat")


def test_softdeps(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        ext4=elf_module(
            depends="", softdep=["pre: crypto-crc32c nothing", "post: late pre: early"]
        ),
        early=elf_module(),
        late=elf_module(),
    )
    assert order(tree, "ext4") == ["early", "ext4", "late"]


def test_softdep_by_alias_prefers_the_generic_provider(tmp_path: Path) -> None:
    files = {
        f"{ROOT}/kernel/fs/jbd2.ko": elf_module(softdep="pre: crypto-crc32c"),
        f"{ROOT}/kernel/arch/x86/crypto/crc32c-arch.ko": elf_module(
            alias=["crypto-crc32c", "crc32c"]
        ),
        f"{ROOT}/kernel/crypto/crc32c_generic.ko": elf_module(alias=["crypto-crc32c", "crc32c"]),
    }
    tree = make_tree(tmp_path, {path: Plain(content) for path, content in files.items()})
    assert order(tree, "jbd2") == ["crc32c_generic", "jbd2"]


def test_what_only_resembles_an_algorithm_is_not_loaded(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, user=elf_module(softdep="pre: aes"), crypto__aes_generic=elf_module(alias="other")
    )
    assert order(tree, "user") == ["user"]


def test_only_likely_providers_are_read(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        btrfs=elf_module(softdep=["pre: blake2b-256", "pre: xxhash64"]),
        crypto__blake2b_generic=elf_module(alias="blake2b-256"),
        lib__xxhash_generic=elf_module(alias="xxhash64"),
        crypto__zzz=b"damaged, but nobody asks for it",
        blake2b_elsewhere=b"not in a folder of algorithms",
    )
    assert order(tree, "btrfs") == ["blake2b_generic", "xxhash_generic", "btrfs"]


def test_built_in_provider_leaves_accelerators_alone(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        btrfs=elf_module(softdep="pre: sha256"),
        crypto__sha256_ssse3=elf_module(alias="sha256"),
    )
    assert order(tree, "btrfs") == ["btrfs"]


def test_cycles_end(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, a=elf_module(softdep="pre: b"), b=elf_module(depends="a"))
    assert order(tree, "a") == ["b", "a"]


def test_absurd_depth_is_an_input_error(tmp_path: Path) -> None:
    chain: dict[str, Content] = {
        f"{ROOT}/kernel/m{n}.ko": Plain(elf_module(depends=f"m{n + 1}")) for n in range(150)
    }
    with pytest.raises(InputError, match="too deep"):
        order(make_tree(tmp_path, chain), "m0")


def test_updates_replace_what_came_with_the_kernel(tmp_path: Path) -> None:
    files = {
        f"{ROOT}/kernel/fs/a.ko": Plain(b"old"),
        f"{ROOT}/updates/dkms/a.ko": Plain(elf_module()),
    }
    [module] = modules.module_closure(make_tree(tmp_path, files), VERSION, ["a"])
    assert module.path == f"{ROOT}/updates/dkms/a.ko"


def test_modules_before_merged_usr(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, root=f"lib/modules/{VERSION}", fat=elf_module())
    assert order(tree, "fat", "virtio_pci") == ["fat"]


@pytest.mark.parametrize(
    "pack",
    [bytes, lzma.compress, gzip.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "xz", "gz", "zst"],
)
def test_read_module(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    module = elf_module(depends="x" * 1000)
    packed = pack(module)
    tree = make_tree(tmp_path, {"a.ko": Plain(packed), "cut.ko": Plain(packed[:-25])})
    entry, cut = tree.get("a.ko"), tree.get("cut.ko")
    assert entry is not None and cut is not None
    assert modules.read_module(entry, "a.ko") == module
    if pack is not bytes:
        with pytest.raises(InputError, match=r"cut\.ko is damaged"):
            modules.read_module(cut, "cut.ko")


def small_xz(content: bytes) -> bytes:
    """With a dictionary of 256 KiB: the content is what breaks the limit."""
    return lzma.compress(content, preset=0)


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (small_xz, "too large when unpacked"),
        (gzip.compress, "too large when unpacked"),
        (lzma.compress, "Memory usage limit"),
        (zstandard.compress, "too large when unpacked"),
    ],
)
def test_unpacking_is_bounded(
    tmp_path: Path,
    pack: Callable[[bytes], bytes],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = make_tree(tmp_path, {"a.ko": Plain(pack(bytes(4 << 20)))}).get("a.ko")
    assert entry is not None
    assert len(modules.read_module(entry, "a.ko")) == 4 << 20
    monkeypatch.setattr(modules, "MAXIMUM_MODULE", (4 << 20) - 1)
    with pytest.raises(InputError, match=message):
        modules.read_module(entry, "a.ko")


def test_damaged_module_is_named(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, {f"{ROOT}/kernel/a.ko.xz": Plain(b"\xfd7zXZ\0 not really")})
    with pytest.raises(InputError, match=r"kernel/a\.ko\.xz is damaged"):
        order(tree, "a")


def kernels(folder: Path, *images: str, with_modules: tuple[str, ...] = ()) -> Tree:
    files: dict[str, Content] = {image: Plain(b"") for image in images}
    for version in with_modules:
        files[f"usr/lib/modules/{version}/kernel/a.ko"] = Plain(b"")
    return make_tree(folder, files)


def test_the_newest_kernel_by_version(tmp_path: Path) -> None:
    tree = kernels(tmp_path, "boot/vmlinuz-6.9.1-amd64", "boot/vmlinuz-6.12.1-amd64")
    assert modules.find_kernel(tree).version == "6.12.1-amd64"
    old = modules.find_kernel(tree, "6.9.1-amd64")
    assert old == modules.KernelFiles("6.9.1-amd64", "boot/vmlinuz-6.9.1-amd64")


def test_a_kernel_with_modules_wins(tmp_path: Path) -> None:
    tree = kernels(
        tmp_path, "boot/vmlinuz-6.9-1", "boot/vmlinuz-6.12-1.old", with_modules=("6.9-1",)
    )
    assert modules.find_kernel(tree).version == "6.9-1"


def test_other_names_of_images(tmp_path: Path) -> None:
    tree = kernels(tmp_path, "boot/vmlinux-6.1_x", "usr/lib/modules/5.1/vmlinuz")
    assert modules.find_kernel(tree).image == "boot/vmlinux-6.1_x"
    assert modules.find_kernel(tree, "5.1").image == "usr/lib/modules/5.1/vmlinuz"


def test_no_kernel(tmp_path: Path) -> None:
    tree = kernels(tmp_path, "boot/config-6.1", "boot/vmlinuz")
    with pytest.raises(InputError, match="no kernel in"):
        modules.find_kernel(tree)
    with pytest.raises(InputError, match=r"no kernel 6\.1 in"):
        modules.find_kernel(tree, "6.1")


def signed(module: bytes, signature: bytes, length: int | None = None) -> bytes:
    length = len(signature) if length is None else length
    about = struct.pack(">5B3xI", 0, 0, 2, 0, 0, length)
    return module + signature + about + b"~Module signature appended~\n"


@pytest.mark.parametrize("module", [b"", b"\x7fELF module", bytes(5000)])
@pytest.mark.parametrize("size", [0, 1, 700])
def test_a_signature_is_cut_off(module: bytes, size: int) -> None:
    assert modules.without_signature(signed(module, b"s" * size)) == module


@pytest.mark.parametrize(
    "module",
    [
        b"",
        b"\x7fELF module",
        signed(b"module", b"signature") + b"more",
        signed(b"module", b"signature", 1 << 31),
        signed(b"", b"signature", 10),
        b"~Module signature appended~\n",
    ],
)
def test_what_is_not_signed_stays_as_it_is(module: bytes) -> None:
    assert modules.without_signature(module) is module


@pytest.mark.parametrize(
    ("config", "takes"),
    [
        (b"#\nCONFIG_MODULE_SIG=y\n# CONFIG_MODULE_SIG_FORCE is not set\n", True),
        (b"#\nCONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\n", False),
        (None, False),
    ],
)
def test_whether_a_kernel_wants_signatures(
    config: bytes | None, takes: bool, tmp_path: Path
) -> None:
    content: dict[str, Content] = {"boot/vmlinuz-6.12": Plain(b"kernel")}
    if config is not None:
        content["boot/config-6.12"] = Plain(config)
    assert modules.takes_unsigned(make_tree(tmp_path, content), "6.12") is takes
