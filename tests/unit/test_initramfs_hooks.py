from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from selfinstall.initramfs import hooks

TEXT = """#!/bin/sh
# 30-format: make the file systems
# shellcheck disable=SC2154
# Needs: ROOT_DEVICE ESP_DEVICE
# Provides: the file systems, mounted
# Programs: mke2fs
#   dd mount
# Modules: ext4 ?crc32c_generic
# Runs: always
#
# Free words: these are not part of the header.
set -eu
# Needs: NOTHING
"""


def test_header() -> None:
    hook = hooks.parse_hook("30-format", TEXT)
    assert hook == hooks.Hook(
        name="30-format",
        text=TEXT,
        title="make the file systems",
        needs=("ROOT_DEVICE", "ESP_DEVICE"),
        provides="the file systems, mounted",
        programs=("mke2fs", "dd", "mount"),
        modules=("ext4", "?crc32c_generic"),
        always=True,
    )


def test_a_title_is_enough_and_a_suffix_is_no_part_of_the_name() -> None:
    hook = hooks.parse_hook("x.sh", "#!/bin/sh\n# x: nothing\n")
    assert (hook.name, hook.title, hook.programs) == ("x.sh", "nothing", ())
    assert not hook.always


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("#!/bin/bash\n# x: t\n", "first line"),
        ("#!/bin/sh\n", "second line"),
        ("#!/bin/sh\n# y: t\n", "second line"),
        ("#!/bin/sh\n# x: t\n# Wants: a\n", "unknown key 'Wants'"),
        ("#!/bin/sh\n# x: t\n# Needs a\n", "the header has '# Needs a'"),
        ("#!/bin/sh\n# x: t\n#   a\n", "the header has"),
        ("#!/bin/sh\n# x: t\n# Needs: a\n# Needs: b\n", "twice"),
        ("#!/bin/sh\n# x: t\n# Runs: never\n", "'always'"),
        ("#!/bin/sh\n# x: t\n# Runs:\n", "'always'"),
    ],
)
def test_bad_headers(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"hook x: .*{message}"):
        hooks.parse_hook("x", text)


def test_load_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hooks"
    monkeypatch.setattr(hooks, "_folder", lambda: folder)
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "30-format").write_text(TEXT)
    assert hooks.load_hook("30-format").text == TEXT
    for name in ("40-gone", "../30-format", "."):
        with pytest.raises(ValueError, match="no hook"):
            hooks.load_hook(name)


def test_all_shipped_hooks_are_understood() -> None:
    names = [file.name for file in (files("selfinstall") / "hooks").iterdir() if file.is_file()]
    loaded = [hooks.load_hook(name) for name in names if not name.endswith(".sh")]
    assert "init" in {hook.name for hook in loaded}
    assert all(hook.title for hook in loaded)
