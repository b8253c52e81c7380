import random

import pytest

from wsdirect.tools.bench.figures import Histogram
from wsdirect.tools.bench.measure import Cell, CouldNot, Group, Sample, ratios, run
from wsdirect.tools.bench.results import Result


class Resource:
    """Writes down what is done with it."""

    def __init__(self, name, log, fails=None):
        self.name, self.log, self.fails = name, log, fails

    def start(self):
        self.log.append(f"start {self.name}")
        if self.fails:
            raise self.fails

    def stop(self):
        self.log.append(f"stop {self.name}")


def cell(name, measure=lambda: Sample(1.0), needs=None, **more):
    return Cell("ping-pong", name, "two", "us", measure, needs=needs, **more)


def test_all_take_turns_and_in_another_order_each_round():
    log = []

    def measuring(name):
        def measure():
            log.append(name)
            return Sample(float(len(log)))

        return cell(name, measure)

    names = list("abcdefgh")
    found = run([Group("g", [measuring(name) for name in names])], 20, random.Random(1))
    rounds = [tuple(log[at : at + 8]) for at in range(0, len(log), 8)]
    assert len(rounds) == 20
    assert all(sorted(each) == names for each in rounds)
    assert len(set(rounds)) > 15
    # nobody has a place of its own
    assert len({each[0] for each in rounds}) > 4
    assert [result.contender for result in found] == names
    assert all(result.rounds == 20 for result in found)


def test_a_group_may_want_other_rounds_and_results_are_medians():
    values = iter([5.0, 1.0, 3.0])
    each = [Histogram.of([1.0] * 98), Histogram.of([7.0] * 2), None]
    group = Group(
        "g",
        [
            cell(
                "a",
                lambda: Sample(next(values), each.pop(), {"cpu": 2.0}),
                size=64,
                tail=True,
            )
        ],
        rounds=3,
    )
    (result,) = run([group], 100, random.Random())
    assert (result.samples, result.median, result.extra) == ([5.0, 1.0, 3.0], 3.0, {"cpu": 2.0})
    assert result.p99 == pytest.approx(7, rel=0.01)
    assert result.p999 == pytest.approx(7, rel=0.01)


def test_who_cannot_is_left_out_and_named_and_the_others_go_on():
    log, left_out = [], {}
    good, bad = Resource("good", log), Resource("bad", log, CouldNot("it is missing"))
    tried = []

    def gives_up():
        tried.append(1)
        if len(tried) == 2:
            raise CouldNot("it broke")
        return Sample(1.0)

    group = Group(
        "g",
        [cell("a", needs=good), cell("b", needs=bad, size=8), cell("c", gives_up, count=9)],
        [good, bad],
    )
    found = run([group], 4, random.Random(), left_out=left_out)
    assert [(each.contender, each.rounds) for each in found] == [("a", 4)]
    assert left_out == {
        "b in ping-pong (two, 8 B)": "it is missing",
        "c in ping-pong (two, 9 connections)": "it broke",
    }
    assert len(tried) == 2
    assert log == ["start good", "start bad", "stop good", "stop bad"]


@pytest.mark.parametrize("where", ["start", "measure", "stop"])
def test_everything_is_stopped_whatever_happens(where):
    log = []

    class Stubborn(Resource):
        def stop(self):
            super().stop()
            if where == "stop":
                raise KeyboardInterrupt

    def interrupted():
        raise KeyboardInterrupt

    first = Stubborn("first", log, KeyboardInterrupt() if where == "start" else None)
    second = Resource("second", log)
    measure = interrupted if where == "measure" else lambda: Sample(1.0)
    with pytest.raises(KeyboardInterrupt):
        run([Group("g", [cell("a", measure)], [first, second])], 1, random.Random())
    assert log[-2:] == ["stop first", "stop second"]


def test_progress_counts_what_is_left_out_as_well():
    class Counter:
        steps = 0
        titles = ()

        def show(self, title):
            self.titles += (title,)

        def step(self):
            self.steps += 1

    def broken():
        raise CouldNot("no")

    counter = Counter()
    groups = [Group("one", [cell("a"), cell("b", broken)]), Group("two", [cell("c")], rounds=2)]
    run(groups, 5, random.Random(), counter)
    assert (counter.titles, counter.steps) == (("one", "two"), 2 * 5 + 2)


def test_ratios_say_how_many_times_better():
    def result(contender, samples, unit, **more):
        middle = sorted(samples)[len(samples) // 2]
        return Result("s", contender, "two", unit, samples, middle, **more)

    results = [
        result("mine", [1.0, 2.0, 1.0], "us", size=1),
        result("theirs", [10.0, 10.0, 40.0], "us", size=1),
        result("theirs", [10.0], "us", size=2),
        result("mine", [30.0], "GB/s", size=3),
        result("theirs", [10.0], "GB/s", size=3),
        result("mine", [0.0], "ms", size=4),
        result("theirs", [1.0], "ms", size=4),
    ]
    first, second = ratios(results, ["mine"])
    assert (first.contender, first.other, first.size) == ("mine", "theirs", 1)
    assert (first.ratio, first.low, first.high) == (10.0, 5.0, 40.0)
    assert (second.ratio, second.size) == (3.0, 3)
