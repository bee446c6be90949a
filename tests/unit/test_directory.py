"""What a directory answers, and how it changes."""

import msgspec
import pytest

from calls.directory import Directory, DirectoryError, changes, shorten
from calls.entries import Customer, Department, DirectoryChange, FollowMe, Line, Manager, Profile, Subscriber

MOBILE = "+375290000102"


def june(**sections) -> Directory:
    entries = {
        "subscribers": {"1001": Subscriber(chat_id=1001)},
        "managers": {
            "150": Manager(extension="150", name="Пётр Петров", mobile=MOBILE),
            "151": Manager(extension="151", name="Анна Серова"),
            "152": Manager(extension="152"),
        },
        "lines": {
            "0007001": Line(id="0007001", name="Основная линия", incoming_transform="+375{9}"),
            "3880001": Line(id="3880001"),
        },
        "departments": {"901": Department(number="901", name="Продажи", members=("150", "151"))},
        "follow_mes": {"300": FollowMe(number="300", extension="150", mobile=MOBILE)},
        "customers": {"+375290000101": Customer(phone="+375290000101", name="Иван Иванов")},
    }
    return Directory(profile=Profile(number="0367", name="june"), **(entries | sections))


def change(section, key, **value) -> DirectoryChange:
    return DirectoryChange(section, key, value or None)


def test_persons_are_extensions_that_are_neither_department_nor_follow_me():
    directory = june()
    assert directory.is_person("150")
    assert directory.is_person("199"), "nobody named it, so it is a person by its shape"
    assert not directory.is_person("901")
    assert not directory.is_person("300")
    assert not directory.is_person(MOBILE)
    assert not directory.is_person("0007001")


def test_entries_are_found_by_their_keys():
    directory = june()
    assert directory.manager("151").name == "Анна Серова"
    assert directory.manager("199") is None
    assert directory.department("901").members == ("150", "151")
    assert directory.department("150") is None
    assert directory.follow_me("300").extension == "150"
    assert directory.customer("+375290000101").name == "Иван Иванов"
    assert directory.customer("+375290000109") is None


def test_a_line_without_a_name_is_called_by_its_id():
    directory = june()
    assert directory.line_name("0007001") == "Основная линия"
    assert directory.line_name("3880001") == "3880001"
    assert directory.line_name("0007009") == "0007009"


def test_numbers_are_read_by_the_rule_of_their_line_and_the_country():
    directory = june()
    assert directory.transform("0007001") == "+375{9}"
    assert directory.transform("0007009") == directory.transform(None) == ""
    assert directory.e164("980290000101", "0007001") == "+375290000101"
    assert directory.e164("80291234567") == "+375291234567"
    assert directory.e164("<unknown>", "0007001") is None


def test_the_login_of_a_line_is_no_number():
    assert june().e164("3880001") is None
    assert Directory.empty("0367").e164("3880001") == "+3753880001", "nobody named the line"


def test_a_mobile_is_its_manager_s():
    directory = june(managers={"150": Manager(extension="150", name="Пётр", mobile="8029 000-01-02")})
    assert directory.manager_by_mobile(MOBILE).extension == "150"
    assert directory.manager_by_mobile("+375290000101") is None


def test_a_mobile_of_a_follow_me_is_the_person_s_it_rings():
    directory = june(managers={}, follow_mes={"300": FollowMe(number="300", extension="154", mobile=MOBILE)})
    assert directory.manager_by_mobile(MOBILE) == Manager(extension="154")


def test_whose_a_mobile_is_follows_the_changes():
    directory = june()
    assert directory.manager_by_mobile(MOBILE).name == "Пётр Петров"
    directory = directory.apply(change("customer", "+375290000103", phone="+375290000103"))
    assert directory.manager_by_mobile(MOBILE).name == "Пётр Петров"
    directory = directory.fold(
        [
            change("follow_me", "300"),
            change("manager", "150"),
            change("manager", "153", extension="153", mobile=MOBILE),
        ]
    )
    assert directory.manager_by_mobile(MOBILE).extension == "153"


@pytest.mark.parametrize(
    ("person", "label"),
    [
        ("150", "Пётр Петров (150)"),
        ("152", "152"),
        ("199", "199"),
        ("901", "Продажи (901)"),
        ("300", "Пётр Петров (300)"),
        (MOBILE, "📱 Пётр Петров (+375 (29) 000-01-02)"),
        ("+375290000105", "📱 +375 (29) 000-01-05"),
        (None, "Номер не определен"),
        ("<unknown>", "Номер не определен"),
    ],
)
def test_people_are_called_by_name_and_number(person, label):
    assert june().label(person, "ru") == label


def test_nobody_has_a_name_in_each_language():
    assert june().label(None, "en") == "unknown number"


def test_a_mobile_of_someone_without_a_name_shows_the_extension():
    directory = june(managers={"150": Manager(extension="150", mobile=MOBILE)})
    assert directory.label(MOBILE, "ru") == "📱 150 (+375 (29) 000-01-02)"


def test_a_name_that_is_the_number_is_said_once():
    assert june(managers={"152": Manager(extension="152", name="152")}).label("152", "ru") == "152"


def test_long_and_hostile_names_stay_on_their_line():
    assert shorten("a\nb\u202ec\x00  d") == "a b c d"
    assert len(shorten("x" * 500)) == 64


def test_a_change_gives_a_new_directory_and_leaves_the_old_one():
    old = june()
    new = old.apply(change("manager", "151", extension="151", name="Анна Новая"))
    assert new.manager("151").name == "Анна Новая"
    assert old.manager("151").name == "Анна Серова"
    gone = new.apply(change("manager", "151"))
    assert gone.manager("151") is None
    assert list(gone.managers) == ["150", "152"]


def test_taking_away_what_is_not_there_changes_nothing():
    assert june().apply(change("line", "0007099")) == june()


def test_the_profile_is_an_entry_too():
    new = june().apply(change("enterprise", "0367", number="0367", name="july", language="en"))
    assert new.profile == Profile(number="0367", name="july", language="en")
    assert new.managers == june().managers


@pytest.mark.parametrize(
    "bad",
    [
        change("manager", "151", name="nobody"),
        change("manager", "151", extension="152"),
        change("manager", "151", extension=151),
        change("subscriber", "1001", chat_id=1001, notify="loud"),
        change("subscriber", "1001", chat_id=1002),
        change("enterprise", "0367"),
    ],
)
def test_a_value_that_is_no_entry_is_refused_by_name(bad):
    with pytest.raises(DirectoryError) as refused:
        june().apply(bad)
    assert (refused.value.section, refused.value.key) == (bad.section, bad.key)
    assert bad.key in str(refused.value)


def test_a_field_of_a_later_version_is_no_error():
    assert june().apply(change("line", "1", id="1", colour="red")).line_name("1") == "1"


def test_a_new_enterprise_is_made_of_its_changes():
    wanted = june()
    made = Directory.empty("0367").fold(changes(None, wanted))
    assert made == wanted
    assert changes(made, wanted) == ()


def test_changes_are_what_differs_in_a_fixed_order():
    old = june()
    wanted = june(
        managers={
            "153": Manager(extension="153"),
            "151": Manager(extension="151", name="Анна Новая"),
            "150": old.managers["150"],
        }
    )
    assert changes(old, wanted) == (
        DirectoryChange("manager", "152"),
        DirectoryChange("manager", "151", {"extension": "151", "name": "Анна Новая"}),
        DirectoryChange("manager", "153", {"extension": "153"}),
    )
    assert changes(old.fold(changes(old, wanted)), wanted) == ()


def test_changes_outlive_the_wire():
    wanted = june()
    told = [
        msgspec.json.decode(msgspec.json.encode(change), type=DirectoryChange)
        for change in changes(None, wanted)
    ]
    assert Directory.empty("0367").fold(told) == wanted


def test_subscribers_who_were_invited_stay():
    old = june().apply(change("subscriber", "2002", chat_id=2002, invited=True))
    old = old.apply(change("subscriber", "3003", chat_id=3003))
    assert changes(old, june()) == (DirectoryChange("subscriber", "3003"),)


def test_who_is_off_is_no_reader_and_a_file_that_lists_him_switches_him_on():
    gone = june().apply(change("subscriber", "1001", chat_id=1001, off="blocked"))
    assert gone.readers == ()
    assert gone.subscribers["1001"].off == "blocked"
    back = changes(gone, june())
    assert back == (DirectoryChange("subscriber", "1001", {"chat_id": 1001}),)
    assert [reader.chat_id for reader in gone.fold(back).readers] == [1001]
    assert changes(gone.fold(back), june()) == ()


def test_who_was_invited_stays_off_whatever_the_file_says():
    old = june().apply(change("subscriber", "2002", chat_id=2002, invited=True, off="kicked"))
    assert changes(old, june()) == ()


def test_a_subscriber_who_is_on_has_no_word_of_it_in_the_facts():
    told = changes(None, june())
    assert {"chat_id": 1001} in [change.value for change in told]


def test_filters_are_facts_and_a_subscriber_who_has_none_is_shown_every_call():
    wanted = june(
        subscribers={
            "1": Subscriber(chat_id=1, notify="all", silent="22:00-08:00"),
            "2": Subscriber(chat_id=2, lines=("0007001",), internal=False, hours="Mo-Fr 09:00-18:00"),
        }
    )
    stored = msgspec.json.encode([one for one in changes(None, wanted) if one.section == "subscriber"])
    told = msgspec.json.decode(stored, type=list[DirectoryChange])
    assert [one.value for one in told] == [
        {"chat_id": 1, "notify": "all", "silent": "22:00-08:00"},
        {"chat_id": 2, "internal": False, "lines": ["0007001"], "hours": "Mo-Fr 09:00-18:00"},
    ]
    folded = Directory.empty("0367").fold(told)
    assert folded.subscribers == wanted.subscribers
    assert set(folded.selective) == {2}
    off = change("subscriber", "2", chat_id=2, internal=False, off="blocked")
    assert not folded.apply(off).selective


@pytest.mark.parametrize(
    "wrong",
    [{"hours": "Mo-Fr 9-18"}, {"silent": "at night"}, {"directions": ["internal"]}, {"outcomes": ["open"]}],
)
def test_a_change_to_filters_that_are_none_is_refused(wrong):
    with pytest.raises(DirectoryError, match=r"subscriber 1: "):
        june().apply(change("subscriber", "1", chat_id=1, **wrong))


def test_the_changes_between_two_enterprises_are_refused():
    with pytest.raises(DirectoryError):
        changes(Directory.empty("0368"), june())


def test_ten_thousand_customers_one_by_one_share_what_did_not_change():
    # Copies of plain dicts would be 10,000 times 5,000 entries; counted, as time depends on the machine.
    directory, copies = Directory.empty("0367"), 0
    for number in range(10_000):
        phone = f"+37529{number:07}"
        before = directory.customers
        directory = directory.apply(change("customer", phone, phone=phone))
        copies += directory.customers._base is not before._base
    assert len(directory.customers) == len(dict(directory.customers)) == 10_000
    assert copies < 300
    assert list(directory.customers)[:2] == ["+375290000000", "+375290000001"]
