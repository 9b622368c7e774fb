"""Embedding stores on disk, and MultiOOD's saved embeddings."""
