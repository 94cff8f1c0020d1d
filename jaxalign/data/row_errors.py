"""Errors of single rows: malformed, with an unsupported field, or unusable."""


class MalformedRow(ValueError):
    """A row that cannot be parsed; the message names the field at fault."""


class UnsupportedField(MalformedRow):
    """A field that changes the meaning of a row and is not supported.

    Ignoring it would change what the row means, so the row is refused.

    Attributes:
      field: name of the field, under which such rows are counted.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnusableRow(ValueError):
    """A well-formed row that cannot be trained on, such as a tie.

    The row is skipped and counted; the message is the reason in the report.
    """
