"""One right answer to each task of Lab1-CNNs.ipynb, as it stands in the cell of the stub."""

ANSWERS = {
    "MLP": """
class MLP(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, images):
        x = images.flatten(start_dim=1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
""",
    "train_epoch": """
def train_epoch(model, loader, optimizer, device):
    model.train()
    total = count = 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count
""",
    "evaluate": """
def evaluate(model, loader, device):
    model.eval()
    total = right = count = 0
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            logits = model(images)
            total += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return total / count, right / count
""",
    "ResidualBlock": """
class ResidualBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, skip=True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.skip, self.projection = skip, None
        if skip and (stride != 1 or in_channels != out_channels):
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.projection = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.skip:
            out = out + (x if self.projection is None else self.projection(x))
        return F.relu(out)
""",
    "cifar_resnet": """
def cifar_resnet(n, skip=True, num_classes=10):
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for width in (16, 32, 64):
        for _ in range(n):
            stride = 1 if channels == width else 2
            layers.append(ResidualBlock(channels, width, stride, skip))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
""",
    "gradient_norms": """
def gradient_norms(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.ndim >= 2}
""",
    "label_map": """
def label_map(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > threshold, labels[:, None, None], background)
""",
    "to_conv1x1": """
def to_conv1x1(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None])
        if linear.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv
""",
    "FCNHead": """
class FCNHead(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.scores = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for channels in in_channels)

    def forward(self, features, size):
        *finer, coarsest = (score(maps) for score, maps in zip(self.scores, features, strict=True))
        out = coarsest
        for scores in reversed(finer):
            out = scores + F.interpolate(out, size=scores.shape[2:], mode="bilinear")
        return F.interpolate(out, size=size, mode="bilinear")
""",
    "paste_digits": """
def paste_digits(digits, labels, positions, size, background=10):
    canvas = torch.zeros(size)
    target = torch.full(size, background)
    h, w = digits.shape[1:]
    for digit, label, (top, left) in zip(digits, labels, positions.tolist(), strict=True):
        window, marks = (t[top : top + h, left : left + w] for t in (canvas, target))
        wins = digit > window
        marks[wins] = torch.where(digit > 0.5, label, background)[wins]
        window[wins] = digit[wins]
    return canvas, target
""",
    "mean_iou": """
def mean_iou(prediction, target, num_classes):
    ious = []
    for c in range(num_classes):
        predicted, true = prediction == c, target == c
        union = (predicted | true).sum().item()
        if union > 0:
            ious.append((predicted & true).sum().item() / union)
    return sum(ious) / len(ious)
""",
    "grad_cam": """
def grad_cam(model, layer, images, targets=None):
    was_training, kept = model.training, []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        logits = model.eval()(images)
    finally:
        handle.remove()
        model.train(was_training)
    targets = logits.argmax(dim=1) if targets is None else targets
    score = logits.gather(1, targets[:, None]).sum()
    [gradient] = torch.autograd.grad(score, kept)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    heat = F.relu((alpha * kept[0].detach()).sum(dim=1, keepdim=True))  # (N, 1, h, w)
    heat = F.interpolate(heat, size=images.shape[2:], mode="bilinear")[:, 0]  # (N, H, W)
    maximum = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(maximum > 0, maximum, 1)
""",
}
