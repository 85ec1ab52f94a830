"""The script that most people train a CIFAR ResNet with: float32, NCHW, an image at a time through PIL, two workers."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from lab1 import ResNet18
from lab1.data import ImageSet


class PerImage(torch.utils.data.Dataset):
    """What torchvision.datasets.CIFAR10 does with its images: an array in memory, a PIL image and transforms each."""

    def __init__(self, images: ImageSet, augment: bool):
        self.images, self.labels = images.images.permute(0, 2, 3, 1).contiguous().numpy(), images.labels.tolist()
        random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augment else []
        normalise = transforms.Normalize(images.mean, images.std)
        self.transform = transforms.Compose([*random, transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


class UsualScript:
    """SGD with momentum 0.9, learning rate 0.1 on a cosine over 200 epochs, weight decay 5e-4, batches of 128."""

    def __init__(self, train: ImageSet, val: ImageSet, device: torch.device):
        self.device = device
        self.model = ResNet18().to(device)
        self.train = DataLoader(PerImage(train, augment=True), 128, shuffle=True, num_workers=2)
        self.val = DataLoader(PerImage(val, augment=False), 100, num_workers=2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=200)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def epoch(self) -> None:
        self.model.train()
        for images, labels in self.train:
            self.step(images, labels)
        self.scheduler.step()

    @torch.no_grad()
    def accuracy(self) -> float:
        """On the validation images."""
        self.model.eval()
        correct = 0
        for images, labels in self.val:
            images, labels = images.to(self.device), labels.to(self.device)
            correct += (self.model(images).argmax(1) == labels).sum().item()
        return correct / len(self.val.dataset)
