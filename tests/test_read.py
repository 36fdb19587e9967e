"""Reading tables: every format against what Polars, pandas or Python's csv say, and every error sentence."""

from __future__ import annotations

import bz2
import csv
import datetime
import decimal
import gzip
import io
import json
import lzma
import os
import string
import sys
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from heldout.data.read import conform, read
from heldout.data.table import columns_from_schema
from heldout.data.write import write
from heldout.errors import InputError, MissingExtraError, ModelFileError

FRAME = pl.DataFrame(
    {"n": [1.5, None, -3.0], "town": ["Ames, IA", 'the "old" one', "two\nlines"], "m": ["ü", None, "z"]}
)


def at(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(folder: Path, content: bytes | str, name: str = "t.csv", **options: Any) -> list[tuple[Any, ...]]:
    return read(at(folder, content, name), **options).frame.rows()


def said(folder: Path, content: bytes | str, name: str = "t.csv", **options: Any) -> str:
    with pytest.raises(InputError) as error:
        read(at(folder, content, name), **options)
    text = str(error.value)
    assert text.endswith((".", "?")) and "\n" not in text
    return text


# Files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("style", ["necessary", "always"])
def test_delimited_text_with_quotes_and_quoted_line_ends(tmp_path: Path, mark: str, style: Any) -> None:
    text = FRAME.write_csv(separator=mark, quote_style=style)
    assert rows(tmp_path, text) == FRAME.rows()
    assert rows(tmp_path, text.replace("\n", "\r\n")) == FRAME.rows()
    assert rows(tmp_path, text.removesuffix("\n"), delimiter=mark) == FRAME.rows()


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_encodings(tmp_path: Path, code: str) -> None:
    assert rows(tmp_path, FRAME.write_csv().encode(code)) == FRAME.rows()


def test_bytes_of_no_one_encoding_are_refused(tmp_path: Path) -> None:
    damaged = said(tmp_path, "n,b\nMüller,1\nGöß,2\n".encode() + b"bad\xff,3\n")
    assert damaged.startswith("t.csv, line 4 is damaged: its byte 0xff is no UTF-8")
    neither = said(tmp_path, b"a,b\r\n\xfc,1\r\n\x81,2\r\n")
    assert neither.startswith("t.csv, line 3 has the byte 0x81, which is neither UTF-8 nor Windows-1252")
    assert "line 3 has the byte 0x81" in said(tmp_path, b"a,b\rx,1\r\x81,2\r")
    assert rows(tmp_path, b"a,b\nM\xfcller,1\nG\xf6\xdf,2\n") == [("Müller", 1.0), ("Göß", 2.0)]


def test_the_delimiter_where_two_would_fit(tmp_path: Path) -> None:
    euro = read(at(tmp_path, "Preis, EUR;m2\n1,5;2\n2,5;3\n"))
    assert euro.names == ["Preis, EUR", "m2"] and euro.frame.rows() == [(1.5, 2.0), (2.5, 3.0)]
    assert read(at(tmp_path, "id\tprice, USD\n1\t5, x\n2\t6, y\n")).names == ["id", "price, USD"]
    assert rows(tmp_path, "a, b\n1, 2\n") == [(1.0, 2.0)]


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_packed_text(tmp_path: Path, ending: str) -> None:
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
    assert rows(tmp_path, pack(FRAME.write_csv().encode()), f"t.csv.{ending}") == FRAME.rows()
    assert rows(tmp_path, pack(FRAME.write_ndjson().encode()), f"t.jsonl.{ending}") == FRAME.rows()


def test_zstd(tmp_path: Path) -> None:
    FRAME.lazy().sink_csv(tmp_path / "t.csv.zst", compression="zstd", check_extension=False)
    packed = (tmp_path / "t.csv.zst").read_bytes()
    assert packed[:4] == b"\x28\xb5\x2f\xfd"
    assert rows(tmp_path, packed, "t.csv.zst") == FRAME.rows()
    assert "damaged" in said(tmp_path, packed[:-9], "t.csv.zst")


def test_typed_files(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "t.parquet")
    FRAME.write_ipc(tmp_path / "t.feather")
    FRAME.write_ipc_stream(tmp_path / "t.arrows")
    FRAME.write_ndjson(tmp_path / "t.jsonl")
    (tmp_path / "t.json").write_text(json.dumps(FRAME.to_dicts()))
    for name in ("t.parquet", "t.feather", "t.arrows", "t.jsonl", "t.json"):
        table = read(tmp_path / name)
        assert table.frame.rows() == FRAME.rows(), name
        assert table.source.name == name


def test_json_keeps_every_value(tmp_path: Path) -> None:
    lines = '{"a":1,"b":true}\n\n{"a":2.5}\n{"b":"x\u2028y","c":"late"}\n'
    assert rows(tmp_path, lines, "t.jsonl") == [(1.0, "true", None), (2.5, None, None), (None, "x\u2028y", "late")]
    codes = read(at(tmp_path, '[{"a":%s},{"a":7}]' % ("9" * 40), "t.json"))
    assert codes.frame["a"].to_list() == ["9" * 40, "7"]


def excel(folder: Path) -> Path:
    """An Excel file by hand: three small parts in a zip."""
    kind = "http://schemas.openxmlformats.org/"
    cells = "".join(
        f'<row r="{r}"><c r="A{r}"{a}</c><c r="B{r}" t="inlineStr"><is><t>{b}</t></is></c></row>'
        for r, a, b in [
            (1, ' t="inlineStr"><is><t>size</t></is>', "town"),
            (2, "><v>1.5</v>", "Ames"),
            (3, "><v>2</v>", "Boone"),
        ]
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{kind}package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{kind}package/2006/relationships"><Relationship Id="r1" '
        f'Type="{kind}officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{kind}spreadsheetml/2006/main" xmlns:r="{kind}officeDocument/2006/'
        'relationships"><sheets><sheet name="Towns" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{kind}package/2006/relationships"><Relationship Id="r1" '
        f'Type="{kind}officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{kind}spreadsheetml/2006/main"><sheetData>{cells}</sheetData>'
        "</worksheet>",
    }
    with zipfile.ZipFile(folder / "t.xlsx", "w") as book:
        for name, text in parts.items():
            book.writestr(name, '<?xml version="1.0"?>' + text)
    return folder / "t.xlsx"


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    path = excel(tmp_path)
    assert read(path).frame.rows() == [(1.5, "Ames"), (2.0, "Boone")] == read(path, sheet="Towns").frame.rows()
    with pytest.raises(InputError, match=r"no sheet 'Town'. Did you mean 'Towns'"):
        read(path, sheet="Town")
    assert "not a whole Excel file" in said(tmp_path, b"PK\x03\x04junk", "bad.xlsx")


def test_excel_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(MissingExtraError, match=r"t.xlsx needs the extra 'excel': pip install 'heldout\[excel\]'"):
        read(at(tmp_path, b"PK\x03\x04junk", "t.xlsx"))


def test_line_ends_and_blank_lines(tmp_path: Path) -> None:
    assert rows(tmp_path, "a,b\r1,x\r2,y\r") == [(1.0, "x"), (2.0, "y")]
    assert rows(tmp_path, "\n \na,b\n\n1,x\n  \n\n2,y\n\n") == [(1.0, "x"), (2.0, "y")]
    assert rows(tmp_path, 'a,b\n1,"x\n\ny"\n\n2,z\n') == [(1.0, "x\n\ny"), (2.0, "z")]
    assert rows(tmp_path, "a,b\n1,x\ry\n2,z\n") == [(1.0, "x\ry"), (2.0, "z")]


def test_one_column_keeps_its_lines_whole(tmp_path: Path) -> None:
    assert rows(tmp_path, "said\nhello, you\nbye; then\n") == [("hello, you",), ("bye; then",)]
    assert rows(tmp_path, "n\n1\n\n3\n") == [(1.0,), (None,), (3.0,)]


def test_stray_quotes_are_characters(tmp_path: Path) -> None:
    for count in (1, 2):  # an odd and an even number of them
        text = "size|name\n" + '5" pipe|a\n' * count + "6|b\n"
        assert rows(tmp_path, text)[0] == ('5" pipe', "a")
    assert rows(tmp_path, 'name,size\n"Smith, J",5" pipe\n\nx,6\n') == [("Smith, J", '5" pipe'), ("x", "6")]
    assert rows(tmp_path, 'l\tt\nham\t"hello\nspam\tso "x"\n') == [("ham", '"hello'), ("spam", 'so "x"')]
    assert rows(tmp_path, 'a, b\n1, "x, y"\n2, "z"\n') == [(1.0, "x, y"), (2.0, "z")]
    assert rows(tmp_path, 'a,b\n"x,1\ny,2\n') == [('"x', 1.0), ("y", 2.0)]


def test_huge_fields_and_many_columns(tmp_path: Path) -> None:
    assert rows(tmp_path, 'a,b\n1,"' + "x\n" * 200_000 + '"\n')[0][1] == ("x\n" * 200_000).strip()
    names = [f"c{i}" for i in range(1_000)]
    assert read(at(tmp_path, ",".join(names) + "\n" + ",".join("1" * 1_000) + "\n")).names == names


CELLS = st.text(alphabet=string.ascii_letters[:4] + "\",;|\t\n 'ü", max_size=6).filter(
    lambda cell: cell == cell.strip()
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6), mark=st.sampled_from(",;|\t"))
def test_whatever_pythons_csv_writes_is_read_back(tmp_path: Path, table: list[tuple[str, ...]], mark: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=mark, lineterminator="\n").writerows([("p", "q", "r"), *table])
    found = read(at(tmp_path, buffer.getvalue()), delimiter=mark, kinds=dict.fromkeys("pqr", "category"))
    assert found.frame.rows() == [tuple(cell or None for cell in row) for row in table]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=60), st.text(alphabet='ab",\n\r\t', max_size=60).map(str.encode)))
def test_any_bytes_are_a_table_or_one_sentence(tmp_path: Path, data: bytes) -> None:
    for name in ("t.csv", "t.json"):
        try:
            assert len(read(at(tmp_path, data, name))) > 0
        except InputError as error:
            assert str(error).endswith((".", "?"))


# Errors ----------------------------------------------------------------------------------------------------


def test_no_file_and_no_table(tmp_path: Path) -> None:
    at(tmp_path, "a\n1\n", "houses.csv")
    with pytest.raises(InputError, match=r"There is no file .*house.csv. Did you mean 'houses.csv'\?"):
        read(tmp_path / "house.csv")
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(InputError, match="is not a file's name"):
        read("a\0b")
    assert said(tmp_path, "", "e.csv").startswith("e.csv is empty")
    assert said(tmp_path, " \n\n").startswith("t.csv is empty")
    assert said(tmp_path, "a,b\n\n") == "t.csv has column names but no rows."
    assert "is not a text table" in said(tmp_path, bytes(range(256)) * 9)


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = at(tmp_path, "a\n1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read: Permission denied"),
        (FileNotFoundError(2, "gone"), "There is no file"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
    ],
)
def test_a_file_that_fails_or_vanishes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    path = at(tmp_path, "a\n1\n")

    def fail(path: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(InputError, match=words):
        read(path)


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-20], "t.csv.gz", "damaged compressed"),
        (b"\xfd7zXZ\x00junk", "t.csv.xz", "damaged compressed"),
        (b"BZhjunk", "t.csv.bz2", "damaged compressed"),
        (b"PK\x03\x04" + b"junk" * 9, "t.csv.zip", "is a zip archive; unpack it"),
        (b"PAR1junkjunkPAR1", "t.parquet", "not a whole Parquet file"),
        (b"ARROW1junk", "t.arrow", "not a whole Arrow file"),
        ("a,b\n1,2\n".encode("utf-16") + b"\0", "t.csv", "damaged at byte"),
        ("[1]", "t.json", "record 1 is not an object"),
        ("[]", "t.json", "has no columns"),
        ("[" * 50_000, "t.json", "not JSON"),
        ('{"a":1}\n{"a":\n', "t.jsonl", "line 2 is not JSON"),
        (b'{"a":"\xff"}', "t.jsonl", "not UTF-8"),
        ('[{"a":1},{"a":{"b":1}}]', "t.json", "record 2 holds an object in the column 'a'"),
        ('[{"a":1},{"a":1e999}]', "t.json", "'a' is infinite in row 2"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes | str, name: str, words: str) -> None:
    assert words in said(tmp_path, content, name)


def test_names(tmp_path: Path) -> None:
    assert said(tmp_path, "a,b,a\n1,2,3\n") == "t.csv: columns 1 and 3 are both called 'a'; rename one."
    assert "column 2 has no name" in said(tmp_path, "a,,b\n1,2,3\n")
    assert read(at(tmp_path, ",a\n0,x\n")).names == ["row", "a"]
    assert read(pl.DataFrame({"": [1], "b": [2]})).names == ["row", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 field, but there are 2 columns (row 2)"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, but there are 2 columns (row 2)"),
        ('a,b\n"x\ny",1\n\n"z",2\n3\n', "line 6 has 1 field, but there are 2 columns (row 3)"),
        ("\n\na,b\n\n1,2\n  \n3,4,5\n", "line 7 has 3 fields, but there are 2 columns (row 2)"),
        ('"a\nb",c\n1,2\n3\n', "line 4 has 1 field, but there are 2 columns (row 2)"),
        ('a|b\n5" pipe|1\n6" pipe|1|2\n', "line 3 has 3 fields, but there are 2 columns (row 2)"),
        ('a,b\n"S, J",5" pipe\nx,6,7\n', "line 3 has 3 fields, but there are 2 columns (row 2)"),
        ("a,b\r\n1,2\r\n3\r\n", "line 3 has 1 field"),
    ],
)
def test_ragged_rows(tmp_path: Path, text: str, words: str) -> None:
    assert words in said(tmp_path, text)
    assert "put fields that hold the delimiter in quotes" in said(tmp_path, text)


def test_ragged_row_across_the_chunks_that_are_looked_at_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "".join(f'"a\n{i}",{i}\n' for i in range(50))
    for chunk in range(1, 40):
        monkeypatch.setattr("heldout.data.delimited.CHUNK", chunk)
        assert len(rows(tmp_path, "a,b\n" + good)) == 50
        assert "line 102 has 3 fields" in said(tmp_path, "a,b\n" + good + "1,2,3\n" + good)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e400"])
def test_infinite_values_are_refused(tmp_path: Path, text: str) -> None:
    assert f"the column 'a' is infinite in row 2 ({text})" in said(tmp_path, f"a,b\n1.5,2\n{text},3\n")
    with pytest.raises(InputError, match="'x1' is infinite in row 1"):
        read(np.array([[1.0, np.inf]]))


def test_wrong_options(tmp_path: Path) -> None:
    assert "no column 'c'" in said(tmp_path, "a,b\n1,2\n", kinds={"c": "number"})
    assert "Did you mean 'number'" in said(tmp_path, "a,b\n1,2\n", kinds={"a": "numbr"})
    assert "There is no kind None" in said(tmp_path, "a,b\n1,2\n", kinds={"a": None})
    assert "is not one character" in said(tmp_path, "a,b\n1,2\n", delimiter="::")
    assert rows(tmp_path, "a:b\n1:2\n", delimiter=":") == [(1.0, 2.0)] == rows(tmp_path, "a\tb\n1\t2", delimiter="tab")


def test_names_are_escaped_where_a_notebook_shows_them() -> None:
    shown = read({"<script>": ["$<1", "x"], "b": ["<i>", "1"]}, missing=["<i>"])._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "<i>" not in shown and "&lt;i&gt;" in shown


class Refusing:
    """What stands for a damaged file: it says no by raising."""

    def fail(self, sentence: str) -> NoReturn:
        raise ModelFileError(sentence)


def test_columns_that_were_stored() -> None:
    columns = read({"zip": ["007", "010"], "day": ["13/1/2024", None], "n": [1, 2]}).columns
    schema = json.loads(json.dumps([column.to_json() for column in columns]))
    state: Any = Refusing()
    assert columns_from_schema(schema, state) == columns
    good = schema[0]
    wrong: list[Any] = [None, [], [3], [good, good], [{**good, "kind": "code"}], [{**good, "name": ""}]]
    wrong += [[{**good, "more": 1}], [{**good, "parse": {"pad": 3}}], [{**good, "parse": []}], [{**good, "note": None}]]
    for item in wrong:
        with pytest.raises(ModelFileError):
            columns_from_schema(item, state)


# Frames ----------------------------------------------------------------------------------------------------


def test_pandas_without_pyarrow() -> None:
    frame = pd.DataFrame(
        {
            "int": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "level": pd.Categorical([1, 2]),
            "when": pd.to_datetime(["2020-01-01", "NaT"]).tz_localize("Europe/Berlin"),
            "mixed": [1, "x"],
            "text": ["a", None],
            "nothing": [None, None],
            "long": pd.to_timedelta([1.5, None], unit="s"),
            "float": [1.5, np.nan],
            "day": [datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 2, 3)],
            "money": [decimal.Decimal("1.5"), None],
        }
    )
    table = read(frame)
    moment = datetime.datetime(2019, 12, 31, 23)
    day = datetime.datetime(2020, 1, 1)
    assert table.frame.row(0) == (1.0, True, "1", moment, "1", "a", None, 1.5, 1.5, day, 1.5)
    assert table.frame.row(1)[:6] == (None, None, "2", None, "x", None)
    kinds = [
        "number",
        "boolean",
        "category",
        "date",
        "category",
        "category",
        "category",
        "number",
        "number",
        "date",
        "number",
    ]
    assert [column.kind for column in table.columns] == kinds
    with pytest.raises(InputError, match="columns 1 and 2 are both called 'a'"):
        read(pd.DataFrame(np.eye(2), columns=["a", "a"]))
    with pytest.raises(InputError, match="'p' holds values of the type list"):
        read(pd.DataFrame({"p": [[1], [2]]}))


def test_polars_types() -> None:
    frame = pl.DataFrame(
        {
            "span": pl.Series([1500, None], dtype=pl.Duration("ms")),
            "clock": [datetime.time(1), None],
            "money": pl.Series(["1.50", None]).cast(pl.Decimal(10, 2)),
            "level": pl.Series(["x", "NA"], dtype=pl.Categorical),
            "hash": pl.Series([2**64 - 1, 2**64 - 2], dtype=pl.UInt64),
            "nothing": pl.Series([None, None]),
            "none": pl.Series([None, None], dtype=pl.Int8),
            "far": [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
        }
    )
    table = read(frame.lazy())
    first = (1.5, 3600.0, 1.5, "x", str(2**64 - 1), None, None, datetime.datetime(1, 1, 1))
    assert table.frame.row(0) == first
    assert table.frame["level"][1] is None and table.frame["hash"].n_unique() == 2
    for cells in ([[1]], [{"a": 1}], [b"x"]):
        with pytest.raises(InputError, match="the column 'd' holds"):
            read(pl.DataFrame({"d": cells}))
    with pytest.raises(InputError, match="cannot be collected"):
        read(pl.scan_parquet("/nowhere.parquet"))


def test_arrays_and_dicts() -> None:
    assert read({"a": [True, 2, 3.0, "x"]}).frame["a"].to_list() == ["true", "2", "3", "x"]
    for dtype in (np.float16, np.float64, np.longdouble, np.int8, bool):
        expected = [(1.0, 0.0), (0.0, 1.0)]
        assert read(np.eye(2, dtype=dtype)).frame.rows() == expected
    assert read(sparse.csr_array(np.eye(2))).frame.rows() == expected
    assert read(np.array([["a", 1], ["b", None]], dtype=object)).frame.rows() == [("a", 1.0), ("b", None)]
    assert read(np.array([["2020-01-01"]], "M8[ns]")).frame.item() == datetime.datetime(2020, 1, 1)
    assert read({"a": pd.Series([1, None]), "b": pl.Series([1, 2]), "c": (True, False)}).frame.row(0) == (
        1.0,
        1.0,
        True,
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.arange(3), "rows and columns"),
        (np.eye(2, dtype=complex), "type complex"),
        (sparse.coo_array(np.arange(3)), "rows and columns"),
        (sparse.csr_array((10**6, 10**6)), "too many to write out"),
        ({"a": "abc"}, "not a list of values"),
        ({"a": 1}, "not a list of values"),
        ({"a": np.zeros((2, 2, 2, 2, 2))}, "images have the shape"),
        ({"a": [1], "b": [1, 2]}, "same length"),
        ({"a": [10**400]}, "infinite"),
        ({}, "no columns"),
        ({"a": []}, "no rows"),
        ([1, 2], "not list"),
        (None, "not NoneType"),
        (pd.Series([1]), "not Series"),
    ],
)
def test_what_is_no_table(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data)


# New data --------------------------------------------------------------------------------------------------


def test_new_data_in_another_order_with_other_columns() -> None:
    table = read({"price": ["$1,200", "$3"], "town": ["1", "x"], "sold": ["13/1/2024", "2/6/2024"]})
    new = {"extra": [1], "sold": ["3/4/2024"], "town": [1], "price": ["$2,500"]}
    found, notices = conform(new, table.columns)
    assert found.frame.rows() == [(2500.0, "1", datetime.datetime(2024, 4, 3))]
    assert notices == ["Not used: 'extra'."]
    typed, notices = conform({"price": [7], "town": [1.0], "sold": [datetime.date(2024, 4, 3)]}, table.columns)
    assert typed.frame.rows() == [(7.0, "1", datetime.datetime(2024, 4, 3))] and not notices


def test_new_data_whose_codes_lost_their_zeros() -> None:
    texts = {"zip": ["00501", "02134", "10001"]}
    for options in ({}, {"kinds": {"zip": "category"}}):
        table = read(texts, **options)
        for new in ([501, 2134, None], [501.0, 2134.0, None], ["501", " 2134 ", ""], pd.Series([501, 2134, None])):
            assert conform({"zip": new}, table.columns)[0].frame["zip"].to_list() == ["00501", "02134", None]
        odd = ["x1", "123456", "10001"]
        assert conform({"zip": odd}, table.columns)[0].frame["zip"].to_list() == odd
    plain = read({"zip": ["1", "x", "20"]})
    assert conform({"zip": [1, 20]}, plain.columns)[0].frame["zip"].to_list() == ["1", "20"]


def test_dates_are_no_numbers_unless_they_were() -> None:
    day = [datetime.date(2020, 1, 1)]
    with pytest.raises(InputError, match="'n' should hold numbers, but row 1 holds '2020-01-01"):
        conform({"n": day}, read({"n": [1, 2]}).columns)
    asked = read({"n": day}, kinds={"n": "number"})
    assert conform({"n": day}, asked.columns)[0].frame["n"].to_list() == [1577836800.0]


def test_new_data_that_lacks_or_has_wrong_values() -> None:
    table = read({"price": ["1", "2"], "flag": ["yes", "no"], "day": ["2024-01-01", "2024-05-06"]})
    good = {"price": ["3", "-"], "flag": [1, 0], "day": ["2024-01-01T05:00", "5 May 2024"]}
    found, _ = conform(good, table.columns)
    moments = [datetime.datetime(2024, 1, 1, 5), datetime.datetime(2024, 5, 5)]
    assert found.frame.rows() == [(3.0, True, moments[0]), (None, False, moments[1])]
    with pytest.raises(InputError, match=r"data lacks the column 'price' that the model needs. Did you mean 'prices'"):
        conform({"prices": ["1", "2"], "flag": [1, 0], "day": good["day"]}, table.columns)
    assert conform({"price": ["1"]}, table.columns, optional=("flag", "day"))[0].names == ["price"]
    for name, value in (("price", "two"), ("flag", "maybe"), ("day", "soon")):
        with pytest.raises(InputError, match=f"'{name}' should hold .* but row 2 holds '{value}'"):
            conform({**good, name: [good[name][0], value]}, table.columns)  # type: ignore[index]
    assert conform({**good, "price": ["gone", "5"]}, table.columns, missing=["gone"])[0].frame["price"][0] is None


def test_each_new_row_is_read_by_itself() -> None:
    table = read({"day": ["1/13/2024", "2/6/2024"], "size": ["1.234,5", "7"]})
    for day in ("3/4/2024", "3/4/2024 10:30"):
        assert conform({"day": [day], "size": ["1"]}, table.columns)[0].frame["day"][0].month == 3
    with pytest.raises(InputError, match="'day' should hold dates, but row 1 holds '25/12/2024'"):
        conform({"day": ["25/12/2024"], "size": ["1"]}, table.columns)
    assert conform({"day": ["2/6/2024"], "size": ["1.234"]}, table.columns)[0].frame["size"][0] == 1234.0
    with pytest.raises(InputError, match=r"but row 1 holds '1.5'"):
        conform({"day": ["2/6/2024"], "size": ["1.5"]}, table.columns)


def test_a_table_read_again_with_another_kind_keeps_the_rest() -> None:
    table = read({"code": ["1", "2"], "zip": ["007", "008"]}, kinds={"code": "category"})
    again = read(table, kinds={"zip": "number"})
    assert [column.kind for column in again.columns] == ["category", "number"]
    assert again.frame.rows() == [("1", 7.0), ("2", 8.0)] and read(table) is table


# Out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "ndjson"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    write(FRAME, str(tmp_path / f"t.{ending}"))
    assert read(tmp_path / f"t.{ending}").frame.rows() == FRAME.rows()


def test_what_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"must end in one of \.csv"):
        write(FRAME, str(tmp_path / "t.docx"))
    with pytest.raises(InputError, match="cannot hold this table"):
        write(pl.DataFrame({"a": [[1]]}), str(tmp_path / "t.csv"))
    assert not list(tmp_path.iterdir())
    write(FRAME, "-")
    assert capsys.readouterr().out == FRAME.write_csv()


def test_real_tables(real_data: Path) -> None:
    for path in sorted(real_data.glob("adult_income/adult_train.csv*"))[:1]:
        table, peer = read(path), pd.read_csv(path, na_values="?", skipinitialspace=True)
        assert len(table) == len(peer) and table.names == list(peer.columns)
        for column in table.columns:
            if column.kind == "number":
                np.testing.assert_array_equal(table.frame[column.name].to_numpy(), peer[column.name].to_numpy(float))
            else:
                assert table.frame[column.name].null_count() == peer[column.name].isna().sum()
