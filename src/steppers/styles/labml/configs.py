"""An optimizer chosen by name, from one set of settings for all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from .ada_belief import AdaBelief
from .adam import Adam
from .adam_warmup import AdamWarmup
from .adam_warmup_cosine_decay import AdamWarmupCosineDecay
from .amsgrad import AMSGrad
from .noam import Noam
from .radam import RAdam
from .sophia import Sophia
from .weight_decay import WeightDecay

SETTINGS: dict[str, Any] = dict(
    optimizer="Adam", parameters=None, learning_rate=0.01, betas=(0.9, 0.999), eps=1e-8,
    momentum=0.5, weight_decay=0.0, weight_decouple=True, weight_decay_absolute=False,
    optimized_adam_update=True, amsgrad=False, degenerate_to_sgd=True, rectify=True,
    warmup=2000, total_steps=1e10, d_model=512, rho=0.03, weight_decay_obj=None,
)  # fmt: skip


class OptimizerConfigs:
    """Settings of any of the optimizers, as attributes; `create()` builds the one named.

    `optimizer` is one of SGD, Adam (AMSGrad if `amsgrad`), AdamW (Adam with warm-up), RAdam,
    AdaBelief, Noam, Sophia and AdamWarmupCosineDecay. SGD adds its decay to the gradient; the
    others may have a `weight_decay_obj` in place of the `WeightDecay` of the settings. Raises
    AttributeError for a setting, ValueError for a name that there is not, each with the nearest.

    >>> configs = OptimizerConfigs(optimizer="RAdam", learning_rate=1e-3)
    >>> configs.parameters = [torch.nn.Parameter(torch.ones(2))]
    >>> type(configs.create()).__name__
    'RAdam'
    """

    def __init__(self, **settings: Any) -> None:
        for name, value in {**SETTINGS, **settings}.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SETTINGS:
            raise AttributeError(f"OptimizerConfigs has no setting {name!r}{_hint(name, SETTINGS)}")
        if isinstance(value, Iterator):  # the first optimizer would use it up
            value = list(cast("Iterator[Any]", value))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"OptimizerConfigs has no setting {name!r}{_hint(name, SETTINGS)}")

    def create(self) -> torch.optim.Optimizer:
        """The optimizer that is named, on `parameters`; raises ValueError if there are none."""
        if self.parameters is None:
            raise ValueError("OptimizerConfigs: set parameters, such as model.parameters()")
        makers = self._makers()
        if self.optimizer not in makers:
            hint = _hint(str(self.optimizer), makers)
            raise ValueError(f"OptimizerConfigs: no optimizer is called {self.optimizer!r}{hint}")
        return makers[self.optimizer]()

    def _makers(self) -> dict[str, Callable[[], torch.optim.Optimizer]]:
        decay = self.weight_decay_obj
        if decay is None:
            decay = WeightDecay(self.weight_decay, self.weight_decouple, self.weight_decay_absolute)
        every = dict(
            params=self.parameters, lr=self.learning_rate, betas=self.betas, eps=self.eps,
            weight_decay=decay,
        )  # fmt: skip
        adam = dict(every, optimized_update=self.optimized_adam_update)
        warm = dict(adam, amsgrad=self.amsgrad, warmup=self.warmup)
        return {
            "SGD": self._sgd,
            "Adam": lambda: AMSGrad(**adam) if self.amsgrad else Adam(**adam),
            "AdamW": lambda: AdamWarmup(**warm),
            "RAdam": lambda: RAdam(
                **adam, amsgrad=self.amsgrad, degenerated_to_sgd=self.degenerate_to_sgd
            ),
            "AdaBelief": lambda: AdaBelief(
                **adam, amsgrad=self.amsgrad, degenerate_to_sgd=self.degenerate_to_sgd,
                rectify=self.rectify,
            ),
            "Noam": lambda: Noam(**warm, d_model=self.d_model),
            "Sophia": lambda: Sophia(**every, rho=self.rho),
            "AdamWarmupCosineDecay": lambda: AdamWarmupCosineDecay(
                **warm, total_steps=self.total_steps
            ),
        }  # fmt: skip

    def _sgd(self) -> torch.optim.Optimizer:
        if self.weight_decay_obj is not None:
            raise ValueError("OptimizerConfigs: SGD takes no weight_decay_obj; set weight_decay")
        return torch.optim.SGD(
            self.parameters, self.learning_rate, self.momentum, weight_decay=self.weight_decay
        )


def _hint(word: str, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
