"""What `benchmarks/reproduce.py` is made of: rows, processes, records, tables."""
