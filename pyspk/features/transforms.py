"""Features to features: deltas, and cepstral mean and variance normalisation as Kaldi's programs do it."""

import numpy as np

_SLIDING_VARIANCE_FLOOR = 1e-10      # Kaldi's, in feat/feature-functions.cc
_UTTERANCE_VARIANCE_FLOOR = 1e-20    # Kaldi's, in transform/cmvn.cc


def add_deltas(feats: np.ndarray, order: int = 2, window: int = 2) -> np.ndarray:
    """Features beside their time derivatives up to `order`, (T, F * (order + 1)) float32, as Kaldi's add-deltas.

    feats: (T, F). The first derivative is the slope of the straight line of least squares through `window` frames on
    each side (Furui 1986): sum_j j x[t + j] / sum_j j^2. Its weights, convolved with themselves, give the next ones.
    Frames before the first and after the last are copies of it, for all orders of the features themselves: at the edges
    that is not the derivative of the derivative.
    """
    offsets = np.arange(-window, window + 1)
    slope = offsets / np.square(offsets).sum()
    padded = np.pad(feats.astype(np.float64), ((order * window,) * 2, (0, 0)), mode="edge")
    weights, parts = np.ones(1), []
    for i in range(order + 1):
        first = (order - i) * window          # of the frames that the weights of frame 0 reach
        part = np.zeros(feats.shape)                                                    # (T, F)
        for k, weight in enumerate(weights):
            part += weight * padded[first + k:first + k + len(feats)]
        parts.append(part)
        weights = np.convolve(weights, slope)
    return np.concatenate(parts, axis=1).astype(np.float32)                             # (T, F * (order + 1))


def sliding_cmvn(feats: np.ndarray, cmn_window: int = 600, min_cmn_window: int = 100, center: bool = False,
                 norm_vars: bool = False) -> np.ndarray:
    """Each frame less the mean of a window around it, (T, F) float32, as Kaldi's apply-cmvn-sliding.

    feats: (T, F). cmn_window: frames in the window. center: the window lies around the frame, and is moved inwards
    where it would reach over an end; otherwise it ends with the frame, and at the beginning takes in frames to come
    until it has min_cmn_window. norm_vars: divided by the window's standard deviation too; a window of one frame gives
    zeros.
    """
    n_frames = len(feats)
    first, last = _windows(n_frames, cmn_window, min_cmn_window, center)                # (T,) each, last exclusive
    n_in_window = (last - first)[:, None]                                               # (T, 1)
    feats = feats.astype(np.float64)
    mean = _window_sums(feats, first, last) / n_in_window
    normalised = feats - mean
    if norm_vars:
        # Around the mean of all frames, so that no digits are lost where the mean is large beside the deviation.
        around = feats - feats.mean(axis=0)
        variance = (_window_sums(np.square(around), first, last) / n_in_window
                    - np.square(_window_sums(around, first, last) / n_in_window))
        normalised /= np.sqrt(np.maximum(variance, _SLIDING_VARIANCE_FLOOR))
        normalised[n_in_window[:, 0] == 1] = 0.0
    return normalised.astype(np.float32)


def utterance_cmvn(feats: np.ndarray, norm_vars: bool = False) -> np.ndarray:
    """Features (T, F) less their mean over the utterance, and over their standard deviation when norm_vars; float32."""
    centred = feats - feats.mean(axis=0, dtype=np.float64)
    if norm_vars:
        centred /= np.sqrt(np.maximum(np.square(centred).mean(axis=0), _UTTERANCE_VARIANCE_FLOOR))
    return centred.astype(np.float32)


def _windows(n_frames: int, size: int, min_size: int, center: bool) -> tuple[np.ndarray, np.ndarray]:
    """First frame of each frame's window, and the one after its last: (T,) int64 each."""
    t = np.arange(n_frames)
    first = t - size // 2 if center else t - size
    last = first + size if center else t + 1
    last = np.where(first < 0, last - first, last)
    first = np.maximum(first, 0)
    if not center:
        last = np.where(last > t, np.maximum(t + 1, min_size), last)
    beyond = np.maximum(last - n_frames, 0)
    return np.maximum(first - beyond, 0), last - beyond


def _window_sums(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Sum of values (T, F) float64 over each window, (T, F)."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums[last] - sums[first]
