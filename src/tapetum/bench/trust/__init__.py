"""The work behind the protocols of trust: rows, runs and Records of each family of questions."""
