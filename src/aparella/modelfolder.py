"""What a folder must hold to be a model of ours, found out without loading it.

Loading a model may run code: a pickle (`.bin`, `.pt`), a Python file, a module class from
elsewhere. None of these ever gets into the store, so that what is fetched can be loaded safely.
"""

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aparella.errors import InputError

WEIGHTS = "model.safetensors"
CARD = "README.md"
DIM = 384

_SAFE = {".json", ".jinja", ".md", ".model", ".safetensors", ".txt"}
"""Suffixes of what sentence-transformers and tokenizers save; `.model` is SentencePiece's."""
_OURS = "sentence_transformers."
_UNCHANGED = {"Normalize", "Dropout"}
_HIDDEN = ("hidden_size", "dim", "d_model", "n_embd")
"""What architectures call the width of a token's vector."""
_LARGEST_HEADER = 100_000_000
"""Bytes: safetensors' own limit."""
_LARGEST_JSON = 10_000_000
_BASE = re.compile(r"^base_model:\s*[\"']?([^\s\"'\[\]]+)", re.MULTILINE)
_MOST_TOKENS = 1_000_000
"""A tokenizer without a limit says a number with thirty digits."""


@dataclass(frozen=True)
class Facts:
    """What a model's files say about it."""

    dim: int
    max_seq_length: int
    base_model: str | None


def files(folder: Path) -> list[str]:
    """Paths of the files in a folder, relative to it, with `/`, sorted; hidden ones do not count.

    Raises:
        InputError: one of them could run code when the model is loaded, or is a link.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            raise _refusal(f"'{name}' is a link. Put the file itself there.")
        if path.is_file():
            check_name(name)
            found.append(name)
    return found


def check_name(name: str) -> None:
    """Refuse a file by its name.

    Raises:
        InputError: the name leads out of the folder, or the file could run code when loaded.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise _refusal(f"'{name}' leads out of the model's folder.")
    if path.suffix.lower() not in _SAFE:
        raise _refusal(
            f"'{name}' is not taken: pickles (.bin, .pt, .pkl) and Python files run code when "
            "a model is loaded. A model is made of .safetensors, .json and text files: save it "
            "with SentenceTransformer.save(path), and leave out other files."
        )


def check(folder: Path) -> Facts:
    """Find out whether a folder holds a model that can be used.

    Raises:
        InputError: it does not; says why.
    """
    names = set(files(folder))
    for needed in ("modules.json", "config.json", WEIGHTS):
        if needed not in names:
            raise _refusal(f"it has no {needed}. Give a folder that SentenceTransformer.save wrote")
    if not names & {"tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model"}:
        raise _refusal("it has no tokenizer (tokenizer.json)")
    config = _object(folder, "config.json")
    _check_settings(folder, names, config)
    check_modules(folder)
    dim = _dimension(folder, config)
    if dim != DIM:
        raise InputError(
            f"The model gives vectors of {dim} numbers, and Aparella stores {DIM}: the column of "
            f"the vectors and its index are {DIM} wide, and all models share them. Fine-tune "
            f"a model of that width, or add a Dense module that gives {DIM} numbers.",
            code="wrong_dimension",
        )
    # Others are none of the model's weights: what it remembers of its training texts, say.
    weights = {f"{path}/{WEIGHTS}".lstrip("/") for _, path in check_modules(folder)}
    for name in sorted(weights & names):
        _check_safetensors(folder, name)
    return Facts(dim, _max_seq_length(folder, names, config), _base_model(folder, names, config))


def check_modules(folder: Path) -> list[tuple[str, str]]:
    """Class and path of each module in modules.json.

    Raises:
        InputError: a class is not sentence-transformers' own: loading it would run its code.
    """
    listed = _json(folder, "modules.json")
    if not isinstance(listed, list) or not listed:
        raise _refusal("its modules.json is no list of modules")
    modules = []
    for module in listed:
        kind, path = (
            (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        )
        if not isinstance(kind, str) or not isinstance(path, str):
            raise _refusal("its modules.json has a module without a type or a path")
        if not kind.startswith(_OURS):
            raise _refusal(
                f"its modules.json names the class '{kind}', which is not of "
                "sentence-transformers: loading it would run its code"
            )
        if path:
            _check_inside(path)
        modules.append((kind.rpartition(".")[2], path))
    return modules


def _check_inside(path: str) -> None:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        raise _refusal(f"its modules.json leads out of the folder ('{path}')")


def _check_settings(folder: Path, names: set[str], config: dict[str, Any]) -> None:
    for name in sorted(names):
        if name.endswith("config.json") and "auto_map" in _object(folder, name):
            raise _refusal(
                f"its {name} has an 'auto_map': the model comes with code of its own, which is not "
                "run here"
            )
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    if dtype != "float32":
        raise _refusal(f"its weights are of {dtype}, and Aparella computes in float32")
    if "config_sentence_transformers.json" in names:
        settings = _object(folder, "config_sentence_transformers.json")
        if (prompt := settings.get("default_prompt_name")) is not None:
            raise _refusal(
                f"it puts a prompt ('{prompt}') before each text, which Aparella does not do"
            )
        kind = settings.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise _refusal(f"it is a {kind}, and Aparella wants a SentenceTransformer")


def _dimension(folder: Path, config: dict[str, Any]) -> int:
    """Width of a text's vector after the last module."""
    dim: int | None = None
    for kind, path in check_modules(folder):
        if kind == "Transformer" and not path:
            dim = next((config[name] for name in _HIDDEN if name in config), None)
        elif kind == "Pooling":
            dim = _pooled(_object(folder, f"{path}/config.json"))
        elif kind == "Dense":
            dense = _object(folder, f"{path}/config.json")
            if not str(dense.get("activation_function", "torch.")).startswith("torch."):
                raise _refusal(f"{path} has an activation function that is not torch's")
            if dense.get("module_output_name") in (None, "sentence_embedding"):
                dim = dense.get("out_features")
        elif kind not in _UNCHANGED:
            raise _refusal(
                f"it has a module '{kind}': Aparella takes Transformer, Pooling, Dense, Dropout "
                "and Normalize, with the Transformer at the folder's top"
            )
        if kind not in _UNCHANGED and (not isinstance(dim, int) or dim < 1):
            raise _refusal(f"how wide the vectors of its module {kind} are, nothing says")
    if dim is None:
        raise _refusal("its modules.json has no Transformer")
    return dim


def _pooled(config: dict[str, Any]) -> int | None:
    """Width after pooling: several modes are put side by side."""
    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    if not isinstance(width, int):
        return None
    mode = config.get("pooling_mode")
    if mode is None:  # as before sentence-transformers 6: one flag a mode
        modes = sum(
            value is True for name, value in config.items() if name.startswith("pooling_mode_")
        )
    else:
        modes = 1 if isinstance(mode, str) else len(mode)
    return width * max(modes, 1)


def _check_safetensors(folder: Path, name: str) -> None:
    path = folder / name
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise _refusal(f"its {name} is no safetensors file")
        try:
            header = json.loads(file.read(length))
            tensors = [value for key, value in header.items() if key != "__metadata__"]
            ends = [int(tensor["data_offsets"][1]) for tensor in tensors]
            kinds = {str(tensor["dtype"]) for tensor in tensors}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise _refusal(f"its {name} is no safetensors file: its header is broken") from None
    if 8 + length + max(ends, default=0) != size:
        raise _refusal(f"its {name} is cut short or damaged")
    if other := {kind for kind in kinds if kind.startswith(("F", "BF"))} - {"F32"}:
        raise _refusal(
            f"its {name} has weights of {', '.join(sorted(other))}, and Aparella computes in "
            "float32"
        )


def _max_seq_length(folder: Path, names: set[str], config: dict[str, Any]) -> int:
    # sentence_bert_config.json had it until sentence-transformers 6, tokenizer_config.json has it.
    given = []
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        value = _object(folder, name).get(key) if name in names else None
        if isinstance(value, int | float) and 0 < value < _MOST_TOKENS:
            given.append(int(value))
    positions = config.get("max_position_embeddings")
    if not given:
        return positions if isinstance(positions, int) and positions > 0 else 512
    return given[0]


def _base_model(folder: Path, names: set[str], config: dict[str, Any]) -> str | None:
    if CARD in names:
        with (folder / CARD).open(encoding="utf-8", errors="replace") as file:
            head = file.read(_LARGEST_JSON)
        front = re.match(r"---\n(.*?)\n---\n", head, re.DOTALL)
        found = _BASE.search(front[1]) if front else None
        if found is not None:
            return found[1][:200]
    name = config.get("_name_or_path")
    return name[:200] if isinstance(name, str) and name and "\0" not in name else None


def _object(folder: Path, name: str) -> dict[str, Any]:
    value = _json(folder, name)
    if not isinstance(value, dict):
        raise _refusal(f"its {name} is no JSON object")
    return value


def _json(folder: Path, name: str) -> Any:
    path = folder / name
    try:
        if path.stat().st_size > _LARGEST_JSON and not name.endswith("tokenizer.json"):
            raise _refusal(f"its {name} is too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _refusal(f"it has no {name}") from None
    except (OSError, ValueError, RecursionError):
        raise _refusal(f"its {name} is no JSON") from None


def _refusal(reason: str) -> InputError:
    sentence = reason if reason.endswith(".") else f"{reason}."
    return InputError(f"This is no model that can be used: {sentence}", code="not_a_model")
