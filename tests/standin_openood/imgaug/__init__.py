"""Broken on purpose, in the way in which imgaug is broken on NumPy 2."""

raise AttributeError("`np.sctypes` was removed in the NumPy 2.0 release.")
