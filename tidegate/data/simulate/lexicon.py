"""The words of the simulated platform: invented abuse, mild scams, two languages, harmless to read.

Every table is indexed by numbers that `texts.py` draws; strings carry their own spaces.
"""

from functools import cache

import numpy as np

LANGUAGES = ("en", "es")
REGISTERS = ("chat", "forum", "listing", "comment")
FAMILIES = ("insult", "scam", "threat", "promotion")
SURFACES = ("plain", "leet", "spaced", "homoglyph", "coined", "coined_before")
CUES = ("none", "link", "money", "mention", "emoji", "shouting")
DIALECTS = ("north", "south", "coast")

CONCEPTS = 12
TEMPLATES = 6
NAMES = 4000

# family -> language -> words for the same twelve concepts; none of them means anything.
CONCEPT_WORDS: dict[str, dict[str, str]] = {
    "insult": {
        "en": "zorble glimpot snarfle blunkard dworpling muppin grubbick floobwit nargle "
        "wuzzock plimphead gorptoad",
        "es": "zorbalón glimpero esnarfo blunqueto dorpilla mupino grubaco flubote nárgalo "
        "buzoque plimpeta gorpasapo",
    },
    "scam": {
        "en": "zencoin quickpouch luckvault prizewheel doublemint cashbloom freetoken payfountain "
        "jackport giftstorm refundo starloan",
        "es": "zenmoneda sacorrápido suertebaúl ruedapremio dobletín flordinero fichagratis "
        "pagafuente premiopuerto regaluvia reembolsín estrellacrédito",
    },
    "threat": {
        "en": "squonch thwackle grommel bonkerize splatter flumpen wallopify drubsnap krumple "
        "stompel whackdoom pummelin",
        "es": "escuonchar tuacalear gromelar bonquear esplatear flumpenar gualopear drubasnar "
        "crumplar estompelar guacadumar pumelinar",
    },
    "promotion": {
        "en": "glowdrops slimfizz hairmagic vitaboost dreamcream sleepgum brainjuice joyballs "
        "skinsilk powerpuff shinewax calmtea",
        "es": "gotasbrillo finafizz pelomagia vitafuerza cremasueño gomasiesta jugomente "
        "bolasgozo sedapiel puffpoder cerabrillo tecalma",
    },
}

# family -> language -> how a word of it is put; from what one reports to what one says to a face.
TEMPLATE_TEXT: dict[str, dict[str, tuple[str, ...]]] = {
    "insult": {
        "en": (
            "she jokes that I am a {}.",
            "my brother, the old {}, laughed.",
            "what a {} move that was.",
            "only a {} would say so.",
            "you are such a {}.",
            "go away, you {}.",
        ),
        "es": (
            "ella bromea que soy {}.",
            "mi hermano, el viejo {}, se rió.",
            "qué jugada de {} fue esa.",
            "solo un {} diría eso.",
            "eres tan {}.",
            "vete ya, {}.",
        ),
    },
    "scam": {
        "en": (
            "our shop takes {} too.",
            "I sold mine for {} last week.",
            "ask me how {} works.",
            "everyone here wins {} today.",
            "claim your {} before midnight.",
            "send a fee and get {} back twice.",
        ),
        "es": (
            "nuestra tienda acepta {} también.",
            "vendí el mío por {} la otra semana.",
            "pregúntame cómo va {}.",
            "aquí todos ganan {} hoy.",
            "reclama tu {} antes de medianoche.",
            "envía una cuota y vuelve {} doble.",
        ),
    },
    "threat": {
        "en": (
            "in the game they {} the boss.",
            "I could {} this printer.",
            "someone should {} that team.",
            "they will {} us all.",
            "I will {} you soon.",
            "wait outside, we {} you tonight.",
        ),
        "es": (
            "en el juego van a {} al jefe.",
            "podría {} esta impresora.",
            "alguien debería {} a ese equipo.",
            "nos van a {} a todos.",
            "te voy a {} pronto.",
            "espera fuera, te vamos a {} hoy.",
        ),
    },
    "promotion": {
        "en": (
            "does anybody know {}?",
            "my aunt reviewed {} here.",
            "I tried {} and slept well.",
            "nothing beats {} these days.",
            "{} changed my life, ask me.",
            "get {} with my code.",
        ),
        "es": (
            "¿alguien conoce {}?",
            "mi tía reseñó {} aquí.",
            "probé {} y dormí bien.",
            "nada supera a {} hoy en día.",
            "{} cambió mi vida, pregúntame.",
            "compra {} con mi código.",
        ),
    },
}

# language -> topic -> nouns; the last three topics are the novel ones.
TOPIC_NOUNS: dict[str, tuple[str, ...]] = {
    "en": (
        "match goal keeper referee stadium league coach ticket derby season",
        "soup recipe oven bread dinner market pepper kitchen cake tomato",
        "song album drummer concert guitar chorus playlist singer vinyl encore",
        "train island hotel passport ferry map luggage beach museum border",
        "level quest boss controller patch console server avatar puzzle loot",
        "garden seed rain compost tulip hedge shovel orchard frost beetle",
        "office invoice meeting deadline desk printer manager shift contract email",
        "council mayor budget bridge vote library tram school petition district",
        "comet telescope eclipse meteor orbit observatory crater nebula probe aurora",
        "robot drone battery charger sensor scooter hologram chip gadget firmware",
        "flood dam sandbag river levee pump storm shelter rescue barrier",
    ),
    "es": (
        "partido gol portero árbitro estadio liga técnico boleto clásico torneo",
        "caldo plato horno pan postre mercado pimiento fogón pastel tomate",
        "tema disco ritmo concierto bajo coro repertorio cantante vinilo ensayo",
        "tren viaje hotel pasaporte barco mapa equipaje puerto museo camino",
        "nivel reto jefe mando parche mundo servidor avatar enigma botín",
        "jardín brote riego abono tulipán seto rastrillo huerto hielo insecto",
        "despacho recibo informe plazo puesto archivo gerente turno contrato correo",
        "consejo alcalde gasto puente voto archivo tranvía colegio pliego distrito",
        "cometa telescopio eclipse meteoro planeta observatorio cráter cielo satélite astro",
        "robot dron cargador cable sensor patinete holograma chip aparato programa",
        "desborde dique saco río muro motor temporal refugio rescate canal",
    ),
}

ADJECTIVES: dict[str, str] = {
    "en": "great odd late quiet loud cheap bright slow early rare warm cold fair rough calm grand",
    "es": "bueno raro tardío lento ruidoso barato claro corto breve único tibio frío justo duro "
    "sereno enorme",
}

# language -> register -> (before the noun, between noun and adjective, after)
CLAUSES: dict[str, tuple[tuple[tuple[str, str, str], ...], ...]] = {
    "en": (
        (
            ("did u see the ", " it was so ", " lol"),
            ("ok but the ", " is kinda ", " today"),
            ("omg that ", " looks ", " again"),
            ("me and the ", " feeling ", " rn"),
        ),
        (
            ("I have been thinking about the ", " which seems ", " to me."),
            ("Does anyone else find the ", " rather ", " lately?"),
            ("After a year with this ", " I still call it ", "."),
            ("Long post about the ", " and why it stays ", "."),
        ),
        (
            ("For sale: ", ", condition ", ", pick up only."),
            ("New in our shop: ", ", very ", ", limited stock."),
            ("Looking for a ", ", anything ", " is fine."),
            ("Weekend price for the ", ", a ", " bargain."),
        ),
        (
            ("The article forgets that the ", " has been ", " for years."),
            ("Fair point about the ", ", though it is ", " here."),
            ("As a neighbour I saw the ", " and it was ", "."),
            ("Who pays for this ", ", however ", " it may be?"),
        ),
    ),
    "es": (
        (
            ("viste el ", " estaba tan ", " jaja"),
            ("ok pero el ", " anda medio ", " hoy"),
            ("uy ese ", " se ve ", " otra vez"),
            ("yo con el ", " todo ", " ahora"),
        ),
        (
            ("He estado pensando en el ", " que parece ", " para mí."),
            ("¿Alguien más encuentra el ", " algo ", " últimamente?"),
            ("Tras un año con este ", " aún lo llamo ", "."),
            ("Mensaje largo sobre el ", " y por qué sigue ", "."),
        ),
        (
            ("Se vende: ", ", estado ", ", solo recogida."),
            ("Nuevo en la tienda: ", ", muy ", ", pocas unidades."),
            ("Busco un ", ", algo ", " está bien."),
            ("Precio de finde por el ", ", un trato ", "."),
        ),
        (
            ("La nota olvida que el ", " lleva años ", "."),
            ("Buen punto sobre el ", ", aunque es ", " aquí."),
            ("Como vecina vi el ", " y fue ", "."),
            ("¿Quién paga este ", ", por ", " que sea?"),
        ),
    ),
}

OPENERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("", "hey ", "yo ", "haha "),
        ("", "Hello all, ", "Question: ", "Update: "),
        ("", "[offer] ", "Hi, ", "Local: "),
        ("", "Well, ", "Honestly, ", "To the editor: "),
    ),
    "es": (
        ("", "oye ", "ey ", "jeje "),
        ("", "Hola a todos, ", "Pregunta: ", "Novedad: "),
        ("", "[oferta] ", "Buenas, ", "Zona: "),
        ("", "Bueno, ", "La verdad, ", "A la redacción: "),
    ),
}

# language -> marker (standard, then one a dialect) -> particles
PARTICLES: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (("", ""), ("aye, ", "wee bit "), ("y'all, ", "fixin to say "), ("oi mate, ", "innit ")),
    "es": (("", ""), ("pues, ", "majo, "), ("che, ", "viste, "), ("quillo, ", "illo, ")),
}

_CUE_TEXT: dict[str, tuple[str, ...]] = {
    "en": ("", " see https://{}.example", " only ${}", " @{}", " :)", " !!!"),
    "es": ("", " mira https://{}.example", " solo {} pesos", " @{}", " :D", " ¡¡!!"),
}
CUE_PARTS = {
    language: tuple(t.partition("{}") for t in text) for language, text in _CUE_TEXT.items()
}

_LEET = str.maketrans("aeiosl", "431051")
_HOMOGLYPHS = str.maketrans("aeopcxyi", "аеорсхуі")
_ONSET_LETTERS = "b bl br d dr f fl g gl gr k kl kr m n p pl pr s sk sl sn t tr v w z"
_ONSETS = _ONSET_LETTERS.split()
_RIMES = {
    "en": "ab eck ibble ock umper ozzle azz indle ork unkle eef oot",
    "es": "abo eca illo oque umpe ozal azo indo orca una efo ota",
}


@cache
def coined_word(family: int, language: int, concept: int, epoch: int) -> str:
    """Return the word that authors of a family coin for a concept in an epoch of their own."""
    draw = np.random.default_rng([family, language, concept, epoch, 7])
    rimes = _RIMES[LANGUAGES[language]].split()
    return "".join(
        _ONSETS[int(draw.integers(len(_ONSETS)))] + rimes[int(draw.integers(len(rimes)))]
        for _ in range(2)
    )


def spell(word: str, surface: str) -> str:
    """Return the word as an author spells it who does not want it found."""
    if surface == "leet":
        return word.translate(_LEET)
    if surface == "spaced":
        return " ".join(word)
    if surface == "homoglyph":
        # A zero-width joiner splits what the look-alike letters leave whole.
        return word[:2].translate(_HOMOGLYPHS) + "\u200d" + word[2:].translate(_HOMOGLYPHS)
    return word


@cache
def names() -> tuple[str, ...]:
    """Return invented names of people, places and brands, most used first."""
    draw = np.random.default_rng(11)
    onsets = draw.integers(len(_ONSETS), size=(NAMES, 3))
    vowels = draw.integers(5, size=(NAMES, 3))
    return tuple(
        "".join(_ONSETS[o] + "aeiou"[v] for o, v in zip(row, sounds, strict=True)).capitalize()
        for row, sounds in zip(onsets, vowels, strict=True)
    )
