"""The benchmark's pure parts: what is run, what is read out of the figures, how they are shown."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "bench" / "run").exists():
    pytest.skip("bench/ is not shipped here", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from bench import cli, folders, machine, measure, plot, records, table, tarballs, tools  # noqa: E402
from bench.cases import CASES, SELFINSTALL, TOOLS, guess, split_names  # noqa: E402
from bench.schedule import Job, estimate, jobs, minutes  # noqa: E402
from bench.supplies import Unusable, packages_of_plan  # noqa: E402
from bench.targets import TARGETS  # noqa: E402

EVERYTHING = {(case.name, tool) for case in CASES.values() for tool in case.tools}
STEPS = {"packages": 3.0, "guest": 50.0, "40-unpack": 5.0, "50-configure": 30.0}


def run(case: str, tool: str, number: int, wall: float, **more: Any) -> dict[str, Any]:
    row = {
        "kind": "run",
        "session": "s",
        "case": case,
        "tool": tool,
        "round": number,
        "counted": number > 0,
        "status": 0,
        "wall": wall,
        "user": wall / 2,
        "system": 1.0,
        "machine_cpu": wall,
        "max_rss": 1,
        "host_rss": 50_000_000,
        "rss": {},
    }
    return {**row, **more}


SESSION = {
    "kind": "session",
    "session": "s",
    "started": "2025-01-01T00:00:00Z",
    "command": "bench/run --user nobody",
    "machine": {
        "cpu": "A CPU",
        "cores": 2,
        "memory": 8e9,
        "kernel": "6.1",
        "file_system": "ext4",
    },
    "load_before": [0.1, 0.2, 0.3],
    "accel": "tcg",
    "source": "abc",
    "versions": {"selfinstall": "1", "vmdb2": ""},
}
ROWS: list[dict[str, Any]] = [
    SESSION,
    {"kind": "tarball", "session": "s", "name": "minbase", "packed": 5e7, "unpacked": 1.6e8}
    | {"sha256": "ab" * 32},
    {"kind": "skip", "session": "s", "tool": "vmdb2", "case": "minbase", "reason": "not installed"},
    run("minbase", "selfinstall", 0, 500.0),
    run("minbase", "selfinstall", 1, 62.0, steps=STEPS, qemu={"max_rss": 800_000_000}),
    run("minbase", "by-hand", 1, 50.0),
    run("minbase", "selfinstall", 2, 60.0, steps=STEPS, qemu={"max_rss": 820_000_000}),
    run("minbase", "by-hand", 2, 48.0),
    run("minbase", "by-hand", 3, 1.0, status=5),
    run("minbase", "selfinstall", 3, 70.0, steps=STEPS, qemu={"max_rss": 810_000_000}),
    run("minbase", "by-hand", 3, 40.0),
    {"kind": "boot", "case": "minbase", "tool": "by-hand", "status": 0, "wall": 60.0},
    {"kind": "end", "session": "s", "load": [1.0, 1.0, 1.0]},
]


# Cases, tools, schedule


def test_cases_name_known_tools_and_each_begins_with_selfinstall() -> None:
    for name, case in CASES.items():
        assert case.name == name
        assert case.tools[0] == SELFINSTALL
        assert set(case.tools) <= set(TOOLS)


def test_every_tool_has_a_colour_and_its_script() -> None:
    assert set(plot.COLOURS) == set(TOOLS)
    for tool in TOOLS.values():
        if tool.program:
            assert (tools.PEERS / tool.program).stat().st_mode & 0o111
            assert tool.program in tools.PROGRAMS


def test_tools_take_turns_after_one_uncounted_run_each() -> None:
    todo = jobs(["minbase"], ["selfinstall", "by-hand"], 2, set(), EVERYTHING)
    assert [(job.tool.name, job.round) for job in todo] == [
        ("selfinstall", 0),
        ("by-hand", 0),
        ("selfinstall", 1),
        ("by-hand", 1),
        ("selfinstall", 2),
        ("by-hand", 2),
    ]


def test_what_is_done_is_not_done_again_but_caches_are_warmed_again() -> None:
    done = {("minbase", "selfinstall", 1), ("minbase", "by-hand", 1), ("minbase", "by-hand", 2)}
    todo = jobs(["minbase"], ["selfinstall", "by-hand"], 2, done, EVERYTHING)
    assert [(job.tool.name, job.round) for job in todo] == [("selfinstall", 0), ("selfinstall", 2)]
    assert jobs(["minbase"], ["by-hand"], 2, done, EVERYTHING) == []


def test_a_larger_tarball_is_not_warmed_up_for_again() -> None:
    todo = jobs(["minbase", "minbase+3g"], ["by-hand"], 1, set(), EVERYTHING)
    assert [(job.case.name, job.round) for job in todo] == [
        ("minbase", 0),
        ("minbase", 1),
        ("minbase+3g", 1),
    ]


def test_a_second_build_has_a_first_one_of_its_own_and_a_boot_has_none() -> None:
    todo = jobs(["minbase", "second", "verify-efi"], [SELFINSTALL], 1, set(), EVERYTHING)
    assert [(job.case.name, job.round) for job in todo] == [
        ("minbase", 0),
        ("minbase", 1),
        ("second", 0),
        ("second", 1),
        ("verify-efi", 1),
    ]


def test_what_cannot_run_is_not_scheduled() -> None:
    usable = EVERYTHING - {("minbase", "vmdb2")}
    names = {job.tool.name for job in jobs(["minbase"], list(TOOLS), 1, set(), usable)}
    assert "vmdb2" not in names
    assert "by-hand" in names


def test_estimates_prefer_what_was_measured() -> None:
    case, tool = CASES["minbase"], TOOLS["by-hand"]
    assert guess(case, tool, {}) == tool.seconds[0]
    assert guess(case, tool, {("minbase", "by-hand"): 33.0}) == 33.0
    # A larger tarball's is guessed from its base's.
    large = guess(CASES["minbase+3g"], tool, {("minbase", "by-hand"): 33.0})
    assert large == 33.0 + 3 * tool.seconds[2]
    todo = [Job(case, tool, 0), Job(case, tool, 1)]
    plain = estimate(todo, {}, check_boot=False)
    assert plain > 2 * tool.seconds[0]
    assert estimate(todo, {}, check_boot=True) > plain + 60


@pytest.mark.parametrize(("seconds", "text"), [(1, "1 min"), (600, "10 min"), (3700, "1 h 02 min")])
def test_minutes(seconds: float, text: str) -> None:
    assert minutes(seconds) == text


def test_names_come_in_their_own_order() -> None:
    assert split_names(["c, a", "b"], ["a", "b", "c", "d"], "letter") == ("a", "b", "c")
    with pytest.raises(ValueError, match="no letter x; there are: a"):
        split_names(["a,x"], ["a"], "letter")


# Figures


def test_medians_are_of_counted_runs_that_ended_well() -> None:
    found = records.summaries(ROWS)
    ours, theirs = found["minbase", "selfinstall"], found["minbase", "by-hand"]
    assert (ours.wall, ours.wall_min, ours.wall_max, ours.runs) == (62.0, 60.0, 70.0, 3)
    assert (theirs.wall, theirs.wall_min, theirs.runs) == (48.0, 40.0, 3)
    assert ours.cpu == 62.0 / 2 + 1
    assert ours.qemu_rss == 810_000_000
    assert theirs.qemu_rss is None
    assert ours.guest["50-configure"] == 30.0
    assert records.ratio(ours, theirs) == pytest.approx(62 / 48)
    assert records.ratio(ours, None) is None


def test_failed_runs_are_counted_and_done_again() -> None:
    assert records.failures(ROWS) == {("minbase", "by-hand"): 1}
    assert ("minbase", "by-hand", 3) not in records.rounds_done(ROWS[:-3])
    assert ("minbase", "by-hand", 3) in records.rounds_done(ROWS)


def test_the_emulators_memory_is_seen_where_no_manifest_tells_it() -> None:
    row = run("complete", "guestfish", 1, 1.0, rss={"qemu-system-x86": 7, "guestfish": 9})
    assert records.qemu_peak(row) == 7


def test_rows_survive_a_write_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.jsonl"
    records.append(path, {"kind": "end", "session": "ä"})
    with path.open("a") as stream:
        stream.write('{"kind": "ru')
    assert records.read(path) == [{"kind": "end", "session": "ä"}]
    assert records.read(tmp_path / "none") == []


@pytest.mark.parametrize("text", ["nonsense\n{}\n", "[]\n", "{}\n"])
def test_other_files_are_not_taken_for_figures(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="line 1"):
        records.read(path)


def test_rows_go_on_after_a_write_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"kind": "end"}\n{"kind": "ru')
    records.append(path, {"kind": "end", "session": "b"})
    assert records.read(path) == [{"kind": "end"}, {"kind": "end", "session": "b"}]


# Tables


def test_markdown_tables_align() -> None:
    assert table.table(("a", "b"), [("1", "2")]) == "| a | b |\n| :-- | --: |\n| 1 | 2 |\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.04, "0.0"), (61.26, "61.3"), (123.4, "123")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert table.number(value) == text


def test_the_table_of_times_has_medians_ranges_and_ratios() -> None:
    text = table.times(records.summaries(ROWS))
    assert "| kernel-less | selfinstall | 62.0 (60.0–70.0) | – |" in text
    assert "|  | by hand | 48.0 (40.0–50.0) | 1.29 |" in text
    assert "| 810 | 50 | 3 |" in text


def test_the_table_of_phases_adds_up() -> None:
    text = table.phases(records.summaries(ROWS))
    assert "| `packages` | 3.0 |" in text
    assert "| other work of the host | 9.0 |" in text  # 62 - 3 - 50
    assert "| guest `40-unpack` | 5.0 |" in text
    assert "| guest, before and after its hooks | 15.0 |" in text  # 50 - 5 - 30
    assert "| **wall** | 62.0 |" in text


def test_targets_are_judged_by_their_limits() -> None:
    text = table.targets(records.summaries(ROWS))
    assert "| kernel-less tarball to image | ≤ 60 s | 62.0 | no |" in text
    assert "| qemu's peak memory, kernel-less | ≤ 900 MB | 810 | yes |" in text
    assert "| verify under BIOS | ≤ 25 s | – | – |" in text


def test_growth_is_by_gb() -> None:
    rows = [run("minbase", "by-hand", 1, 50.0), run("minbase+3g", "by-hand", 1, 80.0)]
    assert "| by hand | – | 10.0 |" in table.grown(records.summaries(rows))
    ours = [run("minbase", SELFINSTALL, 1, 50.0), run("minbase+3g", SELFINSTALL, 1, 98.0)]
    values = {t.text: t.value(records.summaries(ours)) for t in TARGETS}
    assert values["each GB of rootfs, kernel-less"] == 16.0


def test_the_page_says_what_was_left_out_and_in_which_state_the_machine_was() -> None:
    text = table.page("x", ROWS)
    assert "- vmdb2: not installed\n" in text
    assert "- kernel-less, by hand: 1 failed and are not in the table\n" in text
    assert "- kernel-less, by hand: boots under BIOS and UEFI\n" in text
    assert "`bench/run --user nobody`" in text
    assert "A CPU, 2 cores, 8 GB, Linux 6.1, ext4; accelerator tcg" in text
    assert "load before 0.10 0.20 0.30, after 1.00 1.00 1.00" in text
    assert "vmdb2 ," not in text


def test_reports_are_made_of_what_is_on_record(tmp_path: Path) -> None:
    for row in ROWS:
        records.append(tmp_path / "x.jsonl", row)
    assert cli.main(["--report", "--name", "x", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "x.md").read_text() == table.page("x", ROWS)
    ET.fromstring((tmp_path / "x.svg").read_text())
    assert cli.main(["--report", "--name", "y", "--results", str(tmp_path)]) == 1


def test_figures_of_two_programs_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "source_state", lambda root: "abc")
    cli._check_source(ROWS, "x")
    monkeypatch.setattr(machine, "source_state", lambda root: "abd")
    with pytest.raises(Unusable, match="x are of source abc, and this is abd"):
        cli._check_source(ROWS, "x")


# Plot


def test_ticks_are_round_and_cover() -> None:
    for highest in (0.3, 7, 62, 100, 101, 499, 1500):
        scale = plot.ticks(highest)
        assert scale[0] == 0
        assert scale[-1] >= highest > scale[-2]
        assert 4 <= len(scale) <= 8


def test_bars_are_as_long_as_their_figures() -> None:
    root = ET.fromstring(plot.svg("a & b", records.summaries(ROWS)))
    width = {}
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        title = rect.find("{http://www.w3.org/2000/svg}title")
        if title is not None and title.text:
            width[title.text] = float(rect.attrib["width"])
    assert width["by hand: 48.0 s"] / width["selfinstall: 62.0 s"] == pytest.approx(
        48 / 62, abs=0.01
    )
    assert width["40-unpack: 5.0 s"] * 6 == pytest.approx(width["50-configure: 30.0 s"], abs=0.5)


def test_a_plot_of_nothing_is_a_picture_too() -> None:
    ET.fromstring(plot.svg("x", {}))


# Reading the machine


def test_peak_memory_is_read_from_proc() -> None:
    assert measure.parse_status("Name:\tqemu\nVmHWM:\t  12 kB\n") == ("qemu", 12288)
    assert measure.parse_status("Name:\tzombie\n") == ("zombie", 0)


def test_busy_time_leaves_out_waiting_and_counts_guests_once() -> None:
    ticks = measure.machine_cpu_seconds("cpu  100 10 20 999 999 3 4 50 70 0\ncpu0 1 1\n")
    assert ticks * measure.os.sysconf("SC_CLK_TCK") == 137


def test_a_commands_cost_includes_its_childrens(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    cost = measure.measure(
        ["sh", "-c", f"{sys.executable} -c '{burn}'; exit 7"],
        environment={"PATH": "/usr/bin:/bin"},
        output=tmp_path / "out",
    )
    assert cost.status == 7
    assert 0.3 <= cost.user + cost.system <= cost.wall + 0.5
    assert cost.max_rss > 1 << 20


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    cost = measure.measure(
        ["sleep", "60"],
        environment={"PATH": "/usr/bin:/bin"},
        output=tmp_path / "out",
        timeout=0.1,
    )
    assert cost.status == -15
    assert cost.wall < 30


def test_the_file_system_is_that_of_the_deepest_mount() -> None:
    info = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:9 / /var rw - btrfs x rw\n"
        "3 1 0:8 / /variety rw - tmpfs x rw\n"
    )
    assert machine.file_system(Path("/var/tmp"), info) == "btrfs"
    assert machine.file_system(Path("/home"), info) == "ext4"


def test_the_cpu_has_a_name() -> None:
    assert machine.cpu_model("processor\t: 0\nmodel name\t: A  CPU\n") == "A CPU"
    assert machine.cpu_model("") != ""


# Commands and inputs


def test_selfinstall_is_asked_for_the_same_image_as_its_peers() -> None:
    places = tools.Places(work=Path("/w"), program=Path("/s/selfinstall"))
    build = tools.Build(
        tarball=Path("/t.tar.zst"),
        image=Path("/i.img"),
        size="11G",
        hostname="h",
        packages=("a", "b"),
    )
    ours = tools.build_command(TOOLS[SELFINSTALL], places, build, "tcg")
    assert "--no-verify" in ours
    for words in (["--size", "11G"], ["--hostname", "h"], ["--tarball", "/t.tar.zst"]):
        assert ours[ours.index(words[0]) + 1] == words[1]
    theirs = tools.build_command(TOOLS["by-hand-unsafe"], places, build, "tcg")
    assert theirs[1:5] == ["/t.tar.zst", "/i.img", "11G", "h"]
    assert theirs[6:] == ["a", "b"]
    assert "bios" in tools.verify_command(places, Path("/i.img"), "tcg", "bios")


def test_options_of_selfinstall_exist() -> None:
    from selfinstall.cli.options import BUILD

    known = {flag for option in BUILD.options for flag in option.flags}
    places = tools.Places(work=Path("/w"), program=Path("/s"))
    build = tools.Build(tarball=Path("/t"), image=Path("/i"), size="1G", hostname="h", packages=())
    command = tools.build_command(TOOLS[SELFINSTALL], places, build, "tcg")
    assert {word for word in command if word.startswith("--")} <= known


def test_tools_that_need_root_are_left_out_without_it() -> None:
    assert tools.obstacle(TOOLS["by-hand"], CASES["minbase"], root=False) == "needs root"
    assert tools.obstacle(TOOLS[SELFINSTALL], CASES["minbase"], root=False) is None


def test_packages_come_from_the_plan_whatever_precedes_it() -> None:
    plan = json.dumps({"resolution": {"packages": [{"name": "a"}, {"name": "b"}]}}, indent=2)
    assert packages_of_plan("selfinstall: warning: {x}\n" + plan) == ("a", "b")
    with pytest.raises(Unusable):
        packages_of_plan("nothing")


def test_generated_files_come_to_their_sum_and_are_of_mixed_sizes() -> None:
    found = list(tarballs.file_sizes(20_000_000, random.Random("x")))
    sizes = [size for _, size in found if size is not None]
    assert sum(sizes) == pytest.approx(20_000_000, abs=len(sizes))
    assert max(sizes) <= tarballs.LARGEST
    assert 2000 < sorted(sizes)[len(sizes) // 2] < 8000
    assert len({name for name, _ in found}) == len(found)
    assert found == list(tarballs.file_sizes(20_000_000, random.Random("x")))


def test_an_enlarged_tarball_keeps_what_it_had(tmp_path: Path) -> None:
    if tools.shutil.which("zstd") is None:
        pytest.skip("there is no zstd")
    plain = tmp_path / "base.tar"
    with tarfile.open(plain, "w") as archive:
        member = tarfile.TarInfo("./etc/hostname")
        member.size, member.uid = 700, 12
        archive.addfile(member, io.BytesIO(b"x" * 700))
        member = tarfile.TarInfo("./last")
        member.size = 513
        archive.addfile(member, io.BytesIO(b"y" * 513))
    end = tarballs.end_of_members(plain)
    assert end == 2 * (512 + 1024)
    base, large = tmp_path / "base.tar.zst", tmp_path / "large.tar.zst"
    subprocess.run(["zstd", "-q", str(plain), "-o", str(base)], check=True)
    tarballs.enlarge(base, large, 100_000, "seed")
    told = tarballs.describe(large)
    content = subprocess.run(["zstd", "-dcq", str(large)], capture_output=True, check=True).stdout
    assert told.unpacked == len(content) > 100_000
    assert content[:end] == plain.read_bytes()[:end]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        sizes = {member.name: member.size for member in archive}
    assert "./last" in sizes
    extra = [size for name, size in sizes.items() if name.startswith("./opt/bench/")]
    assert sum(extra) == 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.tar",
        "base.tar.zst",
        "large.tar.zst",
    ]


def test_a_folder_is_put_back_to_what_it_was(tmp_path: Path) -> None:
    kept, used = tmp_path / "kept", tmp_path / "used"
    (kept / "debs").mkdir(parents=True)
    (kept / "debs" / "a").write_text("one")
    folders.mirror(kept, used)
    (used / "debs" / "a").write_text("changed")
    (used / "layers" / "deep").mkdir(parents=True)
    (used / "layers" / "deep" / "x").write_text("new")
    (used / "debs" / "link").symlink_to("nowhere")
    folders.mirror(kept, used)
    assert sorted(str(p.relative_to(used)) for p in used.rglob("*")) == ["debs", "debs/a"]
    assert (used / "debs" / "a").read_text() == "one"


def test_scripts_are_clean_for_shellcheck() -> None:
    names = sorted(str(path) for path in tools.PEERS.iterdir())
    done = subprocess.run(["shellcheck", "-x", *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_scripts_say_how_they_are_called() -> None:
    for name in ("by-hand", "vmdb2", "guestfish"):
        done = subprocess.run(
            [str(tools.PEERS / name)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": tools.PATH, "BENCH_PRIVATE_MOUNTS": "yes"},
        )
        assert done.returncode == 1
        assert f"usage: {name} TARBALL IMAGE SIZE HOSTNAME" in done.stderr


def test_the_readme_tells_of_every_case_and_tool() -> None:
    readme = (ROOT / "bench" / "README.md").read_text()
    for tool in TOOLS:
        assert f"| `{tool}` |" in readme
    for case in CASES.values():
        assert f"`{case.name}`" in readme or case.extra_gb
    assert (
        " ".join(
            readme.partition("--no-install-recommends ")[2].partition("\n\n")[0].split()
        ).replace("\\ ", "")
        == tools.PACKAGES
    )
