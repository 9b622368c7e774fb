"""The leaderboard as one HTML file that needs no network and no server."""

from .data import payload
from .html import PAGE, page

__all__ = ["PAGE", "page", "payload"]
