"""What is shown while a model is trained."""

import io

from rich.console import Console

from sightline.cli.display import TrainingDisplay
from sightline.training.loop import fit
from sightline.training.start import load_run


def shown(tmp_path, tiny, terminal: bool) -> str:
    run = load_run("copy", *tiny, "train.lr=1e-12", out=tmp_path)
    for name, p in [*run.model.named_parameters(), *(run.ema.tensors if run.ema else {}).items()]:
        if "cross_attn.o_proj" in name:
            p.data.zero_()  # it cannot see its source
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=110, color_system=None)
    with TrainingDisplay(run, console) as display:
        for step in fit(run):
            display.show(step)
    return written.getvalue()


def test_a_terminal_sees_a_live_line_with_rate_loss_score_and_time_left(tmp_path, tiny):
    text = shown(tmp_path, tiny, terminal=True)
    for part in ("step 4/4", "loss", "tokens/s", "BLEU", "left", "validation at step 2", "The last step.", "\x1b["):
        assert part in text, part


def test_a_log_has_plain_lines_and_the_warning_of_a_model_that_ignores_its_source(tmp_path, tiny):
    text = shown(tmp_path, tiny, terminal=False)
    assert "\x1b" not in text and "step 1/4" in text and "validation at step 4" in text
    assert "warning: the loss is the same with exchanged sources" in text
