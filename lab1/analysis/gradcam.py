"""Grad-CAM: where a CNN looked when it gave a class its score (Selvaraju et al. 2017, arXiv:1610.02391)."""

import contextlib
from collections.abc import Iterator

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
        model: (N, C, H, W) to logits (N, K). It is called in eval mode, and left as it was. Of a compiled model or one
            in (Distributed)DataParallel the model inside is called, on one device.
        layer: a module of the model or its dotted name; a list of them gives a list of heatmaps from one forward and
            one backward pass. If a module is called several times, the last call counts.
        channels_last: True where the layers give (N, h, w, C), as in Swin transformers, False for (N, C, h, w). By
            default it is the latter, and maps whose proportions are the image's only if read as the former are refused.

    Raises:
        ValueError: a layer that the model does not have; a scripted model, or one made in inference mode. When called:
            a layer that the model did not use, on which the logits do not depend, or whose output is no feature map;
            images that are not (N, C, H, W); targets that are no classes, or not as many as there are images.
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module | str | list[nn.Module | str], channels_last: bool | None = None
    ):
        if isinstance(model, torch.jit.ScriptModule):
            raise ValueError("a scripted or traced model hides its layers: give the model that it was made from")
        self.model = _inner(model)
        names = dict(self.model.named_modules(remove_duplicate=False))
        names |= dict(model.named_modules(remove_duplicate=False))  # with the prefix of what is around it
        if any(parameter.is_inference() for parameter in model.parameters()):
            raise ValueError("the model's weights were made in torch.inference_mode(): build or load it outside of it")
        self._several, self._channels_last = isinstance(layer, list | tuple), channels_last
        self._layers = [_find(names, each) for each in (layer if self._several else [layer])]
        if not self._layers:
            raise ValueError("there is no layer in the list")
        self._names = {each: next(name for name in names if names[name] is each) for each in self._layers}
        self._maps: dict[nn.Module, Tensor] | None = None  # only while this object calls the model
        self._hooks = []

    def __enter__(self) -> "GradCAM":
        self._hooks += [layer.register_forward_hook(self._capture) for layer in self._layers]
        return self

    def __exit__(self, *error) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _capture(self, layer: nn.Module, inputs, output: Tensor) -> Tensor | None:
        if self._maps is None:  # somebody else calls the model
            return None
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise ValueError(
                f"the output of {self._names[layer]} is no feature map (N, C, h, w) but {found}: choose another layer"
            )
        with torch.enable_grad():  # the model may have switched it off
            maps = output.clone()  # ours: requires_grad_() must not change a tensor that the model keeps
            if not maps.requires_grad:
                maps.requires_grad_()
            self._maps[layer] = maps
            return maps.clone()  # what follows may change it in place, such as ReLU(inplace=True); maps must stay

    def __call__(self, images: Tensor, targets: Tensor | list[int] | int | None = None) -> Tensor | list[Tensor]:
        """Heatmaps (N, H, W) float32 in 0..1 on the model's device; all zero where nothing speaks for the class.

        targets: the class to explain, one for all images or one for each; the predicted class by default.
        """
        with torch.inference_mode(False), torch.enable_grad():
            logits, maps = self._forward(images)
            score = logits.gather(1, _as_classes(targets, logits)[:, None]).sum()
            # step 1: the gradients of the score with respect to these maps; parameters need none
            gradients = torch.autograd.grad(score, maps, allow_unused=True)
            return self._heatmaps(maps, gradients, images.shape[2:])

    def all_classes(self, images: Tensor) -> Tensor | list[Tensor]:
        """The heatmaps of all classes, (N, K, H, W), from one forward pass and one batched backward pass.

        Otherwise as a call. The backward pass needs K times the memory.
        """
        with torch.inference_mode(False), torch.enable_grad():
            logits, maps = self._forward(images)
            one_hot = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)  # the gradient of each score
            one_hot = one_hot[:, None].expand(-1, *logits.shape)  # (K, N, K)
            gradients = torch.autograd.grad(logits, maps, one_hot, is_grads_batched=True, allow_unused=True)
            return self._heatmaps(maps, gradients, images.shape[2:])

    def _forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits (N, K), and the layers' feature maps, of which they are a differentiable function."""
        if not isinstance(images, Tensor) or images.ndim != 4:
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a tensor (N, C, H, W), not {found}")
        self._maps = {}
        try:
            with _frozen(self.model):
                logits = self.model(images.clone() if images.is_inference() else images.detach())
            if unused := [self._names[layer] for layer in self._layers if layer not in self._maps]:
                raise ValueError(f"the model did not call {', '.join(unused)}, or GradCAM was not called in its `with`")
            maps = [self._maps[layer] for layer in self._layers]
        finally:
            self._maps = None  # so that no graph is kept
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model must give logits (N, K), not {found}")
        if not logits.requires_grad:
            self._refuse_cut_off(self._layers)
        return logits, maps

    def _heatmaps(self, maps: list[Tensor], gradients: tuple, size: tuple[int, int]) -> Tensor | list[Tensor]:
        if cut_off := [layer for layer, g in zip(self._layers, gradients, strict=True) if g is None]:
            self._refuse_cut_off(cut_off)
        heat = []
        for layer, a, gradient in zip(self._layers, maps, gradients, strict=True):
            if self._channels_last is None and _looks_channels_last(a.shape, size):
                raise ValueError(
                    f"the output of {self._names[layer]}, {tuple(a.shape)}, looks like (N, h, w, C): "
                    "pass channels_last=True, or channels_last=False if it is (N, C, h, w)"
                )
            if self._channels_last:
                a, gradient = a.movedim(-1, -3), gradient.movedim(-1, -3)
            heat.append(self._weighted_sum(a, gradient, size))
        return heat if self._several else heat[0]

    def _weighted_sum(self, maps: Tensor, gradients: Tensor, size: tuple[int, int]) -> Tensor:
        """Feature maps (N, C, h, w) and gradients of scores (..., N, C, h, w) -> heatmaps (N, ..., H, W) in 0..1."""
        with torch.no_grad():
            if gradients.ndim == 5:  # of every class
                return torch.stack([self._weighted_sum(maps, gradient, size) for gradient in gradients], dim=1)
            # step 3: weighted sum, ReLU: (N, h, w); then as large as the image, and divided by the maximum
            heat = self._kept((self._weights(gradients.float()) * maps.float()).sum(dim=1))
            heat = F.interpolate(heat[:, None], size, mode="bilinear", align_corners=False)[:, 0]
            maximum = heat.amax(dim=(1, 2), keepdim=True)
            return heat / torch.where(maximum > 0, maximum, 1)

    @staticmethod
    def _weights(gradients: Tensor) -> Tensor:
        """Step 2: alpha, from the gradients (N, C, h, w): (N, C, 1, 1)."""
        return gradients.mean(dim=(2, 3), keepdim=True)

    @staticmethod
    def _kept(weighted_sum: Tensor) -> Tensor:
        """What speaks for the class: (N, h, w)."""
        return F.relu(weighted_sum)

    def _refuse_cut_off(self, layers: list[nn.Module]) -> None:
        names = ", ".join(self._names[layer] for layer in layers)
        raise ValueError(
            f"the logits do not depend on {names} in a way that can be differentiated: the model does not use the "
            "output, or cuts it off with detach() or no_grad(). Choose another layer"
        )


def all_classes(
    model: nn.Module, layer: nn.Module | str | list[nn.Module | str], images: Tensor, channels_last: bool | None = None
) -> Tensor | list[Tensor]:
    """`GradCAM.all_classes` in one call: (N, K, H, W), or a list of them for a list of layers."""
    with GradCAM(model, layer, channels_last) as cam:
        return cam.all_classes(images)


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and without gradients for its parameters; as it was, after the block.

    So the graph begins at the first of the layers: nothing before it is differentiated. What was compiled runs as it
    is written, for hooks to be called.
    """
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval().requires_grad_(False)
        with torch.compiler.set_stance("force_eager") if _is_compiled(model) else contextlib.nullcontext():
            yield
    finally:
        torch.clear_autocast_cache()  # weights that were cast without a graph
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def _is_compiled(model: nn.Module) -> bool:
    return any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules())


def _inner(model: nn.Module) -> nn.Module:
    """The model that was handed to torch.compile or to (Distributed)DataParallel."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def _looks_channels_last(shape: torch.Size, size: tuple[int, int]) -> bool:
    """Whether maps of this shape have the image's proportions, but only if their channels are the last dimension."""
    _, first, second, third = shape

    def fits(height: int, width: int) -> bool:  # each may be rounded by a pixel
        return abs(height / size[0] - width / size[1]) <= 1 / size[0] + 1 / size[1]

    return fits(first, second) and not fits(second, third)


def _find(names: dict[str, nn.Module], layer: nn.Module | str) -> nn.Module:
    if isinstance(layer, str):
        if layer not in names or not layer:
            raise ValueError(f"the model has no layer {layer!r}; its layers are {', '.join(filter(None, names))}")
        return names[layer]
    if not any(layer is module for module in names.values()):
        raise ValueError(f"this {type(layer).__name__} is not a layer of the model")
    return layer


def _as_classes(targets: Tensor | list[int] | int | None, logits: Tensor) -> Tensor:
    """One class for each row of the logits: (N,) int64."""
    if targets is None:
        return logits.argmax(1)
    count, num_classes = logits.shape
    try:
        classes = torch.as_tensor(targets, device=logits.device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # strings, None, lists of unequal lengths
        raise ValueError(f"targets must be class numbers (N,), not {targets!r:.60}") from error
    is_integer = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    if not (is_integer or classes.numel() == 0) or classes.ndim > 1:
        raise ValueError(f"targets must be class numbers (N,), not {classes.dtype} {tuple(classes.shape)}")
    if classes.ndim == 1 and len(classes) != count:
        raise ValueError(f"{count} images need one target each, not {len(classes)}")
    classes = classes.long()
    if ((classes < 0) | (classes >= num_classes)).any():
        raise ValueError(f"targets must lie in 0..{num_classes - 1}: the model has {num_classes} classes")
    return classes.expand(count).clone()  # outside of inference mode, where it may have been made
