"""The check of user-defined networks and activations: a few training steps before any trial."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from actbench.errors import UsageError, in_a_line
from actbench.models.build import build_network, build_notes
from actbench.models.global_state import settings_kept
from actbench.models.networks.registry import MODELS
from actbench.models.study_code import is_external
from actbench.study.activations import ACTIVATIONS
from actbench.study.study import Trial
from actbench.training.diagnostics import InactiveUnits, untrained_note
from actbench.training.measure import EVALUATION_BATCH, output_warnings, predict
from actbench.training.steps import Steps, seed_generators

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import nn

    from actbench.data.images import ImageData
    from actbench.models.activations import ActivationFactory
    from actbench.study.study import Study

SIZES_TRIED = 30


def check_networks(
    study: Study,
    activations: Sequence[ActivationFactory],
    data: ImageData,
    counts: Collection[int] = (),
) -> list[str]:
    """Return warnings about the study's networks, a sentence each.

    Every network whose model or activation is the user's or another library's is built, evaluated
    on test images, and trained for two steps in succession, one after another evaluation, and one
    with the last, smaller batch of an epoch. The networks are then discarded.

    Args:
        study: the study.
        activations: the activations to check.
        data: the study's images, on the CPU.
        counts: the numbers of images that trials train on; all of ``data`` unless given.

    Raises:
        UsageError: a network cannot be built, evaluated or trained, does not run its activation,
            has nothing to train, or returns something other than logits (N, classes).
    """
    found: dict[str, list[str]] = {}
    own = {factory.spec: factory for factory in activations if is_external(study.model, factory)}
    model = MODELS.parse(study.model)
    for factory in own.values():
        whose = study.model if model.imported else factory.spec
        with torch.random.fork_rng(devices=[]), settings_kept(whose):
            seed_generators("network check", study.seeds[0])
            for note in _Check(study, factory, data).run(counts or [len(data.train_images)]):
                found.setdefault(note, []).append(factory.spec)
    return [f"{study.model} with {', '.join(specs)}: {note}" for note, specs in found.items()]


class _Check:
    """The check of one network."""

    def __init__(self, study: Study, activation: ActivationFactory, data: ImageData) -> None:
        self._study = replace(study, kernels="torch", device="cpu")
        self._activation, self._data = activation, data
        spec = MODELS.parse(study.model)
        self._subject = f"model {(spec.name if spec.imported else study.model)!r}"
        if ACTIVATIONS.parse(activation.spec).imported:
            self._subject = f"activation {activation.spec!r} in {self._subject}"

    def run(self, counts: Collection[int]) -> list[str]:
        network, layers = self._build()
        inactive, warnings = self._evaluate(network, layers)
        notes = [*inactive.notes(), *warnings]
        size = min(self._study.batch_size, *counts)
        # a layer may keep state that breaks the next step, or training after an evaluation
        idle = self._train_twice(network, layers, size)
        if len(idle) == len(layers):
            when = "" if len(inactive.idle) == len(layers) else " in training"
            raise UsageError(
                f"{self._subject} never runs the activation layers that it builds "
                f"({', '.join(layers)}){when}, so all activations would train the same network"
            )
        if idle:
            names = ", ".join(idle)
            notes.append(f"the network never runs its activation layers {names} in training")
        self._evaluate(network, layers)
        norms = self._train(network, size)
        for count in counts:
            rest = count % self._study.batch_size
            if rest and count > self._study.batch_size:
                self._train_rest(network, count, rest)
        return [*build_notes(network), *notes, *untrained_note([norms])]

    def _build(self) -> tuple[nn.Module, dict[str, nn.Module]]:
        built = Counter[str]()

        def build() -> nn.Module:
            built.update(["activation"])
            return self._activation()

        try:
            network, layers = build_network(
                self._study.model,
                replace(self._activation, build=build),
                len(self._data.classes),
                self._study.seeds[0],
                self._study.init,
                image_size=self._data.image_size,
            )
        except UsageError:
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise UsageError(f"{self._subject} cannot be built: {in_a_line(error)}") from error
        if not built:
            raise UsageError(f"{self._subject} does not use the activation factory it is given")
        if not layers:
            raise UsageError(
                f"{self._subject} builds activations, but none is a submodule of it; assign them "
                "to attributes of the network, or put them into torch.nn.ModuleList"
            )
        if not any(p.requires_grad for p in network.parameters()):
            raise UsageError(f"{self._subject} has nothing to train")
        return network, layers

    def _evaluate(
        self, network: nn.Module, layers: dict[str, nn.Module]
    ) -> tuple[InactiveUnits, tuple[str, ...]]:
        images = self._data.test_images[: EVALUATION_BATCH["cpu"]]
        outputs: list[Any] = []
        handle = network.register_forward_hook(lambda *of_call: outputs.append(of_call[2]))
        try:
            with InactiveUnits(network, layers) as inactive:
                logits = predict(network, images, self._study.precision)
        except (Exception, SystemExit) as error:  # user code may raise anything
            if outputs:
                self._check_output(outputs[0], len(images), "in evaluation")
            raise UsageError(
                f"{self._subject} fails in evaluation on {len(images)} images: {in_a_line(error)}"
            ) from error
        finally:
            handle.remove()
        self._check_output(outputs[0], len(images), "in evaluation")
        precision = self._study.precision
        return inactive, output_warnings(
            lambda some: predict(network, some, precision), images, logits
        )

    def _check_output(self, output: Any, images: int, when: str) -> None:
        expected = (images, len(self._data.classes))
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != expected:
            raise UsageError(
                f"{self._subject} returns {found} {when} for {images} images and {expected[1]} "
                f"classes; it must return logits {expected}"
            )

    def _train_twice(
        self, network: nn.Module, layers: dict[str, nn.Module], size: int
    ) -> list[str]:
        """Take two training steps in succession; return the names of layers that did not run."""
        idle = dict.fromkeys(layers)
        handles = [
            layer.register_forward_pre_hook(lambda *_, name=name: idle.pop(name, None))
            for name, layer in layers.items()
        ]
        self._train(network, size)
        self._train(network, size)
        for handle in handles:
            handle.remove()
        return list(idle)

    def _train(self, network: nn.Module, size: int) -> dict[str, float]:
        """Take a training step with ``size`` images and return the layers' gradient norms."""
        try:
            return self._step(network, size)
        except UsageError:
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise UsageError(
                f"{self._subject} cannot be trained on a batch of {size}: {in_a_line(error)}"
            ) from error

    def _step(self, network: nn.Module, size: int) -> dict[str, float]:
        outputs: list[Any] = []
        handle = network.register_forward_hook(lambda *of_call: outputs.append(of_call[2]))
        trial = Trial(self._activation.spec, self._study.seeds[0])
        study = replace(self._study, batch_size=size)
        steps = Steps(network, self._data.train_subset(size), study, trial)
        try:
            losses = steps.begin(1)
            next(losses)
            # an adversary may begin with a pass that needs no gradients
            if not any(getattr(output, "requires_grad", False) for output in outputs):
                raise UsageError(
                    f"{self._subject} has nothing to learn: no gradient reaches any of its weights "
                    "(torch.no_grad, .detach(), numpy and steps cut gradients off)"
                )
            list(losses)
        except (Exception, SystemExit):
            if outputs:
                self._check_output(outputs[0], size, "in training")
            raise
        finally:
            handle.remove()
        self._check_output(outputs[0], size, "in training")
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if not any(bool(gradient.any()) for gradient in gradients):
            raise UsageError(
                f"{self._subject} has nothing to learn: the gradient is zero in all of its weights"
            )
        return steps.norms.means(1)

    def _train_rest(self, network: nn.Module, count: int, rest: int) -> None:
        """Take a training step with the last batch of an epoch of ``count`` images."""
        try:
            self._step(network, rest)
        except (Exception, SystemExit) as error:  # user code may raise anything
            size = self._study.batch_size
            raise UsageError(
                f"{self._subject} cannot be trained on the last batch of an epoch, which has "
                f"{rest} of {count} images at batch_size {size}: {in_a_line(error)}; "
                f"{self._other_sizes(network, count, rest)}"
            ) from error

    def _other_sizes(self, network: nn.Module, count: int, failed: int) -> str:
        """Return the batch sizes near the study's whose last batch can be trained on."""
        size, bad, good = self._study.batch_size, {failed}, []
        near = sorted(range(1, min(count, 2 * size) + 1), key=lambda other: abs(other - size))
        for other in near[: 2 * SIZES_TRIED]:
            rests = {other, count % other or other}
            if other == size or rests & bad:
                continue
            for rest in rests:
                try:
                    self._step(network, rest)
                except (Exception, SystemExit):  # user code may raise anything
                    bad.add(rest)
                    break
            else:
                good.append(other)
            if len(good) == 3:
                break
        if not good:
            return f"no batch_size near {size} works"
        return f"batch_size can be {', '.join(map(str, sorted(good)))}"
