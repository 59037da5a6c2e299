"""What the rules look at, drawn from a history: the recent profiles, how the loss goes, how far weights move.

Rules must not be fooled by one odd step. So they ask of the last five profiles or records, and need three of them; a
history of a single probe, which somebody asked for before training, is taken as it is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, pairwise

from .history import GradientRecord, History, in_order
from .outputs import head_gradient, head_of, is_blind, is_wild, num_outputs
from .profile import LEAST_SAMPLES, LayerProfile, Profile
from .slope import Fit
from .thresholds import limit

SPAN = 500  # steps that count as recent, so that a verdict costs the same after 1,000,000
CELLS = ("RNN", "LSTM", "GRU")  # what kinds of recurrent layers begin with: RNNCell, too
RECENT, NEEDED = 5, 3  # of so many recent profiles or records so many must show it
_ODD_KINDS = ("Embedding", "EmbeddingBag")  # rows of a table are no units


class Evidence:
    """Args:
    history: Of a run so far, or one profile alone.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.profiles: list[Profile] = in_order(history.profiles)
        self.records: list[GradientRecord] = in_order(history.records)
        self.is_probe = not self.records  # made outside a training

    # ------------------------------------------------------------------------------------- persistence
    def persists(self, hits: Sequence[bool], needed: int = NEEDED) -> bool:
        """Whether the last of `hits` and two more of the last five are true; of a probe, whether it is."""
        recent = hits[-RECENT:]
        return bool(recent) and recent[-1] and (self.is_probe or sum(recent) >= needed)

    def in_profiles(self, holds: Callable[[Profile], bool]) -> bool:
        """Whether something holds persistently in the profiles."""
        return self.persists([holds(profile) for profile in self.profiles[-RECENT:]])

    @property
    def early_profiles(self) -> list[Profile]:
        """The first three: what they show was there before anything was learned."""
        return self.profiles[:NEEDED]

    # ------------------------------------------------------------------------------------------- depth
    @cached_property
    def all_flows(self) -> list[tuple[Profile, Fit]]:
        """Profiles with the slope of the gradient over depth."""
        fits = ((profile, flow(profile)) for profile in self.profiles)
        return [(profile, fit) for profile, fit in fits if fit is not None and math.isfinite(fit.decades)]

    @property
    def flows(self) -> list[tuple[Profile, Fit]]:
        """The recent ones."""
        return self.all_flows[-RECENT:]

    @property
    def first_flow(self) -> Fit | None:
        return self.all_flows[0][1] if self.all_flows else None

    # ------------------------------------------------------------------------------------------- units
    def saturation(self, profile: Profile) -> dict[str, float]:
        """Share of saturated outputs of hidden layers; the head's may end as near to 0 and 1 as they like."""
        head = self.head.name if self.head else None
        return {row.name: row.saturated for row in profile.layers if row.saturated is not None and row.name != head}

    @property
    def saturated_at_first(self) -> float:
        """The worst layer's share of saturated outputs, in each of the first profiles at least."""
        worst = [max(self.saturation(profile).values(), default=0.0) for profile in self.early_profiles]
        return min(worst, default=0.0)

    @property
    def is_born_saturated(self) -> bool:
        """Whether hardly any gradient passed some layer from the start on, so that even what learns could do better."""
        return self.saturated_at_first >= limit("units.born_saturated")

    @property
    def is_born_dead(self) -> bool:
        """Whether a whole layer was silent before the first step."""
        return self.dead_at_first >= limit("units.all_dead")

    @property
    def dead_at_first(self) -> float:
        """The worst layer's share of units that were silent before the first step."""
        first = self.history.units[0] if self.history.units else None
        return max(first.dead.values(), default=0.0) if first is not None and first.step == 0 else 0.0

    # -------------------------------------------------------------------------------------------- loss
    @cached_property
    def losses(self) -> list[float]:
        """Of each step; empty where several optimizers have losses of their own, which need not fall."""
        if len({record.optimizer for record in self.records}) > 1:
            return []
        return list(chain.from_iterable(record.losses for record in self.records))

    @cached_property
    def first_loss(self) -> float | None:
        """The median of the first three; the very first, which no step has touched, where the steps blew it up."""
        if self.is_probe:
            return self.profiles[0].loss if self.profiles else None
        values = [loss for loss in self.losses[:3] if math.isfinite(loss)]
        if not values:
            return None
        usual, very_first = statistics.median(values), self.losses[0]
        return very_first if usual > limit("loss.shock") * very_first > 0 else usual

    @cached_property
    def recent_loss(self) -> float | None:
        """The median of the last tenth, at least five, at most 500."""
        recent = self.losses[-min(max(5, len(self.losses) // 10), SPAN) :]
        values = [loss if not math.isnan(loss) else math.inf for loss in recent]
        return statistics.median(values) if values else None

    @cached_property
    def best_loss(self) -> float | None:
        """The smallest median of five in a row, of at most 100 fives spread over the run."""
        stride = max(5, len(self.losses) // 100)
        fives = (self.losses[i : i + 5] for i in range(0, len(self.losses) - 4, stride))
        return min((statistics.median(five) for five in fives if all(map(math.isfinite, five))), default=None)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a single loss, from the median step between neighbours: that of a trend is small."""
        known = [loss for loss in self.losses[-SPAN:] if math.isfinite(loss)]
        steps = [abs(after - before) for before, after in pairwise(known)]
        return statistics.median(steps) / (0.6745 * math.sqrt(2)) if steps else 0.0  # of normal differences

    @cached_property
    def fall(self) -> float | None:
        """Share of the first loss that has gone since; of ln K, where that is less, as wild logits fall by themselves.

        None where losses are unknown, or not positive, so that a share of them says nothing. 0 where the outputs are
        a guess: what of a loss has gone by itself, as it started wild, says nothing either.
        """
        first, recent = self.first_loss, self.recent_loss
        if first is not None and recent is not None and (self.is_blind or self.is_wild):
            return 0.0 if math.isfinite(recent) else -math.inf
        if first is None or recent is None or first <= 0:
            return None
        if self.chance is not None:
            first = min(first, self.chance)
        return -math.inf if math.isinf(recent) else 1 - recent / first

    @cached_property
    def gone(self) -> float:
        """The same, or the share of ln K that is gone, where that is more; 0 where it cannot be said."""
        if self.fall is None:
            return 0.0
        below_guess = 1 - self.recent_loss / self.chance if self.chance and self.recent_loss is not None else 0.0
        return max(self.fall, below_guess)

    @cached_property
    def learns(self) -> bool | None:
        """Whether the loss falls; None: it cannot be said, or not yet."""
        fall, steps = self.fall, len(self.losses)
        if fall is None:
            return None
        if self.chance is not None and self.gone >= limit("loss.slow"):
            return True  # it may have started so, from trained weights
        if not math.isfinite(fall):
            return False
        gone = (self.first_loss or 0.0) - (self.recent_loss or 0.0)
        is_clear = gone > self.noise  # a median of three has 0.7 of it
        if fall >= limit("loss.learns") and is_clear:
            return True
        return False if fall < limit("loss.stuck") and steps >= limit("loss.steps") else None

    @cached_property
    def is_blind(self) -> bool:
        """Whether the outputs are the same for all inputs: a guess, where the loss does not tell one."""
        return self.chance is None and bool(self.losses) and self.in_profiles(is_blind)

    @cached_property
    def is_wild(self) -> bool:
        """Whether outputs that are too large make a loss without a known guess, from the first profile to now."""
        return self.chance is None and len(self.profiles) >= NEEDED and all(map(is_wild, self.profiles))

    @cached_property
    def was_blind(self) -> bool:
        """The same of the outputs in each of the first profiles, whatever the loss."""
        return bool(self.early_profiles) and all(map(is_blind, self.early_profiles))

    @cached_property
    def is_at_chance(self) -> bool:
        """Whether nothing was learned in 50 steps and more: the loss is that of a guess, and never was below it."""
        chance, recent, best = self.chance, self.recent_loss, self.best_loss
        if self.is_blind:
            return len(self.losses) >= limit("loss.chance_steps") and not self.is_warming_up
        if chance is None or recent is None or best is None or self.is_warming_up:
            return False
        least, steps = limit("loss.chance") * chance, len(self.losses)
        if steps >= limit("loss.chance_long"):  # the best of so many is lower by chance
            best += limit("loss.noise") * self.noise / math.sqrt(5)  # each is the median of five losses
        is_guess = least <= recent <= limit("loss.chance_most") * chance and best >= least
        return steps >= limit("loss.chance_steps") and is_guess and not self.is_coming_down

    @property
    def never_learned(self) -> bool:
        """Whether the loss is at chance, by no large steps and no saturation: less is evidence enough for why."""
        is_saturated = self.saturated_at_first >= limit("units.saturated")
        return self.is_at_chance and not (self.starts_with_large_steps or self.are_steps_tiny or is_saturated)

    @property
    def is_coming_down(self) -> bool:
        """Whether the loss still falls towards that of a guess, from a wild start, and may go on to below it."""
        window = self.losses[-int(limit("loss.steps")) :]
        third = len(window) // 3
        if not third or self.chance is None:
            return False
        before, now = (statistics.median(part) for part in (window[:third], window[-third:]))
        return before - now > max(self.noise, limit("loss.stuck") * self.chance)

    @property
    def learns_slowly(self) -> bool:
        """Whether less than half of the first loss has gone, if any."""
        return self.fall is not None and self.gone < limit("loss.slow")

    @property
    def learns_well(self) -> bool:
        """Whether half of the loss has gone; where it is not known what a guess has, nine tenths of the first one."""
        return self.has_converged if self.chance is None else not self.learns_slowly

    @property
    def was_hampered(self) -> bool:
        """Whether the first outputs were the same for all inputs, and what was learned since is not much."""
        return self.was_blind and not self.learns_well

    @property
    def has_recovered(self) -> bool:
        """Whether so much of the loss has gone that nothing of before can have held it; also where that is unknown."""
        return self.fall is None or self.gone >= limit("loss.recovered")

    @property
    def is_back(self) -> bool:
        """Whether the loss is less than twice the first one."""
        first, recent = self.first_loss, self.recent_loss
        return first is not None and recent is not None and recent < limit("loss.diverged") * first

    @property
    def has_converged(self) -> bool:
        return self.gone > limit("loss.converged")

    @property
    def was_shocked(self) -> bool:
        """Whether the first steps made a multiple of the very first loss."""
        first = self.losses[0] if self.losses else math.nan
        return any(loss > limit("loss.shock") * first > 0 for loss in self.losses[1 : int(limit("loss.steps"))])

    @property
    def is_tried(self) -> bool:
        """Whether there were steps enough to see a loss fall, and it has not clearly fallen."""
        return not self.learns and self.is_old_enough

    @property
    def is_old_enough(self) -> bool:
        """Whether there were steps enough to call anything critical; a probe was asked for what it shows."""
        return self.is_probe or self.is_broken or self.records[-1].step + 1 >= limit("loss.steps")

    @property
    def is_broken(self) -> bool:
        """Whether the loss is no finite number any more."""
        return self.recent_loss is not None and not math.isfinite(self.recent_loss)

    @property
    def is_stuck(self) -> bool:
        return self.learns is False

    @cached_property
    def is_warming_up(self) -> bool:
        """Whether the learning rate still rises."""
        rates = [record.lr for record in self.records[-2:] if record.lr is not None]
        return len(rates) == 2 and rates[1] > rates[0] * 1.001

    # -------------------------------------------------------------------------------------------- head
    @cached_property
    def head(self) -> LayerProfile | None:
        """The layer next to the loss, as it was at first."""
        return head_of(self.profiles[0]) if self.profiles else None

    @property
    def is_softmax(self) -> bool:
        """Whether the head's outputs go through a softmax."""
        return self.head is not None and self.head.unit_sum is not None and self.head.unit_sum <= limit("head.softmax")

    @cached_property
    def chance(self) -> float | None:
        """The loss of a guess, in the size that losses have here; None where that is not known.

        What the first profiles say of the targets; else ln K where the head's K outputs go through a softmax: a loss
        that is multiplied by a constant has gradients that are, too; both at once tell of it.
        """
        finite = [profile for profile in self.early_profiles if math.isfinite(profile.loss or 0.0)]
        known = [profile.guess for profile in finite if profile.guess]
        if known and len(known) == len(finite):  # another loss may look like one of these by chance, once
            is_one = max(known) <= 2 * min(known)  # else there are other terms, which start wild
            return statistics.median(known) if is_one else min(p.guess for p in self.profiles if p.guess)
        if self.head is None or not self.is_softmax:
            return None
        guess, first = math.log(num_outputs(self.head)), self.profiles[0].loss
        scale = head_gradient(self.head)
        is_far = scale > 0 and not 0.5 < scale < 2
        if is_far and self.head.samples >= LEAST_SAMPLES:
            return None  # some other loss of probabilities: of this one the profile would have known
        is_scaled = first is not None and is_far and 2 / 3 < abs(first) / guess / scale < 3 / 2
        return guess * scale if is_scaled else guess

    # ----------------------------------------------------------------------------------------- updates
    @cached_property
    def update_ratios(self) -> list[tuple[GradientRecord, float]]:
        """The median ‖Δw‖/‖w‖ over weight layers of each recent record, as long as all are finite."""
        return self._update_ratios(self.records[-4 * RECENT :])

    @cached_property
    def first_ratios(self) -> list[float]:
        """Those of the first five records."""
        return [ratio for _, ratio in self._update_ratios(self.records[:RECENT])]

    @property
    def starts_with_large_steps(self) -> bool:
        """Whether three of the first five records moved the weights too far."""
        return sum(ratio > limit("update.large") for ratio in self.first_ratios) >= NEEDED

    def _update_ratios(self, records: Sequence[GradientRecord]) -> list[tuple[GradientRecord, float]]:
        weights = {layer.module for profile in self.profiles[-1:] for layer in profile.layers}
        found = []
        for record in records:
            rows = [row for name, row in record.layers.items() if name in weights or not weights]
            ratios = [row.update_ratio for row in rows if row.update_ratio is not None]
            if ratios and all(map(math.isfinite, ratios)):
                found.append((record, statistics.median(ratios)))
        return found

    @cached_property
    def weight_growth(self) -> float:
        """‖w‖ of now over that at first, median of the layers; 1 where that is not known."""
        first, last = (self.records[at].layers if self.records else {} for at in (0, -1))
        pairs = [(row.weight_norm, first[name].weight_norm) for name, row in last.items() if name in first]
        grown = [now / was for now, was in pairs if was and now is not None and math.isfinite(now)]
        return statistics.median(grown) if grown else 1.0

    @property
    def are_steps_tiny(self) -> bool:
        """Whether the steps at the full rate hardly move the weights; at a guess's loss, move them by little."""
        enough = limit("update.small_at_chance") if self.is_at_chance else limit("update.small")
        return self.persists([ratio < enough for ratio in self.full_rate_ratios], needed=2)

    @cached_property
    def totals(self) -> dict[int, list[float]]:
        """The gradient norm of each step, by optimizer."""
        found: dict[int, list[float]] = {}
        for record in self.records:
            found.setdefault(record.optimizer, []).extend(record.totals)
        return found

    @cached_property
    def full_rate_ratios(self) -> list[float]:
        """Those at no less than half the highest learning rate so far: at its end a schedule makes all steps small."""
        highest = max((record.lr for record in self.records if record.lr is not None), default=0.0)
        return [ratio for record, ratio in self.update_ratios if (record.lr or 0.0) >= highest / 2]


def flow(profile: Profile) -> Fit | None:
    """The slope of the gradient over depth, of the norms where no two layers have the same shape."""
    return profile.backward or profile.backward_norms
