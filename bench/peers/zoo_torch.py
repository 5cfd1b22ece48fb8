"""The networks of models/ beside DenseNet and MedFusionNet, in PyTorch, with the parameter names of torchvision (ResNet) and of
timm (the others), for fixtures and for runs side by side. Written from the papers and from the published layouts of parameters.

  build(name, channels, labels): "resnet18", "resnet50", "efficientnet_lite0", "convnext_tiny", "vit_small"
"""

import collections
import math

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """A block of ResNet (He et al. 2016): two 3x3 convolutions, or 1x1, 3x3, 1x1 with the stride in the 3x3 (torchvision's v1.5)."""

    def __init__(self, channels, width, stride, bottleneck):
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        out = 4 * width if bottleneck else width
        self.count, before = len(kernels), channels
        for i, kernel in enumerate(kernels, 1):
            after = out if i == self.count else width
            own = stride if i == (2 if bottleneck else 1) else 1
            self.add_module(f"conv{i}", nn.Conv2d(before, after, kernel, own, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
            before = after
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.out = out

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, channels, labels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        now = 64
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                layers.append(Residual(now, 64 << stage, 2 if stage and not i else 1, bottleneck))
                now = layers[-1].out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(now, labels)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Same(nn.Conv2d):
    """Pads as TensorFlow does: what is odd comes after."""

    def forward(self, x):
        pads = []
        for size, kernel, stride in zip(reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride)):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class LiteBlock(nn.Module):
    """An inverted residual block of EfficientNet-Lite: no squeeze and excitation, ReLU6."""

    def __init__(self, channels, out, kernel, stride, expand):
        super().__init__()
        middle = channels * expand
        self.expands, self.skips = expand != 1, stride == 1 and channels == out
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle, 1e-3, 0.01)
            self.conv_dw, self.bn2 = Same(middle, middle, kernel, stride, groups=middle, bias=False), nn.BatchNorm2d(middle, 1e-3, 0.01)
            self.conv_pwl, self.bn3 = nn.Conv2d(middle, out, 1, bias=False), nn.BatchNorm2d(out, 1e-3, 0.01)
        else:
            self.conv_dw, self.bn1 = Same(middle, middle, kernel, stride, groups=middle, bias=False), nn.BatchNorm2d(middle, 1e-3, 0.01)
            self.conv_pw, self.bn2 = nn.Conv2d(middle, out, 1, bias=False), nn.BatchNorm2d(out, 1e-3, 0.01)

    def forward(self, x):
        if self.expands:
            y = F.relu6(self.bn1(self.conv_pw(x)))
            y = self.bn3(self.conv_pwl(F.relu6(self.bn2(self.conv_dw(y)))))
        else:
            y = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))
        return x + y if self.skips else y


LITE_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))


class EfficientNetLite0(nn.Module):
    """Without stochastic depth and dropout, which a comparison of values does not want."""

    def __init__(self, channels, labels):
        super().__init__()
        self.conv_stem, self.bn1 = Same(channels, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3, 0.01)
        stages, now = [], 32
        for count, kernel, stride, expand, out in LITE_STAGES:
            blocks = [LiteBlock(now if i == 0 else out, out, kernel, stride if i == 0 else 1, expand) for i in range(count)]
            stages.append(nn.Sequential(*blocks))
            now = out
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3, 0.01)
        self.classifier = nn.Linear(1280, labels)

    def forward(self, x):
        x = self.blocks(F.relu6(self.bn1(self.conv_stem(x))))
        return self.classifier(F.relu6(self.bn2(self.conv_head(x))).mean((2, 3)))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))
        self.conv_dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x):
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtStage(nn.Module):
    def __init__(self, before, dim, count, downsamples):
        super().__init__()
        if downsamples:
            self.downsample = nn.Sequential(ChannelNorm(before, 1e-6), nn.Conv2d(before, dim, 2, 2))
        self.blocks = nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(count)))

    def forward(self, x):
        return self.blocks(self.downsample(x) if hasattr(self, "downsample") else x)


class ConvNeXtTiny(nn.Module):
    """Liu et al. 2022, without stochastic depth."""

    def __init__(self, channels, labels):
        super().__init__()
        dims, counts = (96, 192, 384, 768), (3, 3, 9, 3)
        self.stem = nn.Sequential(nn.Conv2d(channels, dims[0], 4, 4), ChannelNorm(dims[0], 1e-6))
        self.stages = nn.Sequential(*(ConvNeXtStage(dims[max(i - 1, 0)], dims[i], counts[i], i > 0) for i in range(4)))
        self.head = nn.Sequential(collections.OrderedDict(norm=nn.LayerNorm(dims[3], 1e-6), fc=nn.Linear(dims[3], labels)))

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class ViTAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ViTBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, 1e-6), ViTAttention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, 1e-6), Mlp(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, channels, dim):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, 16, 16)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViTSmall(nn.Module):
    """DeiT-S (Touvron et al. 2021): patches of 16, 12 blocks of width 384 and 6 heads; `image_size` decides the place embedding."""

    def __init__(self, channels, labels, image_size=224):
        super().__init__()
        dim, count = 384, (image_size // 16) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, count + 1, dim) * 0.02)
        self.patch_embed = PatchEmbed(channels, dim)
        self.blocks = nn.Sequential(*(ViTBlock(dim, 6) for _ in range(12)))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.head = nn.Linear(dim, labels)

    def forward(self, x):
        side, own = x.shape[-1] // 16, math.isqrt(self.pos_embed.shape[1] - 1)
        places = self.pos_embed
        if side != own:  # as timm does
            grid = places[:, 1:].reshape(1, own, own, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True)
            places = torch.cat([places[:, :1], grid.flatten(2).transpose(1, 2)], 1)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + places
        return self.head(self.norm(self.blocks(x))[:, 0])


NETWORKS = {
    "resnet18": lambda channels, labels: ResNet((2, 2, 2, 2), False, channels, labels),
    "resnet50": lambda channels, labels: ResNet((3, 4, 6, 3), True, channels, labels),
    "efficientnet_lite0": EfficientNetLite0,
    "convnext_tiny": ConvNeXtTiny,
    "vit_small": ViTSmall,
}


def build(name, channels, labels):
    return NETWORKS[name](channels, labels)
