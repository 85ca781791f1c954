"""The baselines of Table IV, one file each. U-Net is in `models/unet.py`, because TaiChiNet consists of two U-Nets."""
