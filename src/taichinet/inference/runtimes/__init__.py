"""Ways to run one network: PyTorch plain and tuned, ONNX Runtime, OpenVINO, behind one interface."""
