"""What stands between the linear layers, by the name that a configuration gives: `activation = "prelu"`."""

from collections.abc import Callable

from torch import nn

from pyspk.errors import UserError

_SLOPE_AT_START = 0.25
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": lambda channels: nn.PReLU(channels, init=_SLOPE_AT_START),      # He et al. 2015, one slope a channel
    "relu": lambda channels: nn.ReLU(inplace=True),
}


def activation_named(name: str) -> Callable[[int], nn.Module]:
    """The function from a number of channels to the activation called `name`.

    Raises UserError for an unknown name, listing the known ones.
    """
    if name not in ACTIVATIONS:
        raise UserError(f'activation "{name}": the activations are {", ".join(ACTIVATIONS)}')
    return ACTIVATIONS[name]
