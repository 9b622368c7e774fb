"""What the benchmarks are made of: data, rivals, limits, and the processes that measure one thing each."""
