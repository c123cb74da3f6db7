"""What `python benchmarks/gpu.py` is made of; nothing here is imported by invnas."""
