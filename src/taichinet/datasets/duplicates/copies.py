"""Near-duplicates of a whole data set, by the thresholds that its kind of picture needs."""

from __future__ import annotations

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.datasets.dataset import ULTRASOUND, CopyThresholds
from taichinet.datasets.duplicates.search import DuplicateReport, find_near_duplicates
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import grey_images


def find_copies(manifest: Manifest) -> DuplicateReport:
    """The near-duplicates of `manifest`; every image is decoded."""
    alike = copy_thresholds(manifest)
    return find_near_duplicates(grey_images(manifest), alike.thumbnail, detail_correlation=alike.detail)


def copy_thresholds(manifest: Manifest) -> CopyThresholds:
    """From which correlation on two pictures of `manifest` count as copies; ultrasound's for an unknown data set."""
    return CATALOGUE[manifest.name].copies if manifest.name in CATALOGUE else ULTRASOUND
