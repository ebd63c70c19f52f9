"""Real tarballs for real boots.

``SELFINSTALL_TEST_FIXTURES`` names the folder that ``run-tests`` fills with
them; without it these tests are skipped, but not in CI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Console

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.boot)


@pytest.fixture(scope="session")
def minbase(fixture_file: Callable[[str], Path]) -> Path:
    """trixie, minbase with systemd and udev: no kernel, no boot loader (mmdebstrap)."""
    return fixture_file("trixie-minbase.tar.zst")


@pytest.fixture(scope="session")
def bookworm(fixture_file: Callable[[str], Path]) -> Path:
    """bookworm, minbase (debootstrap): not even an init system."""
    return fixture_file("bookworm-debootstrap.tar.gz")


@pytest.fixture(scope="session")
def first_stage(fixture_file: Callable[[str], Path]) -> Path:
    """trixie, minbase, as debootstrap --foreign leaves it: packages extracted, none installed."""
    return fixture_file("trixie-first-stage.tar.gz")


@pytest.fixture(scope="session")
def theirs(fixture_file: Callable[[str], Path]) -> Path:
    """trixie on a DOS label with GRUB for BIOS, as vmdb2 makes it: no serial console."""
    return fixture_file("trixie-vmdb2.qcow2")


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
