"""The words the demo model is taught: what each thing may be called, and common English words.

A concept's canonical name is the first noun of its line; the other nouns name the same thing, so
that photos of different sources which call it differently teach one concept.
"""

from collections.abc import Iterator, Mapping

# One concept a line, synonyms after the colon. "+" before a noun marks one used seldom because it
# only sometimes fits (a puppy is a dog, a dog is seldom a puppy).
_THINGS = """
airplane: aeroplane, plane, +aircraft, +jet
animal: +creature
backpack: rucksack
banana
baseball bat: bat
baseball glove: baseball mitt
bear
bed
bench
bicycle: bike, +cycle
bird
boat: +ship
book
bottle
bowl
broccoli
bus: +coach
cake
car: +automobile
carrot
cat: +kitten, +kitty
cell phone: phone, mobile phone, +smartphone
chair: +seat
clock
cow: +cattle, +calf
cup: mug
dining table: table
dog: +puppy
donut: doughnut
elephant
fork
frisbee
giraffe
handbag
horse: +pony, +foal
hot dog
kite
knife
laptop: +notebook computer
microwave: microwave oven
motorcycle: motorbike
mouse: computer mouse
orange
oven: stove
person: +human, +somebody, +human being
pizza
potted plant: plant, +houseplant
refrigerator: fridge
remote: remote control
sandwich
scissors
sheep: +lamb
sink: +wash basin
skateboard
skis
snowboard
sofa: couch, +settee
spoon
sports ball: ball
stop sign
suitcase
teddy bear: +teddy, +stuffed bear
tennis racket: racket
toilet
toothbrush
traffic light: +traffic signal
train
truck: +lorry
tv: tv monitor, television, monitor, +screen
umbrella
vase
vehicle
wine glass
zebra
black swan: swan
bmx rider with bicycle: bmx rider and bicycle, +bmx rider, +cyclist with bicycle
breakdancer: +dancer
camel
dancer
goat
horse with rider: horse and rider, rider and horse
kite surfer: kitesurfer
motocross rider with motorbike: motocross rider, rider with motorbike, +motorcyclist
paraglider
running man: +runner
scooter with rider: scooter and rider, +scooter
soapbox cart: soapbox
"""
_WORN = """
accessories: +accessory
bag
belt
blazer
blouse
bodysuit
boots: boot
bracelet
cape
cardigan
clothes: clothing, outfit, +garments
coat
dress
earrings
flats: flat shoes
glasses: eyeglasses
gloves
hat: +cap
heels: high heels
hoodie
jacket
jeans
jumper
leggings
loafers
necklace
pants: trousers
pumps
purse
ring
romper
sandals
scarf
shirt
shoes: shoe, footwear
shorts
skirt
sneakers: trainers
socks
stockings
suit
sunglasses: shades
sweater: +pullover
sweatshirt
swimwear: +swimsuit
t-shirt: tee, tshirt, +tee shirt
tie: necktie
tights
top
vest
wallet
watch: wristwatch
wedges
"""
_BODY = """
eyebrows: brows
eyes: +eye
face
face skin: skin of the face, facial skin
hair
mouth: lips
nose
skin: bare skin
"""
_IRREGULAR_PLURALS = {
    "person": "people",
    "human": "humans",
    "somebody": "people",
    "sheep": "sheep",
    "mouse": "mice",
    "computer mouse": "computer mice",
    "knife": "knives",
    "calf": "calves",
    "scarf": "scarves",
    "cattle": "cattle",
    "aircraft": "aircraft",
    "bmx rider with bicycle": "bmx riders with bicycles",
    "horse with rider": "horses with riders",
    "scooter with rider": "scooters with riders",
    "running man": "running men",
    "skin of the face": "skin of the face",
}
# Named in the plural already, or not countable: no article "a", no other plural.
_ONE_FORM = frozenset(
    "scissors skis cattle accessories boots clothes clothing outfit garments earrings flats"
    " broccoli glasses eyeglasses gloves heels jeans leggings loafers pants trousers pumps sandals"
    " shoes footwear shorts sneakers trainers socks stockings sunglasses shades swimwear tights"
    " wedges eyebrows brows eyes hair skin lips".split()
) | {"high heels", "flat shoes", "face skin", "skin of the face", "facial skin", "bare skin"}

COMMON_WORDS = """
a an the this that these those all every each any some one two three four five six both other
of in on at by to from with without near next behind beside between under over above below across
around into out up down left right top bottom upper lower middle center centre front back side
corner edge background foreground far close closest nearest farthest leftmost rightmost topmost
lowest highest first second third last only same different whole half part piece pair group row
big bigger biggest large larger largest small smaller smallest little tiny huge tall taller tallest
short shorter shortest long wide narrow thin thick fat heavy light dark bright old young new
red orange yellow green blue purple violet pink brown black white grey gray silver golden gold beige
striped checked spotted plain colourful colorful wooden metal plastic glass leather paper stone
brick wet dry clean dirty empty full open closed broken round square flat soft hard hot cold
who what which where when why how is are was be been has have had do does can could will would
please show find mark select segment cut mask output image photo picture there it its they them he
she his her you your i my we our and or not but if than then so as very most more less many much
man woman boy girl child baby kid guy lady player rider driver crowd couple family friend people
head neck shoulder arm hand finger leg knee foot feet ear eye nose mouth beard tail wing paw fur
horn beak feather tooth body
stand standing sit sitting lie lying walk walking run running jump jumping ride riding hold holding
wear wearing eat eating drink drinking look looking sleep sleeping play playing drive driving fly
flying swim swimming carry carrying hang hanging park parked facing smiling turn turned
sky cloud sun moon star tree grass leaf flower bush forest field hill mountain rock sand beach sea
ocean lake river water wave snow ice rain fire smoke road street path sidewalk pavement bridge wall
fence gate door window roof floor ceiling stairs house home building tower castle church shop store
kitchen bathroom bedroom room office garden yard park city town farm barn market station airport
table chair desk shelf lamp curtain carpet rug pillow blanket towel mirror picture frame poster
box basket bucket bag bin can jar pot pan plate dish cup glass lid bread butter cheese egg meat fish
chicken rice soup salad fruit apple pear grape lemon tomato potato onion pepper cookie chocolate
coffee tea milk juice wine beer
wheel tire tyre hood bonnet bumper headlight tail light mirror windshield trunk license plate
engine handle pedal saddle seat van taxi tractor ship helicopter rocket tank wagon
computer keyboard screen camera radio speaker cable battery key lock coin card letter pen pencil
scissors hammer nail rope chain wire string button toy doll ball balloon flag sign pole lamp post
guitar piano drum violin cat dog lion tiger wolf fox rabbit deer pig duck goose chicken monkey
snake frog turtle whale shark bee butterfly spider squirrel owl eagle penguin kangaroo panda
thing object item animal vehicle furniture food plant clothes tool logo text word number line
shadow reflection surface area region shape spot hole stain scratch crack rust defect cell tumor
nucleus lesion road lane marking pedestrian cyclist helmet mask uniform apron badge
""".split()


def _parse(lines: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield each concept's canonical name, its usual nouns and its seldom ones."""
    for line in filter(None, lines.splitlines()):
        name, _, rest = line.partition(":")
        others = [noun.strip() for noun in rest.split(",") if noun.strip()]
        usual = tuple(noun for noun in others if not noun.startswith("+"))
        seldom = tuple(noun[1:] for noun in others if noun.startswith("+"))
        yield name, (name, *usual), seldom


WORN = frozenset(name for name, _, _ in _parse(_WORN))
BODY = frozenset(name for name, _, _ in _parse(_BODY))
USUAL_NOUNS: Mapping[str, tuple[str, ...]] = {
    name: usual for name, usual, _ in _parse(_THINGS + _WORN + _BODY)
}
SELDOM_NOUNS: Mapping[str, tuple[str, ...]] = {
    name: seldom for name, _, seldom in _parse(_THINGS + _WORN + _BODY)
}


def has_one_form(noun: str) -> bool:
    """Whether a noun is plural already or not countable ("jeans", "hair")."""
    return noun in _ONE_FORM


def plural_of(noun: str) -> str:
    """Return an English noun's plural; the noun itself when it has only one form."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if has_one_form(noun):
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
