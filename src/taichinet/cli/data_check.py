"""`taichinet data check`: what is wrong or odd in a data set, on the terminal, as JSON and as a page with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    data: Annotated[str, typer.Argument(metavar="DIR", help="Data set as distributed: folder or zip, or NAME=FOLDER.")],
    report: Annotated[Path | None, typer.Option(help="Write a page with the pictures (one HTML file).")] = None,
    folds: Annotated[Path | None, typer.Option(help="Fold file of `train` to check for leaks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Check files, masks, labels, near-duplicates, burnt-in marks, statistics, and the leaks of a fold file.

    Exit code 0 whatever is found, for it is a report; 3 where files cannot be read: the report is written then, too.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from taichinet.cli.printing import print_counts, print_data_report
    from taichinet.datasets.catalogue import split_spec
    from taichinet.datasets.checking.check import check_dataset, unreadable_report
    from taichinet.datasets.folds import read_folds
    from taichinet.datasets.manifest import Manifest
    from taichinet.errors import DataError

    plan = None if folds is None else read_folds(folds)
    manifest: Manifest | None = None
    try:
        dataset, path = split_spec(data)
        # Not verified: the check decodes every file itself, and goes on after a damaged one.
        manifest = dataset.read(path, verify=False)
    except DataError as error:
        result = unreadable_report(data, error)
    else:
        with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
            task = bar.add_task("looking at pictures, then comparing them", total=len(manifest.samples))
            result = check_dataset(manifest, plan, lambda done, _: bar.update(task, completed=done))
    if report is not None:
        from taichinet.reports.data_page import write_data_page

        write_data_page(report, result, manifest, data)
    if as_json:
        content = result.to_json_dict()
        if manifest is not None:
            content["used_and_skipped"] = manifest.count_images().to_json_dict()
        print(json.dumps(content))
    else:
        print_data_report(result, report)
        if manifest is not None:
            print_counts(manifest.count_images())
    if not result.readable:
        raise typer.Exit(DataError.exit_code)
