"""Sources behind an address: listed, fetched or received in portions that are on disk before the next is asked for."""
