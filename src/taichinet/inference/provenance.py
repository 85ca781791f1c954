"""Origin of predictions: which weights, and how they were computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taichinet.inference.predictor import Predictor
from taichinet.inference.rows import Provenance
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights
from taichinet.storage.digest import digest_bytes, digest_file
from taichinet.version import __version__


def provenance_of(predictor: Predictor, members: Sequence[LoadedWeights]) -> Provenance:
    """The provenance of all predictions of `predictor`, whose networks are `members`, loaded from folders."""
    digests = [member.config.digest or digest_file(_folder(member) / WEIGHTS_FILE) for member in members]
    runtime = predictor.runtime.description
    return Provenance(
        weights=weights_name(members[0], len(members)),
        weights_digest=digests[0] if len(digests) == 1 else digest_bytes("".join(digests).encode()),
        runtime=runtime.name,
        precision=runtime.precision,
        threshold=predictor.decision.threshold,
        version=__version__,
    )


def weights_name(member: LoadedWeights, networks: int = 1) -> str:
    """Name of weights: their folder, or the run or study of training that they belong to.

    Args:
        member: The weights, or the first ones of a study.
        networks: Number of networks that are averaged.

    Returns:
        For example best-lite, busi/best-lite/grouped/fold-0, or busi/best-lite/grouped for the average of its folds.
    """
    folder, origin = _folder(member), member.config.provenance
    if folder.name != "weights" and networks == 1:
        return folder.name
    parts = [origin[key] for key in ("dataset", "recipe", "protocol") if isinstance(origin.get(key), str)]
    if networks == 1:  # packaged weights may be in any folder, so its name is not that of the fold
        fold = origin.get("fold", folder.parent.name)
        parts.append("all-images" if fold is None else f"fold-{fold}" if isinstance(fold, int) else fold)
    return "/".join(parts) or folder.parent.name


def _folder(member: LoadedWeights) -> Path:
    return Path() if member.folder is None else member.folder.resolve()
