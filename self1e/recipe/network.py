"""The bundled model's architecture: DINOv2-small sees, a small Qwen2 reads, SELF1E's head draws."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from self1e.model import Self1eConfig, Self1eModel
from self1e.prompt import (
    IMAGE_END,
    IMAGE_START,
    IMAGE_TOKEN,
    SEG_TOKEN,
    SEGT_TOKEN,
    TRAIN_ANSWERS,
    TRAIN_PHRASE_QUESTIONS,
    TRAIN_SENTENCE_QUESTIONS,
    TURN_END,
    TURN_START,
    PromptEncoder,
    chat_text,
)

TILE_SIZE = 448
PATCH_SIZE = 14
VISION_WIDTH, VISION_LAYERS, VISION_HEADS = 384, 12, 6
WIDTH, LAYERS, HEADS = 256, 4, 4
VOCABULARY = 6144
END_OF_TEXT = "<|endoftext|>"
# Layers that add little at first leave a new network close to what its input already says.
RESIDUAL_SHRINK = 0.1


def build_tokenizer(phrases: Iterable[str]) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE, so that any text is accepted and common prompts are short.

    Args:
        phrases: lower-case phrases as a prompt may hold them.
    """
    special = [END_OF_TEXT, TURN_START, TURN_END, IMAGE_START, IMAGE_END]
    special += [IMAGE_TOKEN, SEG_TOKEN, SEGT_TOKEN]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    questions = (*TRAIN_PHRASE_QUESTIONS, *TRAIN_SENTENCE_QUESTIONS)
    chats = [chat_text(user, answer) for user in questions for answer in TRAIN_ANSWERS]
    words = (f" {phrase}" for phrase in phrases)
    bpe.train_from_iterator((text for texts in (chats * 20, words) for text in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=special[1:2] + special[3:],
    )


def build_model(tokenizer: PreTrainedTokenizerFast, vision_weights: Path) -> Self1eModel:
    """A new model: the vision tower's weights as given, the rest at random.

    Args:
        tokenizer: from `build_tokenizer`.
        vision_weights: ViT-S/14 of DINOv2 in safetensors, under transformers' 4.x names.

    Raises:
        RuntimeError: the weights are not those of such a tower.
    """
    encoder = PromptEncoder(tokenizer, tile_tokens=0)
    config = Self1eConfig(
        vision_config={
            "hidden_size": VISION_WIDTH,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": VISION_HEADS,
            "intermediate_size": 4 * VISION_WIDTH,
            "image_size": [TILE_SIZE, TILE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "attention_bias": True,
            "use_mean_pooling": False,  # keeps the tower's final LayerNorm
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "intermediate_size": 3 * WIDTH,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
        # The state before [SEG] is drawn towards the phrase's embedding. If that were the output
        # embedding too, the answer's loss would push it away from there.
        tie_word_embeddings=False,
        image_token_id=encoder.image_token_id,
        seg_token_id=encoder.seg_token_id,
    )
    model = Self1eModel(config)
    grid = TILE_SIZE // PATCH_SIZE
    tower = model.internvl.model.vision_tower
    tower.load_state_dict(convert_dinov2(load_file(vision_weights), grid))
    with torch.no_grad():
        for layer in model.internvl.model.language_model.layers:
            layer.self_attn.o_proj.weight.mul_(RESIDUAL_SHRINK)
            layer.mlp.down_proj.weight.mul_(RESIDUAL_SHRINK)
    return model


def convert_dinov2(weights: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """DINOv2's tensors under the names of transformers' InternVL vision tower, float32.

    Args:
        weights: under transformers' 4.x Dinov2Model names.
        grid: side of the patch grid; the position embeddings are brought to it bicubically.
    """
    renames = {
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.projection_layer",
        "layer_scale1.lambda1": "lambda_1",
        "layer_scale2.lambda1": "lambda_2",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
    }
    converted = {}
    for stored, tensor in weights.items():
        name = stored
        for old, new in renames.items():
            name = name.replace(old, new)
        if name != "embeddings.mask_token":
            converted[name] = tensor.float()
    positions = "embeddings.position_embeddings"
    converted[positions] = resize_positions(converted[positions], grid)
    return converted


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, 1 + n * n, C), CLS first, at another grid: (1, 1 + grid^2, C)."""
    side = int((positions.shape[1] - 1) ** 0.5)
    patches = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(
        patches, size=(grid, grid), mode="bicubic", align_corners=False
    )
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
