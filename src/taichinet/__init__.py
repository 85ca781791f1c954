"""TaiChiNet: breast-ultrasound lesion segmentation with a positive and a negative path."""

__version__ = "0.1.0"
