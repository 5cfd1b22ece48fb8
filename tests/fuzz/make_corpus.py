#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: python3 tests/fuzz/make_corpus.py FOLDER makes FOLDER/TARGET/seed-NAME, and the
words that libFuzzer puts into inputs, FOLDER/TARGET.dict.

Small valid files of each kind, and some that readers refuse. The same files each time; what a fuzzer found beside them
stays. Images and archives of tests/fixtures are seeds as well.
"""

import gzip
import io
import json
import pathlib
import re
import struct
import sys
import zipfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def csv_seeds():
    tables = {
        "plain": "id,patient,age,sex,finding\na,1,54,F,1\nb,1,55.5,M,0\nc,2,,F,\nd,3,NA,M,-1\n",
        "quoted": '\ufeff"na""me";"b"\r\n"x;y";"line\nend"\r\n1,5;2,5\r\n',
        "numbers": "y\tn\tp\n0\t1.234,5\t5 %\n1\t2.345,6\t7 %\nyes\t1'000\t\nfalse\t-inf\t1e308\n",
        "classes": "class,text,id\nred,two words,1\nblue,\u80ba\u708e,2\nred,,3\n,x,4\n",
        "dates": "y,day,size\n1,2001-01-31,<0.5\n0,31.01.2001,58Y\n1,20010131,5 mg\n0,1/31/2001,7\n",
        "blank": "a,b\n\n , \n1,2\n\r3,4\r",
        "ragged": "a,b\n1\n",
        "stray": 'a,b\n1"2,3\n',
        "zero": "a,b\n1,\0\n",
        "twice": "a,a\n1,2\n",
        "many": "y," + ",".join(f"c{i}" for i in range(12)) + "\n"
        + "".join(f"{row % 2}," + ",".join(str(row * i % 7) for i in range(12)) + "\n" for row in range(12)),
    }
    seeds = {}
    for number, (name, text) in enumerate(tables.items()):
        for choice in (0x80 + number % 4, 0x20 * (number % 4) + number % 8, 0x2A):
            seeds[f"{name}-{choice:02x}"] = bytes([choice]) + text.encode()
    packed = gzip.compress(tables["plain"].encode(), mtime=0)
    seeds["gzip"] = b"\x80" + packed
    seeds["gzip-cut"] = b"\x80" + packed[:-9]
    return seeds


def png(width, height, depth, color, rows, *extra, interlace=0):
    """A PNG whose rows are bytes without their filters; `extra` are chunks before the pixels."""
    pixels = b"".join(bytes([place % 5]) + row for place, row in enumerate(rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        file += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return file


def exif(orientation, little=True):
    order = "<" if little else ">"
    return (b"II*\0" if little else b"MM\0*") + struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)


def image_seeds():
    seeds = {path.name: path.read_bytes() for path in sorted((ROOT / "tests/fixtures/images").iterdir())}
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            width, height = 9, 6
            length = (width * depth * channels[color] + 7) // 8
            rows = [bytes((x * 31 + y * 17) % 251 for x in range(length)) for y in range(height)]
            palette = [(b"PLTE", bytes(range(48))), (b"tRNS", bytes(range(0, 160, 10)))] if color == 3 else []
            seeds[f"made-{color}-{depth}.png"] = png(width, height, depth, color, rows, *palette)
    seeds["key.png"] = png(2, 2, 8, 2, [b"abcdef"] * 2, (b"tRNS", b"\0a\0b\0c"))
    seeds["turned.png"] = png(3, 2, 8, 0, [b"abc"] * 2, (b"eXIf", exif(6)))
    seeds["turned-back.png"] = png(3, 2, 8, 0, [b"abc"] * 2, (b"eXIf", exif(8, little=False)))
    passes = [b"a", b"b", b"cc", b"dd", b"eeee", b"ffff", b"gggg", b"hhhhhhhh", b"iiiiiiii"]
    seeds["interlaced.png"] = png(8, 4, 8, 0, passes, interlace=1)
    seeds["huge.png"] = png(60000, 60000, 8, 0, [b"abc"])
    jpeg = seeds["rgb.jpg"]
    turn = b"Exif\0\0" + exif(6)
    seeds["turned.jpg"] = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(turn) + 2) + turn + jpeg[2:]
    table = jpeg.index(b"\xff\xc4")
    seeds["codes.jpg"] = jpeg[:table + 5] + b"\xff" * 16 + jpeg[table + 21:]
    seeds["empty-chunk.png"] = png(3, 2, 8, 0, [b"abc"] * 2, (b"IDAT", b""))
    seeds["empty"] = b""
    seeds["page.png"] = b"<!DOCTYPE html><html>not found</html>"
    return seeds


def npy(kind, shape, body, order="False", version=1):
    header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 16) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + body


def archive(arrays, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for name, body in arrays.items():
            zipped.writestr(zipfile.ZipInfo(name + ".npy"), body, compression)
    return file.getvalue()


def npz_seeds():
    seeds = {path.name: path.read_bytes() for path in sorted((ROOT / "tests/fixtures/medmnist").iterdir())}
    sizes = {"|u1": 1, "|b1": 1, "|i1": 1, "<u2": 2, ">i2": 2, "<i4": 4, ">u4": 4, "<i8": 8, "<u8": 8, "<f4": 4, ">f8": 8}
    for number, (kind, size) in enumerate(sizes.items()):
        body = bytes(range(6 * size))
        order = "True" if number % 3 == 0 else "False"
        seeds[f"kind-{kind[1:]}.npz"] = archive({"a": npy(kind, "(2, 3)", body, order, 1 + number % 3)})
    seeds["scalar.npz"] = archive({"a": npy("<f4", "()", b"\0\0\x80\x3f")})
    seeds["none.npz"] = archive({"a": npy("<f4", "(0, 5)", b"")}, zipfile.ZIP_DEFLATED)
    seeds["large.npz"] = archive({"a": npy("<f8", "(1048576, 1048576, 1048576)", b"\0" * 8)})
    parts = {}
    for part in ("train", "val", "test"):
        parts[part + "_images"] = npy("|u1", "(3, 2, 2)", bytes(range(12)))
        parts[part + "_labels"] = npy("<i8", "(3, 1)", struct.pack("<qqq", 0, 1, 2))
    seeds["medmnist.npz"] = archive(parts, zipfile.ZIP_DEFLATED)
    return seeds


def safetensors(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def safetensors_seeds():
    sizes = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
    header, place = {"__metadata__": {"format": "pt", "checksum": "0"}}, 0
    for kind, size in sizes.items():
        header[kind.lower()] = {"dtype": kind, "shape": [2, 1], "data_offsets": [place, place + 2 * size]}
        place += 2 * size
    seeds = {"all": safetensors(header, bytes([1]) * place)}
    header["__metadata__"]["medfusion.checksum"] = "0" * 16
    text = json.dumps(header, separators=(",", ":")).encode()
    seeds["checksum"] = safetensors(text, bytes([1]) * place)  # the target's mutator sets it right
    for kind, size in sizes.items():
        entry = {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}
        seeds[kind] = safetensors({"a": entry}, bytes([0, 1]) * size)
    seeds["none"] = safetensors({}, b"")
    seeds["number"] = safetensors(b'{"a":1e309}', b"")
    seeds["scalar"] = safetensors({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, b"\0" * 4)
    seeds["empty"] = safetensors({"a": {"dtype": "F32", "shape": [0, 7], "data_offsets": [0, 0]}}, b"")
    seeds["twice"] = safetensors(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":0}', b"\0")
    seeds["deep"] = safetensors(b"[" * 2000 + b"]" * 2000, b"")
    seeds["deep-dtype"] = safetensors(b'{"a":{"dtype":' + b"[" * 1500 + b"]" * 1500 + b"}}", b"")
    seeds["long-header"] = struct.pack("<Q", 1 << 60) + b"{}"
    return seeds


def config_seeds():
    seeds = {path.name: path.read_bytes() for path in sorted((ROOT / "tools/configs").glob("*.toml"))}
    seeds["set"] = b'seed = 3\n[data]\nlabels = ["a", "b"]\n\0data.labels=x,y\0train.epochs = 5\0model.size="tiny"\0threads=x'
    seeds["dotted"] = b"model.branches.dense = false\nmodel.dropout = 1e-1\n[train]\nlearning_rate = +inf\n"
    seeds["types"] = b"seed = 0x7fff_ffff_ffff_ffff\n[data]\nroot = '''a\nb'''\nfile = \"\\u00e9\\n\"\nlabels = [[1], {a = 1}]\n"
    seeds["dates"] = b"seed = 1979-05-27T07:32:00Z\nthreads = 07:32:00\n"
    seeds["wrong"] = b"[data\n"
    seeds["greek"] = "seed = 2\n\u03bb = 1\n".encode()
    seeds["lines"] = 'data.root = """\\\n  \u03bb\u3042 """\n'.encode()
    seeds["brackets"] = b"[[[\n"
    seeds["deep"] = b"seed = " + b"[" * 300 + b"]" * 300
    return seeds


def preprocessing():
    columns = [
        {"name": "age", "mean": 54.2, "scale": 16.8, "log": True, "fill": 50.0, "draws": [float(i) for i in range(8)]},
        {"name": "sex", "categories": ["F", "M"], "fill": 1.0, "draws": [0.0, 1.0] * 4},
        {"name": "view", "categories": ["AP", "LL", "PA"], "fill": 2.0},
        {"name": "price", "mean": 1.5, "scale": 0.0, "decimal": ",", "fill": 0.0},
    ]
    return {
        "table": {"columns": columns, "impute": "median"},
        "features": {"features": ["age", "view=PA"], "discretized": True, "cuts": [[1.0, 2.0], [0.5]], "mask": [[0], [0, 1]]},
        "text": {"max_length": 4, "words": ["clear", "lungs", "\u80ba"], "rules": "unicode"},
        "thresholds": [{"value": 0.5}, {"value": None, "undefined": "no positives"}],
        "calibration": [
            {"method": "temperature", "temperature": 2.0, "slope": 0.5, "intercept": 0.0, "positives": 9, "negatives": 8},
            {"method": "isotonic", "logits": [-1.0, 2.0], "probabilities": [0.1, 0.9], "positives": 9, "negatives": 8},
            {"method": "none", "positives": 1, "negatives": 8, "reason": "too few"},
        ],
        "risk": [
            {"low": 0.1, "high": 0.8, "reached": {"sensitivity": 0.95, "npv": 0.99, "ppv": None}},
            {"low": None, "high": None, "undefined": {"low": "none", "high": "none"}},
        ],
        "weights": "best",
    }


def tokenizer_seeds():
    whole = preprocessing()
    texts = ["Clear lungs, 3.5 cm.", "\u80ba\u708e", "\uff21\uff22 so\u00adft", "\u00c9T\u00c9 \u03a3\u03c2 \u0130", ""]
    tail = b"".join(b"\0" + text.encode() for text in texts) + b"\0\xf0\x9f\x98\0\xed\xa0\x80\xff\xc0\xaf"
    seeds = {"whole": json.dumps(whole).encode() + tail}
    for part in ("table", "text"):
        alone = dict(whole, calibration=[], risk=[], thresholds=[])
        alone.pop("features")
        for other in ("table", "text"):
            if other != part:
                alone[other] = None
        seeds[part] = json.dumps(alone).encode() + tail
    seeds["ascii"] = json.dumps(dict(whole, table=None, features=None, text={"max_length": 2, "words": ["a"]})).encode() + tail
    seeds["words"] = b"{}\0" + "MRI of the 2.5.1 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u0391\u03b2 it's re\u0301sume\u0301".encode()
    seeds["length"] = json.dumps(dict(whole, text={"max_length": 1 << 40, "words": ["a"]})).encode() + tail
    seeds["deep"] = b'{"table":' + b"[" * 1500 + b"]" * 1500 + b"}"
    return seeds


def schema_seeds():
    part = {"rows": 8, "patients": 7, "repeats": 0,
            "labels": {"Mass": {"known": 8, "positive": 3, "prevalence": 0.375}},
            "inputs": {"age": {"missing": 1, "mean": 54.0, "deviation": 3.5},
                       "sex": {"missing": 0, "categories": {"F": 3, "M": 5}}}}
    whole = {
        "format": "csv", "rows": 10,
        "columns": [
            {"name": "file", "role": "image"}, {"name": "Mass", "role": "label"},
            {"name": "age", "role": "input", "kind": "number", "missing": 1, "range": [1.0, 90.0], "distinct": 8,
             "coding": "(x - 54.2) / 16.8", "features": ["age"]},
            {"name": "sex", "role": "input", "kind": "category", "missing": 0,
             "categories": [{"name": "F", "rows": 3}, {"name": "M", "rows": 5}], "coding": None, "features": []},
            {"name": "day", "role": "left out", "why": "dates"}],
        "exclusive_labels": False,
        "images": {"present": 8, "looked_at": 8, "width": [32.0, 64.0], "height": [32.0, 64.0], "channels": {"1": 8},
                   "bits": {"8": 7, "16": 1}, "colored": 0, "intensity": [0.0, 1.0], "mean": [0.2, 0.6],
                   "percentile_99": None},
        "text": {"texts": 8, "empty": 0, "vocabulary": 5, "length": 16, "words": 40, "unknown": 1, "cut": 0, "longest": 9},
        "parts": {"train": part, "val": part},
    }
    seeds = {"whole": json.dumps(whole).encode()}
    seeds["tables"] = json.dumps(dict(whole, images=None, text=None, parts={})).encode()
    seeds["number"] = json.dumps(dict(whole, rows=1e308)).encode()
    seeds["early"] = json.dumps(dict(whole, parts={"train": {k: v for k, v in part.items() if k != "inputs"}})).encode()
    seeds["deep"] = b'{"format":"csv","rows":1,"columns":' + b"[" * 1500 + b"]" * 1500 + b"}"
    return seeds


def predictions_seeds():
    head = "id,patient,probability_Mass,logit_Mass,raw_Mass,target_Mass,predicted_Mass,risk_Mass"
    rows = ["a,1,0.5,0,0.4,1,1,high", "b,1,0.731059,1,0.9,0,1,intermediate", "c,2,0.268941,-1,0.1,,0,low"]
    seeds = {"whole": "\n".join([head, *rows]) + "\n"}
    seeds["early"] = "id,patient,probability_A,target_A,probability_B,target_B\nx,p,1,1,0,0\ny,q,0.25,0,1e-9,\n"
    seeds["undecided"] = "id,patient,probability_A,target_A,predicted_A,risk_A\nx,p,1,1,,\ny,q,0.25,0,1,\n"
    seeds["wrong-logit"] = "id,patient,probability_A,logit_A,target_A\nx,p,0.9,0,1\n"
    seeds["twice"] = "id,patient,probability_A,target_A\nx,p,1,1\nx,p,1,1\n"
    return {name: text.encode() for name, text in seeds.items()}


def words():
    """Of each target, the words of its format."""
    keys = re.findall(r"^\| `([^`]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    names = set()
    for maker in (tokenizer_seeds, schema_seeds, safetensors_seeds):
        names.update(re.findall(rb'"[ -!#-\[\]-~]{1,30}":?', b"".join(maker().values())))
    json_words = sorted(word.decode() for word in names) + ["null", "true", "1e309", "-1", "18446744073709551615", "\\ud800"]
    cells = ["NA", "-1", "true", "yes", "1e308", "1,5", "1.234,5", "5 %", "#N/A", '""', "\r\n", ";", "\t", "\ufeff", "\0"]
    toml = [key.split(".")[-1] for key in keys] + keys + ["[[", "]]", '"""', "'''", "inf", "nan", "0x", "1979-05-27", "\\u0000"]
    npy_words = ["'descr': ", "'fortran_order': ", "'shape': ", "True", "False", "'<f4'", "'>i8'", "|u1", "9223372036854775807"]
    jpeg = [bytes([0xFF, marker]) for marker in (*range(0xC0, 0xE3), 0xEE, 0xFE)] + [b"Exif\0\0", b"Adobe", b"II*\0", b"MM\0*"]
    texts = ["\ufeff", "\u00ad", "\u0130", "\u03c2", "\u6f22", "\ud55c", "\uff21", "\u200d", "3.5"]
    heads = ["id", "patient", "probability_", "logit_", "raw_", "target_", "predicted_", "risk_", "low", "intermediate", "high"]
    return {"csv": cells, "predictions": cells + heads, "config": toml, "npz": npy_words, "image": jpeg,
            "safetensors": json_words, "schema": json_words, "tokenizer": json_words + texts}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    makers = {"csv": csv_seeds, "image": image_seeds, "npz": npz_seeds, "safetensors": safetensors_seeds,
              "config": config_seeds, "tokenizer": tokenizer_seeds, "schema": schema_seeds,
              "predictions": predictions_seeds}
    for target, seeds in makers.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds().items():
            (folder / f"seed-{name}").write_bytes(content)
    for target, entries in words().items():
        lines = []
        for entry in entries:
            content = entry if isinstance(entry, bytes) else entry.encode()
            lines.append('"' + "".join(f"\\x{byte:02x}" for byte in content) + '"\n')
        (pathlib.Path(sys.argv[1]) / f"{target}.dict").write_text("".join(lines))


if __name__ == "__main__":
    main()
