"""What is trained: multilayer perceptrons, residual networks, and a fully convolutional one."""
