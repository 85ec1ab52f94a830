"""What the lab's own code costs, beside what a user would run instead: `python -m benchmarks [--quick]`."""
