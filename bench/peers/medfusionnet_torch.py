"""MedFusionNet and DenseNet in PyTorch, written from docs/medfusionnet.md alone; parameter names as there.

Images are [batch, channels, height, width] here. `MedFusionNet(options)` takes a dict (see DEFAULTS); `size` fills in `dim`,
`heads`, `layers` and `pyramid_channels`. Without `image` only the attention branch exists; `table_features` 0 and `vocabulary` 0
leave out table and text.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# initial channels, growth, layers per block, stem of the ImageNet kind, then dim, heads, layers, pyramid_channels
SIZES = {
    "densenet121": (64, 32, (6, 12, 24, 16), True, 256, 8, 2, 128),
    "small": (32, 16, (4, 6, 8, 6), False, 64, 4, 2, 64),
    "tiny": (16, 8, (2, 2, 2, 2), False, 32, 2, 1, 16),
}
BRANCHES = ("attention", "dense", "pyramid")  # the order of the gate
DEFAULTS = dict(size="densenet121", image=True, in_channels=3, labels=14, dim=None, heads=None, layers=None, mlp_ratio=2,
                pyramid_channels=None, token_levels=(4, 5), upsample="nearest", align_corners=False, table_features=0,
                vocabulary=0, text_length=0, text_mean=False, branches=BRANCHES, table_head=False, other_images=False, dropout=0.0)


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        return torch.cat([x, y], 1)


class Transition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)


class DenseFeatures(nn.Module):
    """The dense branch: image -> {2: C2, 3: C3, 4: C4, 5: C5}."""

    def __init__(self, size, in_channels):
        super().__init__()
        initial, growth, blocks, self.large_stem = SIZES[size][:4]
        self.conv0 = nn.Conv2d(in_channels, initial, 7 if self.large_stem else 3, 2, 3 if self.large_stem else 1, bias=False)
        self.norm0 = nn.BatchNorm2d(initial)
        channels, self.channels = initial, {}
        for b, count in enumerate(blocks, 1):
            layers = nn.Sequential()
            for i in range(1, count + 1):
                layers.add_module(f"denselayer{i}", DenseLayer(channels, growth))
                channels += growth
            self.add_module(f"denseblock{b}", layers)
            self.channels[b + 1] = channels
            if b < 4:
                self.add_module(f"transition{b}", Transition(channels))
                channels //= 2
        self.norm5 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = F.relu(self.norm0(self.conv0(x)))
        if self.large_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        maps = {}
        for b in range(1, 5):
            x = getattr(self, f"denseblock{b}")(x)
            if b == 4:
                maps[5] = F.relu(self.norm5(x))
            else:
                transition = getattr(self, f"transition{b}")
                maps[b + 1] = F.relu(transition.norm(x))
                x = F.avg_pool2d(transition.conv(maps[b + 1]), 2)
        return maps


class DenseNet(nn.Module):
    """The plain classifier; `densenet121` is torchvision's network of that name."""

    def __init__(self, size="densenet121", in_channels=3, labels=1000):
        super().__init__()
        self.features = DenseFeatures(size, in_channels)
        self.classifier = nn.Linear(self.features.channels[5], labels)
        initialize(self)

    def forward(self, image):
        return self.classifier(self.features(image)[5].mean((2, 3)))


class Pyramid(nn.Module):
    def __init__(self, channels, width, upsample, align_corners):
        super().__init__()
        for i in range(2, 6):
            self.add_module(f"lateral{i}", nn.Conv2d(channels[i], width, 1))
            self.add_module(f"smooth{i}", nn.Conv2d(width, width, 3, padding=1))
        self.resize = {"mode": upsample}
        if upsample == "bilinear":
            self.resize["align_corners"] = align_corners

    def forward(self, maps):
        levels, t = {}, None
        for i in (5, 4, 3, 2):
            lateral = getattr(self, f"lateral{i}")(maps[i])
            t = lateral if t is None else lateral + F.interpolate(t, lateral.shape[2:], **self.resize)
            levels[i] = F.relu(getattr(self, f"smooth{i}")(t))
        return levels


def position_code(height, width, dim, like):
    """[height * width, dim], see medfusionnet.md."""
    quarter = dim // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) * 32 / height)[:, None] * frequency
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) * 32 / width)[:, None] * frequency
    y = torch.cat([y.sin(), y.cos()], 1)[:, None].expand(height, width, -1)
    x = torch.cat([x.sin(), x.cos()], 1)[None].expand(height, width, -1)
    return torch.cat([y, x], 2).reshape(height * width, dim).to(like)


class ImageTokens(nn.Module):
    def __init__(self, channels, levels, dim, other_images):
        super().__init__()
        self.levels = levels
        if other_images:
            self.other_embedding = nn.Parameter(torch.empty(1, dim))
        for i in levels:
            self.add_module(f"projection{i}", nn.Linear(channels[i], dim))
        self.level_embedding = nn.Parameter(torch.empty(len(levels), dim))
        self.codes = {}  # position codes by size, dtype and device

    def forward(self, maps, other=False):
        tokens = []
        for n, i in enumerate(self.levels):
            x = getattr(self, f"projection{i}")(maps[i].flatten(2).transpose(1, 2))
            x = x + self.level_embedding[n] + self.code(*maps[i].shape[2:], x)
            tokens.append(x + self.other_embedding if other else x)
        return torch.cat(tokens, 1)

    def code(self, height, width, x):
        key = (height, width, x.dtype, x.device)
        if key not in self.codes:
            self.codes[key] = position_code(height, width, x.shape[-1], x)
        return self.codes[key]


class TableTokens(nn.Module):
    def __init__(self, features, dim):
        super().__init__()
        for name in ("weight", "bias", "missing"):
            setattr(self, name, nn.Parameter(torch.empty(features, dim)))

    def forward(self, table):  # [B, T], NaN: missing
        known = ~torch.isnan(table)[..., None]
        value = torch.nan_to_num(table)[..., None]
        return torch.where(known, value * self.weight, self.missing) + self.bias


class TextTokens(nn.Module):
    def __init__(self, vocabulary, length, dim):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.empty(length, dim))

    def forward(self, text):  # [B, W]
        return self.embedding(text) + self.position


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, visible):  # visible [B, 1, S, S]
        batch, count, dim = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out(y.transpose(1, 2).reshape(batch, count, dim))


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads, ratio, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, ratio * dim), "fc2": nn.Linear(ratio * dim, dim)})
        self.drop = nn.Dropout(dropout)

    def forward(self, x, visible):
        x = x + self.drop(self.attention(self.norm1(x), visible))
        return x + self.drop(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))


class Encoder(nn.ModuleDict):
    """`0`, `1`, .. and `norm`; computes every token, also those that nothing reads."""

    def __init__(self, dim, heads, layers, ratio, dropout):
        super().__init__({str(i): EncoderLayer(dim, heads, ratio, dropout) for i in range(layers)})
        self["norm"] = nn.LayerNorm(dim)
        self.depth = layers

    def forward(self, x, visible):
        for i in range(self.depth):
            x = self[str(i)](x, visible)
        return self["norm"](x)


class PerLabel(nn.Module):
    """h [B, L, D] -> h . weight + bias, with `shape` [.., L] leading; weight is absent without the attention branch."""

    def __init__(self, shape, dim):
        super().__init__()
        if dim:
            self.weight = nn.Parameter(torch.empty(*shape, dim))
        self.bias = nn.Parameter(torch.empty(*shape))


class MedFusionNet(nn.Module):
    def __init__(self, options):
        super().__init__()
        unknown = set(options) - set(DEFAULTS)
        if unknown:
            raise ValueError(f"unknown options {sorted(unknown)}")
        o = self.options = {**DEFAULTS, **options}
        for key, value in zip(("dim", "heads", "layers", "pyramid_channels"), SIZES[o["size"]][4:]):
            o[key] = value if o[key] is None else o[key]
        dim, labels = o["dim"], o["labels"]
        self.branches = [b for b in BRANCHES if b in o["branches"] and (o["image"] or b == "attention")]
        if not self.branches:
            raise ValueError("no branch is left")
        attention, pyramid = "attention" in self.branches, "pyramid" in self.branches
        self.drop = nn.Dropout(o["dropout"])
        if o["image"]:
            self.features = DenseFeatures(o["size"], o["in_channels"])
            channels = self.features.channels
            if pyramid:
                self.pyramid = Pyramid(channels, o["pyramid_channels"], o["upsample"], o["align_corners"])
                self.pyramid_head = nn.Linear(8 * o["pyramid_channels"], labels)
            if "dense" in self.branches:
                self.dense_head = nn.Linear(channels[5], labels)
        if attention:
            self.label_queries = nn.Parameter(torch.empty(labels, dim))
            if o["image"]:
                token_channels = {i: o["pyramid_channels"] for i in range(2, 6)} if pyramid else channels
                self.image_tokens = ImageTokens(token_channels, o["token_levels"], dim, o["other_images"])
            if o["table_features"]:
                self.table_tokens = TableTokens(o["table_features"], dim)
            if o["vocabulary"]:
                self.text_tokens = TextTokens(o["vocabulary"], o["text_length"], dim)
            self.encoder = Encoder(dim, o["heads"], o["layers"], o["mlp_ratio"], o["dropout"])
            self.attention_head = PerLabel((labels,), dim)
        if len(self.branches) > 1:
            self.gate = PerLabel((len(self.branches), labels), dim if attention else 0)
        if o["table_head"]:
            self.table_head = nn.Linear(2 * o["table_features"], labels, bias=False)
        initialize(self)

    def forward(self, image=None, table=None, text=None, image_present=None, table_present=None, selection=None,
                other=None, other_present=None):
        """image and other [B, C, H, W], table [B, T] (NaN: missing), text [B, W] ids, *_present [B] bool, selection [L, T] bool.

        Returns logits [B, L]. The image of a sample without one is zeros, the network runs on it all the same.
        """
        batch = next(x.shape[0] for x in (image, table, text) if x is not None)
        z, h, maps, levels = {}, None, None, None
        if self.options["image"]:
            both = self.features(image if other is None else torch.cat([image, other]))
            seen = self.pyramid(both) if "pyramid" in self.branches else both
            maps, levels = ({i: x[:batch] for i, x in every.items()} for every in (both, seen))
            others = None if other is None else ({i: x[batch:] for i, x in seen.items()}, other_present)
        else:
            others = None
        if "attention" in self.branches:
            h = self.encode(batch, levels, table, text, image_present, table_present, selection, others)
            z["attention"] = (h * self.attention_head.weight).sum(-1) + self.attention_head.bias
        if "dense" in self.branches:
            z["dense"] = self.dense_head(self.drop(maps[5].mean((2, 3))))
        if "pyramid" in self.branches:
            pooled = [levels[i].mean((2, 3)) for i in range(2, 6)] + [levels[i].amax((2, 3)) for i in range(2, 6)]
            z["pyramid"] = self.pyramid_head(self.drop(torch.cat(pooled, 1)))
        if len(self.branches) == 1:
            logits = z[self.branches[0]]
        else:
            logits = self.mix(torch.stack([z[b] for b in self.branches], 1), h, image_present)
        if not self.options["table_head"]:
            return logits
        missing = table.isnan()
        linear = self.table_head(torch.cat([table.masked_fill(missing, 0.0), missing.to(table)], 1))
        return logits + (linear if table_present is None else linear * table_present[:, None])

    def encode(self, batch, levels, table, text, image_present, table_present, selection, others):
        """Label tokens after the encoder, [B, L, D]."""
        labels = self.options["labels"]
        parts = [self.label_queries.expand(batch, -1, -1)]
        device = self.label_queries.device
        keys = [torch.ones(batch, labels, dtype=torch.bool, device=device)]  # which tokens of which sample may be looked at
        everyone = torch.ones(batch, dtype=torch.bool, device=device)

        def append(tokens, present):
            parts.append(tokens)
            keys.append(present.expand(batch, tokens.shape[1]))

        table_start = None
        if self.options["image"]:
            present = everyone if image_present is None else image_present
            append(self.image_tokens(levels), present[:, None])
            if others:
                maps, given = others
                append(self.image_tokens(maps, other=True), (present if given is None else present & given)[:, None])
        if self.options["table_features"]:
            table_start = sum(p.shape[1] for p in parts)
            append(self.table_tokens(table), (everyone if table_present is None else table_present)[:, None])
        if self.options["vocabulary"]:
            words, known = self.text_tokens(text), text != 0
            if self.options["text_mean"]:
                weight = known / known.sum(1, keepdim=True).clamp(min=1)
                append((words * weight[..., None]).sum(1, keepdim=True), known.any(1, keepdim=True))
            else:
                append(words, known)
        x = torch.cat(parts, 1)
        visible = torch.cat(keys, 1)[:, None, None, :].expand(-1, -1, x.shape[1], -1)
        if selection is not None and table_start is not None:
            pairs = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=device)
            pairs[:labels, table_start:table_start + selection.shape[1]] = selection
            pairs[table_start:table_start + selection.shape[1], :labels] = selection.T
            visible = visible & pairs
        return self.encoder(x, visible)[:, :labels]

    def mix(self, z, h, image_present):  # z [B, N, L]
        score = self.gate.bias.expand_as(z)
        if h is not None:
            score = score + torch.einsum("bld,nld->bnl", h, self.gate.weight)
        if image_present is None:
            return (score.softmax(1) * z).sum(1)
        needs_image = torch.tensor([b != "attention" for b in self.branches], device=z.device)
        hidden = (needs_image[None, :] & ~image_present[:, None])[..., None].expand_as(z)
        weight = torch.nan_to_num(score.masked_fill(hidden, -math.inf).softmax(1))  # nothing to see: logit 0
        return (weight * torch.where(hidden, 0.0, z)).sum(1)


def initialize(module):
    """The starting values of medfusionnet.md; norms keep PyTorch's ones and zeros."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
        elif isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
        if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None:
            nn.init.zeros_(m.bias)
    for name, p in module.named_parameters():
        if name in ("dense_head.weight", "pyramid_head.weight"):
            nn.init.normal_(p, std=0.01)
        elif name == "table_head.weight":
            nn.init.zeros_(p)
        elif name == "table_tokens.weight":
            nn.init.normal_(p, std=0.2)
        elif name in ("label_queries", "attention_head.weight") or name.startswith(("image_tokens.level", "image_tokens.other", "table_tokens", "text_tokens")):
            nn.init.normal_(p, std=0.02)
        elif name == "attention_head.bias" or name.startswith("gate."):
            nn.init.zeros_(p)
