"""The teacher of distillation: a frozen model with the student's tokenizer.

It may be of any size and family.
Both models read the same token ids, and a loss compares their distributions token by
token. A teacher with another vocabulary is refused before any weights are read.
"""

from typing import NamedTuple

from jax.sharding import Mesh

from jaxalign.data import chat
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.models.config import Remat
from jaxalign.models.pretrained_folder import PretrainedFolder, open_folder
from jaxalign.pipeline.policies import Policy, extend_longrope
from jaxalign.runtime import hub
from jaxalign.runtime.config import Dtype

# What tokenizers of one vocabulary may split in different ways.
PROBE = "The 12 cats' 345.67 naïve  tests:\n\n\tdef f(x):  # 漢字 \U0001f642 can't STOP"


class OpenTeacher(NamedTuple):
    """A teacher's folder, opened, with its own tokenizer; no weights are read."""

    folder: PretrainedFolder
    tokenizer: PreTrainedTokenizerFast

    def describe(self, student: PreTrainedTokenizerFast) -> str:
        """Its sizes in words, and whether it has another chat template."""
        config = self.folder.config
        words = f"{config.family}, {config.layers} layers of width {config.width}"
        if self.tokenizer.chat_template != student.chat_template:
            words += "; it reads prompts in the student's chat template, not in its own"
        return words


def open_teacher(
    name: str,
    student: PreTrainedTokenizerFast,
    *,
    dtype: Dtype,
    param_dtype: Dtype = "float32",
    remat: Remat = "none",
) -> OpenTeacher:
    """Opens the folder of a teacher, and checks its tokenizer.

    Args:
      name: a Hugging Face folder, or ORG/NAME of a hub.
      student: the student's tokenizer.
      dtype: of the computation.
      param_dtype: of the parameters.

    Raises:
      ValueError, OSError: the folder does not hold a model, or one with another
        tokenizer; the first difference is named.
    """
    path = hub.model_folder(name)
    if not path.is_dir():
        raise FileNotFoundError(
            f"--teacher {name}: no such folder, nor ORG/NAME of a hub"
        )
    folder = open_folder(path, dtype=dtype, param_dtype=param_dtype, remat=remat)
    tokenizer = tokenizers.load(path)
    if difference := first_difference(tokenizer, student):
        raise ValueError(
            f"--teacher {name} has another tokenizer than the student: {difference}; "
            "distillation compares distributions over one vocabulary, so choose a "
            "teacher of the student's model family"
        )
    tokenizers.check_embedding(tokenizer, folder.config.vocab_size)
    return OpenTeacher(folder, tokenizer)


def first_difference(
    teacher: PreTrainedTokenizerFast, student: PreTrainedTokenizerFast
) -> str:
    """The first difference of two tokenizers, in words; empty if they are the same.

    Compared are the ids of all tokens, the token that begins texts, the ids of a probe
    text, and whether some token ends the answers of both. Padding does not matter, nor
    the chat template.
    """
    both = teacher, student
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    if different := {*theirs.items()} ^ {*ours.items()}:
        _, token = min((token_id, token) for token, token_id in different)
        ids = [x.get(token, "none") for x in (theirs, ours)]
        return f"token {token!r} is {ids[0]} in the teacher and {ids[1]} in the student"
    begins = [x.bos_token for x in both]
    if None not in begins and begins[0] != begins[1]:
        return f"its bos_token is {begins[0]!r}, and the student's {begins[1]!r}"
    ids = [x(PROBE, add_special_tokens=False).input_ids for x in both]
    if ids[0] != ids[1]:
        return f"it splits {PROBE!r} into other tokens"
    ends = [chat.stop_tokens(x) for x in both]
    if not set(ends[0]) & set(ends[1]):
        names = [teacher.convert_ids_to_tokens(x[0]) for x in ends]
        return f"its answers end with {names[0]!r}, and the student's with {names[1]!r}"
    return ""


def load(teacher: OpenTeacher, student: Policy, *, mesh: Mesh, longest: int) -> Policy:
    """Reads the parameters of a teacher, sharded on the mesh as a policy's.

    Args:
      student: whose tokenizer the teacher's texts have.
      longest: tokens of the longest sequence of the run.

    Raises:
      ValueError: the teacher's context is shorter than that.
    """
    folder = teacher.folder
    if longest > folder.config.context:
        raise ValueError(
            f"sequences of up to {longest} tokens do not fit into the teacher's "
            f"context of {folder.config.context}: set --context {folder.config.context}"
            ", or lower --max-new-tokens"
        )
    settings = folder.settings
    model, params = folder.load_language_model(mesh)
    policy = Policy(model, params, student.tokenizer, folder.config.context, settings)
    return extend_longrope(policy, longest)
