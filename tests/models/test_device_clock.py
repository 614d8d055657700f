from models.retraining.device_clock import DeviceClock


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_work_side_by_side_shares_the_time_and_sums_up_to_it() -> None:
    time = Time()
    clock = DeviceClock(time)
    with clock.spending() as long:
        time.seconds += 4
        with clock.spending() as short:
            time.seconds += 6
        time.seconds += 1
    time.seconds += 50
    with clock.spending() as late:
        time.seconds += 2
    assert (long.seconds, short.seconds, late.seconds) == (8.0, 3.0, 2.0)
    assert clock.seconds == 13.0


def test_work_that_raises_has_spent_its_time() -> None:
    time = Time()
    clock = DeviceClock(time)
    try:
        with clock.spending():
            time.seconds += 3
            raise KeyError
    except KeyError:
        time.seconds += 5
    assert clock.seconds == 3.0
