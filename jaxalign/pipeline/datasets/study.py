"""The data set of a study's folder: what people judged, one row a judgement.

Pairs, rankings or ratings, as `experiments.annotate --export` writes them; rows keep
the annotator. Ties, gold items, repeats and skips are counted, and no rows; neither are
answers that are both bad, which `--export` has as unpaired.jsonl.
"""

import collections
from typing import Any

from jaxalign.data import readers
from jaxalign.data.records import Ranking, RowReport
from jaxalign.feedback import store
from jaxalign.feedback.export import export_rows
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.files import from_splits
from jaxalign.runtime.config import RunConfig

# of the export's files that are no rows here: what they are called in the account
OTHER = {"ties": "ties", "unpaired": "answers that are both bad (--export has them)"}


def from_study(config: RunConfig, path: str) -> Dataset:
    """The data set of a folder that `experiments.annotate` wrote.

    Raises:
      ValueError: nobody has judged, or pairs are mixed with rankings or ratings.
    """
    export = export_rows(store.items(path), store.judgements(path))
    kinds = [name for name in ("pairs", "rankings", "ratings") if export.rows[name]]
    if len(kinds) != 1:
        have = f"both {' and '.join(kinds)}" if kinds else "no preferences yet"
        raise ValueError(
            f"--data {path}: the study has {have}: python -m experiments.annotate "
            f"--out {path} --export FOLDER writes what there is as files"
        )
    (kind,) = kinds
    left_out = +collections.Counter(
        {f"({text})": len(export.rows[name]) for name, text in OTHER.items()}
    )
    left_out += export.left_out

    def read(_: str, record: Any) -> tuple[list[Any], RowReport]:
        records, report = readers.from_tfds(
            export.rows[kind],
            record,
            name=f"{path.rstrip('/')}/{store.STUDY_FILE}",
            skip_bad_rows=config.skip_bad_rows,
            max_row_chars=config.max_row_chars,
        )
        return records, report + RowReport(left_out.total(), 0, left_out)

    return from_splits(config, path, read, [path], None if kind == "pairs" else Ranking)
