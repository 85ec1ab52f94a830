import torch
import torch.nn.functional as F

from lab1 import checks
from solutions import right, wrong


def finish(heat, images):
    heat = F.interpolate(F.relu(heat)[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    most = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(most > 0, heat / most.clamp(min=1e-12), torch.zeros_like(heat))


@right(checks.grad_cam)
def one_hook(model, layer, images, targets=None):
    was_training = model.training
    model.eval()
    kept = {}
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.update(maps=output))
    try:
        with torch.enable_grad():
            logits = model(images)
            if targets is None:
                targets = logits.argmax(dim=1)
            score = logits[torch.arange(len(images)), targets].sum()
            gradient = torch.autograd.grad(score, kept["maps"])[0]
    finally:
        hook.remove()
        model.train(was_training)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return finish((alpha * kept["maps"]).sum(dim=1).detach(), images)


@right(checks.grad_cam)
def two_hooks(model, layer, images, targets=None, eps=1e-8):
    """The tutorial's way: forward and backward hooks, one image after the other, and zero_grad afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    maps, gradients = [], []
    hooks = [
        layer.register_forward_hook(lambda m, i, o: maps.append(o.detach())),
        layer.register_full_backward_hook(lambda m, i, o: gradients.append(o[0].detach())),
    ]
    heatmaps = []
    for n in range(len(images)):
        logits = model(images[n : n + 1])
        target = logits.argmax() if targets is None else targets[n]
        logits[0, target].backward()
        weights = gradients[-1][0].mean(dim=(1, 2))
        heat = torch.einsum("k,khw->hw", weights, maps[-1][0]).clamp(min=0)
        heat = F.interpolate(heat[None, None], images.shape[2:], mode="bilinear")[0, 0]
        heatmaps.append(heat / (heat.max() + eps))
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    for module, mode in modes:
        module.training = mode
    return torch.stack(heatmaps)


@right(checks.grad_cam)
def tensor_hook(model, layer, images, targets=None):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    state = {}

    def keep(module, inputs, output):
        state["A"] = output
        output.retain_grad()

    handle = layer.register_forward_hook(keep)
    scores = model(images)
    handle.remove()
    chosen = scores.max(1).values if targets is None else scores.gather(1, targets.view(-1, 1))
    flags = [p.requires_grad for p in model.parameters()]
    torch.autograd.backward(chosen.sum(), inputs=[state["A"]])
    for p, flag in zip(model.parameters(), flags, strict=True):
        p.requires_grad_(flag)
    for m, mode in modes.items():
        m.train(mode)
    A, dA = state["A"].detach(), state["A"].grad
    heat = sum(dA[:, k].mean((1, 2))[:, None, None] * A[:, k] for k in range(A.shape[1]))
    return finish(heat, images)


@right(checks.grad_cam, "carries the graph")
def not_detached(model, layer, images, targets=None):
    """Divides by the maximum and a little."""
    modes, kept = {m: m.training for m in model.modules()}, []
    model.eval()
    with layer.register_forward_hook(lambda module, inputs, output: kept.append(output)):
        logits = model(images)
    targets = logits.argmax(1) if targets is None else targets
    [gradient] = torch.autograd.grad(logits[range(len(images)), targets].sum(), kept, retain_graph=True)
    for m, mode in modes.items():
        m.training = mode
    heat = upsampled((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).relu(), images)
    return heat / (heat.amax((1, 2), keepdim=True) + 1e-5)


def cam(
    score=lambda logits, targets: logits.gather(1, targets[:, None]).sum(),
    combine=lambda maps, gradient: (gradient.mean((2, 3), keepdim=True) * maps).sum(1),
    after=finish,
    evaluates=True,
    restores=True,
    backward=False,
    hooks_stay=False,
    predicted=False,
):
    """one_hook with its parts replaced."""

    def grad_cam(model, layer, images, targets=None):
        was_training, kept = model.training, {}
        if evaluates:
            model.eval()
        hook = layer.register_forward_hook(lambda module, inputs, output: kept.update(maps=output))
        logits = model(images)
        if targets is None or predicted:
            targets = logits.argmax(1)
        if backward:
            kept["maps"].retain_grad()
            score(logits, targets).backward()
            gradient = kept["maps"].grad
        else:
            gradient = torch.autograd.grad(score(logits, targets), kept["maps"])[0]
        if not hooks_stay:
            hook.remove()
        if restores:
            model.train(was_training)
        return after(combine(kept["maps"].detach(), gradient), images)

    return grad_cam


def mistake(name, *words, **options):
    answer = cam(**options)
    answer.__name__ = name
    wrong(checks.grad_cam, *words)(answer)


def upsampled(heat, images, **options):
    options = {"mode": "bilinear"} | options
    return F.interpolate(heat[:, None], images.shape[2:], **options)[:, 0]


def normalised(heat):
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def probability(logits, targets):
    return logits.softmax(1).gather(1, targets[:, None]).sum()


def over_batch(heat, images):
    heat = upsampled(heat.relu(), images)
    return heat / heat.max()


def min_max(heat, images):
    heat = upsampled(heat.relu(), images)
    heat = heat - heat.amin((1, 2), keepdim=True)
    return normalised(heat)


mistake("loss", "that of the loss", score=F.cross_entropy)
mistake("softmax", "probability after the softmax", score=probability)
mistake("all_classes", "scores of all classes", score=lambda logits, targets: logits.sum())
mistake("first_target", "target of the first one", score=lambda logits, targets: logits[:, targets[0]].sum())
mistake("all_targets", "that of all images' targets", score=lambda z, t: z[:, t].sum())
mistake("first_score", "Only the first image's score", score=lambda z, t: z[0, t[0]])
mistake("largest_score", "one score for the whole batch", score=lambda z, t: z.max())
mistake("squeezed", "dimension of a batch of one image", after=lambda h, x: finish(h, x).squeeze())
mistake("predicted", "predicted class is explained instead", predicted=True)
mistake(
    "alpha_over_batch", "averaged over the batch", combine=lambda a, g: (g.mean((0, 2, 3))[:, None, None] * a).sum(1)
)
mistake("hires", "HiResCAM", combine=lambda a, g: (g * a).sum(1))
mistake("no_relu", "ReLU is missing", after=lambda heat, images: normalised(upsampled(heat, images)))
mistake("absolute", "absolute value", after=lambda heat, images: finish(heat.abs(), images))
mistake(
    "relu_on_alpha", "ReLU is applied to the weights", combine=lambda a, g: (g.mean((2, 3), True).relu() * a).sum(1)
)
mistake("only_gradient", "gradient alone", combine=lambda a, g: g.sum(1))
mistake("only_maps", "without the weights alpha", combine=lambda a, g: a.mean(1))
mistake(
    "over_batch", "normalised over the batch", after=lambda h, x: upsampled(h.relu(), x) / upsampled(h.relu(), x).max()
)
mistake("min_max", "minimum is subtracted", after=min_max)
mistake("not_normalised", "not divided by its maximum", after=lambda h, x: upsampled(h.relu(), x))
mistake("before_upsampling", "before the upsampling", after=lambda h, x: upsampled(normalised(h.relu()), x))
mistake("nearest", "not bilinear", after=lambda h, x: normalised(upsampled(h.relu(), x, mode="nearest")))
mistake("corners", "aligns the corners", after=lambda h, x: normalised(upsampled(h.relu(), x, align_corners=True)))
mistake("small", "not upsampled", after=lambda h, x: normalised(h.relu()))
mistake("channel", "channel dimension", after=lambda h, x: finish(h, x)[:, None])
mistake(
    "nan",
    "zero everywhere",
    after=lambda h, x: upsampled(h.relu(), x) / upsampled(h.relu(), x).amax((1, 2), keepdim=True),
)
mistake("training_mode", "in training mode", evaluates=False)
mistake("stays_in_eval", "mode is not restored", restores=False)
mistake("gradients_stay", "gradients are left behind", backward=True)
mistake("hooks_stay", "hooks are left behind", hooks_stay=True)


@wrong(checks.grad_cam, "targets=None, the default, is not handled")
def needs_targets(model, layer, images, targets=None):
    targets.clone()
    return one_hook(model, layer, images, targets)


@wrong(checks.grad_cam, "targets=None, the default, is not handled")
def no_default(model, layer, images, targets):
    return one_hook(model, layer, images, targets)


@wrong(checks.grad_cam, "no_grad")
def no_grad(model, layer, images, targets=None):
    with torch.no_grad():
        return cam()(model, layer, images, targets)


@wrong(checks.grad_cam, "not added up to one")
def vector_backward(model, layer, images, targets=None):
    return cam(score=lambda logits, targets: logits.gather(1, targets[:, None]))(model, layer, images, targets)


@wrong(checks.grad_cam, "ndarray, not a tensor")
def numpy_array(model, layer, images, targets=None):
    return one_hook(model, layer, images, targets).numpy()


@wrong(checks.grad_cam, "feature maps are detached")
def keeps_detached(model, layer, images, targets=None):
    was_training, kept = model.training, []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
    logits = model.eval()(images)
    handle.remove()
    model.train(was_training)
    targets = logits.argmax(1) if targets is None else targets
    [gradient] = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), kept)
    return finish((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1), images)


@wrong(checks.grad_cam, "ask `targets is None`")
def targets_or(model, layer, images, targets=None):
    return one_hook(model, layer, images, targets or model.eval()(images).argmax(1))


def min_max_before(heat, images):
    heat = heat.relu()
    least, most = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)
    return upsampled((heat - least) / (most - least).clamp(min=1e-12), images)


mistake("min_max_before", "minimum and maximum before the upsampling", after=min_max_before)
