"""Label Studio ML backend that turns text prompts into masks with SELF1E."""
