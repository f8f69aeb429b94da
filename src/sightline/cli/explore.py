"""`sightline explore`."""

import importlib.util
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import BundleError, ConfigError, UserError

HOST = "127.0.0.1"
PORT = 8765
TRIED = 50
"""Ports that are tried, from the one that is asked for."""


def explore(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[BUNDLE ...]", help="Folders of trained models; none: the built-in one."),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=1, max=65535, help="Where the page is; a later one if it is taken.")
    ] = PORT,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    lang: Annotated[
        str | None, typer.Option(metavar="en|zh", help="Language of the page; else as the browser prefers.")
    ] = None,
) -> None:
    """See inside a trained model, in the browser: attention, decoding step by step, and every number to work out by hand.

    The page is served on this machine, to this machine only, and needs no network. Ctrl-C ends it.
    """
    if lang not in (None, "en", "zh"):
        raise ConfigError(f"--lang {lang}: give en or zh.")
    for folder in bundles or []:
        if not (folder / "config.toml").is_file():
            there = "has no config.toml" if folder.is_dir() else "is no folder"
            raise BundleError(f"{folder} {there}: give a folder that `sightline train` wrote.")
    listening = listen(port)
    found = listening.getsockname()[1]
    if found != port:
        print(f"Port {port} is taken.", file=sys.stderr)
    address = f"http://{HOST}:{found}/" + (f"#/v1/overview?lang={lang}" if lang else "")
    print(f"{address}   (Ctrl-C ends it)", flush=True)
    with listening:
        serve(listening, bundles or [], address if open_page else None)


def listen(port: int) -> socket.socket:
    """A socket that takes connections already, at the first free port from `port` on. Raises UserError if none is free."""
    for each in range(port, min(port + TRIED, 65536)):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, each))
            found.listen(128)
        except OSError:
            found.close()
            continue
        return found
    raise UserError(f"No port from {port} on is free: give another with --port.")


def serve(listening: socket.socket, folders: list[Path], opened: str | None) -> None:
    """Serve the page until Ctrl-C; `opened` is what the browser is to open."""
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"The page needs {name}, which is not installed: pip install 'sightline[explore]'.")
    import uvicorn

    from sightline.serve.app import create_app
    from sightline.serve.workshop import Workshop

    workshop = Workshop(folders)
    config = uvicorn.Config(
        create_app(workshop), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    loading = workshop.begin()  # torch and the models, while the page is served

    def loaded(_: object) -> None:
        if not loading.cancelled() and loading.exception() is not None:
            server.should_exit = True  # a page without its models is no use

    loading.add_done_callback(loaded)
    if opened and _has_screen():
        threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        workshop.close()
    if loading.running():  # torch is still being imported: that cannot be interrupted, and nothing is there to be saved
        sys.stderr.flush()
        os._exit(0)
    if loading.done() and not loading.cancelled() and (error := loading.exception()) is not None:
        raise error


def _has_screen() -> bool:
    """Whether a browser could be seen: one that runs in the terminal would take it."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
