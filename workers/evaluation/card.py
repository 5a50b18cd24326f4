"""The model card: what a model is, how it was made and how good it is, as Hugging Face reads it.

Written with `huggingface_hub` rather than `SentenceTransformerModelCardData`: that one takes
figures only from its own evaluator objects of a live model, and puts sample texts of the training
pairs into the card, which may be confidential.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from aparella.workers.evaluation import reliability_table
from aparella.workers.evaluation.gate import Verdict
from aparella.workers.evaluation.metrics import METRICS, Figures, Report

FILE_NAME = "README.md"

_NAMES = dict(zip(METRICS, ("acc@1", "acc@5", "hit@10", "MRR@10", "NDCG@10"), strict=True))


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: of the model.
        version: of the model.
        base_model: id of the base model on the Hugging Face hub, or what stands for it.
        parent: the model that training began from, `NAME@VERSION`; None for the base model.
        pairs: number of positive pairs known.
        trained_on: how many of them the model was trained on.
        rejections: number of pairs known not to belong together.
        left_out: pairs in neither part of the split, because they would join the two.
        pairs_digest: what names the pairs, hexadecimal.
        split_digest: `split.digest` of the pairs with their folds.
        protocol: how the figures were taken, `split.Protocol.sentence`.
        recipe: hyper-parameters, by name; values that JSON can hold.
        libraries: versions, by the library's name.
        cleaner_version: `text.CLEANER_VERSION` of the texts.
        dim: numbers in a vector.
        max_seq_length: tokens after which a text is cut off; None if there is no limit.
        created: when, with a time zone.
        made_by: who asked for it.
        report: the model's figures; None if it was not evaluated.
        base: figures of the base model on the same lines.
        current: figures of the model that was promoted then, on the same lines.
        current_name: that model's `NAME@VERSION`.
        lexical: figures of character trigrams on the same lines.
        verdict: what the gate said; None if there was nothing to compare with.
        samples: pairs of texts to show. None by default: texts may be confidential.
        fusion: how sure its answers are, see `reliability_table`.
        language: ISO 639 codes of the texts, if known.
        license: of the model, if it has one.
    """

    name: str
    version: int
    base_model: str
    parent: str | None
    pairs: int
    trained_on: int
    rejections: int
    left_out: int
    pairs_digest: str
    split_digest: str
    protocol: str
    recipe: Mapping[str, object]
    libraries: Mapping[str, str]
    cleaner_version: int
    dim: int
    max_seq_length: int | None
    created: datetime
    made_by: str
    report: Report | None = None
    base: Figures | None = None
    current: Figures | None = None
    current_name: str | None = None
    lexical: Figures | None = None
    verdict: Verdict | None = None
    fusion: Mapping[str, Any] | None = None
    samples: tuple[tuple[str, str], ...] = ()
    language: tuple[str, ...] = field(default=())
    license: str | None = None

    @property
    def title(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


def write(folder: Path, facts: CardFacts) -> Path:
    """Write the card into a model's folder, over one that is there.

    Returns:
        The card's path.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / FILE_NAME
    path.write_text(render(facts), encoding="utf-8", newline="\n")
    return path


def render(facts: CardFacts) -> str:
    """The card: metadata in YAML, then Markdown."""
    body = "\n".join(
        [
            *_what_it_is(facts),
            *_evaluation(facts),
            *reliability_table.section(facts.fusion),
            *_training(facts),
            *_usage(facts),
            *_limits(facts),
        ]
    )
    return f"---\n{_metadata(facts).to_yaml(line_break=chr(10))}\n---\n\n{body}\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    """What the hub and `huggingface_hub.ModelCard` read; the figures become `model-index`."""
    results = None
    if facts.report is not None:
        overall = facts.report.overall
        results = [
            EvalResult(
                # The names that sentence-transformers' own cards use.
                task_type="information-retrieval",
                task_name="Information Retrieval",
                dataset_type="aparella-pairs",
                dataset_name=f"Known pairs {facts.pairs_digest[:12]}",
                dataset_revision=facts.split_digest,
                metric_type=name,
                metric_name=_NAMES[name],
                metric_value=round(value.value, 4),
                metric_args={
                    "low": round(value.low, 4),
                    "high": round(value.high, 4),
                    "queries": overall.queries,
                    "records": overall.records,
                },
            )
            for name, value in overall.items()
        ]
    return ModelCardData(
        base_model=facts.base_model,
        eval_results=results,
        model_name=facts.title if results else None,
        language=list(facts.language) or None,
        license=facts.license,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "sentence-similarity", "feature-extraction", "aparella"],
    )


def _what_it_is(facts: CardFacts) -> Iterator[str]:
    yield f"# {_plain(facts.title)}"
    yield ""
    yield (
        f"A sentence-transformers model that gives short item descriptions and the catalogue "
        f"records they belong to similar vectors: {facts.dim} numbers of length 1, compared by "
        f"cosine. Fine-tuned on {facts.trained_on:,} known pairs."
    )
    yield ""
    yield from _table(
        ("", ""),
        [
            ("Base model", facts.base_model),
            ("Trained from", facts.parent or "the base model"),
            ("Made", f"{facts.created:%Y-%m-%d %H:%M %Z}".strip() + f" by {facts.made_by}"),
            ("Pairs known", f"{facts.pairs:,}, and {facts.rejections:,} rejections"),
            ("Pairs trained on", f"{facts.trained_on:,}"),
            ("Pairs left out", f"{facts.left_out:,}"),
            ("Pairs, digest", facts.pairs_digest),
            ("Split, digest", facts.split_digest),
            ("Text cleaner", f"version {facts.cleaner_version}"),
        ],
    )


def _evaluation(facts: CardFacts) -> Iterator[str]:
    yield "## Evaluation"
    yield ""
    yield facts.protocol
    yield ""
    if facts.report is None:
        yield "This model has no figures."
        yield ""
        return
    overall = facts.report.overall
    yield (
        f"{overall.queries:,} lines, each with all {overall.records:,} catalogue records as "
        "candidates. In brackets: 95 % confidence interval, by bootstrap over the lines."
    )
    yield ""
    rows = [
        ("**this model**", overall),
        (f"promoted then: {facts.current_name or 'the current model'}", facts.current),
        (f"base model: {facts.base_model}", facts.base),
        ("character trigrams (TF-IDF), no model", facts.lexical),
    ]
    yield from _figures("", ((name, found) for name, found in rows if found is not None))
    if facts.verdict is not None:
        verdict = facts.verdict
        yield (
            f"**Gate: {'passed' if verdict.passed else 'not passed'}.** {verdict.sentence} "
            f"Difference in acc@1 {verdict.difference:+.3f} [{verdict.low:+.3f}, "
            f"{verdict.high:+.3f}], in MRR@10 {verdict.mrr_difference:+.3f} "
            f"[{verdict.mrr_low:+.3f}, {verdict.mrr_high:+.3f}] (90 % intervals, paired). "
            f"Rule: {verdict.rule}."
        )
        yield ""
    if facts.report.by_category:
        yield "### By category"
        yield ""
        yield from _figures("category", facts.report.by_category.items())
    if facts.report.note:
        yield _plain(facts.report.note)
        yield ""


def _training(facts: CardFacts) -> Iterator[str]:
    yield "## Training"
    yield ""
    recipe = ((name, json.dumps(value, ensure_ascii=False)) for name, value in facts.recipe.items())
    yield from _table(("hyper-parameter", "value"), recipe)
    yield from _table(("library", "version"), facts.libraries.items())


def _usage(facts: CardFacts) -> Iterator[str]:
    lines = facts.samples or (("a short item description", "a catalogue record's long text"),)
    yield "## How to use it"
    yield ""
    yield "The folder that holds this card is the model; nothing else is needed:"
    yield ""
    yield "```python"
    yield "from sentence_transformers import SentenceTransformer"
    yield ""
    yield 'model = SentenceTransformer("path/to/this/folder")'
    # JSON strings are Python strings, and cannot end the block: their line breaks are escaped.
    sources, targets = zip(*lines, strict=True)
    yield f"lines = model.encode({json.dumps(sources, ensure_ascii=False)})"
    yield f"records = model.encode({json.dumps(targets, ensure_ascii=False)})"
    yield "print(model.similarity(lines, records))"
    yield "```"
    yield ""


def _limits(facts: CardFacts) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        "- The figures hold for lines and catalogues like those of the pairs. For others "
        "measure anew."
    )
    if facts.max_seq_length is not None:
        yield f"- A text is cut off after {facts.max_seq_length} tokens."
    yield (
        f"- Texts were cleaned before training (cleaner version {facts.cleaner_version}: misread "
        "encodings repaired, white space unified). Texts that were not may be found less well."
    )
    yield (
        "- A cosine is not a probability: how certain a match is must be learnt from known pairs."
    )
    yield "- Text of the pairs may to some degree be recovered from the model's weights."


def _figures(what: str, rows: Iterable[tuple[str, Figures]]) -> Iterator[str]:
    """A table of figures with their intervals."""
    yield from _table(
        (what, *_NAMES.values(), "lines"),
        (
            (name, *(str(value) for _, value in found.items()), f"{found.queries:,}")
            for name, found in rows
        ),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table and the empty line after it."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(_plain, row))} |"
    yield ""


def _plain(text: str) -> str:
    """A text on one line that neither ends a table's cell nor begins a tag."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")
