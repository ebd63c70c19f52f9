"""docs/architectures.md is what its script makes of the data."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from selfinstall.arch import all_arches

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "docs_architectures", ROOT / "docs" / "architectures.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    text = script.page(all_arches().values(), script.read_results())
    if os.environ.get("SELFINSTALL_UPDATE_GOLDEN") == "1":
        script.PAGE.write_text(text)
    assert script.PAGE.read_text() == text, "run python3 docs/architectures.py"


def test_every_cell_is_of_something_that_there_is(script: ModuleType) -> None:
    for cell in script.read_results():
        arch = all_arches()[cell.arch]
        assert cell.loader in {"none", *(use.loader for use in arch.loaders), "grub"}
        assert cell.firmware in {"direct", *(f.name for f in arch.firmwares)}


def test_the_readme_names_every_architecture() -> None:
    readme = (ROOT / "README.md").read_text()
    text = readme.partition("one file of data for each of ")[2].partition(".")[0]
    assert set(re.findall(r"\w+", text)) - {"and"} == set(all_arches())


def test_results(script: ModuleType, tmp_path: Path) -> None:
    cell = {
        "suite": "sid",
        "arch": "s390x",
        "loader": "zipl",
        "firmware": "ccw",
        "build": 99.6,
        "login": 30.2,
        "qemu": "7.2.22",
        "date": "2026-01-02",
    }
    bad = cell | {
        "suite": "trixie",
        "source": "first-stage",
        "login": None,
        "date": "2026-01-03",
        "problem": "a | b",
    }
    (tmp_path / "r.json").write_text(json.dumps({"cells": [bad, cell]}))
    cells = script.read_results(tmp_path / "r.json")
    text = script.page(all_arches().values(), cells)
    assert "Last run between 2026-01-02 and 2026-01-03: 1 of 2 good." in text
    assert "| s390x | sid | `--suite` | zipl | ccw | 100 | 30 | 7.2.22 | 2026-01-02 | ok |" in text
    where = "| s390x | trixie | `debootstrap --foreign` | zipl | ccw"
    assert f"{where} | 100 | – | 7.2.22 | 2026-01-03 | a \\| b |" in text
    assert "has not run yet" in script.page([], [])
