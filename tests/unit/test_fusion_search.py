"""Candidates, their evidence, and the answers that come of it, over a small catalogue."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.features.attributes import Attributes
from aparella.workers.features.words import fold
from aparella.workers.fusion.candidates import Candidates, lexical, unite
from aparella.workers.fusion.categories import Categories
from aparella.workers.fusion.corpus import Corpus, Lines
from aparella.workers.fusion.evidence import FEATURES, ranks
from aparella.workers.fusion.lexical import VIEWS, Earlier, LexicalIndex, View, joined
from aparella.workers.fusion.model import Fusion, default
from aparella.workers.fusion.newcomers import Newcomers
from aparella.workers.fusion.search import Answers, Scores, Shelf, search
from aparella.workers.fusion.wording import LANGUAGES, sentence

CATALOGUE = [
    "AGULLA HIPODÈRMICA CALIBRE 20G X 40MM, ESTÈRIL",
    "AGULLA HIPODÈRMICA CALIBRE 14G X 40MM, ESTÈRIL",
    "XERINGA DE 3 COSSOS, CAPACITAT 150ML, SENSE LÀTEX",
    "XERINGA DE 3 COSSOS, CAPACITAT 50ML, AMB LÀTEX",
    "SONDA VESICAL FOLEY 2 VIES, SILICONA, 16CH",
    "GUANT DE NITRIL NO ESTÈRIL, TALLA M",
    "Sony Cyber-shot digital camera DSC-W120 silver",
    "Sony Cyber-shot digital camera DSC-W130 silver",
    "GASA DE COTÓ 10X10CM",
    "GASA DE COTÓ 20X20CM",
    "BENA ELÀSTICA 10CM X 4M",
    "ESPARADRAP DE PAPER 2.5CM",
]
IDS = np.array([110, 108, 106, 104, 102, 100, 98, 96, 94, 92, 90, 88])
NONE = np.empty(0, dtype=np.int64)


def answers(texts: list[str], k: int = 3, exclude: int = -1, records: int = 12) -> Answers:
    shelf = Shelf.build(IDS[:records], CATALOGUE[:records])
    m = len(texts)

    def alike(_places: NDArray[np.int64], ids: NDArray[np.int64]) -> Scores:
        return np.full(len(ids), 0.5, dtype=np.float32)

    done: list[int] = []
    found = search(
        shelf,
        default(),
        texts,
        (np.full((m, 10), -1), np.full((m, 10), np.nan, dtype=np.float32)),
        alike,
        k,
        np.full(m, exclude),
        done.append,
    )
    assert sum(done) == m
    return found


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("AGULLA 14G 40MM", 108),
        ("AGULLA 20G 4CM", 110),
        ("XER 150ML S/LATEX", 106),
        ("sony dscw130", 96),
        ("GASA 100X100MM", 94),
        ("GUANT NITRIL NO ESTERIL M", 100),
    ],
)
def test_what_a_line_states_decides(line: str, record: int) -> None:
    found = answers([line])
    assert found.ids[0, 0] == record
    assert not found.contradicted[0]
    assert found.confidences[0, 0] >= found.confidences[0, 1]


def test_a_line_without_its_record_is_contradicted_and_less_sure() -> None:
    with_it = answers(["AGULLA HIPODERMICA 14G X 40MM"])
    without = answers(["AGULLA HIPODERMICA 18G X 40MM"])
    assert without.contradicted[0]
    assert without.confidences[0, 0] < with_it.confidences[0, 0]
    explanation = without.explanations[0]
    assert explanation is not None
    assert [pair[0] for pair in explanation["contradict"]] == ["18G"]


def test_an_answer_does_not_hang_on_its_company() -> None:
    lines = ["AGULLA 14G 40MM", "XER 150ML", "sony dscw130", "BENA 10CM", "GASA 10X10"] * 60
    together = answers(lines)
    for place in (0, 1, 2, 251, 299):
        alone = answers([lines[place]])
        assert np.array_equal(alone.ids[0], together.ids[place])
        assert np.array_equal(alone.confidences[0], together.confidences[place], equal_nan=True)
        assert alone.explanations[0] == together.explanations[place]


def test_a_record_is_not_its_own_answer() -> None:
    assert 108 not in answers([CATALOGUE[1]], exclude=108).ids


def test_records_of_one_text_are_all_found() -> None:
    shelf = Shelf.build(np.array([7, 5, 9]), ["AGULLA 14G", "AGULLA 14G", "XERINGA"])
    assert shelf.rows(np.array([9, 5, 7, 4])).tolist() == [1, 0, 0, -1]
    assert shelf.ids.tolist() == [5, 7, 9]


def test_attributes_tell_records_apart_that_their_texts_do_not() -> None:
    shelf = Shelf.build(np.arange(3), ["CAMERA BAG BLACK", "CAMERA BAG BROWN", "TRIPOD"])
    of_records = {0: {"brand": "Sony", "price": "40"}, 1: {"brand": "Canon", "price": "95"}}

    def ask(brand: str, price: str) -> Answers:
        def beside(
            places: NDArray[np.int64], ids: NDArray[np.int64]
        ) -> tuple[list[Attributes], list[Attributes]]:
            line: Attributes = {"brand": brand, "price": price}
            return [line for _ in places], [of_records.get(i, {}) for i in ids.tolist()]

        return search(
            *(shelf, default(), ["CAMERA BAG GREEN"]),
            (np.full((1, 10), -1), np.full((1, 10), np.nan, dtype=np.float32)),
            lambda _, ids: np.full(len(ids), 0.5, dtype=np.float32),
            *(4, np.array([-1]), lambda _: None),
            beside=beside,
        )

    assert ask("SONY", "38").ids[0, 0] == 0
    assert ask("CANON", "99").ids[0, 0] == 1


def test_a_category_moves_the_confidence_and_not_the_order() -> None:
    shelf = Shelf.build(np.arange(2), ["CAMERA BAG BLACK", "TRIPOD"])
    taught = replace(default(), categories=Categories(offsets={"bags": -2.0, "legs": 2.0}))

    def ask(fusion: Fusion) -> Answers:
        return search(
            *(shelf, fusion, ["BLACK CAMERA BAG", "TRIPOD"]),
            (np.full((2, 10), -1), np.full((2, 10), np.nan, dtype=np.float32)),
            lambda _, ids: np.full(len(ids), 0.5, dtype=np.float32),
            *(2, np.array([-1, -1]), lambda _: None),
            beside=lambda places, ids: (
                [{} for _ in places],
                [{"family": "bags" if i == 0 else "legs"} for i in ids.tolist()],
            ),
        )

    plain, moved = ask(default()), ask(taught)
    assert np.array_equal(plain.ids, moved.ids)
    assert moved.confidences[0, 0] < plain.confidences[0, 0]
    assert moved.confidences[1, 0] > plain.confidences[1, 0]


def test_what_the_vectors_alone_found_follows() -> None:
    shelf = Shelf.build(IDS, CATALOGUE)
    near = IDS[None]
    scores = np.linspace(0.9, 0.1, 12, dtype=np.float32)[None]
    found = search(
        *(shelf, default(), ["AGULLA 14G"], (near, scores)),
        lambda _, ids: np.full(len(ids), 0.3, dtype=np.float32),
        *(12, np.array([-1]), lambda _: None),
    )
    assert sorted(found.ids[0].tolist()) == sorted(IDS.tolist())
    weighed = ~np.isnan(found.confidences[0])
    assert weighed[:10].all()
    assert not weighed[-1]


def test_many_records_of_one_text_leave_room_for_others() -> None:
    texts = ["AGULLA 14G"] * 12 + ["XERINGA", "SONDA"]
    shelf = Shelf.build(np.arange(14), texts)
    found = search(
        *(shelf, default(), ["zzz"], (np.arange(14)[None], np.full((1, 14), 0.5, np.float32))),
        lambda _, ids: np.full(len(ids), 0.5, dtype=np.float32),
        *(14, np.array([-1]), lambda _: None),
    )
    assert not np.isnan(found.confidences).any()  # all were weighed: three texts are few


def test_nothing_to_find() -> None:
    found = answers(["zzz"], records=0)
    assert (found.ids == -1).all()
    assert found.explanations == [None]


def test_joined_words_meet() -> None:
    assert joined(fold("DSC-W120 x2")) == ["dscw120", "x2"]
    index = LexicalIndex(CATALOGUE)
    best = index.top(index.queries(["dscw130"]), "joined", 3)
    assert best.indices.tolist() == [7]


def test_the_views_find_what_they_look_at() -> None:
    index = LexicalIndex(CATALOGUE)
    found, floors = lexical(index, index.queries(["foley"]), depth=2)
    assert len(found) == len(VIEWS)
    assert all(row.tolist()[0] == 4 for _, row in found)
    # One record has the word: there is room for a second.
    assert floors[0, list(VIEWS).index("words")] == 0
    full = index.queries(["agulla 20g"])
    best = index.top(full, "words", 2)
    assert lexical(index, full, depth=2)[1][0, 1] == best.data[1] < best.data[0]


def test_a_line_is_concerned_by_what_would_be_among_its_candidates() -> None:
    corpus = Corpus(CATALOGUE)
    texts = ["agulla 14g", "gasa de cotó"]
    new = np.array([9])  # the second gauze
    queries = corpus.index.queries(texts)
    earlier = Earlier(corpus.index, new, new)
    before = [earlier.best(queries, view)[1] for view in VIEWS]
    newcomers = Newcomers(corpus, new, new)
    far, high = np.full(2, -0.5, dtype=np.float32), np.float32(99)
    for column, score in enumerate([np.float32(0.7), *before]):
        cosines = np.array([-0.5, 0.7], dtype=np.float32)
        floors = np.full((2, 4), high, dtype=np.float32)
        assert not newcomers.concern(texts, cosines, floors).any()
        floors[:, column] = score
        assert newcomers.concern(texts, cosines, floors).tolist() == [False, True]
        floors[:, column] = score * np.float32(1.06)
        assert not newcomers.concern(texts, cosines, floors).any()
    # Where there is room, a shared word is enough, and having none in common is not.
    room = np.array([[0.2, 0, 0, 0]] * 2, dtype=np.float32)
    assert newcomers.concern(texts, far, room).tolist() == [False, True]
    # Nothing new concerns nobody, however much room there is.
    none = np.full(2, -np.inf, dtype=np.float32)
    floors = np.full((2, 4), -np.inf, dtype=np.float32)
    assert not Newcomers(corpus, NONE, NONE).concern(texts, none, floors).any()


@pytest.mark.parametrize("view", VIEWS)
def test_newcomers_are_scored_as_before_they_came(view: View) -> None:
    old, new = CATALOGUE[:8], [f"SONDA VESICAL FOLEY DE LÀTEX, {n}CH" for n in range(12, 36)]
    texts = ["sonda foley 16ch", "xeringa 50ml"]
    both = LexicalIndex([*old, *new])
    late = np.arange(len(old), len(both.rows))
    # The line's old candidate has the score that it had when its word was rare.
    then = LexicalIndex(old)
    for row in (4, 3):
        seen = Earlier(both, np.array([row]), late).best(both.queries(texts), view)
        was = Earlier(then, np.array([row]), NONE).best(then.queries(texts), view)
        if view == "letters":
            assert seen == pytest.approx(was, abs=1e-6)
        else:  # The mean length, by which BM25 divides, is the one now.
            assert seen == pytest.approx(was, rel=0.1)
    now, was = (
        Earlier(index, np.array([4]), NONE).best(index.queries(texts), view)[0]
        for index in (both, then)
    )
    assert view == "letters" or now < 0.6 * was


def test_answers_note_what_a_newcomer_must_reach() -> None:
    # The second gauze stands twice: a text counts once.
    ids, texts = np.append(IDS, 80), [*CATALOGUE, CATALOGUE[9]]
    shelf = Shelf.build(ids, texts)
    cosines = {int(i): 0.9 - 0.05 * n for n, i in enumerate(IDS)} | {80: 0.9 - 0.05 * 9}
    order = sorted(cosines, key=lambda i: (-cosines[i], i))

    def floors(depth: int, padding: int = 0) -> NDArray[np.float32]:
        near = np.array([[*order[:depth], *[-1] * padding]])
        scores = np.array([[*(cosines[i] for i in order[:depth]), *[np.nan] * padding]])
        found = search(
            *(shelf, default(), ["gasa de cotó"], (near, scores.astype(np.float32))),
            lambda _, wanted: np.array([cosines[i] for i in wanted.tolist()], dtype=np.float32),
            *(3, np.array([-1]), lambda _: None),
        )
        return found.floors[0]

    assert floors(13)[0] == pytest.approx(cosines[order[9]])  # the tenth text
    assert floors(5)[0] == pytest.approx(cosines[order[4]])  # no more were asked for
    assert floors(5, padding=2)[0] == -np.inf  # there were no more
    best = shelf.corpus.index.queries(["gasa de cotó"])
    assert floors(13)[1:].tolist() == lexical(shelf.corpus.index, best)[1][0].tolist()


def test_a_union_has_each_pair_once() -> None:
    a = (np.array([0, 0, 1]), np.array([3, 1, 2]))
    b = (np.array([1, 0]), np.array([2, 3]))
    found = unite([a, b], rows=10)
    assert list(zip(found.query.tolist(), found.row.tolist(), strict=True)) == [
        (0, 1),
        (0, 3),
        (1, 2),
    ]
    assert found.starts.tolist() == [0, 2]


def test_ranks_are_within_a_query() -> None:
    pairs = Candidates(np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 1, 2]))
    assert ranks(np.array([0.1, 0.9, 0.1, 0.2, 0.3]), pairs).tolist() == [1, 0, 2, 1, 0]


def test_each_feature_is_between_its_bounds() -> None:
    corpus = Corpus(CATALOGUE)
    lines = Lines(corpus, CATALOGUE[::2], (NONE, NONE))
    found = lines.candidates
    features = lines.features(found, np.ones(len(found), dtype=np.float32), Abbreviations())
    assert np.isfinite(features).all()
    for place, name in enumerate(FEATURES):
        if not name.endswith("_rank") and "length" not in name and "bm25" not in name:
            assert features[:, place].min() >= 0
            assert features[:, place].max() <= 3
    same = features[found.row == 2 * found.query]
    columns = list(FEATURES)
    for name in ("letters", "words_coverage", "joined_reverse", "token_set_ratio", "first_word"):
        assert same[:, columns.index(name)] == pytest.approx(1, abs=1e-5)
    assert not same[:, columns.index("contradicting_measures")].any()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_says_it(language: str) -> None:
    explanation = {
        "agree": ["150ML"],
        "contradict": [["14G", "20G"]],
        "moved": [["cosine", 0.4], ["missed_code", -0.2]],
    }
    said = sentence(explanation, language)  # type: ignore[arg-type]
    assert "150ML" in said
    assert "14G / 20G" in said
    assert said.count(";") == 2
