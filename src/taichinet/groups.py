"""Groups of keys that belong together, near-duplicates or images of one patient: those that share a key are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The groups that are left once all that share a key are joined; sorted inside and among themselves.

    A group of one key that no other shares is left out.
    """
    given = list(groups)
    keys = sorted({key for group in given for key in group})
    members: dict[int, list[str]] = {}
    for key, number in zip(keys, cluster_numbers(keys, given), strict=True):
        members.setdefault(number, []).append(key)
    return tuple(tuple(together) for together in members.values() if len(together) > 1)


def cluster_numbers(keys: Sequence[str], groups: Iterable[Sequence[str]]) -> list[int]:
    """For each of `keys` the number of its cluster: equal for keys that share a group, or groups that share a key.

    Members of a group that are not in `keys` join others all the same; a key in no group is a cluster of its own.
    """
    number: dict[str, int] = {}
    for key in keys:
        number.setdefault(key, len(number))
    links: list[tuple[int, int]] = []
    for group in groups:
        members = [number.setdefault(key, len(number)) for key in group]
        links += [(members[0], other) for other in members[1:]]
    if not links:
        return [number[key] for key in keys]
    first, second = np.array(links).T
    graph = coo_array((np.ones(len(links)), (first, second)), shape=(len(number), len(number)))
    _, clusters = connected_components(graph, directed=False)
    return [int(clusters[number[key]]) for key in keys]
