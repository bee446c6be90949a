"""Alarms: at most one a key, rung when their time has come by the clock that was given."""

import asyncio

import pytest

from actors.alarms import Alarms


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time


class Rung(list[object]):
    """What rang, in order."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rung() -> Rung:
    return Rung()


@pytest.fixture
def alarms(clock: Clock, rung: Rung) -> Alarms:
    return Alarms(clock, rung.append)


def test_it_rings_when_the_time_has_come_and_once(alarms, clock, rung):
    alarms.set("a", 2.0)
    assert alarms.ring_due() == 2.0
    clock.time += 1.5
    assert alarms.ring_due() == 0.5
    assert rung == []
    clock.time += 0.5
    assert alarms.ring_due() is None
    assert rung == ["a"]
    clock.time += 100
    alarms.ring_due()
    assert rung == ["a"]
    assert len(alarms) == 0


def test_they_ring_in_the_order_of_their_times(alarms, clock, rung):
    for key, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)):
        alarms.set(key, seconds)
    clock.time += 10
    alarms.ring_due()
    assert rung == ["a", "a2", "b", "c"]


def test_setting_a_key_again_moves_its_alarm(alarms, clock, rung):
    alarms.set("a", 1.0)
    alarms.set("a", 5.0)
    clock.time += 2
    assert alarms.ring_due() == 3.0
    alarms.set("a", 1.0)
    clock.time += 1
    alarms.ring_due()
    assert rung == ["a"]
    clock.time += 10
    assert alarms.ring_due() is None
    assert rung == ["a"]


def test_a_cleared_alarm_does_not_ring(alarms, clock, rung):
    alarms.set("a", 1.0)
    alarms.clear("a")
    alarms.clear("never set")
    clock.time += 2
    assert alarms.ring_due() is None
    assert rung == []


def test_ringing_may_set_the_same_alarm_again(clock, rung):
    def ring(key: object) -> None:
        rung.append(key)
        if len(rung) < 3:
            alarms.set(key, 1.0)

    alarms = Alarms(clock, ring)
    alarms.set("a", 1.0)
    clock.time += 1
    assert alarms.ring_due() == 1.0
    assert rung == ["a"]


def test_what_was_set_again_a_thousand_times_takes_no_room(alarms, clock, rung):
    for number in range(10_000):
        clock.time += 0.001
        alarms.set(number % 10, 3600.0)
    assert len(alarms) == 10
    assert len(alarms._heap) < 200
    for number in range(10):
        alarms.clear(number)
    alarms.set("last", 1.0)
    assert len(alarms._heap) < 200
    assert rung == []


def test_an_alarm_that_fails_does_not_silence_the_others(clock, rung):
    def ring(key: object) -> None:
        rung.append(key)
        if key == "bad":
            raise RuntimeError("no")

    alarms = Alarms(clock, ring)
    alarms.set("bad", 1.0)
    alarms.set("good", 2.0)
    clock.time += 3
    with pytest.raises(RuntimeError):
        alarms.ring_due()
    alarms.ring_due()
    assert rung == ["bad", "good"]


async def test_the_task_rings_what_is_due_and_hears_of_earlier_alarms(alarms, clock, rung):
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(alarms.run())
        alarms.set("late", 3600.0)
        await asyncio.sleep(0)
        alarms.set("now", 0.0)
        while rung != ["now"]:
            await asyncio.sleep(0)
        task.cancel()
    assert len(alarms) == 1
