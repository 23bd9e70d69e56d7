"""What a careful user writes without us, in three scripts: train with the Trainer, evaluate with the harness, fit with
SciPy. Run one after the other on one folder, which `benchmarks.time_to_verdict` has filled with examples.
"""
