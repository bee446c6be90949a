"""The words of a card in each language (CONTRACT 8, glossary of domain/telegram.md 9)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from calls.call import Outcome
from calls.entries import Language


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says; ``{}`` stands for what is put in."""

    call: str
    call_from: str
    ringing: str
    ringing_from: str
    talking: str
    ended: str
    not_answered: str
    lost: str
    missed: str
    """Of the reply that rings."""
    internal_call: str
    internal: str
    """Stands after the word of the heading."""

    people: Callable[[int], str]
    """How many were rung, where the heading cannot name them all."""
    people_list: str
    more: str
    line: str
    transfer: str
    transfers: str
    consulted: str
    """Whom a transfer asked or rang, answered or not, who did not take the call over."""
    dialled: str
    nobody_known: str
    """Stands below an internal call that reached nobody whom the host named: the heading has the caller alone."""

    wait: str
    talk: str
    wait_and_talk: str
    began: str
    recording: str
    recording_of_several: str
    first_call: str
    earlier_calls: str
    last_call: str
    day: Callable[[datetime], str]
    outcomes: Mapping[Outcome, str]


def _russian_people(count: int) -> str:
    if count % 100 in range(11, 15) or count % 10 not in range(1, 5):
        return f"{count} номеров"
    return f"{count} номер" if count % 10 == 1 else f"{count} номера"


_RU: Final = Words(
    call="Звонок",
    call_from="Звонок от",
    ringing="Дозвон",
    ringing_from="Дозвон от",
    talking="Разговор",
    ended="Завершен",
    not_answered="Не отвечен",
    lost="Потерян при переводе",
    missed="Пропущенный звонок",
    internal_call="Внутренний звонок",
    internal="(внутр.)",
    people=_russian_people,
    people_list="Кому звонили ({}):",
    more="… и ещё {}",
    line="Линия {}",
    transfer="Перевод: {}",
    transfers="Переводы: {}",
    consulted="Звонок коллегам: {}",
    dialled="Набран: {}",
    nobody_known="Кому звонили, неизвестно",
    wait="Ожидание {}",
    talk="Разговор {}",
    wait_and_talk="Ожидание {}, разговор {}",
    began="Начало звонка {}",
    recording="Запись разговора",
    recording_of_several="Запись разговора {}",
    first_call="Первый звонок",
    earlier_calls="Раньше звонков: {}",
    last_call="последний {}",
    day=lambda day: f"{day:%d.%m.%Y}",
    outcomes=MappingProxyType(
        {
            "open": "ещё идёт",
            "answered": "отвечен",
            "missed": "не отвечен",
            "not_answered": "не отвечен",
            "lost_in_transfer": "потерян при переводе",
        }
    ),
)
_EN: Final = Words(
    call="Call",
    call_from="Call from",
    ringing="Ringing",
    ringing_from="Ringing",
    talking="Talking",
    ended="Ended",
    not_answered="Not answered",
    lost="Lost in transfer",
    missed="Missed call",
    internal_call="Internal call",
    internal="(internal)",
    people=lambda count: f"{count} numbers",
    people_list="Rung ({}):",
    more="… and {} more",
    line="Line {}",
    transfer="Transfer: {}",
    transfers="Transfers: {}",
    consulted="Colleagues rung: {}",
    dialled="Dialled: {}",
    nobody_known="Whom they called is not known",
    wait="Waited {}",
    talk="Talked {}",
    wait_and_talk="Waited {}, talked {}",
    began="Began at {}",
    recording="Recording",
    recording_of_several="Recording {}",
    first_call="First call",
    earlier_calls="Earlier calls: {}",
    last_call="the last on {}",
    day=lambda day: f"{day:%Y-%m-%d}",
    outcomes=MappingProxyType(
        {
            "open": "still going on",
            "answered": "answered",
            "missed": "not answered",
            "not_answered": "not answered",
            "lost_in_transfer": "lost in a transfer",
        }
    ),
)

WORDS: Final[Mapping[Language, Words]] = MappingProxyType({"ru": _RU, "en": _EN})
