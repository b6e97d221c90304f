"""Teaching a tower by its own images: the run, and what the objectives of `learn/self_supervision` share."""
