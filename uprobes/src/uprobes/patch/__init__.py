"""Probes that run in the process itself: trampolines, the patches that lead to them, shared memory."""
