"""Files written whole or not at all, and what the operating system refuses said in words."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sightline.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "atomic_file",
    "atomic_folder",
    "check_free_space",
    "explain_os_errors",
    "locked",
    "readable_os_error",
    "restore_folder",
    "sha256",
    "write_atomically",
]


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) so that ``path`` holds either its old content or all of the new.

    The data goes to a temporary file beside ``path``, is forced to the disk, and then takes the name of ``path``.
    Missing parent folders are made. A symbolic link is followed.

    Raises:
        UserError: the disk is full, the folder is not writable, and the like; nothing is left behind.
    """
    with atomic_file(path) as file:
        file.buffer.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[io.TextIOWrapper]:
    """Give a file to write UTF-8 text into; when the ``with`` block ends well it becomes ``path``, else it is removed.

    As `write_atomically`, for text that comes bit by bit. What is no regular file, such as ``/dev/null`` or a pipe, is
    written as it is.

    Raises:
        UserError: the disk is full, the folder is not writable, and the like; nothing is left behind.
    """
    with explain_os_errors(path, doing="write"):
        given = Path(path)
        if (
            given.exists() and not given.is_file() and not given.is_dir()
        ):  # before its links are resolved: pipes have no name
            with open(given, "w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        target = given.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        partial = _beside(target, "partial")
        try:
            with open(partial, "w", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the ``with`` block ends well it becomes ``target``, else it is removed.

    The folder is ``.<name>.<pid>.partial`` beside ``target``. All its files are forced to the disk before it is
    renamed. Missing parents are made, and removed again on failure. An older ``target`` is moved aside first and
    removed afterwards; a process killed between those two renames leaves only the copy moved aside, which the next
    `restore_folder` or `atomic_folder` puts back.

    Raises:
        UserError: ``target`` is a file, the disk is full, the folder is not writable, and the like.
    """
    with explain_os_errors(target, doing="write"):
        final = Path(target).resolve()
        if final.exists() and not final.is_dir():
            raise UserError(f"{target} is a file, and a folder of that name is to be written. Choose another name.")
        made = [parent for parent in final.parents if not parent.exists()]
        final.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(final)
        _remove_abandoned(final)
        partial, old = _beside(final, "partial"), _beside(final, "old")
        _remove(partial)
        partial.mkdir()
        try:
            yield partial
            _sync_tree(partial)
            if final.exists():
                _remove(old)
                os.replace(final, old)
            try:
                os.replace(partial, final)
            except BaseException:
                restore_folder(final)
                raise
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            _remove_empty(made)
            raise
        _sync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)


def restore_folder(target: str | Path) -> bool:
    """Put back a folder that `atomic_folder` had moved aside when its process was killed; whether there was one.

    Call it before reading a folder that a killed process may have been replacing. Does nothing while ``target``
    exists.
    """
    final = Path(target).resolve()
    if final.exists() or not final.parent.is_dir():
        return False
    aside = [path for path in _leftovers(final, "old") if path.is_dir()]
    if not aside:
        return False
    os.replace(max(aside, key=lambda path: path.stat().st_mtime), final)
    return True


@contextlib.contextmanager
def locked(path: str | Path, what: str) -> Iterator[None]:
    """Inside the ``with`` block no other process passes the same file; the system frees it when a process dies.

    The file's folder is made if need be, and removed again if the block fails before anything else is in it. Does
    nothing where the system or the disk knows no locks.

    Raises:
        UserError: another process is inside; ``what`` says what it does there.
    """
    if fcntl is None:
        yield
        return
    folder = Path(path).absolute().parent
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with explain_os_errors(path, doing="write"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{Path(path).parent}: {what} by another process. Wait for it, or choose another."
            ) from error
        except OSError:  # a network disk without locks
            pass
        yield
    except BaseException:
        if made and os.listdir(folder) == [Path(path).name]:
            Path(path).unlink(missing_ok=True)
            _remove_empty(made)
        raise
    finally:
        os.close(handle)


def check_free_space(folder: str | Path, needed: int) -> None:
    """Make sure that ``needed`` bytes can be written into ``folder`` (which need not exist yet).

    Raises:
        UserError: less is free; says how much, and what to do.
    """
    place = Path(folder).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"The disk that holds {folder} has {readable_size(free)} free, and {readable_size(needed)} are needed. "
            "Free some space, or choose a folder on another disk."
        )


_REMEDIES = {
    errno.ENOSPC: "the disk is full. Free some space, or choose a folder on another disk.",
    errno.EDQUOT: "your disk quota is used up. Free some space, or choose a folder on another disk.",
    errno.EFBIG: "the file would be larger than this file system allows. Choose a folder on another disk.",
    errno.EACCES: "permission is denied. Check who owns it and its permissions, or choose another folder.",
    errno.EPERM: "the system does not permit it. Check who owns it and its permissions, or choose another folder.",
    errno.EROFS: "the disk is read-only. Choose a folder on a disk that can be written.",
    errno.ENOENT: "there is no such file or folder. Check the spelling of the path.",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Check the path, or choose another folder.",
    errno.EISDIR: "it is a folder, and a file is wanted. Check the path.",
    errno.EEXIST: "something of that name is there already. Choose another name, or move it away.",
    errno.ENOTEMPTY: "the folder there is not empty. Choose another name, or move it away.",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one.",
    errno.EMFILE: "too many files are open. Close some programs, or raise the limit (ulimit -n).",
    errno.ELOOP: "its symbolic links lead in a circle. Give the real path.",
    errno.EIO: "the disk reports an error. Check it, or use another one.",
    errno.EBUSY: "another program is using it. Close that program and try again.",
}
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def readable_os_error(error: OSError, path: str | Path, doing: str) -> UserError:
    """What the operating system refused, as a message with a remedy: ``Cannot <doing> <path>: ...``.

    The file that the error itself names wins over ``path``.
    """
    named = error.filename if isinstance(error.filename, (str, os.PathLike)) else None
    reason = _REMEDIES.get(error.errno or 0) or f"{error.strerror or error}. Check the path and the disk."
    shown = path if named is None or _is_temporary(Path(named), Path(path)) else named
    return UserError(f"Cannot {doing} {shown}: {reason}")


@contextlib.contextmanager
def explain_os_errors(path: str | Path, doing: str) -> Iterator[None]:
    """Inside the ``with`` block an `OSError` becomes a `UserError`: ``Cannot <doing> <path>: the disk is full. ...``.

    So does what safetensors and tokenizers raise for the same reasons, which is not an `OSError`.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise readable_os_error(error, path, doing) from error
    except Exception as error:
        found = _RUST_OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise readable_os_error(OSError(number, os.strerror(number)), path, doing) from error


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        UserError: the file cannot be read.
    """
    with explain_os_errors(path, doing="read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{ending}")


def _leftovers(target: Path, ending: str) -> list[Path]:
    form = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.{ending}")
    return [path for path in target.parent.iterdir() if form.fullmatch(path.name)]


def _is_temporary(named: Path, path: Path) -> bool:
    form = rf"\.{re.escape(path.name)}\.\d+\.(partial|old)"
    return any(re.fullmatch(form, part) for part in named.parts)


def _remove_abandoned(target: Path) -> None:
    """Clear away what processes that no longer live had begun to write, and old copies whose successor is in place."""
    if os.name == "nt":  # there is no harmless way to ask whether a process lives
        return
    for path in _leftovers(target, "partial") + (_leftovers(target, "old") if target.exists() else []):
        if not _alive(int(path.name.split(".")[-2])):
            with contextlib.suppress(OSError):
                _remove(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # others may have put something there by now
            folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(place, name), os.O_RDWR if os.name == "nt" else os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        _sync_folder(Path(place))


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk, where the system has such a thing."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def readable_size(n_bytes: int) -> str:
    """So many bytes in the largest unit of which there is at least one."""
    amount = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
