"""Networks and activations as people write them, some with mistakes; the tests copy this file."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """The first linear layer, an activation and the second, as every network here begins."""

    def __init__(self, activation, classes):
        super().__init__()
        self.first, self.act = nn.Linear(3072, 16), activation()
        self.last = nn.Linear(16, classes)

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


class NeverRuns(Net):
    def forward(self, x):
        return self.last(F.relu(self.first(x.flatten(1))))


class OnlyInEvaluation(Net):
    def forward(self, x):
        h = self.first(x.flatten(1))
        return self.last(F.relu(h) if self.training else self.act(h))


class OnlyInTraining(Net):
    def forward(self, x):
        h = self.first(x.flatten(1))
        return self.last(self.act(h) if self.training else F.relu(h))


class RunsOneOfTwo(Net):
    def __init__(self, activation, classes):
        super().__init__(activation, classes)
        self.spare = activation()


class Unregistered(Net):
    def __init__(self, activation, classes):
        super().__init__(nn.Identity, classes)
        self.hidden = [activation()]

    def forward(self, x):
        return self.last(self.hidden[0](self.first(x.flatten(1))))


class Shared(Net):
    def __init__(self, activation, classes):
        super().__init__(activation, classes)
        self.middle, self.last = nn.Linear(16, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.last(self.act(self.middle(self.act(self.first(x.flatten(1))))))


class Auxiliary(Net):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Normed(Net):
    def __init__(self, activation, classes):
        super().__init__(activation, classes)
        self.act = nn.Sequential(nn.BatchNorm1d(16), activation())


class Viewing(nn.Module):
    def __init__(self, activation, classes):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3, padding=1), activation()
        self.last = nn.Linear(4096, classes)

    def forward(self, x):
        x = self.act(self.conv(x))
        return self.last(x.view(x.size(0), -1))


def lazy(activation, classes):
    return nn.Sequential(
        nn.LazyConv2d(8, 3), activation(), nn.MaxPool2d(4), nn.Flatten(), nn.LazyLinear(classes)
    )


def probabilities(activation, classes):
    return nn.Sequential(Net(activation, classes), nn.Softmax(1))


def bounded(activation, classes):
    return nn.Sequential(Net(activation, classes), nn.Sigmoid())


class Random(Net):
    def forward(self, x):
        return self.last(F.dropout(self.act(self.first(x.flatten(1)))))


class OutputActivated(Net):
    def __init__(self, activation, classes):
        super().__init__(activation, classes)
        self.output = activation()

    def forward(self, x):
        return self.output(super().forward(x))


class KeepsGraph(nn.Module):
    """A running mean that is not detached."""

    def __init__(self):
        super().__init__()
        self.mean = 0.0

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return torch.relu(x - self.mean)


class KeepsGraphOfSteps(KeepsGraph):
    """An evaluation between two steps would cut the graph."""

    def forward(self, x):
        self.mean = self.mean * 0.5 + x.mean()
        return torch.relu(x) + 0 * self.mean


class RunningMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = None

    def forward(self, x):
        if self.training or self.mean is None:
            mean = x.detach().abs().mean()
            self.mean = mean if self.mean is None else 0.9 * self.mean + 0.1 * mean
        return torch.relu(x) * self.mean


class Cache(nn.Module):
    def __init__(self):
        super().__init__()
        self.slopes = {}

    def forward(self, x):
        slopes = self.slopes.setdefault(x.shape[1:], torch.full_like(x[:1], 0.1))
        return torch.maximum(x, slopes * x)


class LateSlope(nn.Module):
    """Its parameter has the shape of the first input."""

    def __init__(self):
        super().__init__()
        self.slope = None

    def forward(self, x):
        if self.slope is None:
            self.slope = nn.Parameter(torch.full((x.shape[1],), 0.25))
        return F.prelu(x, self.slope)


class LazySlope(nn.modules.lazy.LazyModuleMixin, nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.UninitializedParameter()

    def initialize_parameters(self, x):
        if self.has_uninitialized_params():
            self.slope.materialize((x.shape[1],))
            nn.init.constant_(self.slope, 0.25)

    def forward(self, x):
        return F.prelu(x, self.slope)


def step(x):
    return torch.sign(x)


def cut_off(x):
    with torch.no_grad():
        return torch.relu(x)


def with_numpy(x):
    return torch.from_numpy(np.maximum(x.detach().numpy(), 0))
