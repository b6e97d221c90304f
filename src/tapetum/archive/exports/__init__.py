"""From what the user named to rows: which reader, which kinds of files, which table."""
