"""TaiChiNet, the network of the paper: settings, cross-attention, complementary head, and the complete network."""
