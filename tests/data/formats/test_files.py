"""The same rows from every format, local or in a bucket; malformed files are named."""

import fsspec
import pytest
from array_record.python import array_record_module

from jaxalign.data import readers
from jaxalign.data.formats import files
from jaxalign.data.records import Demonstration, Preference, Prompt
from tests.data.row_files import write

ROWS = [
    {"prompt": "é?", "chosen": "yes", "rejected": "no", "margin": 1.5},
    {"prompt": "2 + 2", "chosen": "4", "rejected": "5"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
]


def row_numbers(path, count):
    """Row or line numbers of the rows; all 1 in a JSON list on one line."""
    ending = files.uncompressed_ending(path.name)
    first = 2 if ending in (".csv", ".tsv") else 1
    return [1 if ending == ".json" else first + i for i in range(count)]


@pytest.fixture(params=files.ENDINGS)
def path(request, tmp_path):
    return tmp_path / f"rows{request.param}"


def test_every_format_gives_the_same_records(path):
    write(path, ROWS)
    pairs, report = readers.read(path, Preference)
    assert str(report) == "3 of 3 rows"
    values = [(p.prompt[0]["content"], p.chosen, p.rejected, p.margin) for p in pairs]
    expected = [tuple(row.values()) for row in ROWS]
    assert values == [row if len(row) == 4 else (*row, 0.0) for row in expected]
    assert [p.location for p in pairs] == [f"{path}:{n}" for n in row_numbers(path, 3)]


def test_every_format_names_the_malformed_row(path):
    write(path, [*ROWS, {"prompt": "q", "chosen": "a"}])
    number = row_numbers(path, 4)[-1]
    with pytest.raises(
        ValueError, match=f"{path}:{number}: field 'rejected' is missing"
    ):
        readers.read(path, Preference)
    _, report = readers.read(path, Preference, skip_bad_rows=True)
    assert str(report) == "3 of 4 rows (1 malformed)"


def test_a_bucket_gives_the_same_records(path):
    write(path, ROWS)
    url = f"memory://bucket/{path.name}"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    local, _ = readers.read(path, Preference)
    pairs, _ = readers.read(url, Preference)
    assert [p.chosen for p in pairs] == [p.chosen for p in local]
    assert pairs[0].location == f"{url}:{row_numbers(path, 1)[0]}"
    of_folder, _ = readers.read("memory://bucket", Preference)
    assert [p.location for p in of_folder] == [p.location for p in pairs]
    fsspec.filesystem("memory").rm("/bucket", recursive=True)
    with pytest.raises(FileNotFoundError, match="no such file: memory://bucket"):
        readers.read(url, Preference)


def test_an_unknown_scheme_is_named():
    with pytest.raises(ValueError, match="nowhere://rows.jsonl cannot be reached"):
        readers.read("nowhere://rows.jsonl", Prompt)


@pytest.mark.parametrize("ending", [".parquet", ".array_record"])
def test_a_file_in_another_format_is_named(ending, tmp_path):
    path = tmp_path / f"rows{ending}"
    path.write_text('{"prompt": "q"}\n')
    with pytest.raises(
        ValueError, match=f"{path} is not a valid (Parquet|ArrayRecord) "
    ):
        readers.read(path, Prompt)


def test_messages_in_parquet(tmp_path):
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = write(tmp_path / "rows.parquet", [{"messages": talk}] * 3)
    examples, _ = readers.read(path, Demonstration)
    assert [one.messages for one in examples] == [talk] * 3


def test_records_that_are_not_json_are_named(tmp_path):
    path = tmp_path / "rows.array_record"
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    writer.write(b'{"prompt": "q"}')
    writer.write(b"\x0a\xff")
    writer.close()
    with pytest.raises(ValueError, match=f"{path}:2: is not JSON"):
        readers.read(path, Prompt)


def test_a_failing_file_system_is_named(monkeypatch):
    class Silent:
        def isdir(self, at):
            raise RuntimeError("nobody answers")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda path: (Silent(), path))
    with pytest.raises(ValueError, match="far://a.jsonl cannot be reached: nobody"):
        readers.read("far://a.jsonl", Preference)
