"""Street addresses, boxes, flats and postcodes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapetum.archive.deidentify.text.spans import Span

_CAP = r"(?:[^\W\d_a-zà-ÿ][\w'’.]{0,24})"
_WORDS = (
    rf"{_CAP}(?:[ -](?:(?:de|del|de la|la|las|los|von|van|der|den|du|des|di|da|do|dos|the|of|y|e|und|"
    rf"and) )?{_CAP}){{0,4}}"
)
_AFTER = (
    r"(?:Street|Streets|St|Road|Rd|Avenue|Ave|Av|Lane|Ln|Drive|Dr|Close|Crescent|Cres|Court|Courts|Ct|Place|Pl|"
    r"Square|Sq|Terrace|"
    r"Way|Boulevard|Blvd|Highway|Hwy|Parkway|Pkwy|Circle|Cir|Trail|Grove|Gardens|Mews|Hill|Row|Walk|Quay|Park|"
    r"Green|Rise|"
    r"Loop|Alley|Plaza|Ridge|Turnpike|Expressway|Freeway|Fort|Forges?|Coves?|Greens|Pass|Isle|Point|Islands?|"
    r"Ville|Springs?|"
    r"Strasse|Straße|Str|Weg|Gasse|Platz|Allee|Ring|Damm|Ufer|utca|út|útja|u|tér|körút|gatan|gata|vej|veien|"
    r"gade|katu|tie|ulica|ul)"
)
_BEFORE = (
    r"(?:C/|Calle|Cl\.|Avda\.?|Avenida|Av\.|Plaza|Pza\.?|Paseo|P\.º|Camino|Carretera|Ctra\.?|Ronda|Travesía|"
    r"Pasaje|Carrera|Cra\.|"
    r"Rue|Avenue|Boulevard|Bd|Chemin|Impasse|Place|Allée|Quai|Via|Viale|Piazza|Corso|Vicolo|Strada|Largo|Contrada|"
    r"Rua|Travessa|Praça|Alameda|Estrada|Rúa|ul\.|Ulica|al\.|os\.|pl\.|ulica|Am|An der|Zum|Zur|Unter den|"
    r"Λεωφόρος|Οδός)"
)
_GLUED = (
    r"[^\W\d_]{2,}(?:strasse|straße|str\.|gasse|platz|weg|allee|damm|graben|gatan|gata|gate|vägen|vegen|veien|"
    r"vej|gade|torget|"
    r"backen|stigen|plan|stræde|allé|straat|laan|plein|gracht|kade|dijk|singel|steeg|dreef|hof|baan|katu|kuja|"
    r"polku|tie|"
    r"utca|út|braut|stígur|vegur|tún|dalsvegur|hólar)"
)
_NUMBER = r"\d{1,5}(?:[/-]\d{1,4})?\s?[A-Za-z]?\.?"
_PATTERNS = (
    ("number and street", rf"(?<![\w./-])\d{{1,6}}[A-Za-z]?,? (?:{_WORDS} ){_AFTER}\b\.?(?: {_NUMBER}(?!\w))?"),
    (
        "street and number",
        rf"(?<!\w){_BEFORE} ?(?:de (?:la |los |las )?|del |du |des |do |da |della |dei )?{_WORDS},? (?:n\.?º ?|"
        rf"nº ?|no\.? ?|número |bis )?{_NUMBER}(?![\w/])",
    ),
    (
        "number and street",
        rf"(?<![\w./-])\d{{1,4}}(?: bis| ter)?,? (?:{_BEFORE}) (?:de (?:la |l['’])?|du |des |d['’]|del )?{_WORDS}",
    ),
    ("street and number", rf"(?<!\w)(?:{_CAP}[ -]){{0,4}}(?i:{_GLUED}) {_NUMBER}(?![\w/]|[.,]\d)"),
    ("street and number", rf"(?<!\w){_WORDS} (?:{_AFTER}|jardines)\.? {_NUMBER}(?![\w/]|[.,]\d)"),
    ("street", rf"(?<!\w)(?:{_WORDS}) (?:Street|Road|Avenue|Lane|Boulevard|Crescent|Terrace)\b"),
    ("post box", r"(?i)\b(?:p\.? ?o\.? ?box|apartado(?: de correos)?|postfach|postboks|casilla) \d{1,6}\b"),
    (
        "military address",
        r"(?i)\b(?:psc \d{3,4},? box \d{1,5}|unit \d{1,5} box \d{1,5}|usns? \w+|uss \w+)\s+(?:apo|fpo|"
        r"dpo) a[aep] \d{5}",
    ),
    (
        "flat",
        r"(?i)\b(?:apt|apartment|suite|ste|flat|unit|wohnung|depto|departamento|piso)\.? (?:no\.? |"
        r"# ?)?\d{1,5}[a-z]?\b(?!\s?(?:mm|%|mg|ml))",
    ),
    ("flat", r"(?i)\b\d{1,2}\.?[ºª°] ?(?:izq(?:uierda)?|der(?:echa)?|dcha|[a-f])\b"),
    ("crossing of streets", rf"(?i:\bthe corner of )(?:[^\n,.;!?]{{3,60}}?) and {_WORDS}"),
    (
        "postcode after its word",
        r"(?i)\b(?:zip|postal|postcode|post code|postleitzahl|plz|c\.?p\.?|código postal|cep|cap)(?: ?code)?s?"
        r"(?: is| es)?\s?[:=]? ?(?P<z>(?=[a-z0-9]{0,4} ?\d)[a-z0-9]{2,6}(?:[ -][a-z0-9]{2,4})?)(?!\w)",
    ),
    (
        "British postcode",
        r"(?<![\w.])(?:GIR ?0AA|[A-PR-UWYZ](?:\d{1,2}|[A-HK-Y]\d{1,2}|\d[A-HJKPSTUW]|"
        r"[A-HK-Y]\d[ABEHMNPRV-Y]) \d[ABD-HJLNP-UW-Z]{2})(?!\w)",
    ),
    (
        "state and postcode",
        r"(?<!\w)(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|"
        r"T[NX]|UT|V[AT]|W[AIVY]) \d{5}(?:-\d{4})?(?![\w.])",
    ),
    (
        "postcode and town",
        rf"(?<![\w.,/-])(?:[A-Z]{{1,2}}-)?(?:\d{{5}}|(?<=, )\d{{4}}|(?<=\n)\d{{4}}|(?<=\n )\d{{4}}|"
        rf"\d{{2}}-\d{{3}}|\d{{3}} \d{{2}}|\d{{5}}-\d{{3}}) (?={_CAP}(?:[ ,]|$|\n))(?P<t>{_CAP})",
    ),
    (
        "Chinese address",
        r"(?:[\u4e00-\u9fff]{2,8}(?:省|自治区|特别行政区))?(?:[\u4e00-\u9fff]{2,8}(?:市|自治州))?(?:[\u4e00-\u9fff]{1,8}(?:区|"
        r"县|旗))?[\u4e00-\u9fff]{1,10}(?:路|街|大道|巷|弄|胡同|村|镇|乡|小区|花园)[\u4e00-\u9fff]{0,4}\d{1,5}(?:号|弄|栋|幢|楼)"
        r"(?:[\u4e00-\u9fff]{0,4}\d{0,4}(?:号楼|号|栋|幢|单元|室|楼|层)){0,4}",
    ),
    ("Chinese address after its word", r"(?:住址|地址|家庭住址|联系地址|现住址)\s?[:：]\s?(?P<z>[^\n，。；;]{3,50})"),
    (
        "address after its word",
        r"(?i)\b(?:address|direcci[oó]n|domicilio|adresse|indirizzo|"
        r"endere[cç]o)\s?:[ \t]*(?P<z>(?=[^\n]*\d)[^\n;]{6,90}?)(?=[.;]?\s*(?:\n|$|;|\.\s))",
    ),
)
PATTERNS = [(why, re.compile(pattern)) for why, pattern in _PATTERNS]
_PIECE = re.compile(
    r"[ ,.>?*()/-]{0,4}\n{0,2}[ ,>?*(]{0,6}(?:(?P<code>\d{4,6}(?![\w./-])|(?:nan|[A-Z]{2})"
    r"(?: \d{4,6})?(?![\w]))|(?P<word>[^\W\d_][\w'’-]{0,24})\)?)"
)
_UNSURE = ("postcode and town", "street and number", "flat", "street")
_OPENS = ("number and street", "street and number", "flat", "post box", "military address")
_NOT_TOWN = re.compile(
    r"(?i)\d{4,5} (?:hours|was|were|is|the|with|and|visit|study|report|image|cells?|patients?|eyes?|OCT|right|"
    r"left|od|os|ou|exam\w*|"
    r"jan\w*|feb\w*|mar\w*|apr\w*|may|jun\w*|jul\w*|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*)\b"
)


def find_places(text: str) -> Iterator[tuple[Span, bool]]:
    """Addresses and parts of addresses, each with whether it is sure.

    Args:
        text: any text.

    Returns:
        Spans and whether they stand against a measurement.
    """
    for why, pattern in PATTERNS:
        for match in pattern.finditer(text):
            group = "z" if "z" in pattern.groupindex else 0
            if why == "postcode and town" and (_NOT_TOWN.match(match.group()) or match.group()[:2] in ("19", "20")):
                continue
            start, end = match.span(group)
            if why in _OPENS:
                end = _block(text, end)
            yield Span(start, end, "ADDRESS", why), why not in _UNSURE


def _block(text: str, end: int) -> int:
    """Where the town and postcode after a street end; `end` itself where none follows."""
    here, best = end, end
    for _ in range(10):
        piece = _PIECE.match(text, here)
        if not piece or piece.end() - end > 90:
            break
        word = piece["word"]
        if (
            word
            and not word[0].isupper()
            and word not in ("de", "del", "la", "nad", "am", "an", "der", "di", "do", "da", "i")
        ):
            break
        here = piece.end()
        if piece["code"]:
            best = here
    return best
