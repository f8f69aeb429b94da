"""Normalisations, by name."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Each vector brought to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).

    In a half format on a CPU the gradients of scale and shift are computed here, as matrix products that sum up in float32:
    torch's own kernel sums them up in the half format, where a sum over some thousand tokens stops growing (too small by a tenth
    to a third, measured with torch 2.13).
    """

    def forward(self, input: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
        """Vector by vector."""
        in_half = input.device.type == "cpu" and input.element_size() == 2
        if in_half and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _LayerNorm.apply(input, self.weight, self.bias, self.eps)
        return super().forward(input)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        y, mean, rstd = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        return y

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, rstd, weight, bias = ctx.saved_tensors
        grad = grads[0].contiguous()
        only_x = [True, False, False]
        by_x, _, _ = torch.ops.aten.native_layer_norm_backward(grad, x, weight.shape, mean, rstd, weight, bias, only_x)
        rows = grad.flatten(0, -2)
        scale, centre = rstd.flatten().to(x.dtype), mean.flatten()
        factors = torch.stack((torch.ones_like(centre), centre * scale)).to(x.dtype)
        by_bias, shifted = factors @ rows
        by_weight = scale @ (rows * x.flatten(0, -2)) - shifted
        return by_x, by_weight.to(weight.dtype), by_bias.to(bias.dtype), None


NORMS: dict[str, type[nn.Module]] = {
    "layer": LayerNorm,
    "rms": nn.RMSNorm,  # Zhang and Sennrich 2019
}
