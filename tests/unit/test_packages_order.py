"""dpkg's order from apt's simulation: few calls, and Pre-Depends kept."""

from __future__ import annotations

import random

import pytest

from selfinstall.packages import order
from selfinstall.packages.order import Action
from selfinstall.packages.resolution import Step

OUTPUT = """\
NOTE: This is only a simulation!
Inst libc6 [2.36-9] (2.36-9+deb12u4 Debian:12.4/stable, Sec:12/stable [amd64]) [libc-bin:amd64 ]
Inst dm (2:1.02-2 Debian:13.7/stable [amd64]) []
Conf libc6 (2.36-9+deb12u4 Debian:12.4/stable [amd64])
Inst local (1.0 [all])
Inst zlib1g:i386 (1:1.3 localhost [i386])
Remv old [1.0]
Remv older:i386 [1.0] [x:amd64 ]
"""


def test_apt_s_lines_are_read() -> None:
    assert order.parse(OUTPUT) == (
        Action("Inst", "libc6", "2.36-9+deb12u4", "amd64", True),
        Action("Inst", "dm", "2:1.02-2", "amd64"),
        Action("Conf", "libc6", "2.36-9+deb12u4", "amd64"),
        Action("Inst", "local", "1.0", "all"),
        Action("Inst", "zlib1g", "1:1.3", "i386"),
        Action("Remv", "old"),
        Action("Remv", "older"),
    )


def test_a_line_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="Inst what"):
        order.parse("Inst what is this\n")


def test_names_of_a_relation() -> None:
    relation = "libc6 (>= 2.34), a:any | b [amd64], dpkg(>= 1)"
    assert order.names(relation) == ("libc6", "a", "b", "dpkg")
    assert order.names("") == ()


def acts(text: str) -> list[Action]:
    """``+a`` unpacks a, ``^a`` upgrades a, ``=a`` configures a."""
    verbs = {"+": "Inst", "^": "Inst", "=": "Conf"}
    return [Action(verbs[w[0]], w[1:], "1", "all", w[0] == "^") for w in text.split()]  # type: ignore[arg-type]


def planned(text: str, pre: dict[str, set[str]] | None = None, **provides: set[str]) -> str:
    actions = acts(text)
    steps = order.plan(
        actions,
        {f"{name}:all": names for name, names in (pre or {}).items()},
        {f"{name}:all": names for name, names in provides.items()},
        {action.key: action.name for action in actions},
    )
    sign = {"unpack": "+", "configure": "="}
    return " ".join(
        sign[step.action] + "".join(name.removesuffix(":all") for name in step.packages)
        for step in steps
    )


def test_without_pre_depends_two_calls_do() -> None:
    assert planned("+a =a +b =b +c =c") == "+abc =abc"


def test_configure_only_and_nothing() -> None:
    assert planned("=a") == "=a"
    assert order.plan((), {}, {}, {}) == ()


def test_a_pre_depends_is_a_barrier_with_all_that_apt_configured_before() -> None:
    assert planned("+a +b =b =a +c +d =c =d", {"c": {"a"}}) == "+abd =ba +c =cd"


def test_two_barriers_share_the_calls() -> None:
    text = "+a =a +b +c =c +d =b =d"
    assert planned(text, {"b": {"a"}, "d": {"c"}}) == "+ac =ac +bd =bd"


def test_barriers_in_a_row_stay_in_a_row() -> None:
    assert planned("+a =a +b =b +c =c", {"b": {"a"}, "c": {"b"}}) == "+a =a +b =b +c =c"


def test_circles_end() -> None:
    with pytest.raises(ValueError, match="waits for itself"):
        planned("=a +a =b", {"a": {"a"}})


def test_provides_count() -> None:
    assert planned("+a =a +b =b", {"b": {"awk"}}, a={"awk"}) == "+a =a +b =b"


def test_what_is_not_part_of_the_run_is_no_barrier() -> None:
    assert planned("+a =a +b =b", {"b": {"libc6"}}) == "+ab =ab"


def test_an_upgrade_is_not_passed_by() -> None:
    # b waits for a; were it new, c could be unpacked with a.
    assert planned("+a =a ^b +c =b =c", {"b": {"a"}}) == "+a =a +bc =bc"


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_apt_s_leads_to_a_sound_plan(seed: int) -> None:
    """Pre-Depends configured before unpacking, dependencies before configuring, nothing lost."""
    chance = random.Random(seed)
    names = [chr(97 + i) for i in range(12)]
    pre: dict[str, set[str]] = {}
    words: list[str] = []
    unpacked: list[str] = []
    configured: set[str] = set()

    def configure(name: str) -> None:
        words.append(f"={name}")
        configured.add(name)

    for position, name in enumerate(names):
        earlier = names[:position]
        pre[name] = set(chance.sample(earlier, min(len(earlier), chance.choice([0, 0, 0, 1, 2]))))
        # As apt does, configure what is needed, in the order of unpacking.
        for other in unpacked:
            if other not in configured and (other in pre[name] or chance.random() < 0.2):
                configure(other)
        words.append(chance.choice("++^") + name)
        unpacked.append(name)
    for name in unpacked:
        if name not in configured:
            configure(name)

    have: set[str] = set()
    ready: list[str] = []
    text = planned(" ".join(words), pre)
    for step in text.split():
        for name in step[1:]:
            if step[0] == "+":
                assert pre[name] <= set(ready), f"{name} in {text} from {words}"
                assert name not in have
                have.add(name)
            else:
                assert name in have and name not in ready
                ready.append(name)
    assert sorted(ready) == names
    upgrades = [word[1] for word in words if word[0] == "^"]
    in_plan = [n for step in text.split() if step[0] == "+" for n in step[1:]]
    assert [n for n in in_plan if n in upgrades] == upgrades
    assert len(text.split()) <= len(planned_naively(words))


def planned_naively(words: list[str]) -> list[Step]:
    """apt's own order with neighbours merged."""
    steps: list[Step] = []
    for word in words:
        action = "configure" if word[0] == "=" else "unpack"
        if steps and steps[-1].action == action:
            steps[-1] = Step(action, (*steps[-1].packages, word[1]))
        else:
            steps.append(Step(action, (word[1],)))
    return steps
