"""Export: a trained network as one file that takes any image, and the proof that it gives the same masks."""
