"""What the fault tests share, and their table, which also stands at the end of a run's output."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FAULTS = HERE / "faults"
#: Helpers of the unit tests serve the faults too.
sys.path[:0] = [str(HERE / "unit"), str(FAULTS)]
#: Where the table is written, as JSON.
RESULTS = "SELFINSTALL_FAULTS_RESULTS"
_rows: list[dict[str, Any]] = []


# Background jobs of a shell and of nohup are born with these ignored, and so would be every
# program that the tests start and signal.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FAULTS in item.path.parents:
            item.add_marker(pytest.mark.faults)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # With xdist, what workers recorded comes here too.
    if report.when == "call":
        _rows.extend(value for name, value in report.user_properties if name == "fault")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _rows:
        return
    if results := os.environ.get(RESULTS):
        Path(results).write_text(json.dumps(_rows, indent=1) + "\n")
    terminalreporter.section("faults")
    faults = sorted({row["fault"] for row in _rows})
    width = max(map(len, faults))
    terminalreporter.write_line(f"{'fault'.ljust(width)}  points  kept  seconds")
    for fault in faults:
        rows = [row for row in _rows if row["fault"] == fault]
        kept = sum(row["kept"] for row in rows)
        seconds = sum(row["seconds"] for row in rows)
        line = f"{fault.ljust(width)}  {len(rows):6}  {kept:4}  {seconds:7.1f}"
        terminalreporter.write_line(line, red=kept < len(rows))
        for row in rows:
            if not row["kept"]:
                terminalreporter.write_line(f"    broken: {row['point']}: {row['why']}")


@pytest.fixture
def table(record_property: Callable[[str, object], None]) -> Any:
    from harness import Table

    return Table(record_property)


@pytest.fixture(scope="session")
def fixture_file() -> Callable[[str], Path]:
    """Where a file is that ``run-tests`` makes for tests, by its name."""
    folder = os.environ.get("SELFINSTALL_TEST_FIXTURES")
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("SELFINSTALL_TEST_FIXTURES is not set; ./run-tests sets it")
        pytest.skip("SELFINSTALL_TEST_FIXTURES is not set; ./run-tests sets it")

    def find(name: str) -> Path:
        path = Path(folder) / name
        assert path.exists(), f"{path} is missing; ./run-tests makes it"
        return path

    return find


@pytest.fixture(scope="session")
def complete(fixture_file: Callable[[str], Path]) -> Path:
    """trixie with kernel, initramfs-tools, GRUB and what else an image needs (mmdebstrap)."""
    return fixture_file("trixie-complete.tar.zst")
