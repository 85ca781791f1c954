"""Which images are not independent: near-duplicates and patients, as the fold plans beside the runs tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taichinet.datasets.folds import FoldPlan, read_folds
from taichinet.evaluation.uncertainty import join_groups


@dataclass(frozen=True)
class KnownGroups:
    """All fold plans below a folder of runs."""

    plans: tuple[FoldPlan, ...]

    def known(self, dataset: str) -> bool:
        """Whether some plan tells the groups of `dataset`."""
        return any(plan.dataset == dataset for plan in self.plans)

    def clusters(self, dataset: str, keys: Sequence[str]) -> list[int]:
        """For each key the number of its cluster, by every plan of the data set; each for itself without a plan."""
        groups = {group for plan in self.plans if plan.dataset == dataset for group in plan.groups}
        return join_groups(keys, sorted(groups))

    def leaking(self, digest: str, protocol: str, count: int, seed: int, folds: Sequence[int]) -> int | None:
        """Images tested in `folds` that have a copy, or their patient, in another fold; None without the plan."""
        wanted = (digest, protocol, count, seed)
        plan = next((p for p in self.plans if (p.digest, p.protocol, p.count, p.seed) == wanted), None)
        if plan is None:
            return None
        group_of = {key: group for group in plan.groups for key in group}
        return sum(
            any(plan.fold_of.get(other, fold) != fold for other in group_of.get(key, ()))
            for key, fold in plan.fold_of.items()
            if fold in folds
        )


def read_groups(folder: Path) -> KnownGroups:
    """Every plan in a folder called `folds` below `folder`; FoldError names one that cannot be read."""
    return KnownGroups(tuple(read_folds(path) for path in sorted(folder.rglob("folds/*.json"))))
