"""ECG-Mamba: a 1D CNN makes tokens of the leads, Vision Mamba blocks read them both ways."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import DropPath, rising_rates
from medssm.layers.dims import resize
from medssm.layers.mixers import build_mixer
from medssm.layers.mixers.mamba import without_weight_decay
from medssm.layers.signals import PatchEmbed, ResidualStem

VIM: Mapping[str, Any] = MappingProxyType({"name": "vim", "merge": "mean"})
ClassToken = Literal["middle", "start", "end", "double", "none"]
Pooling = Literal["mean", "last", "max", "all"]
NormName = Literal["rms", "layer"]
EPS = 1e-5
SEXES = 3
"""Unknown, female, male."""


class VimBlock(nn.Module):
    """Join the residual, norm, mix: (h, r) to (dropout(mixer(norm(r'))), r') with r' = r + drop(h).

    The residual stays float32 whatever the precision of the rest.

    Shape:
        hidden, residual: (B, L, d), results the same.

    Source:
        Zhu et al., "Vision Mamba", 2024, algorithm 1, in the order of the released code.
    """

    def __init__(
        self,
        width: int,
        mixer: Mapping[str, Any],
        *,
        norm: NormName,
        drop_path: float,
        dropout: float,
        layer: int,
    ) -> None:
        super().__init__()
        self.norm = make_norm(norm, width)
        self.mixer = build_mixer(mixer, width, 1, layer)
        self.drop_path = DropPath(drop_path)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """One block; the first one has no residual yet."""
        residual = join(residual, self.drop_path(hidden))
        return self.dropout(self.mixer(self.norm(residual))), residual


def make_norm(name: NormName, width: int) -> nn.Module:
    """Root-mean-square norm y = r / sqrt(mean(r^2) + eps) * weight, or layer norm."""
    return nn.RMSNorm(width, eps=EPS) if name == "rms" else nn.LayerNorm(width, eps=EPS)


def join(residual: Tensor | None, hidden: Tensor) -> Tensor:
    """The residual after a block, in float32 at least."""
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return hidden if residual is None else residual + hidden


class ECGMamba(nn.Module):
    """Convolutional tokens, bidirectional Mamba blocks, class token, one logit a finding.

    Args:
        in_channels: Leads.
        out_channels: Logits; each has a sigmoid of its own.
        length: Samples that the positions are learned for; other lengths interpolate them.
        width: Width of the tokens.
        depth: Blocks; 0 leaves a plain CNN with pooling, the control without a state space.
        mixer: What mixes tokens (`MIXERS`); Vim's with the two directions averaged.
        stem: Residual CNN, or one strided convolution as Vim has.
        stem_widths: Channels of the stem's stages; a quarter, a half and all of `width` if None.
        stem_strides: Their strides.
        patch: Samples of a window of the strided convolution.
        stride: Step of its windows; `patch` if None.
        class_token: Where the token that is classified stands; two for "double".
        pooling: What is classified without a class token: the mean of the tokens, the last one,
            the largest logit of all tokens, or each of them.
        positions: Learn positions.
        tokens: How many positions; what `length` gives if None.
        norm: Norm of the blocks.
        dropout: After the positions and on the output of every block.
        drop_path: Rate of dropped paths after the last block; none at the first.
        lead_presence: Tell the network which leads are there (not all zeros).
        patient: Take age and sex, see `forward`.

    Shape:
        x: (B, C, T), result (B, K); with pooling="all" (B, L, K).

    Raises:
        BadArgumentError: The stem does not end at `width`, or the input is too short.

    Source:
        Jiang et al., "1DCNN-ECG-Mamba", arXiv 2510.13046, 2025, whose text leaves sizes open;
        blocks, class token and start values as in Zhu et al., "Vision Mamba", 2024 (hustvl/Vim).
    """

    divisors = (1,)

    def __init__(
        self,
        in_channels: int = 12,
        out_channels: int = 26,
        length: int = 5000,
        width: int = 384,
        depth: int = 16,
        mixer: Mapping[str, Any] = VIM,
        stem: Literal["residual", "patch"] = "residual",
        stem_widths: Sequence[int] | None = None,
        stem_strides: Sequence[int] = (2, 2, 2),
        patch: int = 16,
        stride: int | None = None,
        class_token: ClassToken = "middle",
        pooling: Pooling = "mean",
        positions: bool = True,
        tokens: int | None = None,
        norm: NormName = "rms",
        dropout: float = 0.1,
        drop_path: float = 0.1,
        lead_presence: bool = False,
        patient: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.class_token, self.pooling = in_channels, class_token, pooling
        self.patch_embed: PatchEmbed | ResidualStem
        if stem == "patch":
            self.patch_embed = PatchEmbed(in_channels, width, patch, stride or patch)
        else:
            widths = list(stem_widths or (width // 4, width // 2, width))
            if widths[-1] != width:
                raise BadArgumentError(f"stem_widths must end at width={width}, found {widths}")
            self.patch_embed = ResidualStem(in_channels, widths, stem_strides)
        for name in CLASS_TOKENS[class_token]:
            self.register_parameter(name, learned_row(1, width))
        count = self.patch_embed.tokens(length) if tokens is None else tokens
        extra = len(CLASS_TOKENS[class_token])
        self.pos_embed = learned_row(count + extra, width) if positions else None
        self.leads = nn.Linear(in_channels, width, bias=False) if lead_presence else None
        self.age = nn.Linear(2, width, bias=False) if patient else None
        self.sex = nn.Embedding(SEXES, width) if patient else None
        self.dropout = nn.Dropout(dropout)
        rates = rising_rates(drop_path, depth)
        self.layers = nn.ModuleList(
            VimBlock(width, mixer, norm=norm, drop_path=rate, dropout=dropout, layer=index)
            for index, rate in enumerate([0.0, *rates[:-1]][:depth])
        )
        self.drop_path = DropPath(rates[-1] if rates else 0.0)
        self.norm_f = make_norm(norm, width)
        self.head = nn.Linear(width, out_channels)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Vim's start values: small positions and head, residual branches scaled by the depth."""
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if isinstance(self.patch_embed, PatchEmbed):
            weight: Tensor = self.patch_embed.proj.weight  # type: ignore[assignment]
            nn.init.trunc_normal_(weight, std=weight[0].numel() ** -0.5)
        for block in self.layers:
            out = getattr(block.mixer, "out_proj", None)
            if isinstance(out, nn.Linear):
                nn.init.kaiming_uniform_(out.weight, a=math.sqrt(5))
                out.weight /= math.sqrt(len(self.layers))
        for extra in (self.leads, self.age, self.sex):
            if extra is not None:
                nn.init.trunc_normal_(extra.weight, std=0.02)

    def forward(self, x: Tensor, about: Tensor | None = None) -> Tensor:
        """Classify.

        Args:
            x: Signals in mV; a lead of zeros counts as absent.
            about: Age in years and sex (0 female, 1 male) of each record, NaN where unknown.

        Shape:
            x: (B, C, T), about: (B, 2), result (B, K).
        """
        hidden = self.dropout(self._sequence(x) + self._context(x, about))
        residual: Tensor | None = None
        for block in self.layers:
            hidden, residual = block(hidden, residual)
        last = join(residual, self.drop_path(hidden))
        return self._classify(self.norm_f(last))

    def _sequence(self, x: Tensor) -> Tensor:
        """Tokens with the class tokens among them and positions on all."""
        count = self.patch_embed.tokens(x.shape[-1])
        if x.ndim != 3 or x.shape[1] != self.in_channels or count < 1:
            raise BadArgumentError(
                f"the network takes (batch, {self.in_channels} leads, samples) with samples for a "
                f"token at least, found an input of shape {tuple(x.shape)}"
            )
        tokens = self.patch_embed(x)
        classes = [
            getattr(self, name).expand(x.shape[0], -1, -1)
            for name in CLASS_TOKENS[self.class_token]
        ]
        tokens = insert(tokens, classes, places(self.class_token, count))
        return tokens if self.pos_embed is None else tokens + self.positions_for(count)

    def positions_for(self, tokens: int) -> Tensor:
        """The learned positions, those between class tokens interpolated to another number.

        Shape:
            result: (1, tokens + class tokens, d).
        """
        assert self.pos_embed is not None
        extra = len(CLASS_TOKENS[self.class_token])
        learned = self.pos_embed.shape[1] - extra
        if tokens == learned:
            return self.pos_embed
        rows = list(places(self.class_token, learned))
        kept = [row for row in range(learned + extra) if row not in rows]
        grid = self.pos_embed[:, kept].transpose(1, 2)
        moved = resize(grid, (tokens,)).transpose(1, 2)
        classes = [self.pos_embed[:, row : row + 1] for row in rows]
        return insert(moved, classes, places(self.class_token, tokens))

    def _context(self, x: Tensor, about: Tensor | None) -> Tensor:
        """What is added to every token: leads that are there, age, sex; (B, 1, d)."""
        total = x.new_zeros(x.shape[0], 1, 1)
        if self.leads is not None:
            present = (x != 0).any(-1).to(x.dtype)
            total = total + self.leads(present)[:, None]
        if self.age is not None and self.sex is not None:
            if about is None:
                about = x.new_full((x.shape[0], 2), float("nan"))
            age, sex = about.to(x.dtype).unbind(-1)
            unknown = torch.isnan(age)
            scaled = torch.where(unknown, 0.0, age / 100)
            total = total + self.age(torch.stack([scaled, unknown.to(x.dtype)], -1))[:, None]
            which = torch.where(torch.isnan(sex), 0.0, sex + 1).long().clamp(0, SEXES - 1)
            total = total + self.sex(which)[:, None]
        return total

    def _classify(self, tokens: Tensor) -> Tensor:
        count = tokens.shape[1] - len(CLASS_TOKENS[self.class_token])
        rows = places(self.class_token, count)
        if rows:
            return self.head(torch.stack([tokens[:, row] for row in rows]).mean(0))
        if self.pooling == "last":
            return self.head(tokens[:, -1])
        if self.pooling == "mean":
            return self.head(tokens.mean(1))
        logits = self.head(tokens)
        return logits.amax(1) if self.pooling == "max" else logits


CLASS_TOKENS: Mapping[ClassToken, tuple[str, ...]] = MappingProxyType(
    {
        "middle": ("cls_token",),
        "start": ("cls_token",),
        "end": ("cls_token",),
        "double": ("cls_token_head", "cls_token_tail"),
        "none": (),
    }
)
"""Names of the class tokens, in the order of the sequence."""


def places(class_token: ClassToken, count: int) -> tuple[int, ...]:
    """Where the class tokens stand among `count` others."""
    return {
        "middle": (count // 2,),
        "start": (0,),
        "end": (count,),
        "double": (0, count + 1),
        "none": (),
    }[class_token]


def insert(tokens: Tensor, rows: Sequence[Tensor], where: Sequence[int]) -> Tensor:
    """Put rows among tokens, each at its place in the result, which rise."""
    for row, place in zip(rows, where, strict=True):
        tokens = torch.cat([tokens[:, :place], row, tokens[:, place:]], 1)
    return tokens


def learned_row(count: int, width: int) -> nn.Parameter:
    """Rows (1, count, width) of a truncated normal, free of weight decay."""
    rows = torch.empty(1, count, width)
    nn.init.trunc_normal_(rows, std=0.02)
    return without_weight_decay(nn.Parameter(rows))
