"""Reading .debs, and writing them again without compression."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
from pathlib import Path

import deb_helpers
import pytest

from selfinstall.errors import InputError
from selfinstall.packages import deb

#: Odd and even sizes, empty, and more than one chunk.
FILES = {"a": b"x", "empty": b"", "big": os.urandom(9999) + b"\0" * deb.CHUNK}


def repacked(path: Path) -> tuple[bytes, deb.Repacked]:
    target = io.BytesIO()
    place = deb.repack(path, target)
    return target.getvalue(), place


@pytest.mark.parametrize("suffix", deb_helpers.COMPRESS)
def test_content_is_the_same_without_compression(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb_helpers.deb_bytes("a", files=FILES, suffix=suffix))
    content, place = repacked(path)
    end = place.data_offset + place.data_size
    assert content[place.data_offset : end] == deb_helpers.tar(FILES)
    names = [member.name for member in deb.members(io.BytesIO(content), "x")]
    assert names == ["debian-binary", "control.tar", "data.tar"]
    assert deb.control(path)["Package"] == "a"
    (tmp_path / "b.deb").write_bytes(content)
    assert deb.control(tmp_path / "b.deb") == deb.control(path)
    assert repacked(tmp_path / "b.deb") == (content, place)


def test_headers_are_kept_and_equal_input_gives_equal_output(tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb_helpers.deb_bytes("a"))
    content, _ = repacked(path)
    assert content == repacked(path)[0]
    for member in deb.members(io.BytesIO(content), "x"):
        assert member.header[16:48] == b"1700000000  0     0     100644  "


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_dpkg_reads_both_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(deb_helpers.deb_bytes("a", files=FILES, suffix=".zst"))
    (tmp_path / "b.deb").write_bytes(repacked(tmp_path / "a.deb")[0])
    for option in ("--contents", "--field", "--ctrl-tarfile", "--fsys-tarfile"):
        a, b = (
            subprocess.run(["dpkg-deb", option, tmp_path / n], capture_output=True, check=True)
            for n in ("a.deb", "b.deb")
        )
        assert a.stdout == b.stdout


def test_further_members_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    plain = {"control.tar": deb_helpers.tar({"control": b"x"}), "data.tar": deb_helpers.tar({})}
    members = {"debian-binary": b"2.0\n", "_gpgorigin": b"odd", **plain}
    path.write_bytes(deb_helpers.ar(members))
    assert repacked(path)[0] == path.read_bytes()


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz")
def test_xz_the_program_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.deb"
    # An odd size, so that padding follows, and a member behind it.
    path.write_bytes(deb_helpers.deb_bytes("a", files=FILES) + deb_helpers.ar({"_x": b"y"})[8:])
    by_library = repacked(path)
    monkeypatch.setattr(deb, "XZ_WORTH", 1)
    assert repacked(path) == by_library
    damaged = bytearray(path.read_bytes())
    damaged[-5000:-4000] = bytes(1000)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        repacked(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".lzma", ".bz2", ".zst"])
def test_damaged_data_is_bad_input(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.deb"
    content = deb_helpers.deb_bytes("a", files={"a": os.urandom(100_000)}, suffix=suffix)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(4000) + content[middle + 4000 :])
    with pytest.raises(InputError, match=r"broken\.deb: damaged"):
        repacked(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_a_member_that_ends_too_early_is_bad_input(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "short.deb"
    compress = deb_helpers.COMPRESS[suffix]
    data = compress(deb_helpers.tar({"a": os.urandom(300_001)}))
    members = {
        "debian-binary": b"2.0\n",
        f"control.tar{suffix}": compress(deb_helpers.tar({"control": b"x"})),
        f"data.tar{suffix}": data[: len(data) // 2],
    }
    path.write_bytes(deb_helpers.ar(members))
    with pytest.raises(InputError, match=r"short\.deb: damaged"):
        repacked(path)


def test_files_cut_anywhere_are_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "cut.deb"
    content = deb_helpers.deb_bytes("a", suffix=".gz")
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.deb"):
            deb.control(path)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\3\4 no deb",
        deb_helpers.ar({"debian-binary": b"2.0\n"}),
        deb_helpers.ar({"x": b"y"}),
        deb_helpers.deb_bytes("a", control=b"Package: a\n"),
        deb_helpers.deb_bytes("a", control=b"\xff\xfe\0"),
        deb_helpers.ar(
            {"debian-binary": b"2.0\n", "control.tar": b"rubbish" * 99, "data.tar": bytes(1024)}
        ),
        deb_helpers.ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar": deb_helpers.tar({"other": b""}),
                "data.tar": bytes(1024),
            }
        ),
    ],
)
def test_what_is_no_package_is_bad_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no.deb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no\.deb"):
        deb.control(path)


def test_a_full_disk_is_not_taken_for_damage(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    path = tmp_path / "a.deb"
    path.write_bytes(deb_helpers.deb_bytes("a", files=FILES))
    with pytest.raises(OSError, match="No space left") as caught:
        deb.repack(path, Full())
    assert caught.value.errno == errno.ENOSPC
