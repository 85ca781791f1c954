"""Inference runtimes with a common interface: plain and tuned PyTorch, ONNX Runtime, OpenVINO."""
