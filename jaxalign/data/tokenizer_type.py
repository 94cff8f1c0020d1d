"""The type of tokenizers, for annotations alone: importing transformers is slow."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast as PreTrainedTokenizerFast
else:

    class PreTrainedTokenizerFast:
        """Stands for the class of that name of transformers in annotations."""
