"""The second half of scripts/demo: files in, their types out. Python's standard library only.

usage: demo.py APUS WORK ROOT [FILE …]

How a file becomes the model's input follows Magika's description of its own features: the first and last bytes of
the file without the white space around them, padded to a fixed length. The sizes come from the model's configuration.
"""

import json
import os
import struct
import subprocess
import sys

# Files of this repository, and of the demonstration itself, with the types that a person would give them.
OWN_FILES = [
    ("README.md", "markdown"),
    ("Sources/TIR/Interpreter.swift", "swift"),
    ("Examples/c/addone.c", "c"),
    ("python/apus/runtime.py", "python"),
    ("scripts/bootstrap", "shell"),
    ("Makefile", "makefile"),
    (".build/demo/content_types_kb.min.json", "json"),
    (".build/demo/model.onnx", "onnx"),
    (".build/demo/magika.so", "elf"),
]


def features(path, config):
    """The model's input for a file: `beg_size` numbers from its beginning, `end_size` from its end."""
    size = os.path.getsize(path)
    block = min(config["block_size"], size)
    pad = config["padding_token"]
    with open(path, "rb") as f:
        begin = f.read(block).lstrip()[: config["beg_size"]]
        f.seek(size - block)
        end = f.read(block).rstrip()[-config["end_size"]:]
    head = list(begin) + [pad] * (config["beg_size"] - len(begin))
    tail = [pad] * (config["end_size"] - len(end)) + list(end)
    return head + tail


def write_npy(path, values):
    """int32, shape (1, n), format version 1.0."""
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1, %d), }" % len(values)
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii"))
        f.write(struct.pack("<%di" % len(values), *values))


def read_npy(path):
    """The float32 values of a file."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:6] != b"\x93NUMPY":
        raise SystemExit(f"demo: {path} is no .npy file")
    form, start = ("<H", 10) if data[6] == 1 else ("<I", 12)
    start += struct.unpack_from(form, data, 8)[0]
    if b"'<f4'" not in data[:start]:
        raise SystemExit(f"demo: {path} holds no float32 values")
    return struct.unpack("<%df" % ((len(data) - start) // 4), data[start:])


def main():
    apus, work, root, *files = sys.argv[1:]
    with open(os.path.join(work, "config.min.json"), encoding="utf-8") as f:
        config = json.load(f)
    with open(os.path.join(work, "content_types_kb.min.json"), encoding="utf-8") as f:
        knowledge = json.load(f)
    labels = config["target_labels_space"]
    listed = [(f, None) for f in files] or [(os.path.join(root, f), label) for f, label in OWN_FILES]
    library = os.path.join(work, "magika.so")
    x, y = os.path.join(work, "x.npy"), os.path.join(work, "y.npy")
    wrong = 0

    print(f"\n{'file':40s} {'type':12s} {'score':>6s}")
    for path, expected in listed:
        shown = os.path.relpath(path, root) if expected else path
        if not os.path.isfile(path):
            print(f"{shown:40s} no such file")
            wrong += 1
            continue
        if os.path.getsize(path) < config["min_file_size_for_dl"]:
            print(f"{shown:40s} too small for the model")
            continue
        write_npy(x, features(path, config))
        command = [apus, "run", library, "--input", f"bytes={x}", "--output", y]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode != 0:
            raise SystemExit(f"demo: {' '.join(command)}\n{run.stdout}")
        scores = read_npy(y)
        if len(scores) != len(labels):
            raise SystemExit(f"demo: the model gave {len(scores)} scores for {len(labels)} types")
        best = max(range(len(scores)), key=scores.__getitem__)
        # Also false for NaN.
        if not 0.999 < sum(scores) < 1.001:
            raise SystemExit(f"demo: the scores of {shown} add up to {sum(scores)}, not to 1")
        label = labels[best]
        sure = scores[best] >= config["thresholds"].get(label, config["medium_confidence_threshold"])
        about = knowledge.get(label, {}).get("description") or ""
        note = "" if sure else " (unsure)"
        if expected and label != expected:
            note += f"  <- is {expected}"
            wrong += 1
        print(f"{shown:40s} {label:12s} {scores[best]:6.3f}  {about}{note}")

    if not files:
        print(f"\n{len(listed) - wrong} of {len(listed)} named rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
