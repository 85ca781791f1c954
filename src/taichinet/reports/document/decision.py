"""How all reports describe a decision."""

from __future__ import annotations

from taichinet.evaluation.decision import Decision
from taichinet.presence import PRESENCE_SHARE


def describe_decision(decision: Decision) -> tuple[str, ...]:
    """One sentence for each step of the decision, in the order of the steps; steps that are off are left out.

    Args:
        decision: How masks are made from probabilities.

    Returns:
        Sentences without a full stop.
    """
    calibrated = decision.temperature != 1
    exceeds = f"A pixel is lesion if its probability{' after temperature' * calibrated} exceeds {decision.threshold:g}"
    share = f"{100 * decision.smallest_component:g} %"
    steps = (
        (calibrated, f"The logit of each probability is divided by the temperature {decision.temperature:g}"),
        (True, exceeds),
        (decision.fill_holes, "Holes in a predicted component are filled"),
        (decision.smallest_component > 0, f"Components with less than {share} of the image area are removed"),
        (
            decision.presence > 0,
            f"No lesion is reported if the presence score, the mean of the most probable {100 * PRESENCE_SHARE:g} % of "
            f"the pixels, is below {decision.presence:g}",
        ),
    )
    return tuple(text for included, text in steps if included)
