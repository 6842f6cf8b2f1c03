"""Labels of the picture of quality against cost are moved apart."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.evaluation.cost_picture import CostPoint, draw_costs, spread

GAP = 0.07


@given(heights=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_keep_their_order_and_their_distance(heights: list[float]) -> None:
    moved = spread(heights, GAP)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    assert all(moved[upper] - moved[lower] >= GAP - 1e-9 for lower, upper in pairwise(order))
    assert sum(moved) == pytest.approx(sum(heights)), "groups stay centred"


@given(steps=st.lists(st.floats(GAP + 1e-6, 1), min_size=1, max_size=8))
def test_labels_that_are_apart_stay_where_they_are(steps: list[float]) -> None:
    heights = [sum(steps[:count]) for count in range(1, len(steps) + 1)]
    assert spread(heights, GAP) == pytest.approx(heights)


@pytest.mark.parametrize("costs", [[0.2], [0.2, 0.2], [1e-6, 3e4]])
def test_picture_has_a_tick_and_a_label_for_any_costs(costs: list[float]) -> None:
    points = [CostPoint(f"model <{place}>", place, cost, 0.5) for place, cost in enumerate(costs)]
    picture = draw_costs(points, 0.5, "seconds", "quality", "key", "label")
    for point in points:
        assert point.name.replace("<", "&lt;").replace(">", "&gt;") in picture
    assert picture.count("<text") >= len(points) + 5
