"""Probes that run in the process itself: trampolines, what leads to them, shared memory."""
