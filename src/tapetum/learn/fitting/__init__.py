"""Small fits on frozen features: standardisation, ridge, logistic regression, shots, operating points."""
