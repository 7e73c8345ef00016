"""What is known of the photo sources' concepts: their common names, and when absence is certain.

An unmarked thing may still be there. A prompt may only be answered "nothing there" where the
source marks every such thing, or where the thing cannot well be (a giraffe in a fashion photo).
"""

from collections.abc import Collection, Mapping
from typing import Literal

from self1e.recipe.nouns import BODY, WORN

Source = Literal["voc", "ccp", "coco128", "people", "davis", "faces"]
SOURCES: tuple[Source, ...] = ("voc", "ccp", "coco128", "people", "davis", "faces")

_CANONICAL = {
    "aeroplane": "airplane",
    "couch": "sofa",
    "motorbike": "motorcycle",
    "tv monitor": "tv",
}
_UNTAUGHT = frozenset({"background", "null", "other", "intimate", "bra", "panties", "clogs"})

ANIMALS = frozenset(
    {"bird", "cat", "cow", "dog", "horse", "sheep", "bear", "elephant", "giraffe", "zebra"}
    | {"black swan", "camel", "goat"}
)
VEHICLES = frozenset({"airplane", "bicycle", "boat", "bus", "car", "motorcycle", "train", "truck"})
# Concepts that other concepts belong to.
WHOLES: Mapping[str, frozenset[str]] = {"animal": ANIMALS, "vehicle": VEHICLES}
NOT_CLOTHES = frozenset(
    "accessories bag bracelet earrings glasses hair necklace purse ring skin sunglasses".split()
) | {"wallet", "watch"}


def _names(lines: str) -> frozenset[str]:
    """Return the comma-separated names of a text."""
    return frozenset(name.strip() for name in lines.replace("\n", " ").split(","))


_VOC = _names("""
airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse,
motorcycle, person, potted plant, sheep, sofa, train, tv, animal, vehicle
""")
_COCO = _VOC | _names("""
backpack, banana, baseball bat, baseball glove, bear, bed, bench, book, bowl, broccoli, cake,
carrot, cell phone, clock, cup, donut, elephant, fork, frisbee, giraffe, handbag, hot dog, kite,
knife, laptop, microwave, mouse, orange, oven, pizza, refrigerator, remote, sandwich, scissors,
sink, skateboard, skis, snowboard, spoon, sports ball, stop sign, suitcase, teddy bear,
tennis racket, tie, toilet, toothbrush, traffic light, truck, umbrella, vase, wine glass, zebra
""")
# Not to be expected in any photo that is not marked with it.
_SELDOM_SEEN = _names("""
baseball bat, black swan, bmx rider with bicycle, breakdancer, broccoli, camel, donut, elephant,
giraffe, hot dog, kite surfer, paraglider, pizza, scooter with rider, snowboard, soapbox cart,
stop sign, toilet, zebra
""")
_INDOORS = _names("bed, cat, laptop, microwave, oven, refrigerator, sink, sofa, toothbrush, tv")
# Never in a street or a portrait photo, as far as these sources go.
_FAR_FROM_PEOPLE = (ANIMALS | _SELDOM_SEEN) - {"dog", "bird"} | _names(
    "airplane, bed, boat, refrigerator, microwave, oven, sink, train"
)
_WORN_FROM_AFAR = _names("""
blazer, blouse, boots, cardigan, clothes, coat, dress, jacket, jeans, leggings, pants, shirt,
shoes, shorts, skirt, socks, stockings, suit, sunglasses, sweater, sweatshirt, t-shirt
""")
_NOT_IN_A_PORTRAIT = _names("""
bag, belt, boots, bracelet, dress, jeans, leggings, pants, purse, sandals, shoes, shorts, skirt,
sneakers, socks, stockings, sunglasses, watch, backpack, bicycle, bottle, bus, car, chair,
dining table, dog, handbag, horse, motorcycle, potted plant, sheep, sofa, suitcase, truck, tv,
umbrella, vehicle, animal
""")

# Of two concepts on one line the marks of one may well cover the other: where one is there,
# nothing is said about the others.
_ALIKE = tuple(
    _names(line)
    for line in """
chair, sofa, bench
sofa, bed, chair
bag, purse, wallet, handbag, backpack, accessories, suitcase
shoes, boots, flats, heels, loafers, pumps, sandals, sneakers, wedges
pants, jeans, leggings, tights, stockings, shorts, suit, bodysuit, romper, socks
blazer, jacket, coat, cape, cardigan, suit, hoodie, sweatshirt, vest
blouse, shirt, t-shirt, top, bodysuit, dress, romper, sweater, vest, suit
sweater, jumper, sweatshirt, cardigan, hoodie, top, t-shirt
dress, skirt, romper, suit, bodysuit, swimwear
glasses, sunglasses, accessories
accessories, belt, bracelet, earrings, necklace, ring, scarf, tie, watch, hat, gloves, wallet
bottle, vase, cup, wine glass
cup, bowl
bus, truck, car, vehicle
bicycle, motorcycle, bmx rider with bicycle, motocross rider with motorbike, scooter with rider
person, breakdancer, dancer, running man, bmx rider with bicycle, kite surfer, paraglider
person, horse with rider, motocross rider with motorbike, scooter with rider, soapbox cart
horse, horse with rider
motocross rider with motorbike, bmx rider with bicycle, scooter with rider, soapbox cart, vehicle
breakdancer, dancer, running man
bird, black swan
bear, teddy bear, animal
sheep, goat
tv, laptop, microwave, oven
oven, microwave, refrigerator
remote, cell phone
fork, knife, spoon
sandwich, hot dog, pizza, donut, cake
kite, frisbee, sports ball, paraglider
face, face skin, skin
eyebrows, hair
""".strip().splitlines()
)
_ALIKE_OF: dict[str, frozenset[str]] = {
    name: frozenset().union(*(names for names in _ALIKE if name in names))
    for names in _ALIKE
    for name in names
}


def canonical(name: str) -> str | None:
    """Return the concept a source's label names, or None where it is not taught."""
    return None if name in _UNTAUGHT else _CANONICAL.get(name, name)


def is_part(concept: str) -> bool:
    """Whether the concept is a part of a person or worn by one."""
    return concept in WORN or concept in BODY


def derived_concepts(source: Source, labelled: Collection[str]) -> frozenset[str]:
    """Return the concepts that a photo also shows, given those it is labelled with.

    Args:
        source: Where the photo comes from.
        labelled: The canonical names of its labels.
    """
    if source in ("voc", "coco128"):
        return frozenset(whole for whole, parts in WHOLES.items() if parts & set(labelled))
    if source == "ccp":
        return frozenset({"person"} | ({"clothes"} if set(labelled) - NOT_CLOTHES else set()))
    return frozenset({"face", "skin"}) if source == "faces" else frozenset()


def known_concepts(source: Source, present: Collection[str]) -> frozenset[str]:
    """Return the concepts that are all marked in a photo, or certainly not in it.

    Args:
        source: Where the photo comes from.
        present: The concepts marked in it, derived ones included.
    """
    if source in ("voc", "coco128"):
        known = _SELDOM_SEEN | (_VOC if source == "voc" else _COCO)
        if "person" not in present:
            known |= _WORN_FROM_AFAR
            if "animal" not in present:
                known |= BODY
        return known
    if source == "ccp":
        return _FAR_FROM_PEOPLE | (WORN - {"accessories"}) | {"person", "hair", "skin"}
    if source == "faces":
        return _FAR_FROM_PEOPLE | _NOT_IN_A_PORTRAIT | (BODY - {"eyebrows"})
    return _FAR_FROM_PEOPLE if source == "people" else _SELDOM_SEEN | _INDOORS


def surely_absent(known: Collection[str], present: Collection[str]) -> frozenset[str]:
    """Return the known concepts that are neither present nor like one that is.

    Args:
        known: Concepts all of which would be marked.
        present: Concepts of which anything is seen, however little.
    """
    doubtful = frozenset().union(*(_ALIKE_OF.get(concept, frozenset()) for concept in present))
    return frozenset(known) - frozenset(present) - doubtful
