"""The budget, played through on a clock that nobody waits for."""

from dataclasses import replace

import pytest

from tidegate.config import SearchConfig
from tidegate.models.catalogue import algorithm
from tidegate.records import TrialResult
from tidegate.search.schedule import Schedule

LOGISTIC, XGBOOST = algorithm("logistic"), algorithm("xgboost")
LONG = replace(LOGISTIC, name="long", relative_cost=50.0, plans_by_seconds=True)
SECONDS = {"logistic": 2.0, "xgboost": 8.0, "long": 30.0}


class Play:
    """One slot: every trial takes its seconds and reaches what `reached` says."""

    def __init__(
        self, algorithms, reached=lambda name, count: 0.5 + 0.1 * count, early=None, late=(), **told
    ):
        self.now = 0.0
        #: Seconds after which a long trial has learnt all that it can.
        self.early = early
        #: Who has too little time.
        self.late = late
        config = SearchConfig.model_validate({"minutes": 5, "parallel": 1, **told})
        self.schedule = Schedule(algorithms, config, slots=1, cores=2, clock=lambda: self.now)
        self.reached = reached
        self.turns = []

    def run(self, most=10_000):
        turn = self.schedule.benchmark_turn("logistic")
        while turn is not None and len(self.turns) < most:
            began = self.now
            takes = SECONDS[turn.algorithm]
            if turn.algorithm == "long" and turn.seconds:
                takes = min(turn.seconds, self.early or turn.seconds)
            self.now += takes
            self.turns.append((began, turn))
            count = sum(past.algorithm == turn.algorithm for _, past in self.turns)
            result = TrialResult(
                number=len(self.turns) - 1,
                algorithm=turn.algorithm,
                params={},
                status="out_of_time" if turn.algorithm in self.late else "succeeded",
                average_precision=None
                if turn.algorithm in self.late
                else min(0.99, self.reached(turn.algorithm, count)),
                seconds=takes,
            )
            self.schedule.learn(result)
            turn = self.schedule.turn(0)
        return self

    def names(self):
        return [turn.algorithm for _, turn in self.turns]


def test_minutes_are_used_up_and_trials_end_before_the_final_stage():
    play = Play([LOGISTIC, XGBOOST]).run()
    assert 0.85 * 300 < play.now <= 0.95 * 300
    assert play.names()[:2] == ["logistic", "xgboost"]


def test_the_final_stage_keeps_time_for_the_winners_folds():
    play = Play([LOGISTIC], crossfit_folds=5).run()
    assert play.now <= 0.95 * 300 - 5 * SECONDS["logistic"] + 1e-9


def test_a_trial_is_not_started_when_it_cannot_end_in_time():
    play = Play([LOGISTIC, XGBOOST]).run()
    for began, turn in play.turns[4:]:
        assert began + SECONDS[turn.algorithm] <= 0.95 * 300 + 1e-9


def test_the_long_trial_gets_its_share_of_the_minutes_with_every_core():
    play = Play([LOGISTIC, XGBOOST, LONG], reached=lambda n, c: 0.5 + 0.01 * c).run()
    (began, turn), *others = [entry for entry in play.turns if entry[1].algorithm == "long"]
    assert turn.threads == 2
    assert turn.seconds >= 0.6 * 0.95 * 300 - 0.1 * 300
    assert began + turn.seconds < 0.95 * 300
    assert not [entry for entry in others if entry[0] < began]
    assert {turn.threads for _, turn in play.turns if turn.algorithm != "long"} == {2}


def test_the_long_trial_starts_early_when_nothing_else_is_expected_to_improve():
    play = Play([LOGISTIC, LONG], reached=lambda name, count: 0.8).run()
    began = next(began for began, turn in play.turns if turn.algorithm == "long")
    late = Play([LOGISTIC, LONG], reached=lambda name, count: 0.5 + 0.002 * count).run()
    assert began < next(began for began, turn in late.turns if turn.algorithm == "long")


def long_turns(**told):
    play = Play([LOGISTIC, LONG], **told).run()
    return play, [turn for _, turn in play.turns if turn.algorithm == "long"]


def test_a_long_trial_that_wins_early_runs_again_from_another_seed():
    best = {"logistic": 0.6, "long": 0.8}
    play, turns = long_turns(reached=lambda name, count: best[name], early=100.0)
    assert [turn.again for turn in turns] == [False, True]
    places = [place for place, name in enumerate(play.names()) if name == "long"]
    assert places[1] == places[0] + 1
    assert play.now <= 0.95 * 300


@pytest.mark.parametrize(
    ("best", "early"),
    [({"logistic": 0.9, "long": 0.8}, 100.0), ({"logistic": 0.6, "long": 0.8}, 200.0)],
)
def test_a_long_trial_that_loses_or_leaves_little_is_not_repeated(best, early):
    _, turns = long_turns(reached=lambda name, count: best[name], early=early)
    assert not [turn for turn in turns if turn.again]


def test_a_long_trial_that_has_too_little_time_is_not_tried_again():
    play, turns = long_turns(late=("long",), early=10.0)
    assert len(turns) == 1
    assert play.now > 0.85 * 300
    assert Play([LONG], late=("long",), early=10.0).run().names() == ["logistic", "long"]


def test_no_trial_runs_beside_the_long_one():
    play = Play([LONG])
    assert play.schedule.turn(1) is None
    assert play.schedule.turn(0).algorithm == "long"
    assert play.schedule.turn(1) is None


def test_a_budget_in_trials_does_not_depend_on_seconds():
    def names(pace):
        for name in SECONDS:
            SECONDS[name] *= pace
        try:
            told = {"trials": 12, "minutes": None}
            return Play([LOGISTIC, XGBOOST, LONG], **told).run(12).names()
        finally:
            for name in SECONDS:
                SECONDS[name] /= pace

    assert names(1) == names(7)
    assert len(names(1)) == 12


def test_a_budget_in_trials_tells_no_seconds_unless_there_are_minutes():
    unlimited = Play([LOGISTIC, LONG], trials=4, minutes=None).run(4)
    assert [turn.seconds for _, turn in unlimited.turns] == [None] * 4
    limited = Play([LONG], trials=4, minutes=1)
    assert limited.schedule.turn(0).seconds == pytest.approx(57)


def test_every_cheap_default_is_tried_although_the_long_trial_has_the_most_minutes():
    play = Play([LOGISTIC, XGBOOST, LONG], minutes=2, long_share=0.97).run()
    assert play.names()[:3] == ["logistic", "xgboost", "long"]
