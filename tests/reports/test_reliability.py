"""The reliability diagram: points of the chart, description and table of bins."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
from fakes.cards import WHOLE

from taichinet.evaluation.calibration import Calibration, calibrate, pool
from taichinet.reports.charts import reliability_figure


def curve(calibration: Calibration) -> list[tuple[float, float]]:
    """The points (x, y) of the solid curve in points, y downwards."""
    (path,) = re.findall(
        r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--line-1\); stroke-width: 2',
        reliability_figure(calibration).draw(),
    )
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]


def test_chart_is_svg_element_in_page_colours() -> None:
    svg = reliability_figure(WHOLE).draw()
    root = ElementTree.fromstring(svg)  # noqa: S314  our own text
    assert root.tag == "svg"
    assert "http" not in svg
    assert set(re.findall(r"#[0-9a-f]{6}", svg)) <= {"#000000", "#ffffff"}
    texts = {element.text for element in root.iter("text")}
    assert {"probability of lesion", "share that is lesion", "pixels", "probability too low", "too high"} <= texts


def test_curve_is_lower_for_overconfident_predictions() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(60_000)
    calibrated = curve(calibrate(p, rng.random(p.size) < p))
    overconfident = curve(calibrate(p, rng.random(p.size) < 0.3 * p))
    assert [x for x, _ in calibrated] == [x for x, _ in overconfident]
    assert calibrated[-1][1] < overconfident[-1][1] - 100


def test_chart_without_pixels_is_drawn_and_described() -> None:
    assert reliability_figure(pool([])).draw().startswith("<svg")
    assert reliability_figure(pool([])).description == "No pixel was measured."


def test_description_has_both_ends_and_pixel_distribution() -> None:
    words = reliability_figure(WHOLE).description
    assert "Of the 9,000 pixels with a mean probability of 0.02, 1% are lesion." in words
    assert "Of the 50 pixels with a mean probability of 0.60, 40% are lesion." in words
    assert "Of the 950 pixels with a mean probability of 0.95, 90% are lesion." in words
    assert "The lowest of 3 filled bins contains 90.0% of all pixels, the highest 9.5%." in words


def test_single_bin_is_described_once() -> None:
    assert reliability_figure(Calibration((4, 0), (1, 0), (1.0, 0.0), 0.1)).description.count("Of the") == 1


def test_table_has_one_row_per_bin_with_dashes_for_empty_bins() -> None:
    assert reliability_figure(WHOLE).numbers.groups[0] == (
        ("0.00 to 0.25", "9,000", "0.020", "0.010"),
        ("0.25 to 0.50", "0", "–", "–"),
        ("0.50 to 0.75", "50", "0.600", "0.400"),
        ("0.75 to 1.00", "950", "0.950", "0.900"),
    )
