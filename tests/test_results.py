from embedlens import results
import numpy as np
import pytest
from scipy import stats


def test_interval_of_the_mean_is_students():
    values = [0.2, 0.1, 0.4, 0.3, 0.35]
    mean, low, high = results.mean_interval(values)
    assert mean == pytest.approx(np.mean(values))
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((known.low, known.high))


def test_interval_of_one_value():
    with pytest.raises(ValueError, match="two values or more, not 1"):
        results.mean_interval([1.0])
