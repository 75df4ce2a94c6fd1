"""What stays in the process so that it survives our death: a SIGTRAP handler and its tables."""
