import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.negations import _SAME, claims, comparison, negations, stem

PIECES = st.sampled_from(
    [
        *(
            "S/LÀTEX",
            "SENSE",
            "LÀTEX",
            "SIN",
            "WITHOUT",
            "NO",
            "ESTÈRIL",
            "ESTERIL",
            "LLIURE",
            "DE",
        ),
        *("PVC/DEHP", "AMB", "BALÓ", ",", ".", "FILTRE", "LATEX-FREE", "NON-STERILE", "NI", "I"),
        *("S/", "RECOB", "RECOBRIMENT", "5", "W/O", "UNSTERILE", "TST"),
    ]
)
TEXTS = st.lists(PIECES, max_size=10).map(" ".join) | st.text(max_size=40)


@pytest.mark.parametrize(
    "text",
    [
        "S/LATEX",
        "S/LÀTEX",
        "S/L",
        "SENSE LÀTEX",
        "SENSE DE LÀTEX",
        "sin látex",
        "without latex",
        "w/o latex",
        "latex free",
        "LATEX-FREE",
        "free of latex",
        "lliure de làtex",
        "LLIURE LÀTEX",
        "libre de látex",
        "exento de látex",
        "NO LÀTEX",
        "non-latex",
    ],
)
def test_without_latex(text: str) -> None:
    assert negations(text) == {"latex"}
    assert negations(f"GUANT NITRIL, {text}, 1ÚS") == {"latex"}


@pytest.mark.parametrize(
    "text",
    [
        "NO ESTÈRIL",
        "no estéril",
        "NO EST",
        "NO ESTÈRILS",
        "non-sterile",
        "unsterile",
        "not sterile",
    ],
)
def test_not_sterile(text: str) -> None:
    assert negations(text) == {"esteril"}


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("S/LÀTEX/PVC/FTALATS,1ÚS", {"latex", "pvc", "ftalat"}),
        ("SENSE LÀTEX NI FTALATS", {"latex", "ftalat"}),
        ("lliure de làtex i ftalats", {"latex", "ftalat"}),
        ("SENSE LÀTEX I ESTÈRIL", {"latex"}),
        ("S/LÀTEX/ESTÈRIL", {"latex"}),
        ("S/DEHP", {"ftalat"}),
        ("phthalate-free", {"ftalat"}),
        ("powder-free", {"pols"}),
        ("SENSE POLS", {"pols"}),
        ("TEIXIT SENSE TEIXIR", {"woven"}),
        ("TST", {"woven"}),
        ("nonwoven", {"woven"}),
        ("tejido no tejido", {"woven"}),
        ("S/ FILTRE", {"filtr"}),
        ("SENSE L'AGULLA", {"agull"}),
        ("ESTÈRIL", set()),
        ("No. 5, no 22", set()),
        ("TALLA S", set()),
        ("S/M", set()),
        ("AMB FILTRE", set()),
        ("", set()),
    ],
)
def test_what_is_denied(text: str, denied: set[str]) -> None:
    assert negations(text) == denied


def test_what_is_affirmed_are_the_other_words() -> None:
    said = claims("GUANT SENSE POLS, ESTÈRIL")
    assert said.denied == {"pols"}
    assert said.affirmed == {"guant", "esteril"}


@pytest.mark.parametrize(
    "forms",
    [
        ("latex", "latexs"),
        ("esteril", "esterils", "esteriles", "sterile", "est"),
        ("ftalats", "ftalatos", "ftalato", "phthalates", "phthalate"),
        ("agulla", "agulles", "aguja", "agujas", "needle", "needles"),
        ("valvula", "valvules", "valve", "valves"),
        ("absorbible", "absorbibles", "absorbable"),
        ("adhesiu", "adhesiva", "adhesivo", "adhesives", "adhesive"),
        ("silicona", "silicone"),
        ("seguretat", "seguridad", "safety"),
    ],
)
def test_forms_of_a_word_meet(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_the_table_of_equivalents_is_closed() -> None:
    assert {stem(known) for known in _SAME} == set(_SAME)


def test_comparing() -> None:
    without, with_ = claims("GUANT S/LATEX"), claims("GUANTE DE LÁTEX ESTÉRIL")
    assert comparison(without, with_).contradicting == {"latex"}
    assert comparison(with_, without).contradicting == {"latex"}
    assert comparison(without, claims("latex-free glove")).agreeing == {"latex"}
    assert comparison(claims("GASA NO EST"), with_).contradicting == {"esteril"}
    assert comparison(claims("GASA"), claims("GUANT")).agreeing == set()


def test_an_abbreviation_meets_its_word() -> None:
    assert comparison(claims("S/RECOB"), claims("SENSE RECOBRIMENT")).agreeing == {"recob"}
    assert comparison(claims("S/RECOB"), claims("AMB RECOBRIMENT")).contradicting == {"recob"}
    assert comparison(claims("S/PORT"), claims("PORTÀTIL")).contradicting == set()


def test_what_is_not_clear_contradicts_nothing() -> None:
    both = claims("CÀNULES AMB BALÓ I SENSE BALÓ")
    assert comparison(both, claims("CÀNULA AMB BALÓ")).contradicting == set()
    assert comparison(both, claims("CÀNULA SENSE BALÓ")).contradicting == set()
    mechanism = claims("SENSE MECANISME DE SEGURETAT")
    assert comparison(claims("S/SEGURETAT"), mechanism).contradicting == set()
    assert comparison(claims("NO ESTÈRIL"), claims("PER A ESTERILITZACIÓ")).contradicting == set()


@given(TEXTS, TEXTS)
def test_comparing_is_symmetric_and_a_text_never_contradicts_itself(
    first: str, second: str
) -> None:
    one, other = claims(first), claims(second)
    assert comparison(one, other) == comparison(other, one)
    assert comparison(one, one).contradicting == set()
    assert comparison(one, one).agreeing == one.denied
