"""SELF1E: a multimodal language model that segments by itself with one [SEG] token."""
