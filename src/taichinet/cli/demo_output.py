"""What `taichinet demo` prints, and its next steps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from taichinet.cli.tables import print_table

if TYPE_CHECKING:
    from taichinet.reports.demo.results import DemoResults, Leaks, Segmented

Steps = Sequence[tuple[str, Sequence[str]]]


def next_steps(out: Path) -> Steps:
    """Commands for three purposes, which can be run as printed after the demo wrote to `out`."""
    examples, network, phantoms = out / "examples", out / "mynet.py", out / "phantoms"
    image = examples / "images" / "FLKA_003.png"  # a lesion that the network in the package finds
    predict = f"taichinet predict {_quote(examples / 'images')} -o masks"
    compare = f"taichinet compare {_quote(f'{network}:MyNet')} --against unet --data {_quote(phantoms)}"
    export = f"taichinet export -o lesion.onnx --images {_quote(examples)}"
    run = f"python -m taichinet.runner lesion.onnx {_quote(image)} -o out"
    return (
        ("Segment my images", (predict,)),
        ("Compare my network", (f"{compare} --scale demo --fold 0",)),
        ("Ship a model", (export, run)),
    )


def _quote(path: Path | str) -> str:
    """The path as a word of a shell."""
    return shlex.quote(str(path))


class DemoPrinter:
    """Prints the results as they are computed; with `quiet` nothing."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(soft_wrap=True, markup=False, highlight=False, quiet=quiet)
        self.quiet = quiet

    def print_examples(self, segmented: Sequence[Segmented]) -> None:
        """The Dice of the network in the package, beside that of networks that had not seen the image."""
        from taichinet.reports.demo.results import SEEN

        table = Table(box=SIMPLE_HEAD)
        headings = ("image", "lesion", "trained on it (network in the package)", "not trained on it")
        for heading in headings:
            table.add_column(heading, justify="left" if heading in ("image", "lesion") else "right")
        for one in segmented:
            seen, unseen = one.texts()
            table.add_row(one.example.image.name, "yes" if one.example.lesion else "no", seen, unseen)
        self.console.print("1. Lesions outlined: Dice on 12 images of patients (0: no overlap, 1: identical)")
        if not self.quiet:
            print_table(table, self.console)
        self.console.print(f"{SEEN} The last column is what to expect on new images of this scanner.\n")

    def print_leaks(self, leaks: Leaks) -> None:
        """The near-duplicates in both training and test set."""
        self.console.print(
            f"2. Folds: {leaks.pairs} simulated images were written twice, {leaks.found} of these pairs were found. "
            f"With {leaks.folds} random folds, {leaks.random} pairs have one image in training and the other in test; "
            f"with grouped folds {leaks.grouped}.\n"
        )

    def print_comparison(self, results: DemoResults) -> None:
        """The verdict."""
        from taichinet.reports.demo.results import verdict_text

        self.console.print(f"3. Comparison: {verdict_text(results.comparison, results.studies)}\n")

    def print_end(self, page: Path, steps: Steps, seconds: float) -> None:
        """The page and the next steps."""
        self.console.print(f"Done in {seconds:.0f} s. Page: {page}\nNext:")
        for purpose, commands in steps:
            self.console.print(f"  {purpose}:")
            for command in commands:
                self.console.print(f"    {command}")
