"""Groups that share a key become one, as a search written as loops joins them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taichinet.groups import cluster_numbers, join_groups

KEYS = "abcdefgh"
groupings = st.lists(st.lists(st.sampled_from(KEYS), max_size=4), max_size=6)


def joined_by_loops(groups: list[list[str]]) -> list[set[str]]:
    left = [set(group) for group in groups]
    for key in KEYS:
        sharing = [group for group in left if key in group]
        left = [group for group in left if key not in group] + ([set().union(*sharing)] if sharing else [])
    return left


def test_groups_that_share_a_picture_become_one() -> None:
    joined = join_groups((("x", "y"), ("b", "a"), ("b", "c"), ("z",), ("d", "c")))
    assert joined == (("a", "b", "c", "d"), ("x", "y"))
    assert join_groups(()) == ()


@given(groupings)
def test_joining_is_that_of_loops_sorted(groups: list[list[str]]) -> None:
    expected = sorted(tuple(sorted(group)) for group in joined_by_loops(groups) if len(group) > 1)
    assert list(join_groups(groups)) == expected


@given(groupings)
def test_keys_have_one_number_exactly_where_they_are_joined(groups: list[list[str]]) -> None:
    numbers = dict(zip(KEYS, cluster_numbers(KEYS, groups), strict=True))
    together = {(a, b) for group in joined_by_loops(groups) for a in group for b in group}
    for a in KEYS:
        for b in KEYS:
            assert (numbers[a] == numbers[b]) == (a == b or (a, b) in together)


def test_keys_are_joined_by_members_that_were_not_asked_for() -> None:
    """b-c are copies and c-d one patient; e and f are joined by a picture that was not scored."""
    numbers = cluster_numbers("abcdefg", [("b", "c"), ("c", "d"), ("e", "absent"), ("absent", "f"), ()])
    names = dict(zip("abcdefg", numbers, strict=True))
    assert names["b"] == names["c"] == names["d"]
    assert names["e"] == names["f"]
    assert len(set(numbers)) == 4
    assert len(set(cluster_numbers(["x", "y"], []))) == 2
    assert cluster_numbers(["x", "y", "x"], []) == [0, 1, 0]
