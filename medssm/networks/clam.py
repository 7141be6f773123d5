"""CLAM: gated attention with one branch or one a class, and instance-level clustering losses."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.attention_pool import GatedScores, masked_softmax, valid_instances
from medssm.networks.bags import BagNetwork, BagOutput, Head

WIDTHS = {"small": 256, "big": 384}


class CLAM(BagNetwork):
    """Clustering-constrained attention over instances.

    h = relu(W x + b); A = softmax of gated attention; one branch: logits = W_c (A h) + b_c; a
    branch a class: logit_c = w_c (A_c h) + b_c. While training, the k most attended instances
    of the bag's class are to be told from the k least attended ones by a small classifier of
    that class; with `subtyping` the most attended ones of every other class are to be negative.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        branches: "one" is CLAM-SB, "classes" is CLAM-MB.
        size: Width of the attention: 256 or 384.
        width: Width of the embedding.
        dropout: Rate after the embedding; where it is above 0, 0.25 after both attention factors.
        k_sample: Instances of each kind; at most half of the bag.
        subtyping: Whether the classes exclude each other.
        instance_weight: Share of the instance loss in the whole.
        head: What the logits mean.

    Source:
        Lu et al., "Data-efficient and weakly supervised computational pathology", 2021.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        branches: Literal["one", "classes"] = "one",
        size: Literal["small", "big"] = "small",
        width: int = 512,
        dropout: float = 0.25,
        k_sample: int = 8,
        subtyping: bool = False,
        instance_weight: float = 0.3,
        head: Head = "classification",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        self.k_sample, self.subtyping = k_sample, subtyping
        # without classes there are no instances of a class
        self.instance_weight = instance_weight if head == "classification" else 0.0
        rows = out_channels if branches == "classes" else 1
        self.embed = nn.Linear(in_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.attention = GatedScores(width, WIDTHS[size], rows, 0.25 if dropout else 0.0)
        self.classifier = (
            nn.ModuleList(nn.Linear(width, 1) for _ in range(rows))
            if branches == "classes"
            else nn.Linear(width, out_channels)
        )
        self.instance_classifiers = nn.ModuleList(nn.Linear(width, 2) for _ in range(out_channels))

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Embed, attend, classify."""
        return self._attended(bags, lengths)[1]

    def _attended(self, bags: Tensor, lengths: Tensor | None) -> tuple[Tensor, BagOutput]:
        h = self.dropout(F.relu(self.embed(bags)))
        scores = self.attention(h)
        attention = masked_softmax(scores, valid_instances(bags, lengths))
        embedding = attention @ h  # (B, rows, D)
        if isinstance(self.classifier, nn.ModuleList):
            each = [layer(embedding[:, row]) for row, layer in enumerate(self.classifier)]
            return h, BagOutput(torch.cat(each, dim=1), attention, scores, embedding)
        embedding = embedding[:, 0]
        return h, BagOutput(self.classifier(embedding), attention, scores, embedding)

    def with_instance_loss(
        self, bags: Tensor, lengths: Tensor | None, labels: Tensor
    ) -> tuple[BagOutput, Tensor]:
        """The output, and the mean instance loss of the batch.

        Shape:
            labels: (B,) classes.
        """
        h, output = self._attended(bags.to(self.embed.weight.dtype), lengths)
        counts = [bags.shape[1]] * len(bags) if lengths is None else lengths.tolist()
        losses = [
            self.instance_loss(h[i, :count], output.attention[i, :, :count], int(labels[i]))
            for i, count in enumerate(counts)
        ]
        return output, torch.stack(losses).mean()

    def instance_loss(self, h: Tensor, attention: Tensor, label: int) -> Tensor:
        """The loss of one bag's most and least attended instances; 0 for a bag of one.

        Shape:
            h: (L, D), attention: (rows, L); result ().
        """
        k = min(self.k_sample, len(h) // 2)
        total = h.new_zeros(())
        if k == 0:
            return total
        for index, classifier in enumerate(self.instance_classifiers):
            row = attention[index if len(attention) > 1 else 0]
            top = h[row.topk(k).indices]
            if index == label:
                chosen = torch.cat((top, h[(-row).topk(k).indices]))
                targets = torch.cat((h.new_ones(k), h.new_zeros(k))).long()
            elif self.subtyping:
                chosen, targets = top, h.new_zeros(k).long()
            else:
                continue
            total = total + F.cross_entropy(classifier(chosen), targets)
        return total / len(self.instance_classifiers) if self.subtyping else total
