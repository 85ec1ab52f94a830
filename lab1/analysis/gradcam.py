"""Grad-CAM: where a CNN looked when it gave a class its score (Selvaraju et al. 2017, arXiv:1610.02391)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GradCAM:
    """Heatmaps from the feature maps A of a layer and the score y of a class, the logit before the softmax.

    alpha_k = mean over positions of dy / dA_k; heatmap = ReLU(sum over k of alpha_k A_k), for every image by itself;
    upsampled bilinearly to the size of the image and divided by its own maximum. Taught in Exercise 2.3.

        with GradCAM(model, "layer3") as cam:
            heat = cam(images)  # (N, H, W) float32 in 0..1, for the predicted classes

    Args:
        model: (N, C, H, W) to logits (N, K). It is called in eval mode, and left as it was.
        layer: a module of the model or its dotted name; a list of them gives a list of heatmaps from one forward and
            one backward pass. Of a module that is called several times, the last call counts.

    Raises:
        ValueError: a layer that the model does not have. When called: a layer that the model did not use or whose
            output is no feature map (N, C, h, w); targets that are no classes, or not as many as there are images.
    """

    def __init__(self, model: nn.Module, layer: nn.Module | str | list[nn.Module | str]):
        self.model, self._several = model, isinstance(layer, list | tuple)
        self._layers = [_find(model, each) for each in (layer if self._several else [layer])]
        self._maps, self._hooks = None, []  # maps only while this object calls the model

    def __enter__(self) -> "GradCAM":
        self._hooks += [layer.register_forward_hook(self._capture) for layer in self._layers]
        return self

    def __exit__(self, *error) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _capture(self, layer: nn.Module, inputs, output: Tensor) -> Tensor | None:
        if self._maps is None:
            return None
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError(f"the output of {_name(self.model, layer)} is no feature map (N, C, h, w)")
        torch.set_grad_enabled(True)  # the graph begins at the first of the layers: nothing before it is differentiated
        self._maps[layer] = output if output.requires_grad else output.detach().requires_grad_()
        return self._maps[layer].clone()  # what comes next may change it in place

    def __call__(self, images: Tensor, targets: Tensor | list[int] | int | None = None) -> Tensor | list[Tensor]:
        """Heatmaps (N, H, W) float32 in 0..1 on the model's device; all zero where nothing speaks for the class.

        targets: the class to explain, one for all images or one for each; the predicted class by default.
        """
        with torch.inference_mode(False), torch.no_grad():  # afterwards the mode is again what it was
            logits, maps = _forward(self, images)
            score = logits.gather(1, _as_classes(targets, logits)[:, None]).sum()
            gradients = torch.autograd.grad(score, maps, materialize_grads=True)  # of these maps, of no parameter
            heat = [_heatmaps(a, gradient, images.shape[2:]) for a, gradient in zip(maps, gradients, strict=True)]
        return heat if self._several else heat[0]


def all_classes(model: nn.Module, layer: nn.Module | str, images: Tensor) -> Tensor:
    """The heatmaps of all classes, (N, K, H, W), from one forward pass and one batched backward pass.

    Arguments, errors and what is left untouched are as with GradCAM. The backward pass needs K times the memory.
    """
    with torch.inference_mode(False), torch.no_grad(), GradCAM(model, layer) as cam:
        logits, [maps] = _forward(cam, images)
        one_hot = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)  # the gradient of each score
        one_hot = one_hot[:, None].expand(-1, *logits.shape)  # (K, N, K)
        [gradients] = torch.autograd.grad(logits, maps, one_hot, is_grads_batched=True)  # (K, N, C, h, w)
        return torch.stack([_heatmaps(maps, gradient, images.shape[2:]) for gradient in gradients], dim=1)


def _forward(cam: GradCAM, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits (N, K), and the layers' feature maps, of which they are a differentiable function."""
    modes = {module: module.training for module in cam.model.modules()}
    cam._maps = {}
    try:
        logits = cam.model.eval()(images.clone() if images.is_inference() else images)
        if unused := [_name(cam.model, layer) for layer in cam._layers if layer not in cam._maps]:
            raise ValueError(f"the model did not call {', '.join(unused)}, or GradCAM was not called in its `with`")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model must give logits (N, K), not {found}")
        if not logits.requires_grad:
            raise ValueError("the logits do not depend on the layer in a way that can be differentiated")
        return logits, [cam._maps[layer] for layer in cam._layers]
    finally:
        cam._maps = None  # so that no graph is kept
        torch.clear_autocast_cache()  # weights that were cast without a graph
        for module, mode in modes.items():
            module.training = mode


def _heatmaps(maps: Tensor, gradients: Tensor, size: tuple[int, int]) -> Tensor:
    """Feature maps and the scores' gradients, (N, C, h, w) both -> heatmaps (N, H, W) in 0..1."""
    alpha = gradients.float().mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    heat = F.relu((alpha * maps.detach().float()).sum(dim=1))  # (N, h, w)
    heat = F.interpolate(heat[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    maximum = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(maximum > 0, maximum, 1)


def _find(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, str):
        if layer not in modules or not layer:
            raise ValueError(f"the model has no layer {layer!r}; its layers are {', '.join(filter(None, modules))}")
        return modules[layer]
    if not any(layer is module for module in modules.values()):
        raise ValueError(f"this {type(layer).__name__} is no layer of the model")
    return layer


def _name(model: nn.Module, layer: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is layer)


def _as_classes(targets: Tensor | list[int] | int | None, logits: Tensor) -> Tensor:
    """One class for each row of the logits: (N,) int64."""
    if targets is None:
        return logits.argmax(1)
    count, num_classes = logits.shape
    targets = torch.as_tensor(targets, device=logits.device)
    if targets.is_floating_point() or targets.dtype == torch.bool or targets.ndim > 1:
        raise ValueError(f"targets must be class numbers (N,), not {targets.dtype} {tuple(targets.shape)}")
    if targets.ndim == 1 and len(targets) != count:
        raise ValueError(f"{count} images need as many targets, not {len(targets)}")
    if ((targets < 0) | (targets >= num_classes)).any():
        raise ValueError(f"targets must lie in 0..{num_classes - 1}: the model has {num_classes} classes")
    return targets.long().expand(count).clone()  # outside of inference mode, where it may have been made
