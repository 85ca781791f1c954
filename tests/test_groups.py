"""`join_groups` merges groups that share a key, compared with a reference written as loops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taichinet.groups import cluster_numbers, join_groups

KEYS = "abcdefgh"
groupings = st.lists(st.lists(st.sampled_from(KEYS), max_size=4), max_size=6)


def joined_by_loops(groups: list[list[str]]) -> list[set[str]]:
    remaining = [set(group) for group in groups]
    for key in KEYS:
        sharing = [group for group in remaining if key in group]
        remaining = [group for group in remaining if key not in group] + ([set().union(*sharing)] if sharing else [])
    return remaining


def test_groups_sharing_a_key_are_merged() -> None:
    joined = join_groups((("x", "y"), ("b", "a"), ("b", "c"), ("z",), ("d", "c")))
    assert joined == (("a", "b", "c", "d"), ("x", "y"))
    assert join_groups(()) == ()


@given(groupings)
def test_join_groups_matches_reference_loops(groups: list[list[str]]) -> None:
    expected = sorted(tuple(sorted(group)) for group in joined_by_loops(groups) if len(group) > 1)
    assert list(join_groups(groups)) == expected


@given(groupings)
def test_keys_share_a_number_exactly_when_joined(groups: list[list[str]]) -> None:
    numbers = dict(zip(KEYS, cluster_numbers(KEYS, groups), strict=True))
    together = {(a, b) for group in joined_by_loops(groups) for a in group for b in group}
    for a in KEYS:
        for b in KEYS:
            assert (numbers[a] == numbers[b]) == (a == b or (a, b) in together)


def test_keys_are_joined_through_keys_not_requested() -> None:
    """b and c are copies, c and d show one patient; e and f are joined by an image that was not scored."""
    numbers = cluster_numbers("abcdefg", [("b", "c"), ("c", "d"), ("e", "absent"), ("absent", "f"), ()])
    names = dict(zip("abcdefg", numbers, strict=True))
    assert names["b"] == names["c"] == names["d"]
    assert names["e"] == names["f"]
    assert len(set(numbers)) == 4
    assert len(set(cluster_numbers(["x", "y"], []))) == 2
    assert cluster_numbers(["x", "y", "x"], []) == [0, 1, 0]
