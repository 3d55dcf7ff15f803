# ruff: noqa: RUF001 - letters of other scripts are meant
"""Words and sentence forms of the eight languages.

A thing says which of a color's two forms agrees with it; a name has a second form where the
language inflects it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing: as somebody has it, as the subject of a sentence, and its agreement."""

    some: str
    the: str
    form: int


@dataclass(frozen=True, slots=True)
class Language:
    """Everything needed to tell a scene and to ask about it."""

    code: str
    names: tuple[tuple[str, str], ...]
    places: tuple[str, ...]
    things: tuple[Thing, ...]
    colors: tuple[tuple[str, str], ...]
    sentences: tuple[str, str, str]
    questions: tuple[str, str, str]
    space: str = " "


def _same(*words: str) -> tuple[tuple[str, str], ...]:
    return tuple((word, word) for word in words)


ENGLISH = Language(
    "en",
    _same("Anna", "Ben", "Clara", "David", "Emma", "Felix"),
    ("in the garden", "in the kitchen", "at the river", "at school", "at the market"),
    tuple(Thing(f"a {x}", f"the {x}", 0) for x in ("ball", "book", "lamp", "hat", "key")),
    _same("red", "blue", "green", "white"),
    ("{name} is {place}.", "{name} has {some}.", "{the} is {color}."),
    ("Where is {name}?", "What does {name} have?", "What color is {the}?"),
)
GERMAN = Language(
    "de",
    _same("Anna", "Jonas", "Greta", "Hugo", "Ida", "Felix"),
    ("im Garten", "in der Küche", "am Fluss", "in der Schule", "auf dem Markt"),
    (
        Thing("einen Ball", "der Ball", 0),
        Thing("ein Buch", "das Buch", 0),
        Thing("eine Lampe", "die Lampe", 0),
        Thing("einen Hut", "der Hut", 0),
        Thing("eine Glocke", "die Glocke", 0),
    ),
    _same("rot", "blau", "grün", "weiß"),
    ("{name} ist {place}.", "{name} hat {some}.", "{the} ist {color}."),
    ("Wo ist {name}?", "Was hat {name}?", "Welche Farbe hat {the}?"),
)
SPANISH = Language(
    "es",
    _same("Ana", "Pablo", "Lucía", "Diego", "Elena", "Mateo"),
    ("en el jardín", "en la cocina", "en el río", "en la escuela", "en el mercado"),
    (
        Thing("una pelota", "la pelota", 1),
        Thing("un libro", "el libro", 0),
        Thing("una lámpara", "la lámpara", 1),
        Thing("un sombrero", "el sombrero", 0),
        Thing("una llave", "la llave", 1),
    ),
    (("rojo", "roja"), ("azul", "azul"), ("verde", "verde"), ("blanco", "blanca")),
    ("{name} está {place}.", "{name} tiene {some}.", "{the} es {color}."),
    ("¿Dónde está {name}?", "¿Qué tiene {name}?", "¿De qué color es {the}?"),
)
RUSSIAN = Language(
    "ru",
    (
        ("Анна", "Анны"),
        ("Борис", "Бориса"),
        ("Вера", "Веры"),
        ("Иван", "Ивана"),
        ("Ольга", "Ольги"),
        ("Павел", "Павла"),
    ),
    ("в саду", "на кухне", "у реки", "в школе", "на рынке"),
    (
        Thing("мяч", "мяч", 0),
        Thing("книга", "книга", 1),
        Thing("лампа", "лампа", 1),
        Thing("шляпа", "шляпа", 1),
        Thing("ключ", "ключ", 0),
    ),
    (("красный", "красная"), ("синий", "синяя"), ("зелёный", "зелёная"), ("белый", "белая")),
    ("{name} {place}.", "У {of} есть {some}.", "{the} {color}."),
    ("Где {name}?", "Что есть у {of}?", "Какого цвета {the}?"),
)
GREEK = Language(
    "el",
    _same("η Άννα", "ο Νίκος", "η Μαρία", "ο Γιώργος", "η Ελένη", "ο Πέτρος"),
    ("στον κήπο", "στην κουζίνα", "στο ποτάμι", "στο σχολείο", "στην αγορά"),
    (
        Thing("μια μπάλα", "η μπάλα", 0),
        Thing("ένα βιβλίο", "το βιβλίο", 1),
        Thing("μια λάμπα", "η λάμπα", 0),
        Thing("ένα καπέλο", "το καπέλο", 1),
        Thing("ένα κλειδί", "το κλειδί", 1),
    ),
    (("κόκκινη", "κόκκινο"), ("μπλε", "μπλε"), ("πράσινη", "πράσινο"), ("άσπρη", "άσπρο")),
    ("{name} είναι {place}.", "{name} έχει {some}.", "{the} είναι {color}."),
    ("Πού είναι {name};", "Τι έχει {name};", "Τι χρώμα είναι {the};"),
)
ARABIC = Language(
    "ar",
    _same("سارة", "علي", "مريم", "عمر", "ليلى", "يوسف"),
    ("في الحديقة", "في المطبخ", "عند النهر", "في المدرسة", "في السوق"),
    (
        Thing("كرة", "الكرة", 1),
        Thing("كتاب", "الكتاب", 0),
        Thing("مصباح", "المصباح", 0),
        Thing("قبعة", "القبعة", 1),
        Thing("مفتاح", "المفتاح", 0),
    ),
    (("أحمر", "حمراء"), ("أزرق", "زرقاء"), ("أخضر", "خضراء"), ("أبيض", "بيضاء")),
    ("{name} {place}.", "مع {name} {some}.", "{the} {color}."),
    ("أين {name}؟", "ماذا مع {name}؟", "ما لون {the}؟"),
)
CHINESE = Language(
    "zh",
    _same("安娜", "李明", "王芳", "张伟", "小红", "小刚"),
    ("在花园里", "在厨房里", "在河边", "在学校里", "在市场里"),
    (
        Thing("一个球", "球", 0),
        Thing("一本书", "书", 0),
        Thing("一盏灯", "灯", 0),
        Thing("一顶帽子", "帽子", 0),
        Thing("一把钥匙", "钥匙", 0),
    ),
    _same("红色的", "蓝色的", "绿色的", "白色的"),
    ("{name}{place}。", "{name}有{some}。", "{the}是{color}。"),
    ("{name}在哪里？", "{name}有什么？", "{the}是什么颜色的？"),
    space="",
)
HINDI = Language(
    "hi",
    _same("राम", "सीता", "मोहन", "गीता", "अमित", "राधा"),
    ("बगीचे में", "रसोई में", "नदी के पास", "स्कूल में", "बाज़ार में"),
    tuple(Thing(f"एक {x}", x, 0) for x in ("गेंद", "किताब", "टोपी", "चाबी", "घंटी")),
    _same("लाल", "नीली", "हरी", "सफ़ेद"),
    ("{name} {place} है।", "{name} के पास {some} है।", "{the} {color} है।"),
    ("{name} कहाँ है?", "{name} के पास क्या है?", "{the} किस रंग की है?"),
)

LANGUAGES = {
    language.code: language
    for language in (ENGLISH, GERMAN, SPANISH, RUSSIAN, GREEK, ARABIC, CHINESE, HINDI)
}
WELL_KNOWN = tuple(code for code in LANGUAGES if code != "hi")
"""Hindi the demo model has not learned, says its card."""
