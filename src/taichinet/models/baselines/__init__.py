"""The rivals of Table IV, one file each; U-Net itself is `models/unet.py`, because TaiChiNet is made of two of it."""
