"""uprobes."""
