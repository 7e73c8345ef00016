"""The bundled model's recipe: `python -m self1e train --recipe demo --data DIR`.

Frozen vision features of augmented views are computed once; then the mask head learns words
(`self1e.recipe.word_alignment`), the language model learns to bring a phrase to [SEG]
(`self1e.recipe.phrase_reading`), and all but the vision tower learns to answer prompts. What
reads and draws by then teaches the vision tower: everything is trained together, on small views
first and on full ones last, in two rounds (`self1e.recipe.whole_network`).
Every stage leaves its result in the output directory and is passed over when it is there, so a
stopped run goes on where it was.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from self1e.checkpoint import load_predictor, save_model
from self1e.model import Self1eModel
from self1e.precision import bfloat16_pays
from self1e.prompt import PromptEncoder
from self1e.recipe.curve import HeldOutCurve, held_out_figures
from self1e.recipe.encoded_views import DemoExamples, EncodedViews
from self1e.recipe.guided_trainer import GuidedCollator, GuidedTrainer
from self1e.recipe.held_out import write_held_out
from self1e.recipe.memory import remember
from self1e.recipe.network import build_model, build_tokenizer
from self1e.recipe.options import DemoRecipe
from self1e.recipe.photos import held_out, read_photos
from self1e.recipe.phrase_reading import learn_to_read
from self1e.recipe.phrases import corpus
from self1e.recipe.whole_network import WholeStage, train_whole, whole_stages
from self1e.recipe.word_alignment import align_words
from self1e.weights import fill_model

VISION_WEIGHTS = "vit_small_patch14.safetensors"
CURVE_STEPS, CURVE_SAMPLES = 200, 24


def train_demo(data: Path, out: Path, recipe: DemoRecipe) -> dict[str, dict[str, float]]:
    """Runs or goes on with the recipe.

    Args:
        data: directory of the photo sources and the vision weights.
        out: where all intermediate results and the model go.
        recipe: seeds, sizes and steps.

    Returns:
        The held-out figures of the trained model, which is in `out / "model"`, fp16.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    all_photos = read_photos(data)
    kinds = write_held_out(all_photos, out / "held_out", seed=0)
    photos = [photo for photo in all_photos if not held_out(photo)]
    tokenizer = build_tokenizer(corpus(recipe.seed))
    model = build_model(tokenizer, data / VISION_WEIGHTS)
    views = EncodedViews(photos, recipe, out)
    encoder = PromptEncoder(tokenizer, model.config.tile_tokens)

    def learn_words() -> None:
        align_words(
            model,
            tokenizer,
            views.phrase_batch,
            steps=recipe.word_steps,
            learning_rate=recipe.word_learning_rate,
        )

    def learn_reading() -> None:
        learn_to_read(
            model,
            tokenizer,
            encoder,
            lambda step: views.reading_batch(step, encoder.tile_tokens),
            steps=recipe.reading_steps,
            learning_rate=recipe.reading_learning_rate,
        )

    def learn_prompts() -> None:
        _learn_prompts(model, tokenizer, encoder, views, recipe, curve("prompts"), out / "prompts")

    def curve(stage: str) -> HeldOutCurve:
        path = out / f"curve-{stage}.jsonl"
        return HeldOutCurve(encoder, kinds, path, every=CURVE_STEPS, most=CURVE_SAMPLES)

    def learn_whole(stage: WholeStage) -> None:
        train_whole(model, tokenizer, photos, stage, curve(stage.name), out / stage.name)

    frozen = ("words", learn_words), ("reading", learn_reading), ("prompts", learn_prompts)
    if not all(_is_done(out / name) for name, _ in frozen):
        model.internvl.model.vision_tower.requires_grad_(False)
        views.prepare(model.eval())
        model.train()
    for name, learn in frozen:
        _run_stage(learn, model, tokenizer, out / name)
    for stage in whole_stages(recipe):
        _run_stage(partial(learn_whole, stage), model, tokenizer, out / stage.name)
    model.config.mask_logit = recipe.mask_logit
    model.config.min_confidence = recipe.min_confidence
    save_model(model.half(), tokenizer, out / "model")
    trained = load_predictor(out / "model")
    remember(trained, photos, recipe.seed).save(out / "model")
    return held_out_figures(trained, kinds)


def _run_stage(
    learn: Callable[[], None], model: Self1eModel, tokenizer: PreTrainedTokenizerBase, out: Path
) -> None:
    """Runs a stage and keeps its result, or loads the result if it is there."""
    if _is_done(out):
        fill_model(model, out)
        return
    learn()
    save_model(model, tokenizer, out)


def _is_done(out: Path) -> bool:
    return (out / "config.json").is_file()


def _learn_prompts(
    model: Self1eModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: PromptEncoder,
    views: EncodedViews,
    recipe: DemoRecipe,
    curve: HeldOutCurve,
    out: Path,
) -> None:
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.step_views,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=bfloat16_pays(model.device.type),
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        logging_steps=50,
        save_steps=500,
        save_total_limit=1,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = GuidedTrainer(
        model,
        arguments,
        DemoExamples(views, recipe),
        GuidedCollator(encoder),
        tokenizer=tokenizer,
        guide_steps=recipe.guide_steps,
        callbacks=[curve],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)) if out.is_dir() else None)
