"""The directory file is read whole, or refused by line and key."""

from pathlib import Path

import pytest

import adapters.directory
from adapters.directory.bots import BotSource, BotTokenMissingError
from adapters.directory.file import DirectoryFileError, read_directory_file, read_directory_text
from adapters.directory.toml_lines import TomlLines
from calls.entries import Subscriber

SAMPLE = Path(adapters.directory.__file__).with_name("sample.toml")
HEAD = """\
[[enterprise]]
number = "0367"
name = "june"
token = "375290000000"
bot_token = "preview"
"""


def read(text):
    return read_directory_text(text, "directory.toml", Path("/somewhere"))


def findings(text):
    with pytest.raises(DirectoryFileError) as refused:
        read(text)
    return str(refused.value).splitlines()


def test_the_sample_is_the_enterprise_of_the_scenarios():
    (june,) = read_directory_file(SAMPLE)
    directory = june.directory
    assert (june.token, june.bot) == ("375290000000", BotSource("preview"))
    assert (directory.profile.number, directory.profile.name) == ("0367", "june")
    assert set(directory.managers) == {"150", "151", "152", "153"}
    assert set(directory.lines) == {"0007001", "0007002"}
    assert directory.department("901").members == ("150", "151", "153")
    assert directory.follow_me("300").extension == "150"
    assert directory.manager_by_mobile("+375290000102").extension == "150"
    assert directory.customer("+375290000101").name == "Иван Иванов"
    assert directory.transform("0007001") == "+375{9}"
    assert set(directory.subscribers) == {"1001"}


def test_what_is_left_out_has_the_defaults_of_the_contract():
    (june,) = read(HEAD)
    profile = june.directory.profile
    assert (profile.language, profile.timezone, profile.country) == ("ru", "Europe/Minsk", "BY")
    assert profile.allowed_networks == ()
    assert not june.directory.managers


def test_numbers_are_kept_in_e164():
    (june,) = read(
        HEAD + '[[enterprise.manager]]\nextension = "150"\nmobile = "8 029 000-01-02"\n'
        '[[enterprise.customer]]\nphone = "80290000101"\n'
    )
    assert june.directory.manager("150").mobile == "+375290000102"
    assert set(june.directory.customers) == {"+375290000101"}


def test_a_wrong_value_is_named_by_line_key_and_what_is_allowed():
    assert findings(HEAD + '\n  [[enterprise.manager]]\n  extension = "15a"\n') == [
        'directory.toml:8: enterprise.manager.extension: "15a" is not allowed; 3 or 4 digits'
    ]


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_lines():
    text = (
        HEAD + 'language = "de"\n[[enterprise.line]]\nname = "x"\n[[enterprise.subscriber]]\nchat_id = "1"\n'
    )
    assert [line.split(": ")[:2] for line in findings(text)] == [
        ["directory.toml:6", "enterprise.language"],
        ["directory.toml:7", "enterprise.line.id"],
        ["directory.toml:10", "enterprise.subscriber.chat_id"],
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('timezone = "Europe/Minks"', "timezone"),
        ('timezone = "../../etc/passwd"', "timezone"),
        ("timezone = 3", "timezone"),
        ('country = "XX"', "country"),
        ('allowed_networks = ["10.0.0.1/8"]', "allowed_networks"),
        ('allowed_networks = "10.0.0.0/8"', "allowed_networks"),
        ("manager = 1", "manager"),
        ("[[enterprise.subscriber]]\nchat_id = true", "subscriber.chat_id"),
        ('[[enterprise.subscriber]]\nchat_id = 1\nnotify = "loud"', "subscriber.notify"),
        ('[[enterprise.subscriber]]\nchat_id = 1\ndirections = ["internal"]', "subscriber.directions"),
        ('[[enterprise.subscriber]]\nchat_id = 1\ndirections = "in"', "subscriber.directions"),
        ("[[enterprise.subscriber]]\nchat_id = 1\ninternal = 0", "subscriber.internal"),
        ('[[enterprise.subscriber]]\nchat_id = 1\noutcomes = ["open"]', "subscriber.outcomes"),
        ('[[enterprise.subscriber]]\nchat_id = 1\nlines = ["0007 001"]', "subscriber.lines"),
        ('[[enterprise.subscriber]]\nchat_id = 1\npeople = ["+375290000102"]', "subscriber.people"),
        ("[[enterprise.subscriber]]\nchat_id = 1\nhours = 9", "subscriber.hours"),
        ('[[enterprise.subscriber]]\nchat_id = 1\nsilent = "22-08"', "subscriber.silent"),
        ('[[enterprise.subscriber]]\nchat_id = 1\noff = "blocked"', "subscriber.off"),
        ('[[enterprise.manager]]\nextension = "150"\nmobile = "12"', "manager.mobile"),
        ('[[enterprise.manager]]\nextension = "150"\nname = "a\\nb"', "manager.name"),
        ('[[enterprise.line]]\nid = "000 7001"', "line.id"),
        ('[[enterprise.line]]\nid = "0007001"\nincoming_transform = "375"', "line.incoming_transform"),
        ('[[enterprise.department]]\nnumber = "90"', "department.number"),
        ('[[enterprise.department]]\nnumber = "901"\nmembers = ["150", "x"]', "department.members"),
        ('[[enterprise.department]]\nnumber = "901"\nmembers = ["150", "150"]', "department.members"),
        ('[[enterprise.follow_me]]\nnumber = "300"', "follow_me.extension"),
        ('[[enterprise.customer]]\nphone = "150"', "customer.phone"),
    ],
)
def test_every_key_has_its_rule(line, key):
    (finding,) = findings(HEAD + line + "\n")
    assert f": enterprise.{key}: " in finding


def test_a_subscriber_says_which_calls_and_when_they_ring():
    (june,) = read(
        HEAD + "[[enterprise.subscriber]]\nchat_id = 1\n"
        'notify = "missed"\ndirections = ["in"]\ninternal = false\noutcomes = ["missed", "lost_in_transfer"]\n'
        'lines = ["0007001"]\npeople = ["150", "901"]\n'
        'hours = "Mo-Fr 09:00-18:00; Sa 10:00-14:00"\nsilent = "22:00-08:00"\n'
        '[[enterprise.subscriber]]\nchat_id = 2\nlines = []\nhours = " "\n'
    )
    assert june.directory.subscribers == {
        "1": Subscriber(
            chat_id=1,
            notify="missed",
            directions=("in",),
            internal=False,
            outcomes=("missed", "lost_in_transfer"),
            lines=("0007001",),
            people=("150", "901"),
            hours="Mo-Fr 09:00-18:00; Sa 10:00-14:00",
            silent="22:00-08:00",
        ),
        "2": Subscriber(chat_id=2),
    }


def test_hours_that_are_none_say_what_is_wrong_and_where():
    text = '[[enterprise.subscriber]]\nchat_id = 1\nhours = "Mo-Fr 09:00-18:00; Sat 10:00-14:00"\n'
    (finding,) = findings(HEAD + text)
    assert finding.startswith(
        'directory.toml:8: enterprise.subscriber.hours: "Mo-Fr 09:00-18:00; Sat 10:00-14:00" is not allowed: '
        'part 2, "Sat 10:00-14:00": "Sat" is no day; allowed are Mo, Tu, We, Th, Fr, Sa, Su; hours such as'
    )


@pytest.mark.parametrize(
    "number", ['"367"', "1234", '"03671"', '"٠٣٦٧"'], ids=["short", "no text", "long", "other digits"]
)
def test_the_number_is_four_digits_as_text(number):
    (finding,) = findings(HEAD.replace('"0367"', number))
    assert finding.startswith("directory.toml:2: enterprise.number: ")
    assert finding.endswith("4 digits as text")


@pytest.mark.parametrize(
    ("twice", "key"),
    [
        ('[[enterprise.manager]]\nextension = "150"\n' * 2, "manager.extension"),
        ('[[enterprise.line]]\nid = "0007001"\n' * 2, "line.id"),
        ("[[enterprise.subscriber]]\nchat_id = 7\n" * 2, "subscriber.chat_id"),
        ('[[enterprise.customer]]\nphone = "+375290000101"\n' * 2, "customer.phone"),
        (
            '[[enterprise.manager]]\nextension = "901"\n[[enterprise.department]]\nnumber = "901"\n',
            "department.number",
        ),
    ],
)
def test_what_is_given_twice_says_where_it_was_first(twice, key):
    (finding,) = findings(HEAD + twice)
    assert finding.startswith(f"directory.toml:9: enterprise.{key}: ")
    assert finding.endswith("is given twice; first on line 7")


def test_two_enterprises_share_neither_number_nor_token():
    told = findings(HEAD + HEAD)
    assert [line.split(": ")[1] for line in told] == ["enterprise.number", "enterprise.token"]
    assert "375290000000" not in "".join(told), "a Token is a secret"


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    (finding, _) = findings(HEAD + '[[enterprise.manager]]\nextention = "150"\n')[::-1]
    assert finding.endswith("enterprise.manager.extention: is not known here; did you mean extension?")
    (finding,) = findings(HEAD + "[[enterprise.subscriber]]\nchat_id = 1\ndirection = 'in'\n")
    assert finding.endswith("is not known here; did you mean directions?")
    (finding,) = findings(HEAD + "[[enterprise.line]]\nid = '0007001'\ncolour = 'red'\n")
    assert finding.endswith("is not known here; known are id, name, incoming_transform")
    (finding,) = findings(HEAD + "[extra]\n")
    assert finding.startswith("directory.toml:6: extra: ")


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ('bot_token = "preview"', BotSource("preview")),
        ('bot_token = "42:abc-DEF"', BotSource("literal", "42:abc-DEF")),
        ('bot_token_env = "JUNE_BOT"', BotSource("env", "JUNE_BOT")),
        ('bot_token_file = "june.token"', BotSource("file", "/somewhere/june.token")),
    ],
)
def test_a_bot_token_comes_from_one_of_four_places(keys, source):
    (june,) = read(HEAD.replace('bot_token = "preview"', keys))
    assert june.bot == source


@pytest.mark.parametrize("keys", ["", 'bot_token = "preview"\nbot_token_env = "X"'])
def test_a_bot_token_comes_from_exactly_one_place(keys):
    (finding,) = findings(HEAD.replace('bot_token = "preview"', keys))
    assert "exactly one of bot_token, bot_token_env, bot_token_file" in finding


def test_no_secret_is_printed():
    secret = "42:abc-DEF"
    (june,) = read(HEAD.replace("preview", secret))
    assert secret not in f"{june!r} {june} {june.bot!r} {june.__rich_repr__()} {june.bot.__rich_repr__()}"
    assert "375290000000" not in f"{june!r} {june} {june.__rich_repr__()}"
    for wrong in (
        f"bot_token = '{secret} '",
        f"bot_token = ['{secret}']",
        f"bot_tokn = '{secret}'",
        f"bot_token = '{secret}",
    ):
        assert secret not in "".join(findings(HEAD.replace('bot_token = "preview"', wrong)))


def test_a_misspelt_preview_is_no_bot_token():
    (finding,) = findings(HEAD.replace("preview", "previw"))
    assert 'the word "preview"' in finding


def test_the_bot_token_is_read_when_it_is_needed(tmp_path):
    held = tmp_path / "june.token"
    held.write_text("42:abc\n")
    assert BotSource("preview").read({}) == "preview"
    assert BotSource("literal", "42:abc").read({}) == "42:abc"
    assert BotSource("env", "JUNE_BOT").read({"JUNE_BOT": "42:abc"}) == "42:abc"
    assert BotSource("file", str(held)).read({}) == "42:abc"


def test_an_absent_bot_token_names_its_place(tmp_path):
    held = tmp_path / "june.token"
    with pytest.raises(BotTokenMissingError, match="JUNE_BOT"):
        BotSource("env", "JUNE_BOT").read({})
    with pytest.raises(BotTokenMissingError, match=r"june\.token: No such file"):
        BotSource("file", str(held)).read({})
    held.write_bytes(b"")
    with pytest.raises(BotTokenMissingError, match="empty"):
        BotSource("file", str(held)).read({})
    held.write_bytes(b"\xff")
    with pytest.raises(BotTokenMissingError, match="no text"):
        BotSource("file", str(held)).read({})


def test_what_is_no_toml_says_on_which_line():
    (finding,) = findings(HEAD + "[[enterprise.manager]\n")
    assert finding.startswith("directory.toml:6: is no TOML: ")
    (finding,) = findings(HEAD + 'name = "july"')
    assert finding == "directory.toml:6: is no TOML: Cannot overwrite a value"


def test_a_file_that_names_nobody_or_cannot_be_read_is_refused(tmp_path):
    assert findings("# nothing yet\n") == ["directory.toml:1: names no [[enterprise]]"]
    with pytest.raises(DirectoryFileError, match=r"no\.toml: cannot be read: No such file"):
        read_directory_file(tmp_path / "no.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DirectoryFileError, match="no UTF-8"):
        read_directory_file(tmp_path / "bytes.toml")


def test_a_file_of_a_windows_editor_is_read(tmp_path):
    (tmp_path / "d.toml").write_bytes(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())
    (june,) = read_directory_file(tmp_path / "d.toml")
    assert june.directory.profile.number == "0367"


def test_lines_are_found_through_every_form_of_toml():
    lines = TomlLines(
        'top = 1\n[[a]]\nx = """\n[[a]]\ny = 1"""\n# c\n  [[a.b]]\n  k = [\n   1, # ]\n  ]\n  "q.r" = 2\n'
        "[a.c]\nz = 1\n[[a]]\nd.e = 3\nb = [{ k = 1 },\n { k = 2 }]\n"
    )
    told = {
        ("top",): 1,
        ("a",): 2,
        ("a", 0): 2,
        ("a", 0, "x"): 3,
        ("a", 0, "b", 0): 7,
        ("a", 0, "b", 0, "k"): 8,
        ("a", 0, "b", 0, "q.r"): 11,
        ("a", 0, "b", 0, "missing"): 7,
        ("a", 0, "c"): 12,
        ("a", 0, "c", "z"): 13,
        ("a", 1): 14,
        ("a", 1, "d", "e"): 15,
        ("a", 1, "b", 1, "k"): 16,
        ("nowhere",): 1,
    }
    assert {path: lines.line(path) for path in told} == told
