"""Learning classes or findings with a small network on features: what is taught, how, and what comes out."""
