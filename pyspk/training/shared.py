"""Loss and optimizer of several processes, each with a share of the speakers, saved as one process would save them."""

from torch import Tensor, nn
from torch.optim import Optimizer

from pyspk.losses import SphereSpeaker
from pyspk.world import World


class WholeLoss:
    """The loss with the weights of all speakers in its state, as a checkpoint holds it, whatever each process has."""

    def __init__(self, loss: nn.Module):
        self._loss = loss

    def state_dict(self) -> dict | None:
        """In the first process the state that one alone would have; None in others. All must call it."""
        return self._loss.whole_state() if isinstance(self._loss, SphereSpeaker) else self._loss.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Take this process's share. Raises ValueError or RuntimeError for the state of another loss."""
        take = self._loss.load_whole_state if isinstance(self._loss, SphereSpeaker) else self._loss.load_state_dict
        take(state)


class WholeOptimizer:
    """The optimizer likewise: the momentum of the speakers' weights lies where the weights do."""

    def __init__(self, optimizer: Optimizer, loss: nn.Module, world: World):
        self._optimizer, self._world = optimizer, world
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._n_spk = loss.n_spk if isinstance(loss, SphereSpeaker) else 0
        self._number = next((i for i, p in enumerate(parameters) if self._n_spk and p is loss.weight), None)

    def state_dict(self) -> dict | None:
        """As WholeLoss.state_dict."""
        saved = self._optimizer.state_dict()
        momentum = saved["state"].get(self._number, {}).get("momentum_buffer")
        if momentum is not None:
            whole = self._world.whole_rows(momentum, self._n_spk)
            saved = {**saved, "state": {**saved["state"], self._number: {"momentum_buffer": whole}}}
        return saved if self._world.is_first else None

    def load_state_dict(self, saved: dict) -> None:
        """As WholeLoss.load_state_dict."""
        momentum: Tensor | None = saved["state"].get(self._number, {}).get("momentum_buffer")
        if momentum is not None:
            ours = momentum[self._world.rows_here(self._n_spk)].clone()
            saved = {**saved, "state": {**saved["state"], self._number: {"momentum_buffer": ours}}}
        self._optimizer.load_state_dict(saved)
