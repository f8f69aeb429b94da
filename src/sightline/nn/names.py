"""The names by which settings ask for layers, known before torch is: those of the tables of the same names in the other files."""

from typing import Literal

NormAt = Literal["pre", "post"]
POSITIONS = ("sinusoidal", "learned", "rotary", "none")
FEEDFORWARDS = ("relu", "gelu", "silu", "swiglu")
NORMS = ("layer", "rms")
CELLS = ("elman", "gru", "lstm")
Attend = Literal["before", "between", "after"]
Bridge = Literal["dense", "mean", "copy", "zero"]
