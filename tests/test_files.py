"""Files and folders written whole or not at all, whatever the operating system refuses."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sightline import files
from sightline.errors import UserError
from sightline.files import (
    atomic_file,
    atomic_folder,
    check_free_space,
    explain_os_errors,
    locked,
    readable_os_error,
    restore_folder,
    sha256,
    write_atomically,
)


def refuse(number: int):
    def refused(*_args: object, **_kwargs: object):
        raise OSError(number, os.strerror(number))

    return refused


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_written_with_its_parents_and_replaced(tmp_path: Path):
    target = tmp_path / "new" / "deep" / "note.txt"
    write_atomically(target, "größe 字")
    assert target.read_bytes() == "größe 字".encode()
    write_atomically(target, b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert names(target.parent) == ["note.txt"]


def test_line_ends_are_written_as_they_are(tmp_path: Path):
    write_atomically(tmp_path / "note.txt", "a\nb\r\n")
    assert (tmp_path / "note.txt").read_bytes() == b"a\nb\r\n"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    target = tmp_path / "note.txt"
    target.write_text("old")
    monkeypatch.setattr(os, function, refuse(errno.ENOSPC))
    with pytest.raises(UserError, match=r"Cannot write .*note\.txt: the disk is full\. Free some space"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_a_file_in_a_read_only_folder_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("builtins.open", refuse(errno.EACCES))
    with pytest.raises(UserError, match="permission is denied"):
        write_atomically(tmp_path / "note.txt", "new")
    assert names(tmp_path) == []


def test_a_path_that_leads_through_a_file_is_refused_in_words(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Cannot write"):
        write_atomically(tmp_path / "file" / "note.txt", "new")


def test_text_that_comes_bit_by_bit_is_there_whole_or_not_at_all(tmp_path: Path):
    with atomic_file(tmp_path / "a.txt") as file:
        file.write("狗\n")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_bytes() == "狗\n".encode()
    with pytest.raises(KeyError), atomic_file(tmp_path / "a.txt") as file:
        file.write("half")
        raise KeyError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": "狗\n".encode()}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_written_as_it_is(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "text")
    assert os.read(reader, 10) == b"text" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)


def test_a_symbolic_link_stays_one(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "note.txt").write_text("old")
    try:
        (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "note.txt")
    except OSError:
        pytest.skip("this system lets only administrators make symbolic links")
    write_atomically(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "note.txt").read_text() == "new"


def test_a_folder_appears_whole(tmp_path: Path):
    target = tmp_path / "runs" / "model"
    with atomic_folder(target) as folder:
        assert folder.name == f".model.{os.getpid()}.partial"
        assert folder.parent == target.parent.resolve()
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("1")
        assert not target.exists()
    assert (target / "sub" / "weights").read_text() == "1"
    assert names(target.parent) == ["model"]


def test_an_old_folder_is_replaced_and_none_of_its_files_stay(tmp_path: Path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_folder(target) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("stop"), UserError("stop")])
def test_an_interrupted_folder_leaves_the_old_one(tmp_path: Path, error: BaseException):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(error if isinstance(error, type) else type(error)), atomic_folder(target) as folder:
        (folder / "new").write_text("new")
        raise error
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_full_disk_while_a_folder_is_filled_is_told_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "model"
    target.mkdir()
    monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(UserError, match=r"Cannot write .*model: the disk is full"), atomic_folder(target) as folder:
        (folder / "new").write_text("new")
    assert names(target) == []
    assert names(tmp_path) == ["model"]


def test_when_the_new_folder_cannot_take_its_place_the_old_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    replace = os.replace

    def refuse_partial(src: Path, dst: Path):
        if str(src).endswith(".partial"):
            raise OSError(errno.EIO, "broken")
        replace(src, dst)

    monkeypatch.setattr(os, "replace", refuse_partial)
    with pytest.raises(UserError, match="the disk reports an error"), atomic_folder(target) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_moved_aside_by_a_killed_process_is_put_back(tmp_path: Path):
    target = tmp_path / "model"
    aside = tmp_path / f".model.{dead_pid()}.old"
    aside.mkdir()
    (aside / "old").write_text("old")
    assert restore_folder(target)
    assert names(target) == ["old"]
    assert not restore_folder(target)
    assert not restore_folder(tmp_path / "absent" / "model")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no harmless way to ask whether a process lives")
def test_what_killed_processes_left_behind_is_cleared_away(tmp_path: Path):
    target, dead = tmp_path / "model", dead_pid()
    (tmp_path / f".model.{dead}.partial").mkdir()
    (tmp_path / f".model.{os.getppid()}.partial").mkdir()
    (tmp_path / f".models.{dead}.partial").mkdir()
    with atomic_folder(target):
        pass
    assert names(tmp_path) == sorted([f".model.{os.getppid()}.partial", f".models.{dead}.partial", "model"])


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "model").write_text("x")
    with pytest.raises(UserError, match="is a file, and a folder of that name"), atomic_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "x"


def test_too_little_space_says_how_much_is_free_and_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=3 * 2**20))
    check_free_space(tmp_path / "not" / "yet", 3 * 2**20)
    with pytest.raises(UserError, match=r"has 3\.0 MiB free, and 2\.0 GiB are needed\. Free some space"):
        check_free_space(tmp_path / "not" / "yet", 2 * 2**30)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EINTR, "Check the path and the disk"),
    ],
)
def test_what_the_system_refuses_is_told_with_a_remedy(number: int, words: str):
    text = str(readable_os_error(OSError(number, os.strerror(number)), "runs/x", doing="save the model in"))
    assert text.startswith("Cannot save the model in runs/x: ") and words in text and "\n" not in text


def test_the_file_that_the_system_names_is_the_one_told(tmp_path: Path):
    with pytest.raises(UserError, match=r"Cannot read .*absent\.txt: there is no such file"):
        with explain_os_errors(tmp_path, doing="read"):
            (tmp_path / "absent.txt").read_text()


def test_errors_of_libraries_written_in_rust_are_told_as_well():
    with pytest.raises(UserError, match=r"Cannot save the model in runs/x: the disk is full"):
        with explain_os_errors("runs/x", doing="save the model in"):
            raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="something else"), explain_os_errors("x", doing="read"):
        raise RuntimeError("something else")


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="there is no such file"):
        sha256(tmp_path / "absent")


def test_a_lock_keeps_another_process_out_until_it_is_left(tmp_path: Path):
    code = f"from sightline.files import locked\nwith locked({str(tmp_path / 'lock')!r}, 'busy'): pass"
    with locked(tmp_path / "lock", "a run is being trained"):
        inside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "UserError" in inside.stderr and "busy by another process" in inside.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
