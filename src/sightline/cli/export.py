"""`sightline export`."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import ConfigError, UserError, nearest

ENGINES = ("ctranslate2", "hugging-face", "onnx")


def export(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help=f"For which one: {', '.join(ENGINES)}.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of a trained model; without it the built-in one.")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="CTranslate2: number format of the weights, as in int8.")
    ] = None,
) -> None:
    """Write a trained model for another engine, which then translates the same.

    A model that the other engine has no layers for is refused, with the setting that prevents it.
    """
    from rich.console import Console

    from sightline.bundle import load_bundle
    from sightline.cli.display import say
    from sightline.runtime.translator import BUILTIN

    if engine not in ENGINES:
        raise ConfigError(
            f"There is no export for '{engine}'.{nearest(engine, ENGINES)} Engines: {', '.join(ENGINES)}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists already: give the name of a new folder.")
    if quantization is not None and engine != "ctranslate2":
        raise ConfigError(f"--quantization is for ctranslate2; {engine} gets float32.")
    bundle = load_bundle(BUILTIN if model is None else model)
    console = Console()
    if engine == "ctranslate2":
        from sightline.interop.ctranslate2 import export_ctranslate2

        export_ctranslate2(bundle, out, quantization)
        say(
            console,
            f"Written. In Python: ctranslate2.Translator('{out}'). How its input is made: {out / 'sightline.json'}",
        )
    elif engine == "onnx":
        from sightline.interop.onnx import export_onnx

        with console.status("Writing encoder and decoder, which takes about half a minute ..."):
            export_onnx(bundle, out)
        say(
            console,
            f"Written: {out / 'encoder.onnx'}, {out / 'decoder.onnx'}. In Python: sightline.interop.onnx.OnnxModel('{out}').",
        )
    else:
        from sightline.interop.hugging_face import export_hugging_face

        name = export_hugging_face(bundle, out)
        say(
            console,
            f"Written. In Python: transformers.{name}.from_pretrained('{out}'). Tokenizer: {out / 'sightline-tokenizer.json'}",
        )
