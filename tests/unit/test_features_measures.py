import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.measures import Measure, measures
from aparella.workers.features.units import meanings

SCRAPS = st.sampled_from(
    [
        *("10", "8", "0,5", "1.500", "20", "½", "3/8", "1/2", "3/0", ".035", "120", " ", " ", "  "),
        *(
            "A",
            "X",
            "x",
            "×",
            "CM",
            "cm",
            "mm",
            "ML",
            "G",
            "g",
            "F",
            "CH",
            "FR",
            '"',
            "'",
            "%",
            "±",
        ),
        *("+/-", "(", ")", "-", "/", ".", ",", "UD", "U", "ÚS", "KG", "H2O", "º", "°C", "GX", "N"),
        *("T.", "TALLA", "CX", "ISO", "15F", "22M", "P/", "S/", "LÀTEX", "DSC-W120", "DE", "A4"),
    ]
)
TEXTS = st.lists(SCRAPS, max_size=14).map("".join) | st.text(max_size=40)


def said(text: str) -> list[tuple[str, float, float]]:
    return [(m.kind, round(m.low, 6), round(m.high, 6)) for m in measures(text)]


def single(text: str) -> tuple[str, float]:
    ((kind, low, high),) = said(text)
    assert low == high
    return kind, low


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("XERINGA 150ML P/INJECTOR PRESS DUO ELITE", "volume", 150),
        ("bossa de 1L", "volume", 1000),
        ("0,5 ML", "volume", 0.5),
        ("5 mil·lilitres", "volume", 5),
        ("5 mililitros", "volume", 5),
        ("10 cc", "volume", 10),
        ("½ L", "volume", 500),
        ("1.5mm", "length", 1.5),
        (".035 inch", "length", 0.889),
        ('guia 0,035"', "length", 0.889),
        ("2 pulgadas", "length", 50.8),
        ("2 polzades", "length", 50.8),
        ('tub 1/2"', "length", 12.7),
        ("tubo 1 1/2 pulgadas", "length", 38.1),
        ("0,2 micres", "length", 0.0002),
        ("12in", "length", 304.8),
        ("6-foot cable", "length", 1828.8),
        ("sonda 5F", "french", 5),
        ("5 FR", "french", 5),
        ("CH 12", "french", 12),
        ("FR-14", "french", 14),
        ("4,7F", "french", 4.7),
        ("AGULLA 20G", "gauge", 20),
        ("catéter 22 gauge", "gauge", 22),
        ("alcohol 70%", "percent", 70),
        ("99,999%", "percent", 99.999),
        ("U/100", "activity/volume", 100),
        ("U-100", "activity/volume", 100),
        ("100UI/ML", "activity/volume", 100),
        ("60 ml/min", "volume/time", 1),
        ("20 GOTES/ML", "count:drop/volume", 20),
        ("1,6M2", "area", 1.6e6),
        ("50 cm²", "area", 5000),
        ("10 unitats", "count:piece", 10),
        ("100 ud", "count:piece", 100),
        ("CAIXA DE 150", "count:piece", 150),
        ("caja de 150", "count:piece", 150),
        ("pack of 150", "count:piece", 150),
        ("1ÚS", "count:use", 1),
        ("3 llums", "count:lumen", 3),
        ("3-way valve", "count:way", 3),
        ("90 graus", "angle", 90),
        ("180º", "angle", 180),
        ("37ºC", "temperature", 37),
        ("conservar a -20 °C", "temperature", -20),
        ("-80ºC", "temperature", -80),
        ("98.6 °F", "temperature", 37),
        ("1200PSI", "pressure", 8273.7084),
        ("60CMH2O", "pressure", 5.88399),
        ("1 CM H2O", "pressure", 0.098067),
        ("500GB", "data", 5e11),
        ("120Hz", "frequency", 120),
        ("12V", "voltage", 12),
        ("75 watts", "power", 75),
        ("1080p", "lines", 1080),
        ("sutura 3/0", "usp", -3),
        ("3-0", "usp", -3),
        ("CALIBRE 1 USP", "usp", 1),
        ("3/8C", "arc", 0.375),
        ("TALLA 6,5", "size", 6.5),
        ("guant T.6,5", "size", 6.5),
        ("Nº 11", "size", 11),
        ("20(+/-2)", None, None),
        ("1,234.5 g", "mass", 1234.5),
        ("1.234.567 g", "mass", 1234567),
    ],
)
def test_a_number_and_its_unit(text: str, kind: str | None, value: float | None) -> None:
    if kind is None:
        assert said(text) == []
    else:
        assert single(text) == (kind, pytest.approx(value))


@pytest.mark.parametrize(
    "text",
    ["10X8CM", "10 x 8 cm", "100 × 80 mm", "10CMX8CM", "10CM X 8", "MIDA 10*8CM", "0,1 x 0,08 m"],
)
def test_dimensions_written_in_any_way_are_the_same_lengths(text: str) -> None:
    assert said(text) == [("length", 100, 100), ("length", 80, 80)]
    one, other = measures(text)
    assert one.group == other.group
    assert [one.side, other.side] == [True, True]
    assert [one.assumed, other.assumed] == [False, False]


def test_sides_without_a_unit_may_be_of_any_usual_unit() -> None:
    one, other = measures("APOSITO 10X8")
    assert [one.assumed, other.assumed] == [True, True]
    assert {("length", 100, 100), ("length", 10, 10), ("length", 254, 254)} <= set(one.readings)
    assert measures("1920 x 1200") == ()


def test_what_multiplies_a_volume_is_a_number_and_no_volume() -> None:
    assert said("2 x 500 ml") == [("volume", 500, 500)]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("120 A 180CM", 1200, 1800),
        ("120-180 cm", 1200, 1800),
        ("de 120 a 180 cm", 1200, 1800),
        ("120 to 180 cm", 1200, 1800),
        ("120 CM hasta 180 CM", 1200, 1800),
        ("130 A 180CM +/-5CM", 1250, 1850),
        ("11CM+/-0,5CM", 105, 115),
        ("100+/-10CM", 900, 1100),
        ("100(±10)CM", 900, 1100),
        ("100 cm ± 5 %", 950, 1050),
        ("8 CM +/- 3 MM", 77, 83),
    ],
)
def test_ranges_and_tolerances(text: str, low: float, high: float) -> None:
    assert said(text) == [("length", low, high)]


def test_a_tolerance_is_that_of_all_sides_that_share_its_unit() -> None:
    assert said("MIDES: 50X60CM±5CM") == [("length", 450, 550), ("length", 550, 650)]


def test_a_tolerance_tells_grams_from_gauge() -> None:
    assert said("PES 20(+/-2)G") == [("mass", 18, 22)]
    assert said("11G(+/-1)") == [("mass", 10, 12)]


def test_a_glued_g_is_gauge_or_grams_and_both_are_kept() -> None:
    for text in ("20G", "20g", "20 G", "3 AGULLES, 20G."):
        assert {r[0] for r in measures(text)[0].readings} == {"gauge", "mass"}
    assert single("20 g") == ("mass", 20)
    assert single("3G") == ("mass", 3)  # no needle is that thick
    assert [r[0] for r in measures("29G X 8MM")[0].readings] == ["gauge"]
    assert [r[0] for r in measures("INTR.20G 100MM")[0].readings] == ["gauge"]
    assert [r[0] for r in measures("14G (2,1MM)")[0].readings] == ["gauge"]
    assert [r[0] for r in measures("PES 9G")[0].readings] == ["mass"]


def test_thousands_or_decimals_are_both_kept() -> None:
    (measure,) = measures("1.500 ML")
    assert {r[1] for r in measure.readings} == {1.5, 1500}


def test_a_foot_mark_may_stand_for_inches() -> None:
    (measure,) = measures("HDTV 40'")
    assert {r[1] for r in measure.readings} == {1016, 12192}


@pytest.mark.parametrize(
    "text",
    [
        "DSC-W120 KDL40V4100 WD65835 40RV525U A4 MP3 H2O",
        "WVC-54G",
        "CONN ISO 15M-22M/15F",
        "22F-22M/15F",
        "3 in 1",
        "MESURA 3 L'AGULLA",
        "2 S/LATEX",
        "AMPLADA ±2CM",
        "v1.2.3",
        "1" * 400 + "MM",
        "",
    ],
)
def test_what_is_no_measure(text: str) -> None:
    assert measures(text) == ()


def test_words_that_run_together() -> None:
    assert said("AGULLA PUNCIÓ21GX40+/-2MM") == [("gauge", 21, 21), ("length", 38, 42)]
    assert said("3LLUMS,Ø4,5F") == [("count:lumen", 3, 3), ("french", 4.5, 4.5)]


def test_a_list_shares_its_unit() -> None:
    assert said("25/30/40 CM") == [("length", v, v) for v in (250, 300, 400)]


def test_a_unit_cut_off_at_the_end_keeps_what_it_may_have_been() -> None:
    assert {r[:2] for r in measures("TUB 19M")[0].readings} == {
        ("length", 19_000),
        ("length", 19),
        ("volume", 19),
    }
    assert single("TUB 19M PVC") == ("length", 19_000)


def test_what_is_stated_twice_is_listed_once_but_equal_sides_are_two() -> None:
    assert said("XERINGUES 20ML, XERINGA DE 20 ML") == [("volume", 20, 20)]
    assert said("10X10CM") == [("length", 100, 100)] * 2
    assert said("10CM, 10X10CM") == [("length", 100, 100)] * 2


def test_a_measure_says_where_it_stands() -> None:
    text = "CONTORN PIT:130 A 180CM +/-5CM,MIDA I"
    (measure,) = measures(text)
    assert text[measure.start : measure.end] == measure.text == "130 A 180CM +/-5CM"


@given(TEXTS)
def test_any_text_is_read(text: str) -> None:
    found = measures(text)
    end = 0
    for measure in found:
        assert end <= measure.start < measure.end <= len(text)
        assert measure.text == text[measure.start : measure.end]
        assert measure.readings[0] == (measure.kind, measure.low, measure.high)
        assert all(low <= high for _, low, high in measure.readings)
        end = measure.start + 1
    assert [m.group for m in found] == sorted(m.group for m in found)


@given(
    st.lists(st.integers(1, 200), min_size=2, max_size=3),
    st.sampled_from(["x", "X", " x ", " × ", "*"]),
    st.sampled_from([("CM", 10), (" cm", 10), ("MM", 1), (" mm", 1)]),
)
def test_sides_do_not_depend_on_how_they_are_joined(
    sides: list[int], by: str, unit: tuple[str, int]
) -> None:
    text = by.join(map(str, sides)) + unit[0] + " PVC"
    assert [m.low for m in measures(text)] == [side * unit[1] for side in sides]


def test_names_of_units_are_looked_up_without_case_accents_or_dots() -> None:
    assert meanings("MIL·LILITRES") == meanings("ml")
    assert meanings("Ús") == meanings("US")
    assert meanings("nothing") == () == meanings("ml/nothing")


def test_a_measure_can_be_a_key() -> None:
    assert isinstance(measures("5ML")[0], Measure)
    assert len({measures("5ML"), measures("5ML")}) == 1
