from __future__ import annotations
import polars as pl
from heldout.data.table import *
def read(data, *, kinds=None, missing=(), delimiter=None, sheet=None):
    if isinstance(data, Table): return data
    name = "data"
    if isinstance(data, dict): frame = pl.DataFrame(data, strict=False)
    elif isinstance(data, pl.DataFrame): frame = data
    else: frame = pl.read_csv(data, infer_schema_length=None, null_values=["NA", "?", ""]); name = str(data).split("/")[-1]
    cols, series = [], []
    for s in frame.get_columns():
        if s.dtype.is_numeric(): k, s = "number", s.cast(pl.Float64)
        elif s.dtype == pl.Boolean: k = "boolean"
        elif s.dtype == pl.Null: k, s = "category", s.cast(pl.String)
        elif s.dtype.is_temporal(): k, s = "date", s.cast(pl.Datetime("us"))
        else:
            d = None
            try: d = s.str.to_datetime("%Y-%m-%d")
            except Exception: pass
            try: d = d if d is not None else s.str.to_datetime("%Y/%m/%d")
            except Exception: pass
            if d is not None: k, s = "date", d.cast(pl.Datetime("us"))
            elif set(s.drop_nulls().unique()) <= {"yes", "no"}: k, s = "boolean", s == "yes"
            else: k = "text" if (s.drop_nulls().str.count_matches(" ").mean() or 0) > 1.5 else "category"
        cols.append(Column(s.name, (kinds or {}).get(s.name, k))); series.append(s)
    return Table(pl.DataFrame(series), tuple(cols), Source(name))
def conform(data, columns, *, optional=(), **o):
    t = read(data, **o)
    return Table(t.frame.select([pl.col(c.name).cast({"number": pl.Float64, "category": pl.String, "text": pl.String, "boolean": pl.Boolean, "date": pl.Datetime("us")}[c.kind]) for c in columns]), tuple(columns), t.source), []
