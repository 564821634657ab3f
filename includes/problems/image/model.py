"""What is predicted, by which model, and what it must beat. Yours to change."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from slipway import Column, Columns
from torch import nn

# So small a network learns no faster on several processors, and on one it is the same on every machine.
torch.set_num_threads(1)

#: The name of the prediction in every answer, log and report.
ANSWER = "digit"

#: What the answer may be, in the order in which `target` numbers it from 0: that of the contract.
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def target(outcomes: Columns) -> Column:
    """Return what the model learns: the place in CLASSES of the digit that was meant."""
    return outcomes["written"]


def network() -> nn.Sequential:
    """Return the untrained network; it takes the 64 pixels of each picture and gives a number for each class."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, len(CLASSES)),
    )


class Network(ClassifierMixin, BaseEstimator):
    """A network that learns as an estimator of scikit-learn does; `module_` is what is exported and served."""

    def __init__(self, seed: int, epochs: int, learning_rate: float, batch: int, device: str) -> None:
        self.seed = seed
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch = batch
        self.device = device

    def fit(self, rows: Column, truth: Column) -> Network:
        """Learn which class each row of pixels is of."""
        torch.manual_seed(self.seed)
        layers = network().to(self.device)
        pixels, meant = (torch.as_tensor(each, device=self.device) for each in (rows, truth))
        optimizer = torch.optim.AdamW(layers.parameters(), self.learning_rate)
        for _ in range(self.epochs):
            order = torch.randperm(len(pixels)).to(self.device)
            for start in range(0, len(order), self.batch):
                chosen = order[start : start + self.batch]
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(layers(pixels[chosen]), meant[chosen]))
                optimizer.step()
        self.module_ = nn.Sequential(layers, nn.Softmax(dim=1)).cpu().eval()
        return self

    def predict_proba(self, rows: Column) -> Column:
        """Return the probability of each class for each row."""
        with torch.inference_mode():
            found: Column = self.module_(torch.as_tensor(rows)).numpy()
        return found


def build(seed: int, **params: Any) -> Network:
    """Return the untrained model; `params` is the `model` part of params.yaml."""
    return Network(seed, **params)


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the simple model that must be beaten: how often each digit is written, whatever the picture."""
    return DummyClassifier(strategy="prior", random_state=seed)
