"""Make ``bulkid/sheet/letters.json``: how often letters stand beside one another in the languages of the code pages.

For developers only: ``pip install wordfreq Faker && python sample_data/make_letters.py``. The words come from the
frequency lists of wordfreq and the names, towns and companies from Faker; only counts of letters are kept.
"""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

from bulkid.sheet.legacy_encoding import EDGE, lowered

WORDS = 30_000
NAMES = 4_000
NAME_WEIGHT = 3  # a name counts as this many words: sheets hold names more than prose
RARE = 8  # letters that occur less often than this are left out
FLOOR = 35  # the largest cost that one digit can hold, in half nats

LATIN = {
    "ca": "", "cs": "cs_CZ", "da": "da_DK", "de": "de_DE", "en": "en_US", "es": "es_ES", "et": "et_EE", "fi": "fi_FI",
    "fr": "fr_FR", "hu": "hu_HU", "is": "", "it": "it_IT", "lt": "lt_LT", "lv": "lv_LV", "nb": "no_NO", "nl": "nl_NL",
    "pl": "pl_PL", "pt": "pt_BR", "ro": "ro_RO", "sh": "hr_HR", "sk": "sk_SK", "sl": "sl_SI", "sv": "sv_SE",
    "tr": "tr_TR", "vi": "vi_VN",
}  # fmt: skip
EXTRA = {
    "et": """
    kõik mõni võib põhi sõna nõukogu õpetaja õde tõde rõõm lõuna võõras kõrge jõgi sõber tõlge hõbe õhtu õnn õun
    nõud võit võti kõrval mõte mõju lõpp lõng põllumaa põhikool kõrts õigus õlu õli sõit sõda tõus tõuge tõend
    jõud jõulud kõht kõrb kõver põgus põlv põrand rõngas rõhk sõlm sõrm tõrge võlg võrk võsa õpilane õppima õu
    nõel nõu mõisa mõõt mõõk põõsas rõõmus sõõr tõõger võõp jõgevamaa põlvamaa võrumaa tõravere kõpu sõrve lõhe
    põder nõmme õismäe müük häda käsi pärast ära öö köök töö söök tööaeg jäätis jää pea hea väike väljak väli
    täna tänav lääs mäe mägi ülikool üks kaks müüja büroo küla püha süda süsi tüdruk tütar ühing ühis üle ümber
    ükskõik šokolaad žürii dušš garaaž tšekk"""
}
COMMON = {"zh": ("zh_CN", 1_200), "ja": ("ja_JP", 1_000), "ko": ("ko_KR", 400)}


def frequent(language: str) -> list[str]:
    """Take the most frequent words of a language; none where wordfreq has no list."""
    import wordfreq

    return wordfreq.top_n_list(language, WORDS) if language in wordfreq.available_languages() else []


def invented(locale: str) -> list[str]:
    """Invent names, towns and companies of a locale, always the same."""
    from faker import Faker

    if not locale:
        return []
    fake = Faker(locale)
    fake.seed_instance(0)
    return [make() for _ in range(NAMES) for make in (fake.first_name, fake.last_name, fake.city, fake.company)]


def words_of(language: str, locale: str) -> Counter[str]:
    """Weigh the distinct words of a language, in the spelling that code pages have."""
    weights: Counter[str] = Counter()
    cedilla = str.maketrans("șțȘȚ", "şţŞŢ")  # Romanian's letters as cp1250 has them
    named = [*invented(locale), EXTRA.get(language, "")]
    for weight, texts in ((1, frequent(language)), (NAME_WEIGHT, named)):
        for text in texts:
            for token in "".join(c if c.isalpha() else " " for c in text.translate(cedilla)).split():
                if language == "tr":
                    weights[lowered(token.replace("i", "İ").replace("ı", "I").upper())] = weight
                    token = token.replace("I", "ı")  # noqa: PLW2901
                weights[lowered(token)] = weight
    return weights


def cost(count: float, total: float) -> int:
    """Say how unlikely something is, in half nats."""
    return min(FLOOR, round(-2 * math.log(count / total)))


def digits(costs: dict[str, int]) -> str:
    """Write costs as pairs of a letter and a digit to the base 36."""
    return "".join(letter + "0123456789abcdefghijklmnopqrstuvwxyz"[value] for letter, value in sorted(costs.items()))


def letters_of(words: Counter[str]) -> dict[str, str]:
    """Count for each letter, and for the beginning of a word, what comes next."""
    after: dict[str, Counter[str]] = {}
    for word, weight in words.items():
        framed = f"{EDGE}{word}{EDGE}"
        for left, right in itertools.pairwise(framed):
            after.setdefault(left, Counter())[right] += weight
    known = {letter for letter, nexts in after.items() if nexts.total() >= RARE}  # the others are of foreign words
    return {
        letter: digits(
            {right: cost(times, nexts.total()) for right, times in nexts.items() if times > 1 and right in known}
        )
        for letter, nexts in sorted(after.items())
        if letter in known
    }


def common_of(language: str, locale: str, size: int) -> str:
    """Take the characters that most words and names have."""
    counts: Counter[str] = Counter()
    for rank, word in enumerate(frequent(language)):
        for character in word:
            counts[character] += 1_000_000 // (rank + 100)
    names: Counter[str] = Counter(c for text in invented(locale) for c in text)
    scale = counts.total() / max(1, names.total()) / 2
    for character, times in names.items():
        counts[character] += round(times * scale)
    ideographs = [c for c, _ in counts.most_common() if "\u4e00" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3"]
    return "".join(sorted(ideographs[:size]))


if __name__ == "__main__":
    made = {
        "letters": {language: letters_of(words_of(language, locale)) for language, locale in LATIN.items()},
        "common": {language: common_of(language, locale, size) for language, (locale, size) in COMMON.items()},
    }
    path = Path(__file__).parents[1] / "bulkid" / "sheet" / "letters.json"
    path.write_text(
        json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8"
    )
    print(f"{path}: {path.stat().st_size:,} bytes")
