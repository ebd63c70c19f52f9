from __future__ import annotations

from selfinstall.qemu.watchdog import LIMITS, LONGEST_LOOK, Watchdog


def test_silence_counts() -> None:
    dog = Watchdog(10, now=100)
    assert not dog.look(105)
    assert dog.remaining == 5
    assert not dog.look(109)
    assert dog.look(110)


def test_life_starts_the_count_again() -> None:
    dog = Watchdog(10, now=0)
    dog.look(9)
    dog.alive(9)
    assert not dog.look(18)
    assert dog.look(19)


def test_disk_counts_only_when_it_moves() -> None:
    dog = Watchdog(10, now=0)
    dog.disk(1, 500)
    dog.look(9)
    dog.disk(9, 501)
    assert not dog.look(18)
    dog.disk(18, 501)
    assert dog.look(19)


def test_first_count_of_the_disk_is_no_life() -> None:
    dog = Watchdog(10, now=0)
    dog.look(9)
    dog.disk(9, 500)
    assert dog.look(10)


def test_a_sleeping_host_is_no_silence() -> None:
    dog = Watchdog(60, now=0)
    assert not dog.look(100_000)
    assert dog.remaining == 60 - LONGEST_LOOK


def test_a_clock_that_goes_back_does_no_harm() -> None:
    dog = Watchdog(10, now=100)
    assert not dog.look(50)
    assert dog.look(60)


def test_a_limit_can_change() -> None:
    dog = Watchdog(100, now=0)
    dog.look(5)
    dog.limit = 6
    assert dog.look(6)


def test_emulation_gets_more_time() -> None:
    assert LIMITS["tcg"] > LIMITS["kvm"]
