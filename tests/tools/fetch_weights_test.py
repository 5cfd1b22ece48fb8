"""Tests of tools/fetch_weights.py on states that it makes itself, as torch.save writes them, without PyTorch.

  python3 tests/tools/fetch_weights_test.py
"""

import contextlib
import io
import json
import pathlib
import pickle
import struct
import sys
import tempfile
import types
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import fetch_weights


class FakeTensor:
    """Pickles as a tensor of PyTorch does: values of a storage, from an offset on, with shape and strides."""

    def __init__(self, key, shape, strides, offset=0, storage="FloatStorage"):
        self.key, self.shape, self.strides, self.offset, self.storage = key, shape, strides, offset, storage

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (StorageKey(self), self.offset, self.shape, self.strides, False, {})


class StorageKey:
    def __init__(self, tensor):
        self.key, self.storage = tensor.key, tensor.storage


class FakePickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, value):
        if not isinstance(value, StorageKey):
            return None
        key = ("storage", getattr(sys.modules["torch"], value.storage), value.key, "cpu", 99)
        return key + (None,) if self.legacy else key


def fake_torch():
    """The names that the pickles ask for, in modules of those names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("only its name is pickled")
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils


def pickled(value, legacy=False):
    buffer = io.BytesIO()
    pickler = FakePickler(buffer, 2)
    pickler.legacy = legacy
    pickler.dump(value)
    return buffer.getvalue()


def zip_state(state, storages):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(state))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return buffer.getvalue()


def legacy_state(state, storages):
    parts = [pickled(v) for v in (fetch_weights.LEGACY_MAGIC, fetch_weights.LEGACY_PROTOCOL, {"little_endian": True})]
    parts += [pickled(state, legacy=True), pickled(list(storages))]
    parts += [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    return b"".join(parts)


FLOATS = struct.pack("<6f", 1, 2, 3, 4, 5, 6)


class FetchWeights(unittest.TestCase):
    def setUp(self):
        fake_torch()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_on(self, data, *more, name="state.pth"):
        """The exit code, the file that was written as (header, values by name), and what was said."""
        (self.folder / name).write_bytes(data)
        out = self.folder / "out.safetensors"
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = fetch_weights.main([str(self.folder / name), "--out", str(out), *more])
            except SystemExit as end:
                code = end.code
        if not out.exists():
            return code, None, said.getvalue()
        written = out.read_bytes()
        length = struct.unpack("<Q", written[:8])[0]
        header = json.loads(written[8:8 + length])
        values = {}
        for tensor, entry in header.items():
            if tensor != "__metadata__":
                part = written[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]]
                values[tensor] = list(struct.unpack(f"<{len(part) // (8 if entry['dtype'] == 'I64' else 4)}{'q' if entry['dtype'] == 'I64' else 'f'}", part))
        return code, (header, values), said.getvalue()

    def test_both_formats_give_the_values_in_the_order_of_the_shape(self):
        state = {"a": FakeTensor("0", (2, 3), (3, 1)), "transposed": FakeTensor("0", (3, 2), (1, 3)), "part": FakeTensor("0", (2,), (1,), 4)}
        for data in (zip_state(state, {"0": FLOATS}), legacy_state(state, {"0": FLOATS})):
            code, (header, values), said = self.run_on(data, "--force")
            self.assertEqual(code, 0, said)
            self.assertEqual(values, {"a": [1, 2, 3, 4, 5, 6], "transposed": [1, 4, 2, 5, 3, 6], "part": [5, 6]})
            self.assertEqual(header["transposed"]["shape"], [3, 2])
            self.assertEqual(header["__metadata__"]["input"], '{"size":224,"channels":3,"normalize":"fixed",'
                             '"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}')  # as a run writes it

    def test_other_dtypes_become_f32_and_i64(self):
        state = {"half": FakeTensor("h", (2,), (1,), 0, "HalfStorage"), "brain": FakeTensor("b", (2,), (1,), 0, "BFloat16Storage"),
                 "long": FakeTensor("l", (), (), 0, "LongStorage"), "bn.num_batches_tracked": FakeTensor("l", (), (), 0, "LongStorage")}
        storages = {"h": struct.pack("<2e", 1.5, -2), "b": struct.pack("<2H", 0x3FC0, 0xC000), "l": struct.pack("<q", 7)}
        _, (header, values), _ = self.run_on(zip_state({"state_dict": state, "epoch": 3}, storages))
        self.assertEqual(values, {"half": [1.5, -2], "brain": [1.5, -2], "long": [7]})

    def test_a_wheel_with_one_state_and_a_safetensors_file_are_read(self):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as wheel:
            wheel.writestr("package/__init__.py", "")
            wheel.writestr("package/state.pth", zip_state({"a": FakeTensor("0", (6,), (1,))}, {"0": FLOATS}))
        code, (_, values), said = self.run_on(buffer.getvalue())
        self.assertEqual((code, values), (0, {"a": [1, 2, 3, 4, 5, 6]}), said)
        (self.folder / "out.safetensors").rename(self.folder / "first.safetensors")
        code, (header, again), _ = self.run_on((self.folder / "first.safetensors").read_bytes(), "--mean", "0.5", "--std", "0.25", name="b")
        self.assertEqual(again, values)

    def test_names_of_efficientnet_lite0_become_those_of_timm(self):
        names = {"_conv_stem.weight": "conv_stem.weight", "_bn0.bias": "bn1.bias", "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
                 "_blocks.0._bn2.running_var": "blocks.0.0.bn2.running_var", "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
                 "_blocks.15._bn2.weight": "blocks.6.0.bn3.weight", "_conv_head.weight": "conv_head.weight", "_fc.bias": "classifier.bias"}
        state = {name: FakeTensor("0", (6,), (1,)) for name in names}
        _, (_, values), _ = self.run_on(zip_state(state, {"0": FLOATS}))
        self.assertEqual(set(values), set(names.values()))
        state["_blocks.16._bn2.weight"] = FakeTensor("0", (6,), (1,))
        code, _, said = self.run_on(zip_state(state, {"0": FLOATS}), "--force")
        self.assertEqual(code, 2)
        self.assertIn("tensor _blocks.16._bn2.weight is none of EfficientNet-Lite0", said)

    def test_what_is_no_state_is_refused_in_a_line_and_runs_nothing(self):
        class Evil:
            def __reduce__(self):
                return (pathlib.Path.touch, (pathlib.Path(marker),))
        marker = self.folder / "ran"
        short = legacy_state({"a": FakeTensor("0", (6,), (1,))}, {"0": FLOATS})[:-4]
        cases = [(b"# text", "expected a file of torch.save"), (b"", "expected a file of torch.save"),
                 (zip_state({"a": Evil()}, {}), "expected a dictionary of tensors"), (zip_state([1], {}), "expected a dictionary of tensors"),
                 (zip_state({"a": FakeTensor("0", (7,), (1,))}, {"0": FLOATS}), "does not lie within its 24 bytes"),
                 (zip_state({"a": FakeTensor("0", (2,), (-1,))}, {"0": FLOATS}), "does not lie within"),
                 (zip_state({"a": FakeTensor("1", (6,), (1,))}, {"0": FLOATS}), "archive/data/1"), (short, "ends within its tensors"),
                 (struct.pack("<Q", 5) + b"{\"a\":", "Expecting value")]
        for data, expected in cases:
            code, written, said = self.run_on(data)
            self.assertEqual((code, written), (2, None), said)
            self.assertIn(expected, said)
            self.assertEqual(said.count("\n"), 1)
        self.assertFalse(marker.exists())

    def test_an_existing_file_is_kept(self):
        (self.folder / "out.safetensors").write_bytes(b"")
        code, _, said = self.run_on_kept(zip_state({"a": FakeTensor("0", (6,), (1,))}, {"0": FLOATS}))
        self.assertEqual(code, 2)
        self.assertIn("--force replaces it", said)

    def run_on_kept(self, data):
        (self.folder / "state.pth").write_bytes(data)
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                fetch_weights.main([str(self.folder / "state.pth"), "--out", str(self.folder / "out.safetensors")])
            except SystemExit as end:
                self.assertEqual((self.folder / "out.safetensors").read_bytes(), b"")
                return end.code, None, said.getvalue()
        return 0, None, said.getvalue()


if __name__ == "__main__":
    unittest.main()
