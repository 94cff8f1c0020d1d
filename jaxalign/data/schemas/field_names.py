"""Names of row fields that hold prompts, answers, references and labels."""

from collections.abc import Iterable, Mapping

from jaxalign.data.schemas.checks import Row, fields_with_values

CONVERSATION_FIELDS = ("messages", "conversations", "conversation")
PROMPT_FIELDS = ("prompt", "instruction", "question", "query", "problem", "inputs")
ALL_PROMPT_FIELDS = ("prompt", *CONVERSATION_FIELDS, *PROMPT_FIELDS[1:], "input")
ANSWER_FIELDS = (
    *("completion", "output", "answer", "response"),
    *("solution", "generation", "targets"),
)
CALLS_FIELD = "answers"  # tool calls in a row that declares tools, else a ranking
REFERENCE_FIELDS = ("references", "reference", "ground_truth", "reference_answer")
LABEL_FIELDS = ("label", "kto_tag", "desirable")
# ambiguous names: with a value of another type, such a field is metadata of the row
FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "conversation": (list, Mapping),
    **dict.fromkeys(("query", "problem", "inputs"), (str, list, Mapping)),
    **dict.fromkeys(("solution", "generation", "targets"), (str, list, Mapping)),
    **dict.fromkeys(("ground_truth", "reference_answer"), (str, list)),
}


def present_fields(row: Row, fields: Iterable[str]) -> list[str]:
    """Names of the fields with a suitable value, without marking them as read.

    >>> present_fields(Row(prompt="q", problem=7), PROMPT_FIELDS)
    ['prompt']
    """
    return [
        field
        for field in fields_with_values(row, fields)
        if isinstance(row.peek(field), FIELD_TYPES.get(field, object))
    ]
