"""Units: their names in Catalan, Spanish and English, what they measure, and by which factor.

Base units: length mm, area mm², volume ml, mass g, time s, pressure kPa, temperature °C, angle
degree, voltage V, current mA, charge mAh, power W, energy J, frequency Hz, data byte, data rate
bit/s, activity international unit, substance mmol. Scales without a unit of their own keep their
number: gauge, french, USP thread size, percent, size. A count is of something: `count:layer` and
`count:piece` are different kinds, so three layers do not contradict ten pieces.
"""

from functools import lru_cache
from typing import NamedTuple

from aparella.workers.features.words import fold


class Unit(NamedTuple):
    """One meaning of a unit's name; value in the base unit = factor * number + offset."""

    kind: str
    factor: float
    offset: float = 0.0


_INCH = 25.4
_NAMES: tuple[tuple[str, float, str], ...] = (
    ("length", 1, "mm milimetre mil·limetre milimetro millimetre millimeter"),
    ("length", 10, "cm centimetre centimetro centimeter cms"),
    ("length", 100, "dm decimetre decimetro decimeter"),
    ("length", 1_000, "m metre metro meter mt mts mtr"),
    ("length", 1e6, "km quilometre kilometro kilometre kilometer"),
    ("length", 1e-3, "µm um micra micres micras micro micron micrometre micrometro micrometer"),
    ("length", 1e-6, "nm nanometre nanometro nanometer"),
    ("length", _INCH, "inch inches in pulgada pulg polzada polzades polz"),
    ("length", 12 * _INCH, "ft foot feet peu peus pie"),
    ("length", 36 * _INCH, "yd yard yarda iarda iardes"),
    ("area", 1, "mm2"),
    ("area", 100, "cm2"),
    ("area", 1e6, "m2 sqm"),
    ("area", 144 * _INCH**2, "sqft"),
    ("volume", 1, "ml millilitre mil·lilitre mililitre mililitro milliliter cc cm3"),
    ("volume", 10, "cl centilitre centilitro centiliter"),
    ("volume", 100, "dl decilitre decilitro deciliter"),
    ("volume", 1_000, "l litre litro liter lt ltr lts dm3"),
    ("volume", 1e6, "m3"),
    ("volume", 1e-3, "µl ul mcl microlitre microlitro microliter mm3"),
    ("volume", 29.5735, "floz"),
    ("mass", 1, "g gr grs gm gram grams gramo"),
    ("mass", 1_000, "kg kgs kilo quilo quilogram kilogramo kilogram"),
    ("mass", 1e-3, "mg mgr mil·ligram miligram miligramo milligram"),
    ("mass", 1e-6, "µg ug mcg microgram microgramo"),
    ("mass", 1e-9, "ng nanogram nanogramo"),
    ("mass", 453.592, "lb lbs pound lliura lliures libra"),
    ("mass", 28.3495, "oz ounce onça unça unces onza"),
    ("time", 1e-3, "ms msec mil·lisegon milisegundo millisecond"),
    ("time", 1, "s sec secs seg segon segundo second"),
    ("time", 60, "min mins minut minuto minute"),
    ("time", 3_600, "h hr hrs hora hores hour"),
    ("time", 86_400, "dia dies day"),
    ("time", 7 * 86_400, "setmana setmanes semana week"),
    ("time", 30 * 86_400, "mes mesos meses month"),
    ("time", 365 * 86_400, "any anys año year yr yrs"),
    ("pressure", 1, "kpa kilopascal"),
    ("pressure", 1e-3, "pa pascal"),
    ("pressure", 1_000, "mpa megapascal"),
    ("pressure", 100, "bar bars bares"),
    ("pressure", 0.1, "mbar"),
    ("pressure", 6.894757, "psi"),
    ("pressure", 101.325, "atm atmosfera atmosferes atmosphere"),
    ("pressure", 0.133322, "mmhg"),
    ("pressure", 0.0980665, "cmh2o cmh20"),
    ("angle", 1, "° º grau graus grado degree deg"),
    ("voltage", 1, "v volt volts voltio vdc vac vcc"),
    ("voltage", 1e-3, "mv mil·livolt milivoltio millivolt"),
    ("voltage", 1_000, "kv quilovolt kilovoltio kilovolt"),
    ("current", 1, "ma miliamperi miliamperio milliamp"),
    ("current", 1_000, "amp amper amperi amperis amperio ampere"),
    ("charge", 1, "mah"),
    ("charge", 1_000, "ah"),
    ("power", 1, "w watt vat vatio wat"),
    ("power", 1e-3, "mw mil·liwatt milivatio milliwatt"),
    ("power", 1_000, "kw quilowatt kilovatio kilowatt"),
    ("power", 745.7, "hp"),
    ("energy", 1, "j joule juliol julio"),
    ("energy", 1_000, "kj"),
    ("energy", 4_184, "kcal quilocaloria quilocalories kilocaloria"),
    ("energy", 3_600, "wh"),
    ("energy", 3.6e6, "kwh"),
    ("frequency", 1, "hz hertz hertzi hercio"),
    ("frequency", 1e3, "khz"),
    ("frequency", 1e6, "mhz"),
    ("frequency", 1e9, "ghz"),
    ("rotation", 1, "rpm"),
    ("data", 1e3, "kb kbyte kilobyte"),
    ("data", 1e6, "mb mbyte megabyte meg"),
    ("data", 1e9, "gb gbyte gigabyte gig"),
    ("data", 1e12, "tb tbyte terabyte"),
    ("data rate", 1e3, "kbps kbit kbits"),
    ("data rate", 1e6, "mbps mbit mbits"),
    ("data rate", 1e9, "gbps gbit gbits"),
    ("pixels", 1e6, "mp mpx mpix megapixel megapixels megapíxel megapíxels"),
    ("resolution", 1, "dpi ppi ppp"),
    ("frame rate", 1, "fps"),
    ("loudness", 1, "db decibel decibelio"),
    ("substance", 1, "mmol mil·limol"),
    ("substance", 1_000, "mol"),
    ("equivalents", 1, "meq"),
    ("activity", 1, "ui iu"),
    ("activity", 1e6, "mui miu"),
    ("percent", 1, "% percent pct"),
    ("percent", 0.1, "‰"),
    ("gauge", 1, "ga gauge galga"),
    ("french", 1, "f fr french charriere charr chr"),
    ("usp", 1, "usp"),
    (
        "count:piece",
        1,
        "ud und uds unds uni unitat unidad unit un ut pc pcs pz pza pieza peça peces",
    ),
    ("count:piece", 1, "piece pack"),
    ("count:layer", 1, "capa capes layer ply"),
    ("count:lumen", 1, "llum luz luces lumen ll"),
    ("count:way", 1, "via vies way"),
    ("count:channel", 1, "canal canales channel"),
    ("count:pin", 1, "pin"),
    ("count:body", 1, "cos cossos cuerpo"),
    ("count:thread", 1, "fil hilo thread"),
    ("count:hole", 1, "forat orifici orificio hole"),
    ("count:sheet", 1, "fulls hoja sheet"),
    ("count:use", 1, "us usos uso use"),
    ("count:user", 1, "user usuari usuario"),
    ("count:licence", 1, "llicencia llicencies licencia license licence lic"),
    ("count:disc", 1, "disc disco disk"),
    ("count:player", 1, "jugador jugadora player"),
    ("count:port", 1, "port puerto"),
    ("count:test", 1, "test prova proves prueba determinacio determinacions determinacion"),
    ("count:dose", 1, "dosi dosis dose"),
    ("count:tablet", 1, "comprimit comprimido tablet tableta capsula capsules capsule"),
    ("count:drop", 1, "gota gotes drop"),
    ("count:bit", 1, "bit"),
    ("count:key", 1, "tecla tecles key"),
)

_SEVERAL: dict[str, tuple[Unit, ...]] = {
    "'": (Unit("length", _INCH), Unit("length", 12 * _INCH)),
    "ch": (Unit("french", 1), Unit("count:channel", 1)),
    "u": (Unit("count:piece", 1), Unit("activity", 1)),
    "°c": (Unit("temperature", 1),),
    "oc": (Unit("temperature", 1),),
    "°f": (Unit("temperature", 5 / 9, -160 / 9),),
    "of": (Unit("temperature", 5 / 9, -160 / 9),),
    '"': (Unit("length", _INCH),),
}
"""Names that mean one of several things, and those that are no words. A foot mark often stands
for inches where a file format could not hold the inch mark."""

_UNITS: dict[str, tuple[Unit, ...]] = {}
for _kind, _factor, _words in _NAMES:
    for _name in map(fold, _words.split()):
        _UNITS.setdefault(_name, (Unit(_kind, _factor),))
        if len(_name) > 3 or (_kind.startswith("count:") and len(_name) == 3):
            for _plural in (f"{_name}s", f"{_name}es"):
                _UNITS.setdefault(_plural, (Unit(_kind, _factor),))
_UNITS |= _SEVERAL

EXACT = frozenset({"gauge", "french", "usp", "percent", "size", "lines", "arc"})
"""Scales on which a neighbour is another article: no rounding. Counts are exact too."""


@lru_cache(maxsize=4096)
def meanings(name: str) -> tuple[Unit, ...]:
    """What a unit's name, as written, may mean; empty if it is none. `UI/ML`: one unit by another.

    A name by another has one meaning: activity rather than pieces, grams rather than gauge.
    """
    folded = fold(name).replace(" ", "")
    if (found := _UNITS.get(folded)) is not None:
        return found
    above, slash, below = folded.partition("/")
    if not slash:
        return ()
    over, under = _UNITS.get(above, ()), _UNITS.get(below, ())
    if not over or not under or below == "f":
        return ()
    top, bottom = over[-1], under[-1]
    return (Unit(f"{top.kind}/{bottom.kind}", top.factor / bottom.factor),)


@lru_cache(maxsize=256)
def rounding(kind: str) -> float:
    """The largest difference, relative, at which two values of a kind are still the same one."""
    if kind in EXACT or (kind.startswith("count:") and "/" not in kind):
        return 1e-9
    # A gigabyte is 1,000 or 1,024 megabytes, a terabyte one or the other twice over.
    return 0.05 if kind == "data" else 0.02
