"""A network as an ONNX file, which runs without PyTorch; and the proof that it gives the same embeddings."""

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write

PARITY = 1e-4                          # the most by which an embedding may differ, as a share of its largest value
LENGTHS = (30, 31, 200, 997, 2000)     # frames that are tried: 0.3 s to 20 s
_EXAMPLE = (2, 200)                    # batch and frames for the tracing; both are free in the file


class CentredNetwork(nn.Module):
    """A network that takes off the mean of its features over time: features without it are as good as with it."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, feats: Tensor) -> Tensor:
        """Features (B, T, F) to embeddings (B, D)."""
        return self.net(feats - feats.mean(dim=1, keepdim=True))


def export_onnx(net: nn.Module, feat_dim: int, out: Path, metadata: dict[str, object]) -> float:
    """Write `net`, in evaluation mode, as `out`: feats (B, T, F) float32 to embedding (B, D); returns its parity.

    B and T are free. Every value of `metadata` goes into the file's metadata, as JSON. The parity is the greatest
    difference from PyTorch's embeddings that onnxruntime showed, over LENGTHS, as a share of the largest value.
    Raises UserError when the packages onnx and onnxruntime are missing, and when the parity is not below PARITY.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as fault:
        raise UserError(f'ONNX needs the package {fault.name}: pip install "pyspk[onnx]"') from None
    centred, traced = CentredNetwork(net.cpu()).eval(), io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracing exporter. That of torch.export gives the same, takes ten times as long, and needs onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(centred, (torch.zeros(*_EXAMPLE, feat_dim),), traced, dynamo=False,
                          input_names=["feats"], output_names=["embedding"],
                          dynamic_axes={"feats": {0: "B", 1: "T"}, "embedding": {0: "B"}})
    model = onnx.load_from_string(traced.getvalue())
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in metadata.items()})
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    if not (parity := parity_of(centred, session, feat_dim, LENGTHS)) < PARITY:
        raise UserError(f"{out}: onnxruntime's embeddings differ from PyTorch's by {parity:.1g} of the largest value; "
                        "it is not written. Try another version of torch or onnxruntime")
    with atomic_write(out, "wb") as file:
        file.write(content)
    return parity


@torch.inference_mode()
def parity_of(net: nn.Module, session, feat_dim: int, lengths: Sequence[int]) -> float:
    """The greatest difference of embeddings, as a share of the largest value, over random features of these lengths.

    session: an onnxruntime.InferenceSession of the same network. One utterance is tried alone, and two in a batch.
    """
    rng, worst = np.random.default_rng(0), 0.0
    for n_frames in lengths:
        for n_utts in (1, 2):
            feats = rng.normal(size=(n_utts, n_frames, feat_dim)).astype(np.float32)
            ours = net(torch.from_numpy(feats)).numpy()
            theirs = session.run(None, {"feats": feats})[0]
            worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(ours).max()))
    return worst
