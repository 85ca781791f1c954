"""Ablations of Tables I to III: one function per row.

A function takes the full recipe of a scale (`busi_taichinet()`, `cpu_taichinet()`, ...) and removes parts of it. The
column "Evolution" of Table I has errors, and so has the list in Sec. V-D for Model 7, in which "5" must be 6: 18.33M
parameters include the attention. The recipes here have the numbers of parameters of the paper.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.experiments.experiment import Experiment, vary

Row = Callable[[Experiment], Experiment]


def model_1(full: Experiment) -> Experiment:
    """The positive path alone: one U-Net."""
    shared = ("width", "output_kernel", "in_channels", "num_classes")
    options = {key: full.options[key] for key in shared if key in full.options}
    return vary(full, {"model": "unet", "options": options, "training.strategy": "plain"})


def model_2(full: Experiment) -> Experiment:
    """Model 1 and the negative path without any interaction; the output is the mean of both."""
    return vary(model_3(full), {"objective.complementary": False})


def model_3(full: Experiment) -> Experiment:
    """Model 2 with the complementary loss, i.e. Model 6 without cross-attention."""
    return vary(model_6(full), {"options.cross_attention": False})


def model_4(full: Experiment) -> Experiment:
    """Model 2 with cross-attention, i.e. Model 6 without the complementary loss."""
    return vary(model_6(full), {"objective.complementary": False})


def model_5(full: Experiment) -> Experiment:
    """Model 3 with the complementary head, i.e. Model 7 without cross-attention; the head ends with O_p."""
    return vary(model_7(full), {"options.cross_attention": False})


def model_6(full: Experiment) -> Experiment:
    """Model 3 with cross-attention, i.e. Model 7 without its head; the output is the mean, as in Model 2."""
    return vary(model_7(full), {"options.head": "none", "options.answer": "mean"})


def model_7(full: Experiment) -> Experiment:
    """Model 6 with the complementary head, i.e. TaiChiNet without its learning strategy."""
    return vary(full, {"training.strategy": "plain"})


def consistent(full: Experiment) -> Experiment:
    """Table II, Cons-ML: both paths segment the lesion, and outputs are not complemented."""
    return vary(full, {"options.mutual": "consistent"})


def head_a(full: Experiment) -> Experiment:
    """Table III, Fig. 10 (a): convolutions in the head, p' -> n -> p."""
    return vary(full, {"options.head": "a"})


def head_b(full: Experiment) -> Experiment:
    """Table III, Fig. 10 (b): the head's MLPs in the order n' -> p -> n."""
    return vary(full, {"options.head": "b"})


# The remaining rows of the three tables (TaiChiNet, Comp-ML, head c) are the full recipe itself.
ABLATIONS: dict[str, Row] = {
    "model-1": model_1,
    "model-2": model_2,
    "model-3": model_3,
    "model-4": model_4,
    "model-5": model_5,
    "model-6": model_6,
    "model-7": model_7,
    "consistent": consistent,
    "head-a": head_a,
    "head-b": head_b,
}
