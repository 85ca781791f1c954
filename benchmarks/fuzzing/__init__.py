"""The parts of benchmarks/fuzz.py: mutations, one file for each kind of target, the worker and the campaign."""
