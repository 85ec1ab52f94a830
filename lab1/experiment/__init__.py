"""What a notebook puts around a training: its budget, its W&B run, its results."""
