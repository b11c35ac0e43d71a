"""Speed and memory beside other implementations; see benchmarks/README.md."""
