"""Faster training on an NVIDIA GPU: fused BatchNorm, padded convolutions, and CUDA graphs of the training step."""
