"""Exports of annotation tools as rows of our layouts: a row for each annotation.

tool           export                                   recognized by
-------------  ---------------------------------------  -------------------------------
Label Studio   JSON: tasks with their annotations       `data` and `annotations`
Argilla        `records.to_json`, `to_list(flatten=     `fields` and `responses`, or
               True)`, a data set on the hub            `QUESTION.responses`
Potato         annotated_instances.jsonl                `label_annotations`

Pairwise choices and rankings are read; the annotator is the field `annotator`. Ties,
skipped tasks and drafts are counted among the rows that cannot be used.
"""

from jaxalign.data.exports.rows import expand_rows

__all__ = ["expand_rows"]
