"""Numerical linear algebra on arrays: products, moments, whitening, spectra, neighbours."""
