"""What every room may use: the device, files that are written whole, lines that are printed once."""
