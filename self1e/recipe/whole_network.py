"""Training of the whole network, the vision tower too, with the method's own loss.

On two CPU cores a step of full-size views costs six times one of views of half the side, and the
vision tower sees at both sizes. So most of it is learnt on small views. A second round goes
on, as the held-out figures still rose at the end of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from self1e.mask_head import UPSCALE
from self1e.model import Self1eModel
from self1e.precision import bfloat16_pays
from self1e.prompt import PromptEncoder
from self1e.recipe.curve import HeldOutCurve
from self1e.recipe.fresh_views import FreshExamples
from self1e.recipe.network import PATCH_SIZE, TILE_SIZE
from self1e.recipe.options import DemoRecipe
from self1e.recipe.photos import Photo
from self1e.training import Collator, SegmentationTrainer

FROZEN_LAYERS = 4  # of the tower, whose edges and textures serve as they are
_FOCUS_RATE = 1 / 3  # of the learning rates of the stage before
# Of the recipe's steps and of its learning rates: the second round is shorter and gentler.
_ROUNDS = ((1.0, 1.0), (0.4, 0.6))


@dataclass(frozen=True)
class WholeStage:
    """One training of the whole network.

    Attributes:
        name: of the stage.
        seed: of the run.
        size: side of its views in pixels.
        steps: number of steps.
        views: views of a step.
        prompts: prompts about each view.
        absent: share of prompts that ask for what is not there.
        learning_rate: peak, of all but the vision tower; cosine to 0 after the warm-up.
        tower_learning_rate: peak, of the vision tower's upper layers.
        warmup_steps: steps until the peak, at most a tenth of all.
        loaders: processes that make views.
    """

    name: str
    seed: int
    size: int
    steps: int
    views: int
    prompts: int
    absent: float
    learning_rate: float
    tower_learning_rate: float
    warmup_steps: int
    loaders: int


def whole_stages(recipe: DemoRecipe) -> list[WholeStage]:
    """The recipe's stages, two a round: sight, on small views, and focus, on full ones."""

    def stage(
        name: str, size: int, steps: float, views: int, learning_rate_share: float
    ) -> WholeStage:
        return WholeStage(
            name=name,
            seed=recipe.seed,
            size=size,
            steps=round(steps),
            views=views,
            prompts=recipe.whole_prompts,
            absent=recipe.absent,
            learning_rate=learning_rate_share * recipe.sight_learning_rate,
            tower_learning_rate=learning_rate_share * recipe.tower_learning_rate,
            warmup_steps=min(recipe.warmup_steps, round(steps) // 10),
            loaders=recipe.loaders,
        )

    stages = []
    for number, (steps, rate) in enumerate(_ROUNDS, start=1):
        sight_steps, focus_steps = steps * recipe.sight_steps, steps * recipe.focus_steps
        stages += [
            stage(f"sight-{number}", recipe.sight_size, sight_steps, recipe.sight_views, rate),
            stage(
                f"focus-{number}", TILE_SIZE, focus_steps, recipe.focus_views, _FOCUS_RATE * rate
            ),
        ]
    return stages


def train_whole(
    model: Self1eModel,
    tokenizer: PreTrainedTokenizerBase,
    photos: Sequence[Photo],
    stage: WholeStage,
    curve: HeldOutCurve,
    out: Path,
) -> None:
    """Trains all but the tower's first layers, in place; goes on from its last checkpoint.

    Args:
        model: that answers prompts already.
        tokenizer: the model's.
        photos: to train on.
        stage: what to do.
        curve: is told of each step.
        out: of the checkpoints.
    """
    tower = model.internvl.model.vision_tower
    model.requires_grad_(True)
    tower.embeddings.requires_grad_(False)
    tower.encoder.layer[:FROZEN_LAYERS].requires_grad_(False)
    seeing = [p for p in tower.parameters() if p.requires_grad]
    own = {id(p) for p in seeing}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    optimizer = torch.optim.AdamW(
        [
            {"params": seeing, "lr": stage.tower_learning_rate},
            {"params": others, "lr": stage.learning_rate},
        ],
        betas=(0.9, 0.95),
        weight_decay=0.01,
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.views,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup_steps,
        max_grad_norm=1.0,
        bf16=bfloat16_pays(model.device.type),
        use_cpu=not torch.cuda.is_available(),
        seed=stage.seed,
        logging_steps=20,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        remove_unused_columns=False,
        dataloader_num_workers=stage.loaders,
        dataloader_pin_memory=False,
    )
    examples = FreshExamples(
        photos,
        seed=f"{stage.seed}-{stage.name}",
        size=stage.size,
        views=stage.steps * stage.views,
        prompts=stage.prompts,
        absent=stage.absent,
    )
    encoder = PromptEncoder(tokenizer, (stage.size // PATCH_SIZE // UPSCALE) ** 2)
    trainer = SegmentationTrainer(
        model,
        arguments,
        examples,
        Collator(encoder),
        optimizers=(optimizer, None),
        callbacks=[curve],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)) if out.is_dir() else None)
