"""Shapes-10: ten classes of shapes on textured backgrounds, with a mask of every object.

A colour data set that needs no download. An image holds one shape of 8 to 20 pixels at a random place, turned by a
random angle, in a random colour, lighter or darker than a random texture. Position, colour and brightness say nothing
about the class, so a linear classifier learns next to nothing; a convolutional network learns it well.
"""

import numpy as np

CLASSES = ("disc", "ring", "square", "triangle", "star", "cross", "bar", "crescent", "arrow", "bow tie")
SIZE = 32  # pixels, of the image
SMALLEST, LARGEST = 8, 20  # pixels, across the shape
_SAMPLES = 2  # per pixel and axis: a pixel's colour is mixed from 2 x 2 samples


def _inside(label: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points lie inside a shape that just fits the unit circle; u points right and v up."""
    r = np.hypot(u, v)
    name = CLASSES[label]
    if name == "disc":
        return r < 1
    if name == "ring":
        return (r < 1) & (r > 0.58)
    if name == "square":
        return np.maximum(abs(u), abs(v)) < 0.7
    if name == "triangle":
        return (v > -0.5) & (v < 1 - 1.75 * abs(u))
    if name == "star":  # five spikes: the edge runs straight from a tip at radius 1 to a notch at radius 0.38
        turn = np.abs((np.arctan2(u, v) / (2 * np.pi) * 5 + 0.5) % 1 - 0.5) * 2 * np.pi / 5  # angle to the next tip
        notch_u, notch_v = 0.38 * np.sin(np.pi / 5), 0.38 * np.cos(np.pi / 5)
        x, y = r * np.sin(turn), r * np.cos(turn)
        return x * (1 - notch_v) + notch_u * y < notch_u
    if name == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.26) & (np.maximum(abs(u), abs(v)) < 0.95)
    if name == "bar":
        return (abs(u) < 0.95) & (abs(v) < 0.28)
    if name == "crescent":
        return (r < 1) & (np.hypot(u - 0.5, v) > 0.8)
    if name == "arrow":
        head = (v > 0) & (v < 1 - 1.2 * abs(u))
        return head | ((abs(u) < 0.25) & (v <= 0) & (v > -0.96))
    return (abs(u) < 0.78) & (abs(v) < 0.07 + 0.68 * abs(u))  # bow tie


def generate(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw images, as many of each class as of any other (one more of some where ten does not divide the number).

    Returns:
        images (N, 32, 32, 3) uint8, labels (N,) uint8, masks (N, 32, 32) bool: at least half of a pixel is the object.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % len(CLASSES)).astype(np.uint8)
    coverage = _coverage(labels, rng)[..., None]
    background, colour = _textures(num_images, rng)
    images = background + coverage * (colour - background)
    images += rng.normal(0, 6, images.shape[:3]).astype(np.float32)[..., None]  # the grain of a camera
    return images.clip(0, 255).astype(np.uint8), labels, coverage[..., 0] >= 0.5


def _coverage(labels: np.ndarray, rng) -> np.ndarray:
    """How much of each pixel its image's shape covers: (N, 32, 32) float32 in [0, 1]."""
    n = len(labels)
    radius = rng.uniform(SMALLEST / 2, LARGEST / 2, (n, 1, 1)).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi, (n, 1, 1)).astype(np.float32)
    # the whole shape stays inside the image
    centre_x, centre_y = (rng.uniform(radius, SIZE - radius).astype(np.float32) for _ in range(2))
    grid = (np.arange(SIZE * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES
    x, y = (grid[None, None, :] - centre_x) / radius, (centre_y - grid[None, :, None]) / radius
    inside = np.empty((n, SIZE * _SAMPLES, SIZE * _SAMPLES), dtype=bool)
    for label in range(len(CLASSES)):
        of = labels == label
        cos, sin = np.cos(angle[of]), np.sin(angle[of])
        inside[of] = _inside(label, cos * x[of] + sin * y[of], cos * y[of] - sin * x[of])
    samples = inside.reshape(n, SIZE, _SAMPLES, SIZE, _SAMPLES)
    return samples.sum(axis=(2, 4), dtype=np.float32) / _SAMPLES**2


def _textures(n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Backgrounds (N, 32, 32, 3) and object colours (N, 1, 1, 3), float32 on the 0..255 scale.

    A background is a base colour plus coarse and fine blotches; the object is at least 60 levels lighter or darker.
    """
    background = rng.uniform(70, 185, (n, 1, 1, 3)).astype(np.float32)
    sign = rng.choice(np.float32([-1, 1]), (n, 1, 1, 1))
    colour = background + sign * rng.uniform(60, 120, (n, 1, 1, 3)).astype(np.float32)
    for cells, strength in ((4, 18), (8, 12), (16, 8)):
        blotches = rng.normal(0, strength, (n, cells, cells, 3)).astype(np.float32)
        background = background + blotches.repeat(SIZE // cells, axis=1).repeat(SIZE // cells, axis=2)
    return background, colour.clip(0, 255)


def train_and_test(num_train: int = 5000, num_test: int = 1000, seed: int = 0):
    """The data set as `lab1.data` loads it: ((x_train, y_train, x_test, y_test), (train_masks, test_masks))."""
    x_train, y_train, train_masks = generate(num_train, seed)
    x_test, y_test, test_masks = generate(num_test, seed + 1)
    return (x_train, y_train, x_test, y_test), (train_masks, test_masks)
