"""The parts of the race between jaxgen and PyTorch that `benchmarks/race.py` starts."""
