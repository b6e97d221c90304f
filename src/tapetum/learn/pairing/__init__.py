"""Which words stand for which image: pairs from an archive, what its reports say, texts as vectors."""
