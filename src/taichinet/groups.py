"""Groups of dependent images (near-duplicates, or images of one patient). Groups that share a key are joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Join groups that share a key.

    Args:
        groups: Groups of keys.

    Returns:
        Disjoint groups of at least two keys; keys and groups are sorted.
    """
    given = list(groups)
    keys = sorted({key for group in given for key in group})
    members: dict[int, list[str]] = {}
    for key, number in zip(keys, cluster_numbers(keys, given), strict=True):
        members.setdefault(number, []).append(key)
    return tuple(tuple(together) for together in members.values() if len(together) > 1)


def cluster_numbers(keys: Sequence[str], groups: Iterable[Sequence[str]]) -> list[int]:
    """Number of the cluster of each key, which is equal for keys in the same joined group.

    Args:
        keys: Keys of images. A key without a group has a cluster of its own.
        groups: Groups of keys. Members that are not in `keys` also join groups.

    Returns:
        A number for each of `keys`.
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
