"""Ablations of Tables I to III: the settings of each row that differ from the full recipe of a scale.

The column "Evolution" of Table I has errors, and so has the list in Sec. V-D for Model 7, in which "5" must be 6:
18.33M parameters include the attention. The recipes here have the numbers of parameters of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from taichinet.experiments.experiment import Experiment, vary

Row = Callable[[Experiment], Experiment]


def model_1(full: Experiment) -> Experiment:
    """The positive path alone: one U-Net."""
    shared = ("width", "output_kernel", "in_channels", "num_classes")
    options = {key: full.options[key] for key in shared if key in full.options}
    return vary(full, {"model": "unet", "options": options, "training.strategy": "plain"})


def changed(changes: Mapping[str, object]) -> Row:
    """The row that changes settings of the full recipe, by dotted key."""
    return lambda full: vary(full, changes)


# One line on each row, for `taichinet recipes`.
PURPOSES = {
    "model-1": "Table I, Model 1: the positive path alone, one U-Net",
    "model-2": "Table I, Model 2: two U-Nets without interaction, whose mean is the output",
    "model-3": "Table I, Model 3: Model 2 with the complementary loss",
    "model-4": "Table I, Model 4: Model 2 with cross-attention",
    "model-5": "Table I, Model 5: Model 3 with the complementary head",
    "model-6": "Table I, Model 6: Model 3 with cross-attention",
    "model-7": "Table I, Model 7: TaiChiNet without its learning strategy",
    "consistent": "Table II, Cons-ML: both paths segment the lesion",
    "head-a": "Table III: convolutions in the complementary head (Fig. 10 a)",
    "head-b": "Table III: MLPs of the complementary head in the order n' -> p -> n (Fig. 10 b)",
}
# TaiChiNet without its learning strategy.
MODEL_7 = {"training.strategy": "plain"}
# Model 7 without its head; the output is the mean of both paths, as in Model 2.
MODEL_6 = {**MODEL_7, "options.head": "none", "options.answer": "mean"}
# Model 7 without cross-attention, i.e. Model 3 with the complementary head; the head ends with O_p.
MODEL_5 = {**MODEL_7, "options.cross_attention": False}
# Model 6 without the complementary loss, i.e. Model 2 with cross-attention.
MODEL_4 = {**MODEL_6, "objective.complementary": False}
# Model 6 without cross-attention, i.e. Model 2 with the complementary loss.
MODEL_3 = {**MODEL_6, "options.cross_attention": False}
# Model 1 and the negative path without any interaction; the output is the mean of both.
MODEL_2 = {**MODEL_3, "objective.complementary": False}

# The remaining rows of the three tables (TaiChiNet, Comp-ML, head c) are the full recipe itself.
ABLATIONS: dict[str, Row] = {
    "model-1": model_1,
    "model-2": changed(MODEL_2),
    "model-3": changed(MODEL_3),
    "model-4": changed(MODEL_4),
    "model-5": changed(MODEL_5),
    "model-6": changed(MODEL_6),
    "model-7": changed(MODEL_7),
    # Table II, Cons-ML: both paths segment the lesion, and outputs are not complemented.
    "consistent": changed({"options.mutual": "consistent"}),
    # Table III, Fig. 10: (a) convolutions in the head, p' -> n -> p; (b) the head's MLPs in the order n' -> p -> n.
    "head-a": changed({"options.head": "a"}),
    "head-b": changed({"options.head": "b"}),
}
