"""Export of a trained network, with pre- and post-processing, to one file, and comparison of its masks with PyTorch."""
