"""From scores to Records, and from Records to tables in words."""
