"""A series over time as files for others' tools: CSV, and Parquet where pyarrow is installed."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sim.serving.results.series import Series
from topologies.document import Missing

if TYPE_CHECKING:
    import pandas


def csv(found: Series) -> bytes:
    """A line for each window; a field is empty where nothing is known."""
    return _table(found).to_csv(index=False, lineterminator="\n").encode()


def parquet(found: Series) -> bytes:
    """The same columns, as float64. Raises Missing without pyarrow."""
    if find_spec("pyarrow") is None:
        raise Missing("Parquet needs pyarrow: pip install pyarrow; the same series is in the CSV file")
    buffer = io.BytesIO()
    _table(found).to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()


def _table(found: Series) -> "pandas.DataFrame":
    import pandas

    return pandas.DataFrame(found.columns)
