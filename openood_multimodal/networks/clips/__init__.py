"""Encoders of clips (video, optical flow, sound) and the network that fuses them.

Nothing here is imported with the package: mmaction2 takes seconds to load, and is an extra.
"""
