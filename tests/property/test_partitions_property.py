"""The month of a stream: the same in Python and in SQL, whatever a host sends, and whenever it is asked."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from adapters.store.partitions import NO_MONTH, OF_DIRECTORY, month_of
from calls.facts import bridge_stream, delivery_stream, leg_stream, notice_stream
from tests.storing import connected

EPOCHS = st.integers(1_000_000_000, 4_102_444_799)
ODD = [
    "",
    "1",
    "9",
    "0946684799",
    "0946684800",
    "4102444800",
    "9999999999",
    "17637512345",
    "١٧٦٣٧٥١٢٣٤.1",
    "pbx-1763751234.5",
]
TAILS = ["", ".", ".1", ".1.2", "\n", "x", "/", "\n.1"]
STREAMS = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["leg/", "bridge/", "callback/", "delivery/-7/", "notice/7/", "delivery/x/", "leg//"]
        ),
        st.one_of(EPOCHS.map(str), st.sampled_from(ODD)),
        st.sampled_from(TAILS),
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))),
    st.just("directory"),
)


@given(EPOCHS, st.integers(0, 99_999), st.integers(-(1 << 40), 1 << 40))
def test_a_leg_and_its_cards_are_filed_under_the_month_of_the_unique_id(epoch, counter, chat):
    told = datetime.fromtimestamp(epoch, UTC)
    unique_id = f"{epoch}.{counter}"
    for stream in (leg_stream(unique_id), delivery_stream(unique_id, chat), notice_stream(unique_id, chat)):
        assert month_of(stream) == date(told.year, told.month, 1)


@given(EPOCHS)
def test_what_names_no_leg_has_no_month_and_the_directory_has_its_own(epoch):
    assert month_of(bridge_stream(f"{epoch}.1")) == month_of(leg_stream(f"pbx-{epoch}.1")) == NO_MONTH
    assert month_of("directory") == OF_DIRECTORY
    assert month_of("directory/2") == NO_MONTH


def test_the_database_files_every_stream_as_python_does(postgres_server):
    made = postgres_server.create()

    @given(st.lists(STREAMS, min_size=50, max_size=200))
    def alike(streams):
        async def by_sql():
            async with connected(made.dsn) as connection:
                return await connection.fetch("SELECT facts_month(s) FROM unnest($1::text[]) AS s", streams)

        assert [row[0] for row in postgres_server._loop.run(by_sql())] == [
            month_of(stream) for stream in streams
        ]

    try:
        alike()
    finally:
        postgres_server.drop(made)
