"""Whether devices alarm more with a rollout's bundle than with what they ran before: pure statistics.

The question is put to alarms per frame at which one could have been raised: `a` with other bundles, before and beside
the rollout, and `k` in `n` frames with the new one. Let the old ones come at a rate `r`, which nobody knows.

- As long as the new bundle alarms at a rate of at most `r`, ``t^k exp(-(t - 1) r n)`` is a supermartingale that starts
  at 1, for every `t` > 1; so is the mean over several `t`.
- For the right `r`, the ratio of a mixture's likelihood of the old alarms to that of `r` is a martingale that starts at
  1. It is large for every `r` that the old alarms speak against.

Their product is one too, and the smallest product over all `r` is at most that of the right one. By Ville's inequality
it ever reaches 1/0.01 with a probability of at most 0.01, however often one looks; so it is looked at all the time.

The budgets of the devices allow some alarms in any case: `p` a frame, or `n p` in all, where `p` is the mean of the
streams' budgets, each weighted by its frames with the new bundle. The first part then has the larger of `r` and `p` in
place of `r`. All that it needs is that in `n` frames no more than that times `n` alarms are to be expected, whichever
streams they come from: each frame adds at most what its own stream may have, budgets are constants, and how many frames
a stream scores does not hang on alarms that are still to come. So it stays a supermartingale where the new bundle
alarms at most at the rate `r`, and where every stream keeps to its own budget. It need not where some streams keep to
the one and the others to the other; there `p` alone is too little. A device says its budget with its first alert; until
then it counts as the others do on average.

Ville, Etude critique de la notion de collectif, 1939; Ramdas, Gruenwald, Vovk, Shafer, Game-theoretic statistics and
safe anytime-valid inference, Statistical Science 38, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from driftprint_server.rollout.model import BundleId, Evidence, Exposure, Facts, Sighting

TIMES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""How many times the old rate the test watches for."""
USUAL_FRAMES = tuple(10.0**exponent for exponent in range(3, 11))
"""Frames to an alarm that are held possible beforehand: the mixture has a gamma distribution of shape 1/2 for each."""

_LOWEST_RATE = 1e-15
_STEPS = 45  # of the search: to a relative error of 1e-6 in the rate


def told(sighting: Sighting, new: BundleId, now: float) -> Facts:
    """What is known of a stream when it is told to run a bundle.

    Frames of a stream that is in alarm are not counted: nobody knows at how many of them another alarm could have been
    raised.
    """
    runs = sighting.bundle == new
    frames = 0 if sighting.alarm else sighting.frames
    return Facts(
        told_at=now,
        before=None if runs else sighting.bundle,
        instance=sighting.instance,
        bundle=sighting.bundle,
        frames=sighting.frames,
        alarms=sighting.alarms,
        alarm=sighting.alarm,
        old=Exposure() if runs else Exposure(frames, sighting.alarms),
        alarm_is_old=sighting.alarm,
    )


def follow(facts: Facts, sighting: Sighting, new: BundleId, now: float) -> Facts:
    """What is known of a stream after it has been looked at again; the same look twice changes nothing.

    What happened between a look that found another bundle and one that found the new one counts as the new one's, and
    so on the way back: no alarm is lost between two looks, and where both alarm at the same rate it makes no odds.
    """
    since = Exposure(sighting.frames, sighting.alarms)
    if sighting.instance == facts.instance:
        since = Exposure(max(0, sighting.frames - facts.frames), max(0, sighting.alarms - facts.alarms))
    runs, ran = sighting.bundle == new, facts.bundle == new
    # A device reports as it takes a bundle; what it had scored by then it scored with the one before.
    scored = runs and (facts.scored or (ran and since.frames > 0))
    in_alarm_all_the_while = facts.alarm and sighting.alarm and not since.alarms
    if in_alarm_all_the_while:
        since = Exposure()  # none could be raised
    with_new = runs or ran
    refuses = not runs and sighting.error != "" and not sighting.unfetched and sighting.error_at > facts.told_at
    return replace(
        facts,
        instance=sighting.instance,
        bundle=sighting.bundle,
        frames=sighting.frames,
        alarms=sighting.alarms,
        alarm=sighting.alarm,
        old=facts.old if with_new else facts.old + since,
        new=facts.new + since if with_new else facts.new,
        refused_since=(facts.refused_since or now) if refuses else None,
        alarm_is_old=sighting.alarm if not runs else facts.alarm_is_old and in_alarm_all_the_while,
        scored=scored,
    )


def weigh(members: Iterable[Facts], others: Iterable[Sighting], *, promise: float = 0.0) -> Evidence:
    """The evidence against a rollout's bundle.

    Args:
        members: what is known of the streams that have been told.
        others: streams that might be told yet, and run other bundles.
        promise: as `allowed` has it; a bundle that keeps to it is not stopped.
    """
    old, new = Exposure(), Exposure()
    for facts in members:
        old, new = old + facts.old, new + facts.new
    for sighting in others:
        old += Exposure(0 if sighting.alarm else sighting.frames, sighting.alarms)
    return Evidence(old, new, log_e(old, new, promise=promise))


def allowed(budgets: Iterable[tuple[int, float]]) -> float:
    """False alarms a frame that the budgets of the streams with the new bundle allow on average.

    Args:
        budgets: of each its frames with the new bundle, and what its device's budget allows; 0 where it has not said,
            and then it counts as the others on average.

    >>> allowed([(900, 1e-6), (100, 1e-3), (5000, 0.0)])
    0.0001009
    """
    known = [(max(1, frames), promise) for frames, promise in budgets if promise]
    return sum(frames * promise for frames, promise in known) / sum(frames for frames, _ in known) if known else 0.0


def log_e(old: Exposure, new: Exposure, *, promise: float = 0.0) -> float:
    """The log of the test's value: near 0 before anything has happened.

    Args:
        old: with other bundles.
        new: with the new one.
        promise: a rate that the new one may have in any case.

    One alarm is never enough. Two are, where the old bundle has had none in many more frames:

    >>> [math.exp(log_e(Exposure(1_000_000, 0), Exposure(1000, alarms))) >= 100 for alarms in range(4)]
    [False, False, True, True]
    """
    if not new.alarms:
        return 0.0  # it only tells how little there is against it

    mixture = _log_mixture(old)

    def at(rate: float) -> float:
        return mixture - _log_likelihood(old, rate) + _log_excess(new, max(rate, promise))

    # Under the promise the second part stays the same, and the first is least at the rate that was counted.
    counted = min(max(old.alarms / old.frames if old.frames else 1.0, _LOWEST_RATE), 1.0)
    low = math.log(max(promise, _LOWEST_RATE))
    candidates = [at(counted)] if counted <= promise else []
    high = 0.0
    # Both parts are convex in the rate.
    for _ in range(_STEPS):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        if at(math.exp(one)) < at(math.exp(two)):
            high = two
        else:
            low = one
    return min([*candidates, at(math.exp(low)), at(math.exp(high))])


def _log_likelihood(exposure: Exposure, rate: float) -> float:
    """Of what was counted, up to a term without the rate."""
    return exposure.alarms * math.log(rate) - rate * exposure.frames


def _log_mixture(exposure: Exposure) -> float:
    """The same, for a rate that is drawn by what is held possible."""
    shape = exposure.alarms + 0.5
    return _log_mean(
        [
            0.5 * math.log(usual) - math.lgamma(0.5) + math.lgamma(shape) - shape * math.log(exposure.frames + usual)
            for usual in USUAL_FRAMES
        ]
    )


def _log_excess(exposure: Exposure, rate: float) -> float:
    """How much more has been counted than a rate lets expect."""
    return _log_mean([exposure.alarms * math.log(times) - (times - 1) * rate * exposure.frames for times in TIMES])


def _log_mean(logs: list[float]) -> float:
    """The log of a mean of numbers, of which the logs are given."""
    highest = max(logs)
    return highest + math.log(sum(math.exp(log - highest) for log in logs) / len(logs))
