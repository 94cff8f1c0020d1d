"""Files written whole or not at all."""

import pytest

from jaxalign.atomic_files import atomic_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_path(path) as part:
        part.write_text("ne")
        assert path.read_text() == "old"
        raise OSError("disk full")
    assert path.read_text() == "old" and names(tmp_path) == ["numbers.json"]
    with atomic_path(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and names(tmp_path) == ["numbers.json"]


def test_a_folder_appears_whole_and_what_a_killed_writer_left_goes(tmp_path):
    folder = tmp_path / "made" / "cache"
    with pytest.raises(KeyboardInterrupt), atomic_path(folder, exclusive=True) as part:
        part.mkdir()
        (part / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(folder.parent) == []
    left = folder.with_name(".cache.part")
    left.mkdir()
    (left / "half").write_text("of a killed writer")
    with atomic_path(folder, exclusive=True) as part:
        assert part == left
        part.mkdir()
        (part / "tokens").write_text("whole")
    assert names(folder.parent) == ["cache"] and names(folder) == ["tokens"]
