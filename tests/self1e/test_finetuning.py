import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from self1e.adapter import ADAPTER_WEIGHTS, AdapterOptions, load_adapted, merge_adapter
from self1e.checkpoint import load_predictor
from self1e.dataset import SegmentationSample
from self1e.evaluate import evaluate
from self1e.finetune_recipe import FinetuneRecipe
from self1e.finetune_views import FinetuneData
from self1e.finetuning import finetune, last_checkpoint, taught_tokens
from self1e.predictor import Predictor
from self1e.replay_memory import ReplayMemory
from tests.conftest import ROOT
from tests.taught_photos import write_samples

GROUP_OF_TWO = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
RECIPE = FinetuneRecipe(
    adapter=AdapterOptions(rank=8, alpha=16),
    steps=80,
    warmup_steps=5,
    learning_rate=3e-3,
    views_per_photo=3,
    views_per_package_photo=1,
    eval_steps=20,
    kept_answers=3,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FinetuneData:
    directory = tmp_path_factory.mktemp("photos")
    return FinetuneData(
        train=write_samples(directory, range(12)),
        validation=write_samples(directory, range(12, 15)),
    )


SHORT = replace(RECIPE, steps=12, eval_steps=4, views_per_photo=1, kept_shares=(0.9,))


def test_what_is_taught_is_learned_and_held_out_photos_show_it(
    tiny_directory: Path, data: FinetuneData, tmp_path: Path
) -> None:
    held_out = write_samples(tmp_path / "held-out", range(20, 26))
    before = evaluate(load_predictor(tiny_directory, device="cpu"), held_out, progress=False)
    steps: list[int] = []
    result = finetune(
        load_predictor(tiny_directory, device="cpu"),
        data,
        tmp_path / "run",
        RECIPE,
        progress=lambda step, _: steps.append(step),
    )
    tuned = load_predictor(tiny_directory, device="cpu")
    tuned.model = merge_adapter(tuned.model, result.adapters[1.0])
    after = evaluate(tuned, held_out, progress=False)
    assert after.metrics.giou > before.metrics.giou + 0.2
    assert steps == list(range(RECIPE.steps))
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert len(losses) == 5
    assert min(losses) < losses[0]


def test_what_the_model_remembers_is_trained_on(
    tiny_directory: Path, data: FinetuneData, tmp_path: Path
) -> None:
    predictor = load_predictor(tiny_directory, device="cpu")
    side = predictor.model.config.tile_size
    pixels = torch.rand(8, 3, side, side)
    with torch.inference_mode():
        memory = ReplayMemory.of(predictor.model.encode_vision(pixels))
    remembering = replace(data, memory=memory)
    pauses: list[None] = []
    finetune(
        predictor,
        remembering,
        tmp_path / "run",
        replace(SHORT, replay_share=1.0),
        pause=lambda: pauses.append(None),
    )
    # Views are made of 12 + 4 + 3 photos and of 6 entries, two being kept apart; 12 steps; 4
    # evaluations of 1 step.
    assert len(pauses) == (12 + 4 + 3 + 6) + 12 + 4
    with pytest.raises(ValueError, match="keep_vision"):
        finetune(predictor, remembering, tmp_path / "other", replace(SHORT, keep_vision=False))


KILL_AT_CALL = """
import os, signal, sys
from pathlib import Path
from self1e.checkpoint import load_predictor
from self1e.finetune_views import FinetuneData
from self1e.finetuning import finetune
from tests.self1e.test_finetuning import SHORT
from tests.taught_photos import write_samples

calls = 0

def pause():
    global calls
    calls += 1
    if calls == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

photos = Path(sys.argv[2])
data = FinetuneData(write_samples(photos, range(4)), write_samples(photos, range(12, 13)))
predictor = load_predictor(Path(sys.argv[1]), device="cpu")
finetune(predictor, data, Path(sys.argv[3]), SHORT, pause=pause)
"""
# It pauses before each of 9 views (4 taught, 4 of the package, 1 of validation), each step and each
# step of an evaluation. The first kill comes after 4 views; then 5 views, an evaluation, 4 steps
# and an evaluation with a checkpoint are 11 pauses: the second kill comes after step 5.
KILLS = (5, 11 + 2)


@pytest.mark.timeout(900)
def test_killed_while_training_it_goes_on_and_ends_as_if_nothing_had_been(
    tiny_directory: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    data = FinetuneData(write_samples(photos, range(4)), write_samples(photos, range(12, 13)))
    for call in KILLS:
        arguments = [str(tiny_directory), str(photos), str(tmp_path / "killed"), str(call)]
        killed = subprocess.run(
            [sys.executable, "-c", KILL_AT_CALL, *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "killed" / "checkpoints" / "checkpoint-4").is_dir()
    steps: list[int] = []
    resumed = finetune(
        load_predictor(tiny_directory, device="cpu"),
        data,
        tmp_path / "killed",
        SHORT,
        progress=lambda step, _: steps.append(step),
    )
    assert steps == list(range(4, 12))
    whole = finetune(load_predictor(tiny_directory, device="cpu"), data, tmp_path / "whole", SHORT)
    expected = load_file(whole.adapters[0.9] / ADAPTER_WEIGHTS)
    for name, weight in load_file(resumed.adapters[0.9] / ADAPTER_WEIGHTS).items():
        assert torch.allclose(weight, expected[name], atol=1e-4, rtol=1e-3), name
    # Only the result is left, and is not trained again.
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"adapters", "history.json"}
    again = finetune(
        load_predictor(tiny_directory, device="cpu"), data, tmp_path / "killed", SHORT, pause=fail
    )
    assert again.history == resumed.history


def fail() -> None:
    raise AssertionError("nothing is left to do")


IN_A_GROUP = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from self1e import finetune_views
from self1e.checkpoint import load_predictor
from self1e.finetune_views import DrawnExamples, FinetuneData
from self1e.finetuning import finetune
from tests.self1e.test_finetuning import SHORT
from tests.taught_photos import write_samples

drawn = []

class Watched(DrawnExamples):
    def __getitem__(self, index):
        drawn.append(index)
        return super().__getitem__(index)

finetune_views.DrawnExamples = Watched
photos, out = Path(sys.argv[2]), Path(sys.argv[3])
data = FinetuneData(write_samples(photos, range(4)), write_samples(photos, range(12, 13)))
predictor = load_predictor(Path(sys.argv[1]), device="cpu")
finetune(predictor, data, out, replace(SHORT, batch_photos=2))
Path(f"{out}-{os.environ['RANK']}.json").write_text(json.dumps(drawn))
"""


@pytest.mark.timeout(900)
def test_a_group_of_processes_shares_the_photos_and_learns_as_one_process_does(
    tiny_directory: Path, tmp_path: Path
) -> None:
    photos, script, out = tmp_path / "photos", tmp_path / "in_a_group.py", tmp_path / "group"
    script.write_text(IN_A_GROUP)
    data = FinetuneData(write_samples(photos, range(4)), write_samples(photos, range(12, 13)))
    group = subprocess.run(
        [*GROUP_OF_TWO, str(script), str(tiny_directory), str(photos), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert group.returncode == 0, group.stderr.decode()
    drawn = [json.loads((tmp_path / f"group-{rank}.json").read_text()) for rank in range(2)]
    assert drawn[0][:4] == [0, 1, 4, 5]
    assert sorted(drawn[0] + drawn[1]) == list(range(48))
    recipe = replace(SHORT, batch_photos=4)
    alone = finetune(load_predictor(tiny_directory, device="cpu"), data, tmp_path / "alone", recipe)
    together = json.loads((out / "history.json").read_text())
    losses = [
        [entry["eval_loss"] for entry in history if "eval_loss" in entry]
        for history in (alone.history, together)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert {path.name for path in out.iterdir()} == {"adapters", "history.json"}


def test_a_checkpoint_that_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    for step, state in ((4, "{}"), (8, "{}"), (12, "{"), (16, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-8"]
    assert last_checkpoint(tmp_path / "none") is None


def test_without_photos_of_either_kind_there_is_nothing_to_do(
    tiny_predictor: Predictor, data: FinetuneData, tmp_path: Path
) -> None:
    for incomplete in (replace(data, train=()), replace(data, validation=())):
        with pytest.raises(ValueError, match="both to train and to validate"):
            finetune(tiny_predictor, incomplete, tmp_path, SHORT)


def test_only_the_words_of_prompts_are_trained(tiny_predictor: Predictor) -> None:
    encoder = tiny_predictor.encoder
    ids = taught_tokens(encoder, ["the dog"])
    assert ids == set(encoder.tokenizer.encode(" dog", add_special_tokens=False))
    assert taught_tokens(encoder, ["the"]) == set()


def test_the_tower_is_trained_with_checkpointing_and_in_bfloat16_and_replays_what_it_is_given(
    tiny_directory: Path, data: FinetuneData, tmp_path: Path
) -> None:
    recipe = replace(
        SHORT,
        adapter=AdapterOptions(rank=4, vision=True),
        keep_vision=False,
        steps=2,
        eval_steps=2,
        bf16=True,
        gradient_checkpointing=True,
    )
    replayed = write_samples(tmp_path / "replay", range(30, 32), "the yellow block")
    ignored = tmp_path / "ignored.png"
    Image.new("L", (96, 72), 0).save(ignored)
    replayed[0] = SegmentationSample(
        replayed[0].image, replayed[0].prompt, replayed[0].mask, ignored
    )
    result = finetune(
        load_predictor(tiny_directory, device="cpu"),
        replace(data, replay=replayed),
        tmp_path / "run",
        recipe,
    )
    weights = load_file(result.adapters[0.9] / ADAPTER_WEIGHTS)
    moved = [name for name, each in weights.items() if "vision_tower" in name and each.any()]
    assert any("lora_B" in name for name in moved)


def test_a_model_in_half_precision_is_trained_as_it_is_served(
    tiny_directory: Path, data: FinetuneData, tmp_path: Path
) -> None:
    half = load_predictor(tiny_directory, device="cpu", dtype="bfloat16")
    recipe = replace(
        SHORT,
        adapter=AdapterOptions(rank=4, projector=True),
        steps=2,
        eval_steps=2,
        bf16=FinetuneRecipe.of_model(half.model).bf16,
    )
    result = finetune(half, data, tmp_path / "run", recipe)
    weights = load_file(result.adapters[0.9] / ADAPTER_WEIGHTS)
    assert {each.dtype for each in weights.values()} == {torch.float32}
    load_adapted(tiny_directory, result.adapters[0.9], device="cpu", dtype="bfloat16")


def test_an_adapter_is_kept_for_each_share_of_the_change(
    tiny_directory: Path, data: FinetuneData, tmp_path: Path
) -> None:
    recipe = replace(SHORT, steps=2, eval_steps=2, kept_shares=(1.0, 0.5))
    result = finetune(load_predictor(tiny_directory, device="cpu"), data, tmp_path / "run", recipe)
    assert list(result.adapters) == [1.0, 0.5]
    whole, half = (load_file(each / ADAPTER_WEIGHTS) for each in result.adapters.values())
    former = load_predictor(tiny_directory, device="cpu").model.state_dict()
    for name, weight in whole.items():
        place = name.removeprefix("base_model.model.")
        if "lora_B" in name:  # nothing at first
            torch.testing.assert_close(half[name], weight / 2)
        elif place in former:
            torch.testing.assert_close(half[name], (weight + former[place]) / 2)
    assert any("mask_head" in name for name in whole)


def test_features_are_not_kept_of_a_tower_that_is_trained() -> None:
    with pytest.raises(ValueError, match="give one of the two"):
        FinetuneRecipe(adapter=AdapterOptions(vision=True), keep_vision=True)
