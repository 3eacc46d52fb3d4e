"""Telephone numbers as E.164 (ITU-T): a plus sign, the country's code, the number; digits only.

A number is read by `phonenumbers`, Google's own library, which knows how each region writes them (trunk prefixes,
extensions, digits of other scripts). A number that cannot be one has no E.164 and normalises to nothing.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.core.transforms.text import MAX_LENGTH, plain, trim

#: The regions that a number can be read for, those that `phonenumbers` knows; here so that checking a spec need not
#: import it, which takes 35 ms.
_REGIONS: Final = (
    "AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA CC CD "
    "CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE "
    "GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
    "KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ "
    "NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH "
    "SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG "
    "VI VN VU WF WS XK YE YT ZA ZM ZW"
)
REGIONS: Final = frozenset(_REGIONS.split())

#: No country has shorter numbers, its code included.
MIN_DIGITS: Final = 7

#: What may stand before the country's code of a number written without a plus sign: the international prefix 00.
_BEFORE_CODE: Final = re.compile(r"^[^\w]*(?:0\W*0\W*)?")


def e164(value: str, region: str = "") -> str:
    """The E.164 form of a number, or nothing. A number with a plus sign names its own country; one without is read as
    it is dialled in `region`. Without a region it must begin with its country's code, and since that is a guess, it must
    be a number that exists there, not only one that could."""
    import phonenumbers

    text = trim(plain(value))
    if not text or len(text) > MAX_LENGTH:
        return ""
    guessed = not region and not text.startswith("+")
    if guessed:
        text = "+" + _BEFORE_CODE.sub("", text)
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return ""
    if guessed:
        holds = phonenumbers.is_valid_number(number)
    else:  # what is dialled within a town alone, without its area code, is "possible" in a wider sense only
        holds = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    made = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if holds else ""
    return made if len(made) > MIN_DIGITS else ""
