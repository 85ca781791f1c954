"""Tables of metadata: all formats give the same rows, and errors name file and column."""

from __future__ import annotations

import resource
import sys
import time
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from taichinet.datasets.manifest import Sample
from taichinet.datasets.readers.tables import MOST_COLUMNS, MOST_ROWS, ClassTable, image_key, read_rows, with_classes
from taichinet.errors import DataError

ROWS = [{"Image": "1", "Type": "Benign"}, {"Image": "2", "Type": "Malignant, in part"}]


def csv_of(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


def xlsx_of(tmp_path: Path, *rows: list[object]) -> Path:
    book = Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    file = tmp_path / "table.XLSX"
    book.save(file)
    return file


def classes_by(file: Path, *keys: str) -> tuple[list[str], list[str]]:
    """The labels of samples with `keys` by the table in `file`, and its problems."""
    problems: list[str] = []
    table = ClassTable(file.name, "Image", "Type", {"benign": "benign", "malignant": "malignant"})
    samples = [Sample(key, "lesion", Path(f"{key}.png"), ()) for key in keys]
    return [sample.label for sample in with_classes(samples, file.parent, table, problems)], problems


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_is_read_with_every_separator_encoding_and_line_end(
    separator: str, encoding: str, end: str, tmp_path: Path
) -> None:
    rows = [("Image", "Type "), ("1", "Benign"), ("2", '"Malignant, in part"'), ()]
    text = end.join(separator.join(row) for row in rows)
    assert read_rows(csv_of(tmp_path, text, encoding)) == ROWS


def test_xlsx_gives_the_same_rows_as_csv(tmp_path: Path) -> None:
    file = xlsx_of(tmp_path, [" Image", "Type", None], [1, "Benign", "a note"], [None], [2, "Malignant, in part "])
    assert read_rows(file) == ROWS


def test_whole_number_stored_with_decimals_is_read_as_whole_number(tmp_path: Path) -> None:
    file, other = xlsx_of(tmp_path, ["Image", "Size"], [1, 2.5]), tmp_path / "other.xlsx"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"<v>1</v>", b"<v>1.0</v>"))
    assert read_rows(other) == read_rows(file) == [{"Image": "1", "Size": "2.5"}]


def test_short_row_is_filled_and_empty_row_ignored(tmp_path: Path) -> None:
    assert read_rows(csv_of(tmp_path, "a,b\n1\n,\n\n2,3\n")) == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("Image,Class\n1,Benign\n", "no column 'Type', only Image, Class"),
        ("Image,Type,Type\n", "column 'Type' occurs twice"),
        ("Image,Type\n1,Benign,cyst\n", "the row of '1' has more cells"),
        ('Image,Type\n"1,Benign\n', "no table of comma-separated values"),
    ],
)
def test_faulty_csv_is_rejected_with_file_and_column(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"table\.csv: .*{fault}"):
        read_rows(csv_of(tmp_path, text), ["Image", "Type"])


def test_csv_in_another_encoding_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_rows(csv_of(tmp_path, "Image,Type\n1,bénin\n", "latin-1"))


def test_damaged_xlsx_and_missing_file_are_rejected(tmp_path: Path) -> None:
    file = xlsx_of(tmp_path, ["Image", "Type"])
    file.write_bytes(file.read_bytes()[:-100])
    for path in (file, tmp_path / "nowhere.csv", tmp_path / "nowhere.xlsx"):
        with pytest.raises(DataError, match=f"{path.name}: cannot be read"):
            read_rows(path)


# --------------------------------------------------------------------------------------------------- limits

SHEET, STYLES = "xl/worksheets/sheet1.xml", "xl/styles.xml"


def changed_xlsx(tmp_path: Path, member: str, old: bytes, new: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An .xlsx with the cells A1 to B2 in whose `member` the bytes `old` are replaced by `new`."""
    file, other = xlsx_of(tmp_path, ["Image", "Type"], [1, "Benign"]), tmp_path / "changed.xlsx"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(other, "w", method) as target:
        for name in source.namelist():
            content = source.read(name)
            assert name != member or old in content
            target.writestr(name, content.replace(old, new) if name == member else content)
    return other


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b'r="B1"', b'r="XFD1"', "column 16384"),
        (b'<row r="2"', b'<row r="1048576"', f"row {MOST_ROWS + 1} "),
        (b"</row></sheetData>", b"</row>" + b"<row/>" * MOST_ROWS + b"</sheetData>", f"row {MOST_ROWS + 1} "),
        (b"</row></sheetData>", b"<c><v>1</v></c>" * MOST_COLUMNS + b"</row></sheetData>", "row 2 and column 258"),
    ],
    ids=["far cell", "far row", "many rows", "many columns"],
)
def test_sheet_beyond_the_limits_is_rejected_quickly(old: bytes, new: bytes, fault: str, tmp_path: Path) -> None:
    file = changed_xlsx(tmp_path, SHEET, old, new)
    start = time.perf_counter()
    with pytest.raises(DataError, match=rf"changed\.xlsx: this table reaches .*{fault}.*{MOST_ROWS} rows.*\.csv"):
        read_rows(file)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("far", ["A9", "XFD1048576"])
def test_cell_with_the_number_of_another_row_is_rejected(far: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"changed\.xlsx: .*row 2 holds a cell of row (9|1048576)\)"):
        read_rows(changed_xlsx(tmp_path, SHEET, b'r="B2"', f'r="{far}"'.encode()))
    assert time.perf_counter() - start < 5


def test_declared_sheet_size_is_ignored(tmp_path: Path) -> None:
    file = changed_xlsx(tmp_path, SHEET, b'<dimension ref="A1:B2"', b'<dimension ref="A1:XFD1048576"')
    assert read_rows(file) == [{"Image": "1", "Type": "Benign"}]


@pytest.mark.parametrize(
    ("member", "old", "new", "fault"),
    [
        (SHEET, b"<sheetData>", b"<sheetData>" + b"<row/>" * 2**19, "cells are 3.00 MiB decompressed.* 2.5 MiB"),
        (STYLES, b"</cellXfs>", b"<xf/>" * 2**19 + b"</cellXfs>", r"styles .* are 2.50 MiB decompressed.* 0.25 MiB"),
    ],
)
def test_xlsx_that_expands_too_much_is_rejected(
    member: str, old: bytes, new: bytes, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"changed\.xlsx: .*{fault}; save the first sheet as \.csv"):
        read_rows(changed_xlsx(tmp_path, member, old, new))


def test_xlsx_with_unusual_compression_is_rejected(tmp_path: Path) -> None:
    file = changed_xlsx(tmp_path, SHEET, b"<row", b"<row", zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match=r"cannot be read as \.xlsx .*compressed by method 12"):
        read_rows(file)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a," * 5_000_000, "column 5000001"),
        ("a\n" + "1\n" * 5_000_000, f"row {MOST_ROWS + 1} "),
        (",".join(f"c{i}" for i in range(300_000)) + "\n" + "1\n" * 2_000_000, "column 300000"),
        ("a,b\n" + "x" * 10**7, "field larger"),
        ("a,b\n" * 5_000_000, "the limit of a table is 16 MiB"),
    ],
    ids=["wide", "long", "wide and long", "one cell", "large file"],
)
def test_large_csv_is_rejected_quickly_with_little_memory(text: str, fault: str, tmp_path: Path) -> None:
    file = csv_of(tmp_path, text)
    before, start = peak_mib(), time.perf_counter()
    with pytest.raises(DataError, match=rf"table\.csv: .*{fault}"):
        read_rows(file)
    assert time.perf_counter() - start < 10
    assert peak_mib() - before < 1024


def test_csv_at_both_limits_is_read_quickly(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(MOST_COLUMNS))
    start = time.perf_counter()
    rows = read_rows(csv_of(tmp_path, f"{names}\n" + "1\n" * (MOST_ROWS - 1)))
    assert (len(rows), len(rows[-1])) == (MOST_ROWS - 1, MOST_COLUMNS)
    assert time.perf_counter() - start < 10


def test_message_does_not_repeat_long_text(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(csv_of(tmp_path, "x" * 100_000 + ",b\n"), ["Image"])
    assert len(str(caught.value)) < 1_000


def test_missing_openpyxl_is_reported_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = xlsx_of(tmp_path, ["Image"], [1])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"table\.XLSX: .*pip install 'taichinet\[xlsx\]'"):
        read_rows(file)


# -------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("name", "key"),
    [("1", "1"), ("000001", "1"), ("1.PNG", "1"), ("0000.jpg", "0"), ("case 01.2", "case 01.2"), ("a.b.png", "a.b")],
)
def test_image_key_ignores_leading_zeros_and_suffix(name: str, key: str) -> None:
    assert image_key(name) == key


def test_classes_are_matched_by_image_key_and_rows_without_image_ignored(tmp_path: Path) -> None:
    file = csv_of(tmp_path, "Image,Type\n2.png,malignant\n1,BENIGN\n,163 in all\n1,Benign\n")
    assert classes_by(file, "000001", "000002") == (["benign", "malignant"], [])


def test_image_without_row_and_row_without_image_are_reported(tmp_path: Path) -> None:
    labels, problems = classes_by(csv_of(tmp_path, "Image,Type\n1,Benign\n9,Benign\n"), "1", "2")
    assert labels == ["benign", "lesion"]
    assert problems[0] == "2.png: has no row in table.csv."
    assert problems[1].endswith("table.csv: image '9' of this table is not there.")
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("1,cyst", r"column 'Type' says 'cyst' of image '1'. Known: benign, malignant."),
        ("1,Benign\n01,Malignant", r"column 'Type' says 'Malignant' of image '01', and another class"),
    ],
)
def test_unknown_class_and_contradiction_are_reported(rows: str, fault: str, tmp_path: Path) -> None:
    labels, problems = classes_by(csv_of(tmp_path, f"Image,Type\n{rows}\n"), "1")
    assert labels == ["lesion"]
    assert len(problems) == 1
    assert fault in problems[0]
