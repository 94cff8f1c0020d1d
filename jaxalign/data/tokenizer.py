"""Tokenizers: trained here or loaded from a folder, used through transformers."""

import copy
import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jaxalign import json_files, lazy, messages
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.json_files import (
    BOOL,
    NULL,
    OBJECT,
    POSITIVE,
    TEXT,
    FieldType,
    list_of,
    object_of,
    one_of,
)

if TYPE_CHECKING:
    import transformers
else:
    transformers = lazy.module("transformers")

MAX_FILE_BYTES = 512 * 2**20  # bytes of a file; the largest vocabularies have 40 MB
SPECIAL_TOKEN_FIELDS = tuple(
    f"{x}_token" for x in "bos eos unk sep pad cls mask".split()
)
ADDED_TOKEN_FIELDS = {
    "content": TEXT,
    **dict.fromkeys(("lstrip", "rstrip", "normalized", "special", "single_word"), BOOL),
}
TOKEN = FieldType(
    "a token",
    lambda x: (
        isinstance(x, dict)
        and all(
            kind.accepts(x[field])
            for field, kind in ADDED_TOKEN_FIELDS.items()
            if field in x
        )
        and "content" in x
    ),
)
FLAGS = (
    "add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "legacy",
    "clean_up_tokenization_spaces", "split_special_tokens", "trim_offsets",
)  # fmt: skip
FIELDS = {
    **dict.fromkeys(SPECIAL_TOKEN_FIELDS, TEXT | TOKEN | NULL),
    **dict.fromkeys(FLAGS, BOOL | NULL),
    **dict.fromkeys(("padding_side", "truncation_side"), one_of("left", "right")),
    **dict.fromkeys(("errors", "tokenizer_class", "name_or_path"), TEXT | NULL),
    "model_max_length": POSITIVE | NULL,
    "chat_template": TEXT | object_of(TEXT) | list_of(object_of(TEXT)) | NULL,
    "added_tokens_decoder": object_of(TOKEN),
    "additional_special_tokens": list_of(TEXT | TOKEN) | NULL,
    "extra_special_tokens": object_of(TEXT | TOKEN) | list_of(TEXT | TOKEN) | NULL,
    "model_input_names": list_of(TEXT),
    "auto_map": OBJECT,
}

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

# The assistant's turns stand in {% generation %}, so that others' tools find them too.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclasses.dataclass(frozen=True)
class TokenizationOptions:
    """Options of tokenization that a tokenizer's files do not hold.

    Attributes:
      today: the day that templates with `strftime_now` show; None for the current day.
      keep_special: texts may hold special tokens that neither begin nor end turns.
    """

    today: datetime.date | None = None
    keep_special: bool = False


def tokenization_options(
    tokenizer: PreTrainedTokenizerFast,
) -> TokenizationOptions:
    """The options that were set, or the defaults."""
    options = vars(tokenizer).get("tokenization_options", TokenizationOptions())
    return cast(TokenizationOptions, options)


def set_tokenization_options(
    tokenizer: PreTrainedTokenizerFast, options: TokenizationOptions
) -> None:
    """Sets the options of this tokenizer; its saved files do not change."""
    vars(tokenizer)["tokenization_options"] = options


def copy_with_options(
    tokenizer: PreTrainedTokenizerFast, options: TokenizationOptions
) -> PreTrainedTokenizerFast:
    """A copy of a tokenizer with other options."""
    copied = copy.deepcopy(tokenizer)
    set_tokenization_options(copied, options)
    return copied


def shows_date(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the chat template shows the current day."""
    return "strftime_now" in json.dumps(tokenizer.chat_template)


def train(texts: Iterable[str], *, vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template, trained on texts.

    Any text round-trips (every byte is a token); digits are single tokens, so that
    numbers read alike; roles, the end of a turn and padding are special tokens.

    Args:
      vocab_size: at least 261, the bytes and the special tokens. Few or short texts
        may give fewer tokens.

    Raises:
      ValueError: a vocabulary too small for the bytes.
    """
    special = [PAD, END, *ROLES]
    smallest = 256 + len(special)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size {vocab_size} is below {smallest}, all the bytes")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load(folder: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """Loads the tokenizer of a Hugging Face folder; no download, no code is run.

    Raises:
      FileNotFoundError: the folder does not exist or holds no tokenizer.
      ValueError: its files cannot be read, or it has no end-of-sequence token.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {path}")
    if not any((path / f).exists() for f in ("tokenizer.json", "vocab.json")):
        raise FileNotFoundError(f"{path} holds no tokenizer (no tokenizer.json)")
    check_files(path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust reader raises what is no Exception
        why = messages.one_line(error)
        raise ValueError(f"the tokenizer in {path} cannot be read: {why}") from error
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerFast):
        raise ValueError(f"the tokenizer in {path} has no tokenizer.json to be made of")
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer in {path} has no eos_token, so no answer could end: name "
            "one in its tokenizer_config.json"
        )
    return tokenizer


def check_files(folder: Path) -> None:
    """Refuses files of a tokenizer that are too large or have invalid fields.

    Raises:
      ValueError: names the file, and the field where one is invalid.
    """
    for path in folder.glob("*.json"):
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if not path.exists():
            continue
        settings = json_files.read_object(path)
        json_files.check_fields(settings, FIELDS, str(path))
        for key in settings.get("added_tokens_decoder", ()):
            if not key.isdecimal():
                shown = messages.shorten(key)
                raise ValueError(
                    f"{path}: field 'added_tokens_decoder': {shown!r} is no id"
                )


def check_embedding(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
    """Refuses a tokenizer whose tokens have no row in a model's embedding.

    Raises:
      ValueError: it has a token beyond `vocab_size`, the embedding's rows.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocab_size:
        raise ValueError(
            f"the tokenizer has tokens up to {largest} "
            f"({tokenizer.convert_ids_to_tokens(largest)!r}), and the model's "
            f"embedding only {vocab_size} rows: use the tokenizer that the model was "
            "trained with, or enlarge the embedding"
        )


def special_token_texts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Texts of all special tokens but that of unknown tokens, sorted."""
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
    return sorted(special - {tokenizer.unk_token})


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of a token."""
    return cast(int, tokenizer.convert_tokens_to_ids(token))


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """A hash of all that decides how a conversation becomes tokens, and nothing else.

    The day is part of it where the chat template shows it.
    """
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    # set by the last call that padded a batch, so no part of the tokenizer
    pipeline |= {"padding": None, "truncation": None}
    options = tokenization_options(tokenizer)
    today = options.today or datetime.date.today()
    parts = (
        pipeline,
        tokenizer.chat_template,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        str(today) if shows_date(tokenizer) else "",
        options.keep_special,
    )
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
