"""What a reader opens: pages, their figures and pictures, model cards, draft checklists."""
