import json
import random

import pytest

from wsdirect.tools.bench.figures import Histogram, median, percentile, quartiles


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3, 1, 2], 0.5, 2),
        ([3, 1, 2, 4], 0.5, 2),
        (range(1, 101), 0.99, 99),
        (range(1, 1001), 0.999, 999),
        ([7], 0.0, 7),
        ([1, 2], 1.0, 2),
    ],
)
def test_percentile(values, share, expected):
    assert percentile(values, share) == expected


def test_median_and_quartiles():
    assert median([4, 1, 3, 2]) == 2.5
    assert quartiles([5, 1, 2, 3, 4, 6, 7, 8]) == (2, 6)
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_a_histogram_is_right_to_one_per_cent():
    chance = random.Random(1)
    values = [chance.lognormvariate(0, 3) for _ in range(5000)]
    histogram = Histogram.of(values)
    assert len(histogram) == len(values)
    for share in (0.01, 0.5, 0.99, 0.999):
        assert histogram.percentile(share) == pytest.approx(percentile(values, share), rel=0.01)


def test_histograms_add_up_and_travel_as_json():
    low, high = Histogram.of([1.0] * 98), Histogram.of([100.0, 100.0, 0.0])
    low.add(Histogram.from_json(json.loads(json.dumps(high.to_json()))))
    assert len(low) == 101
    assert low.percentile(0.5) == pytest.approx(1, rel=0.01)
    assert low.percentile(0.99) == pytest.approx(100, rel=0.01)
    assert low.percentile(0.001) == 0.0
    with pytest.raises(ValueError, match="nothing"):
        Histogram().percentile(0.5)
