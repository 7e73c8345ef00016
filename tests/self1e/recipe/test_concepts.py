from self1e.recipe.concepts import SOURCES, canonical, is_part, known_concepts, surely_absent
from self1e.recipe.nouns import USUAL_NOUNS


def test_sources_share_one_name_for_one_thing() -> None:
    assert canonical("aeroplane") == canonical("airplane") == "airplane"
    assert canonical("couch") == canonical("sofa") == "sofa"
    assert canonical("tv monitor") == canonical("tv") == "tv"
    assert canonical("background") is None


def test_every_known_concept_has_words() -> None:
    for source in SOURCES:
        for present in ((), ("person",), ("animal", "dog")):
            assert known_concepts(source, present) <= set(USUAL_NOUNS)


def test_clothes_are_parts_and_dogs_are_not() -> None:
    assert is_part("dress")
    assert is_part("nose")
    assert not is_part("dog")


def test_faces_may_be_seen_where_people_or_animals_are() -> None:
    assert "eyes" in known_concepts("voc", ["car", "vehicle"])
    assert "eyes" not in known_concepts("voc", ["dog", "animal"])
    assert "eyes" not in known_concepts("coco128", ["person"])


def test_nothing_is_said_about_what_may_be_meant_by_a_present_name() -> None:
    known = {"sofa", "dog", "chair", "train"}
    assert surely_absent(known, {"chair"}) == {"dog", "train"}
    assert surely_absent(known, set()) == known
