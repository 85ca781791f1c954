"""Augmentation for ultrasound: settings, draws, geometry, appearance and burnt-in marks."""
