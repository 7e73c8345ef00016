"""What the demo recipe may vary."""

from dataclasses import dataclass

PLANNED_VIEWS = 7000  # the first n of them stay the same whatever n is


@dataclass(frozen=True)
class DemoRecipe:
    """What the demo recipe may vary."""

    seed: int = 0
    views: int = 4000
    """Augmented views whose features are kept on disk, 0.8 MB each, at most `PLANNED_VIEWS`."""
    word_steps: int = 7000
    word_views: int = 8
    word_phrases: int = 10
    word_learning_rate: float = 2e-3
    reading_steps: int = 500
    reading_views: int = 8
    reading_phrases: int = 10
    reading_image_tokens: int = 32
    """Image tokens of a reading step, of the tile's 256."""
    reading_learning_rate: float = 1e-3
    steps: int = 2500
    step_views: int = 4
    step_prompts: int = 4
    """Prompts about each view of a step."""
    learning_rate: float = 2e-4
    warmup_steps: int = 100
    absent: float = 0.3
    """Share of prompts that ask for what is not there."""
    guide_steps: int = 1000
    """Steps over which the [SEG] query is drawn towards the phrase's own, less and less."""
    sight_steps: int = 600
    """Steps that train the vision tower too, on small views, where it costs a sixth."""
    sight_views: int = 16
    sight_size: int = 224
    """Side of these views in pixels."""
    focus_steps: int = 100
    """Steps that train everything on views of the tile's full size."""
    focus_views: int = 8
    whole_prompts: int = 4
    """Prompts about each view of both."""
    tower_learning_rate: float = 1e-4
    sight_learning_rate: float = 5e-4
    """Of all but the tower; the focus stage has a third of both."""
    loaders: int = 1
    """Processes that make views while a step is computed."""
    mask_logit: float = -0.405
    """The logit that masks are cut at, a probability of 0.4: it gave the best held-out masks."""
    min_confidence: float = 0.4
    """The confidence below which nothing is answered: it leaves 0.7 of what is absent from the
    held-out photos without a mask."""
