"""Benchmarks: ratios in one run against limits measured on the same data."""
