import math

from hypothesis import given
from hypothesis import strategies as st

from driftprint.exposition import CLASS_RATIO, FRAMES, OUTLIERS, UP
from driftprint_server.remote_write.wire import Encoder, compress
from tests.server.remote_write.receiver import decode

STREAM = ("north", "pi-1", "belt")


def test_another_reader_of_protobuf_reads_what_is_encoded() -> None:
    body = compress(
        Encoder().encode([(FRAMES, STREAM, 12.5, 1_700_000_000_123), (UP, STREAM[:2], 1, 1_700_000_000_124)])
    )

    assert decode(body) == (
        (
            (("__name__", "driftprint_frames_total"), ("device", "pi-1"), ("site", "north"), ("stream", "belt")),
            ((1_700_000_000_123, 12.5),),
        ),
        ((("__name__", "driftprint_device_up"), ("device", "pi-1"), ("site", "north")), ((1_700_000_000_124, 1.0),)),
    )


def test_labels_are_sorted_by_name_and_an_empty_one_is_left_out() -> None:
    (labels, _), (without, _) = decode(
        compress(Encoder().encode([(CLASS_RATIO, (*STREAM, "cat"), 1, 1), (CLASS_RATIO, (*STREAM, ""), 1, 1)]))
    )

    assert [name for name, _ in labels] == ["__name__", "class", "device", "site", "stream"]
    assert [name for name, _ in without] == ["__name__", "device", "site", "stream"]


def test_samples_of_one_series_stand_together_in_their_order() -> None:
    samples = [(spec, STREAM, float(at), at) for at in (1, 2, 3) for spec in (FRAMES, OUTLIERS)]

    series = decode(compress(Encoder().encode(samples)))

    assert [of_series for _, of_series in series] == [((1, 1.0), (2, 2.0), (3, 3.0))] * 2


def test_kept_bytes_are_bounded_and_change_no_request() -> None:
    encoder = Encoder(most_values=10)
    samples = [(FRAMES, ("north", f"pi-{number}", "belt"), 1.0, 1) for number in range(105)]

    first, second = encoder.encode(samples), encoder.encode(samples)

    assert 0 < encoder.kept <= 3 * 10
    assert first == second == Encoder().encode(samples)


def test_series_that_are_new_cost_nothing_to_remember_but_the_values_of_their_labels() -> None:
    encoder = Encoder()
    streams = [("north", f"pi-{number}", "belt") for number in range(50)]

    encoder.encode((spec, stream, 1.0, 1) for stream in streams for spec in (FRAMES, OUTLIERS))
    encoder.encode((CLASS_RATIO, (*stream, str(digit)), 1.0, 1) for stream in streams for digit in range(10))

    assert encoder.kept == len(("north", "belt")) + 50 + 10


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
            st.floats(allow_nan=False),
            st.integers(0, 2**42),
        ),
        unique_by=lambda sample: (sample[0], sample[2]),
    )
)
def test_any_label_value_and_time_come_out_as_they_went_in(rows: list[tuple[str, float, int]]) -> None:
    encoded = Encoder().encode([(CLASS_RATIO, (*STREAM, name), value, at) for name, value, at in rows])

    decoded = {
        (dict(labels)["class"], at): value for labels, samples in decode(compress(encoded)) for at, value in samples
    }
    assert decoded == {(name, at): value for name, value, at in rows}


def test_infinity_is_a_number_too() -> None:
    ((_, samples),) = decode(compress(Encoder().encode([(FRAMES, STREAM, math.inf, 0)])))

    assert samples == ((0, math.inf),)
