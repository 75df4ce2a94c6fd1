"""What the toolkit costs, measured side by side with its peers: `python -m benchmarks`."""
