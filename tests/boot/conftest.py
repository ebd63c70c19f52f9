"""Real tarballs for real boots.

``SELFINSTALL_TEST_FIXTURES`` names the folder that ``run-tests`` fills with
them; without it these tests are skipped, but not in CI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Console

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.boot)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    folder = os.environ.get("SELFINSTALL_TEST_FIXTURES")
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("SELFINSTALL_TEST_FIXTURES is not set; ./run-tests sets it")
        pytest.skip("SELFINSTALL_TEST_FIXTURES is not set; ./run-tests sets it")
    return Path(folder)


def _fixture(folder: Path, name: str) -> Path:
    path = folder / name
    assert path.exists(), f"{path} is missing; ./run-tests makes it"
    return path


@pytest.fixture(scope="session")
def minbase(fixtures: Path) -> Path:
    """trixie, minbase with systemd and udev: no kernel, no boot loader (mmdebstrap)."""
    return _fixture(fixtures, "trixie-minbase.tar.zst")


@pytest.fixture(scope="session")
def complete(fixtures: Path) -> Path:
    """trixie with kernel, initramfs-tools, GRUB and what else an image needs (mmdebstrap)."""
    return _fixture(fixtures, "trixie-complete.tar.zst")


@pytest.fixture(scope="session")
def bookworm(fixtures: Path) -> Path:
    """bookworm, minbase (debootstrap): not even an init system."""
    return _fixture(fixtures, "bookworm-debootstrap.tar.gz")


@pytest.fixture(scope="session")
def first_stage(fixtures: Path) -> Path:
    """trixie, minbase, as debootstrap --foreign leaves it: packages extracted, none installed."""
    return _fixture(fixtures, "trixie-first-stage.tar.gz")


@pytest.fixture(scope="session")
def theirs(fixtures: Path) -> Path:
    """trixie on a DOS label with GRUB for BIOS, as vmdb2 makes it: no serial console."""
    return _fixture(fixtures, "trixie-vmdb2.qcow2")


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
def consoles() -> Iterator[list[Console]]:
    """Machines that a test starts; ended with it."""
    started: list[Console] = []
    yield started
    for console in started:
        console.close()
