"""Whose voice the recordings in the Debian archive are: packages, voices, languages, licences, and what is left out.

A voice is a package and a language; in fillets-ng, a game, a character; in asterisk, a speaker by name. Where a folder
turned out to hold two people (by pitch and by the embeddings of a pretrained speaker encoder, clip by clip), one of
them is kept by the names of the clips.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Source(NamedTuple):
    """A voice in a package, speaking one language."""

    package: str
    clips: str          # regular expression, found in the paths of the clips
    voice: str          # this and the language may name a group of `clips`
    language: str
    licence: str


_SMALL, _BIG = r"/[a-z0-9]+-m-[^/]*$", r"/[a-z0-9]+-v-[^/]*$"       # malá and velká rybka, the two fish
_FAN_LEVELS = r"/(hanoi|hole|nowall|rush)/cs"                        # made later, with two other actors
SOURCES = (
    Source("asterisk-core-sounds-en-wav", "/en_US_f_Allison/", "asterisk-allison", "en", "CC-BY-SA-3.0"),
    Source("asterisk-core-sounds-es-wav", "/es_MX_f_Allison/", "asterisk-allison", "es", "CC-BY-SA-3.0"),
    Source("asterisk-core-sounds-fr-wav", "/fr_CA_f_June/", "asterisk-june", "fr", "CC-BY-SA-3.0"),
    Source("asterisk-core-sounds-it-wav", "/it_IT_m_Carlo/", "asterisk-carlo", "it", "CC-BY-3.0"),
    Source("asterisk-core-sounds-ru-wav", "/ru_RU_f_IvrvoiceRU/", "asterisk-ivrvoice", "ru", "CC-BY-3.0"),
    Source("asterisk-prompt-es-co", "/sounds/es/", "asterisk-es-co", "es", "GPL-2"),
    Source("asterisk-prompt-fr-armelle", "/sounds/fr/", "asterisk-armelle", "fr", "BSD-like"),
    Source("asterisk-prompt-it-menardi-wav", "/it_IT_f_Menardi/", "asterisk-menardi", "it", "CC-BY-SA-3.0-IT"),
    Source("fillets-ng-data-cs", _SMALL, "fillets-cs-small", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", _BIG, "fillets-cs-big", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", _FAN_LEVELS + r"/m-", "fillets-cs-small2", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", _FAN_LEVELS + r"/v-", "fillets-cs-big2", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/briefcase/cs/kd-", "fillets-cs-narrator", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/gods/cs/b1-", "fillets-cs-god1", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/gods/cs/b2-", "fillets-cs-god2", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/city/cs/vit-hs-", "fillets-cs-city", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/corridor/cs/ch-r-", "fillets-cs-robot", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/linux/cs/2-", "fillets-cs-penguin2", "cs", "GPL-2"),
    Source("fillets-ng-data-cs", r"/linux/cs/v-", "fillets-cs-big3", "cs", "GPL-2"),
    Source("fillets-ng-data-nl", _SMALL, "fillets-nl-small", "nl", "GPL-2"),
    Source("fillets-ng-data-nl", _BIG, "fillets-nl-big", "nl", "GPL-2"),
    Source("gcin-voice", r"/3\.ogg$", "gcin-3", "zh", "GPL-3 or LGPL-3"),
    Source("gcin-voice", r"/5\.ogg$", "gcin-5", "zh", "CC-BY-3.0"),
    Source("klettres-data", r"/klettres/(?P<lang>[^/]+)/(alpha|syllab)/", "klettres-{lang}", "{lang}", "GPL-2+"),
    Source("ktuberling-data", r"/sounds/(?P<lang>[^/]+)/", "ktuberling-{lang}", "{lang}", "GPL-2+"),
)
PACKAGES = tuple(sorted({source.package for source in SOURCES}))

# What matches is left out, with the reason. Second speakers have less than a minute each.
LEFT_OUT = (
    (r"/silence/|/beep|cending-2tone\.|/tt-monkeys\.", "not speech"),
    (r"klettres/de/", "alpha and syllab are two speakers"),
    (r"klettres/da/syllab/ad-2[3-7]\.", "a second speaker"),
    (r"ktuberling/sounds/ca/(?!butterflies_|egypt_|moon_|patata_|robot_|tv_|xmas_)", "a second speaker"),
    (r"ktuberling/sounds/da/(xmas_|tux-|[^/]*-tux\.)", "a second speaker"),
    (r"ktuberling/sounds/en/tv_", "a second speaker"),
    (r"ktuberling/sounds/fr/(?!egypte_|lune_|noel_|papillons_|pizzeria_|robot_|tv_)", "a second speaker, or acted"),
    (r"ktuberling/sounds/ru/(?!xmas_|tux-|tv_|[^/]*-tux\.)", "a second speaker"),
    (r"ktuberling/sounds/ru/tv_(bicycle|car|cyclist|train|tree)\.", "a second speaker"),
    (r"ktuberling/sounds/uk/(butterflies|robot)_", "perhaps a second speaker"),
)


def source_of(package: str, path: str) -> Source | str:
    """Whose voice the clip at `path` in `package` is, voice and language filled in; or why the clip is left out."""
    for pattern, reason in LEFT_OUT:
        if re.search(pattern, path):
            return reason
    for source in SOURCES:
        if source.package == package and (found := re.search(source.clips, path)):
            return source._replace(voice=source.voice.format(**found.groupdict()),
                                   language=source.language.format(**found.groupdict()))
    return "of a character with few words, or of none that its name tells"


def group_voices(languages: Mapping[str, set[str]]) -> dict[str, str]:
    """voice -> group, from voice -> language codes: voices are together when a language, or a voice of two, joins them.

    The same person may speak one language in several packages. Only the primary subtag of a code counts (pt_BR is pt,
    sr@latin is sr), and Bokmål and Nynorsk are both Norwegian.
    """
    members: dict[frozenset[str], list[str]] = {}
    for voice, codes in sorted(languages.items()):
        spoken = {re.split("[_@-]", code)[0] for code in codes}
        spoken = {"no" if code in ("nb", "nn") else code for code in spoken}
        joined = [group for group in members if group & spoken]
        together = [voice, *(other for group in joined for other in members.pop(group))]
        members[frozenset(spoken.union(*joined))] = together
    return {voice: "+".join(sorted(group)) for group, voices in members.items() for voice in voices}
