"""What several of these recipes measure on: phantom archives, and what they ask of them."""
