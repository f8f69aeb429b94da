"""Normalisations, by name."""

from torch import nn

NORMS: dict[str, type[nn.Module]] = {
    "layer": nn.LayerNorm,  # Ba et al. 2016
    "rms": nn.RMSNorm,  # Zhang and Sennrich 2019
}
