"""The queue of keys: one hand a key, once however often asked for, later and later while it fails."""

import asyncio

import pytest

from catalog.model import RepositoryKey
from controller.workqueue import FIRST_RETRY, LONGEST_RETRY, WorkQueue

A, B = RepositoryKey("default", "a"), RepositoryKey("default", "b")


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock=clock)


async def taken(queue: WorkQueue) -> RepositoryKey | None:
    """The next key if there is one now."""
    taking = asyncio.create_task(queue.take())
    for _ in range(3):
        await asyncio.sleep(0)
    if not taking.done():
        taking.cancel()
        return None
    return await taking


async def test_a_key_is_handed_out_once_however_often_it_was_asked_for(queue: WorkQueue) -> None:
    for _ in range(3):
        queue.add(A)
    assert (await taken(queue), await taken(queue)) == (A, None)


async def test_keys_come_in_the_order_they_were_asked_for(queue: WorkQueue) -> None:
    for key in (B, A, B):
        queue.add(key)
    assert (await taken(queue), await taken(queue)) == (B, A)


async def test_a_key_that_is_looked_at_is_nobody_elses_until_it_is_done(queue: WorkQueue) -> None:
    queue.add(A)
    assert await taken(queue) == A
    queue.add(A)
    queue.add(B)
    assert (await taken(queue), await taken(queue)) == (B, None)
    queue.done(A)
    assert await taken(queue) == A


async def test_a_waiting_hand_gets_what_comes(queue: WorkQueue) -> None:
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(A)
    assert await asyncio.wait_for(waiting, 10) == A


async def test_a_key_waits_for_its_time(queue: WorkQueue, clock: Clock) -> None:
    queue.add_later(A, 30)
    assert await taken(queue) is None
    clock.now += 30
    assert await taken(queue) == A


async def test_a_look_meanwhile_and_a_later_time_replace_the_one_before(queue: WorkQueue, clock: Clock) -> None:
    queue.add_later(A, 30)
    queue.add(A)
    assert await taken(queue) == A
    queue.done(A)
    queue.add_later(A, 60)
    clock.now += 30
    assert await taken(queue) is None
    clock.now += 30
    assert (await taken(queue), await taken(queue)) == (A, None)
    assert queue.waiting == []
    assert queue.due == {}


async def test_a_failing_key_waits_twice_as_long_each_time(queue: WorkQueue) -> None:
    pauses = [queue.retry(A) for _ in range(12)]
    assert pauses[:4] == [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4, FIRST_RETRY * 8]
    assert pauses[-1] == LONGEST_RETRY
    queue.forget_failures(A)
    assert queue.retry(A) == FIRST_RETRY


async def test_the_oldest_is_the_one_that_waited_longest(queue: WorkQueue, clock: Clock) -> None:
    assert queue.oldest() == 0.0
    queue.add(A)
    clock.now += 5
    queue.add(B)
    assert queue.oldest() == 5.0


@pytest.mark.parametrize("steps", range(6))  # of the event loop between the two: at one of them the wait has ended and not returned
async def test_a_hand_that_is_told_to_stop_just_as_something_changes_stops(steps: int) -> None:
    queue = WorkQueue()
    queue.add_later(A, 1000)
    hand = asyncio.create_task(queue.take())
    for _ in range(5):
        await asyncio.sleep(0)
    queue.add_later(B, 1000)  # wakes the hand, for which there is nothing to take
    for _ in range(steps):
        await asyncio.sleep(0)
    hand.cancel()
    await asyncio.wait({hand}, timeout=5)
    assert hand.cancelled()
