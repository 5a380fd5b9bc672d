"""Try the usual preprocessings on a float model and judge each by what the model itself knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.probing.candidates import COLOURS, NORMALISATIONS, ORDERS, Floats, Normalisation
from xslim.calibration.probing.fitting import fitted
from xslim.calibration.probing.layers import MORE_IDLE, FirstLayers
from xslim.calibration.probing.outputs import Judge, judge_of
from xslim.calibration.probing.statistics import Norm, norms_of, total_distance, with_moments
from xslim.graph.outputs import with_outputs
from xslim.runtime import Feeds, Runs

Array = NDArray[np.generic]
Opener = Callable[[ir.Model], Runs]
FLOAT: np.dtype[np.generic] = np.dtype(np.float32)

SAME_FIT = 8.0
"""A usual normalisation is preferred to a fitted one unless its distance is this many times larger."""
GOOD_DISTANCE = 0.03
"""Below this distance, which a factor of 1.4 in the scale makes, a usual normalisation is good enough: images
of another kind, or cut otherwise than in training, are as far away."""
POOR_DISTANCE = 0.4
"""Above this distance, no candidate explains what the BatchNormalizations saw in training."""
ORDER_RATIO = 1.25
"""Ratio of the distances of both orders of colours above which the distances decide."""
SURE = 2.5
"""Mean gain in paired answers, in standard errors, above which one choice is better than another."""
FIRST_IMAGES, AS_GOOD = 2, 0.9
"""If on so many images the answers to the given input reach this share of the best ones, the other images are
not tried: nearly every configuration is right, and a candidate costs one run of the model per image."""
SCALE_IMAGES = 12
"""Images that find the normalisation; order of colours and geometry, whose effects are small, take all."""


@dataclass(frozen=True)
class Trial:
    """How well one normalisation suits the model: by its distance (less is better) or answers (more)."""

    normalisation: Normalisation
    distance: float | None = None
    answers: float | None = None
    excluded: bool = False
    gain: float = math.inf

    @property
    def figure(self) -> str:
        """The figure that judges the normalisation, as text."""
        value = self.distance if self.distance is not None else self.answers
        return f"{value:.3g}" + (", excluded by the first layers" if self.excluded else "")


@dataclass(frozen=True)
class Measured:
    """What a model says about its preprocessing.

    Attributes
    ----------
    by : {"BatchNorm", "answers", ""}
        What the model was asked; "" if the model tells nothing.
    trials : tuple of Trial
        Every candidate, the best first.
    best : Trial or None
        The candidate to use; None if the model does not tell.
    order : {"rgb", "bgr"} or None
        The order of colours; None if the model does not tell, or has no colours.
    order_figures : dict
        The figure of each order.
    view : str or None
        The geometry whose answers are clearly better than those of the first one; None if there is none.
    given : Trial or None
        The preprocessing of the configuration, if there is one.
    """

    by: Literal["BatchNorm", "answers", ""]
    trials: tuple[Trial, ...] = ()
    best: Trial | None = None
    order: str | None = None
    order_figures: dict[str, float] = field(default_factory=dict)
    view: str | None = None
    given: Trial | None = None


@dataclass(frozen=True)
class Subject:
    """A float model, one of its inputs, and images for the input.

    Attributes
    ----------
    model : onnx_ir.Model
        The float model as the user gave it; preparation would remove its BatchNormalizations.
    name : str
        The image input.
    views : mapping of str to list of array
        The images by geometry, of shape (channels, height, width), from 0 to 255, in the order BGR. The first
        geometry is the usual one.
    open : callable
        Opens a session of a model.
    channels_last : bool
        Whether the input is NHWC.
    base : sequence of feeds
        What the other inputs are fed with, one item for each image; empty if there are none.
    given : sequence of array
        The input as the configuration makes it; empty if there is no configuration.
    dtype : numpy.dtype
        Element type of the input.
    order : {"rgb", "bgr"} or None
        The order of colours if it is known. Then only the normalisation is measured: order and geometry take
        many runs of the whole model.
    """

    model: ir.Model
    name: str
    views: Mapping[str, Sequence[Floats]]
    open: Opener
    channels_last: bool = False
    base: Sequence[Feeds] = ()
    given: Sequence[Array] = ()
    dtype: np.dtype[np.generic] = FLOAT
    order: str | None = None

    @property
    def orders(self) -> Sequence[str]:
        """The orders of colours to try."""
        if self.order is not None or len(self.pixels[0]) != COLOURS:
            return (self.order or ORDERS[0],)
        return ORDERS

    @property
    def pixels(self) -> Sequence[Floats]:
        """The images that find the normalisation, in the usual geometry."""
        return next(iter(self.views.values()))[:SCALE_IMAGES]

    def feeds(self, index: int, image: Array) -> Feeds:
        """Return the feeds of one run."""
        arranged = image.transpose(1, 2, 0) if self.channels_last else image
        base = self.base[index] if self.base else {}
        return {**base, self.name: np.ascontiguousarray(arranged, self.dtype)[None]}

    def first(self, count: int) -> Subject:
        """Return the subject with the first images only."""
        views = {view: images[:count] for view, images in self.views.items()}
        return replace(self, views=views, base=self.base[:count], given=self.given[:count])

    def run(self, session: Runs, images: Sequence[Array]) -> list[list[Array]]:
        """Run the model on images that are normalised already."""
        return [list(session.run(self.feeds(index, image))) for index, image in enumerate(images)]

    def are_given(self, images: Sequence[Array]) -> bool:
        """Whether these images are the input of the configuration, but for rounding."""
        return len(images) == len(self.given) and all(
            np.allclose(self.feeds(index, image)[self.name], given, atol=1e-4)
            for index, (image, given) in enumerate(zip(images, self.given, strict=True))
        )

    def run_given(self, session: Runs) -> list[list[Array]]:
        """Run the model on the input of the configuration."""
        return [
            list(session.run({**(self.base[index] if self.base else {}), self.name: image}))
            for index, image in enumerate(self.given)
        ]


def measure(subject: Subject) -> Measured:
    """Find normalisation, order of colours and geometry for an image input.

    Raises
    ------
    ModelError
        The model does not run.
    """
    norms = norms_of(subject.model)
    judge = judge_of(subject)
    found = _by_norms(subject, norms) if norms else _by_answers(subject, judge) if judge else Measured("")
    if found.best is None or subject.order is not None:
        return found
    order, figures = _order(subject, norms, judge, found.best.normalisation)
    view = _view(subject, judge, found.best.normalisation, order or ORDERS[0])
    return Measured(found.by, found.trials, found.best, order, figures, view, found.given)


def _by_norms(subject: Subject, norms: Sequence[Norm]) -> Measured:
    session = subject.open(with_moments(subject.model, [norm.tensor for norm in norms]))
    given = None
    if subject.given:
        given = Trial(Normalisation("configured"), total_distance(norms, subject.run_given(session)))
        if _value(given) <= GOOD_DISTANCE:
            return Measured("BatchNorm", (given,), given, given=given)
    tried = [_nearest(subject, norms, session, candidate) for candidate in NORMALISATIONS]
    own = fitted(norms[0], [image[::-1] for image in subject.pixels], _first_tensor(subject, norms[0]))
    if own is not None:
        tried.append(_nearest(subject, norms, session, own))
    least = min(_value(trial) for trial in tried)
    usual = [trial for trial in tried if trial.normalisation in NORMALISATIONS[:-1]]
    usual.sort(key=_value)
    expressible = [*(trial for trial in tried if trial.normalisation is own), *usual]
    good = [trial for trial in usual[:1] if _value(trial) <= max(SAME_FIT * least, GOOD_DISTANCE)]
    best = (good or sorted(expressible, key=_value))[0]
    per_image = next(trial for trial in tried if trial.normalisation.is_per_image)
    if not good and SAME_FIT * max(_value(per_image), GOOD_DISTANCE) < _value(best):
        best = per_image
    rest = sorted((trial for trial in tried if trial is not best), key=_value)
    told = _value(best) <= POOR_DISTANCE
    return Measured("BatchNorm", (best, *rest), best if told else None, given=given)


def _nearest(subject: Subject, norms: Sequence[Norm], session: Runs, candidate: Normalisation) -> Trial:
    distances = (_distance(subject, norms, session, candidate, order) for order in subject.orders)
    return Trial(candidate, min(distances))


def _distance(
    subject: Subject, norms: Sequence[Norm], session: Runs, candidate: Normalisation, order: str
) -> float:
    images = [candidate.apply(image, order) for image in subject.pixels]
    return total_distance(norms, subject.run(session, images))


def _first_tensor(subject: Subject, norm: Norm) -> Callable[[Floats], NDArray[np.float64]]:
    session = subject.open(with_outputs(subject.model, [norm.tensor]))

    def run(image: Floats) -> NDArray[np.float64]:
        array = np.asarray(session.run(subject.feeds(0, image))[0], np.float64)
        return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)

    return run


def _value(trial: Trial) -> float:
    return math.inf if trial.distance is None else trial.distance


def _by_answers(subject: Subject, judge: Judge) -> Measured:
    if len(subject.given) > FIRST_IMAGES:
        found = _asked(subject.first(FIRST_IMAGES), judge)
        best, given = found.trials[0] if found.trials else None, found.given
        if best and given and given.excluded <= best.excluded and _reaches(given, best):
            return Measured("answers", (given,), given, given=given)
    return _asked(subject, judge)


def _reaches(given: Trial, best: Trial) -> bool:
    """Whether the answers of a trial are about as good as the best ones; answers may be negative."""
    most = best.answers or 0.0
    return (given.answers or 0.0) >= most - (1.0 - AS_GOOD) * abs(most)


def _asked(subject: Subject, judge: Judge) -> Measured:
    layers = FirstLayers.of(subject.model)
    session = subject.open(with_moments(subject.model, layers.tensors, [judge.output]))
    runs, configured, same = {}, Normalisation("configured"), None
    for candidate in NORMALISATIONS:
        images = [candidate.apply(image, subject.orders[0]) for image in subject.pixels]
        runs[candidate] = subject.run(session, images)
        same = candidate if subject.are_given(images) else same
    if subject.given:
        runs[configured] = subject.run_given(session) if same is None else runs[same]
    answers = {key: [run[0] for run in value] for key, value in runs.items()}
    if not judge.compares(answers):
        return Measured("")
    scores = judge.scores(answers)
    excluded = _excluded(layers, runs)
    trials = {
        candidate: Trial(candidate, None, float(np.mean(score)), excluded[candidate])
        for candidate, score in scores.items()
    }
    given = trials.pop(configured, None)
    ranked = sorted(trials.values(), key=lambda trial: (trial.excluded, -(trial.answers or 0)))
    usual = [trial for trial in ranked if not trial.normalisation.is_per_image]
    best = usual[0]
    if given is not None:
        gain = standard_errors(scores[best.normalisation] - scores[configured])
        given = Trial(configured, None, given.answers, given.excluded, gain)
    rest = [trial for trial in ranked if trial is not best]
    against = [trial for trial in rest if not trial.normalisation.is_per_image]
    told = any(
        trial.excluded != best.excluded
        or standard_errors(scores[best.normalisation] - scores[trial.normalisation]) > SURE
        for trial in against
    )
    return Measured("answers", (best, *rest), best if told else None, given=given)


def _excluded(
    layers: FirstLayers, runs: Mapping[Normalisation, Sequence[Sequence[Array]]]
) -> dict[Normalisation, bool]:
    """Tell of every candidate whether the first layers contradict it; the outputs begin with the answers."""
    idle = {candidate: layers.idle_share(value, 1) for candidate, value in runs.items()}
    return {
        candidate: layers.has_other_scale(value, 1) or idle[candidate] > min(idle.values()) + MORE_IDLE
        for candidate, value in runs.items()
    }


def standard_errors(gains: NDArray[np.float64]) -> float:
    """Return the mean divided by its standard error; 0 for a single or equal values."""
    error = float(np.std(gains, ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(np.mean(gains)) / error if error > 0 else 0.0


def _order(
    subject: Subject, norms: Sequence[Norm], judge: Judge | None, chosen: Normalisation
) -> tuple[str | None, dict[str, float]]:
    """Return the order of colours that is clearly better, by the answers or else by the statistics."""
    if len(subject.pixels[0]) != COLOURS:
        return None, {}
    shown = next(iter(subject.views.values()))
    images = {order: [chosen.apply(image, order) for image in shown] for order in ORDERS}
    if judge:
        better, scores = _better(subject, judge, images)
        if better or not norms:
            return better, scores
    if not norms:
        return None, {}
    session = subject.open(with_moments(subject.model, [norm.tensor for norm in norms]))
    distances = {order: total_distance(norms, subject.run(session, images[order])) for order in ORDERS}
    near, far = sorted(distances, key=lambda order: distances[order])
    return (near if distances[far] > ORDER_RATIO * distances[near] else None), distances


def _view(subject: Subject, judge: Judge | None, chosen: Normalisation, order: str) -> str | None:
    """Return the geometry whose answers are clearly better than those of the first one."""
    if judge is None or len(subject.views) == 1:
        return None
    first, *others = subject.views
    shown = {view: [chosen.apply(image, order) for image in images] for view, images in subject.views.items()}
    better = [
        view
        for view in others
        if _better(subject, judge, {first: shown[first], view: shown[view]})[0] == view
    ]
    return better[0] if len(better) == 1 else None


def _better(
    subject: Subject, judge: Judge, images: Mapping[str, Sequence[Floats]]
) -> tuple[str | None, dict[str, float]]:
    """Compare two ways to feed the same images; return the one with clearly better answers, if any."""
    session = subject.open(with_outputs(subject.model, [judge.output]))
    answers = {key: [run[0] for run in subject.run(session, value)] for key, value in images.items()}
    if not judge.compares(answers):
        return None, {}
    scores = judge.scores(answers)
    first, second = scores
    errors = standard_errors(scores[first] - scores[second])
    figures = {key: float(np.mean(score)) for key, score in scores.items()}
    return (first if errors > SURE else second if errors < -SURE else None), figures
