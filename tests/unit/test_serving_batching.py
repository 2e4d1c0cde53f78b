"""Requests that wait are scored together, bounded in number and in time."""

import asyncio
import threading

import pytest

from tidegate.serving.batching import Batcher, TimedOut
from tidegate.serving.schema import RequestRefused


class Model:
    """Doubles numbers, and remembers what it was given together."""

    def __init__(self, fail_on=None):
        self.batches, self.threads, self.fail_on = [], [], fail_on

    def __call__(self, asked):
        self.batches.append(list(asked))
        self.threads.append(threading.current_thread())
        if self.fail_on in asked:
            raise ValueError(self.fail_on)
        return [2 * number for number in asked]


def batcher(model, **changed):
    limits = {"batch_rows": 4, "max_waiting": 100, "timeout_seconds": 5.0} | changed
    return Batcher(model, **limits)


def answers(work, asked, rows=1):
    async def run():
        tasks = [asyncio.ensure_future(work.answer(one, rows)) for one in asked]
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_what_has_come_in_is_scored_together_up_to_the_rows_of_a_batch():
    model = Model()
    assert answers(batcher(model), range(10)) == [2 * number for number in range(10)]
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_request_of_more_rows_than_a_batch_is_scored_alone():
    model = Model()
    answers(batcher(model), [1, 2], rows=5)
    assert model.batches == [[1], [2]]


def test_a_request_that_fails_leaves_its_neighbours_their_answers():
    found = answers(batcher(Model(fail_on=2)), [1, 2, 3])
    assert found[0] == 2
    assert isinstance(found[1], ValueError)
    assert found[2] == 6


def test_more_requests_than_may_be_in_hand_are_told_to_come_again():
    found = answers(batcher(Model(), max_waiting=2), [1, 2, 3])
    assert found[:2] == [2, 4]
    assert isinstance(found[2], RequestRefused)
    assert (found[2].reason, found[2].status) == ("overloaded", 429)


def test_there_is_room_again_once_a_request_is_answered():
    work = batcher(Model(), max_waiting=1)

    async def run():
        return [await work.answer(number, 1) for number in range(3)]

    assert asyncio.run(run()) == [0, 2, 4]
    assert work.in_hand == 0


def test_rows_that_take_long_are_scored_off_the_loop_and_quick_ones_on_it():
    model = Model()
    answers(batcher(model, row_seconds=1.0), [1])
    answers(batcher(model, row_seconds=0.0), [1])
    assert model.threads[0] is not threading.main_thread()
    assert model.threads[1] is threading.main_thread()


def test_a_request_has_its_time_and_no_more_even_if_the_model_hangs():
    released = threading.Event()

    def hang(asked):
        released.wait(10)
        return asked

    work = batcher(hang, row_seconds=1.0, timeout_seconds=0.05)

    async def run():
        first = asyncio.ensure_future(work.answer(1, 1))
        await asyncio.sleep(0)
        found = await asyncio.gather(first, work.answer(2, 1), return_exceptions=True)
        released.set()
        return found

    found = asyncio.run(run())
    assert [type(outcome) for outcome in found] == [TimedOut, TimedOut]


def test_a_client_that_went_away_is_not_scored():
    model = Model()
    work = batcher(model)

    async def run():
        gone = asyncio.ensure_future(work.answer(1, 1))
        await asyncio.sleep(0)
        gone.cancel()
        return await work.answer(2, 1)

    assert asyncio.run(run()) == 4
    assert model.batches == [[2]]


@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_request_gets_its_own_answer(count):
    assert answers(batcher(Model(), batch_rows=3), range(count)) == [2 * n for n in range(count)]
