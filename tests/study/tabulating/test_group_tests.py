"""The tests of similarity as rows."""

from __future__ import annotations

import pytest
import torch

from tl_ext.study.tabulating import group_tests


def test_the_interval_of_several_dictionaries_is_of_their_mean_s_excess() -> None:
    """The median of the words' means, which the excess is taken over, is no mean of medians."""
    one = torch.tensor([[1.0, 0.0, 0.0, 9.0]]).expand(20, -1)
    other = torch.tensor([[1.0, 9.0, 0.0, 0.0]]).expand(20, -1)
    found = group_tests._intervals([one, other], 0, torch.arange(1, 4))
    assert found["low"] == found["high"] == 1.0
    excess = 1.0 - 4.5  # the words' means are 4.5, 0 and 4.5
    assert found["excess_low"] == pytest.approx(excess) == pytest.approx(found["excess_high"])
