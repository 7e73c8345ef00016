"""Errors that callers without torch need to know."""


class PromptError(ValueError):
    """The prompt is empty or too long for the model."""
