"""The loss of ESPnet's transducer, by torchaudio, where warp-transducer is not built.

ESPnet imports ``RNNTLoss`` from this name to train and to decode a transducer, but
warp-transducer is no package that pip installs. With this directory on PYTHONPATH the
same loss comes from torchaudio, which ESPnet needs anyway.
"""

import torch
from torchaudio.functional import rnnt_loss


class RNNTLoss(torch.nn.Module):
    """Transducer loss (Graves 2012), warp-transducer's interface.

    Args:
        blank: Index of the blank.
        fastemit_lambda: Only 0, as in ESPnet's ASR task.
        reduction: ``none``, ``mean`` over the utterances, or ``sum``.

    Raises:
        ValueError: FastEmit is asked for.
    """

    def __init__(
        self, blank: int = 0, fastemit_lambda: float = 0.0, reduction: str = "mean"
    ):
        super().__init__()
        if fastemit_lambda:
            raise ValueError("torchaudio's loss has no FastEmit: build warp-transducer")
        self.blank = blank
        self.reduction = reduction

    def forward(
        self,
        acts: torch.Tensor,
        labels: torch.Tensor,
        act_lens: torch.Tensor,
        label_lens: torch.Tensor,
    ) -> torch.Tensor:
        """Negative log likelihood.

        Args:
            acts: (B, T, U + 1, V) logits.
            labels: (B, U) integers, padded.
            act_lens: (B,) integers up to T.
            label_lens: (B,) integers up to U.
        """
        return rnnt_loss(
            acts.float(),  # under autocast too
            labels.int(),
            act_lens.int(),
            label_lens.int(),
            blank=self.blank,
            reduction=self.reduction,
        )
