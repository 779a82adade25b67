#!/usr/bin/env python3
"""Published models with real inputs and the outputs that onnxruntime gives, as NAME.onnx with NAME.npz.

    Benchmarks/real_models.py DIR [--only magika,rapidocr_rec]

Needs numpy, onnxruntime and pillow. The models come out of Python wheels on PyPI (magika 1.0.3 and
rapidocr-onnxruntime 1.4.4, both Apache-2.0), checked by SHA-256; the wheels themselves are not installed. They have
dynamic shapes; the arrays here fix them, and `apus run NAME.onnx --expected NAME.npz` takes the shapes from the arrays.
"""

import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime as ort

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEXT = "Hello, world! 42"
OCR = "rapidocr_onnxruntime/models/"
# Name: wheel, file in it, SHA-256 of the file.
MODELS = {
    "magika": (
        "magika==1.0.3", "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"),
    "rapidocr_cls": (
        "rapidocr-onnxruntime==1.4.4", OCR + "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"),
    "rapidocr_rec": (
        "rapidocr-onnxruntime==1.4.4", OCR + "ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"),
    "rapidocr_det": (
        "rapidocr-onnxruntime==1.4.4", OCR + "ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9"),
}


def fetch(name, folder):
    """The path of the model, taken from its wheel unless it is there."""
    requirement, member, digest = MODELS[name]
    path = os.path.join(folder, name + ".onnx")

    def matches():
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest() == digest

    if matches():
        return path
    package, version = requirement.split("==")
    wheels = os.path.join(folder, ".wheels")
    pattern = os.path.join(wheels, f"{package.replace('-', '_')}-{version}-*.whl")
    if not glob.glob(pattern):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "--platform", "any", "--dest", wheels, requirement], check=True)
    with zipfile.ZipFile(glob.glob(pattern)[0]) as wheel, wheel.open(member) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
    if not matches():
        sys.exit(f"real_models: {member} of {requirement} is not the expected file (SHA-256 differs)")
    return path


def magika_input():
    """The bytes of this file, as the model's configuration says: 1024 from each end, padded with 256."""
    with open(os.path.abspath(__file__), "rb") as f:
        data = f.read()
    begin, end = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    values = list(begin) + [256] * (1024 - len(begin)) + [256] * (1024 - len(end)) + list(end)
    return np.array([values], np.int32)


def rendered(width, height, size, at):
    """A line of text, black on white, as an array [height, width, 3] of 0…255."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text(at, TEXT, fill="black", font=ImageFont.load_default(size))
    return np.asarray(image, np.float32)


def planes(image, mean, deviation):
    """[height, width, 3] to [1, 3, height, width], normalised."""
    scaled = (image / 255 - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def inputs_of(name):
    half = [0.5, 0.5, 0.5]
    if name == "magika":
        return {"bytes": magika_input()}
    if name == "rapidocr_cls":
        return {"x": planes(rendered(192, 48, 22, (6, 10)), half, half)}
    if name == "rapidocr_rec":
        return {"x": planes(rendered(320, 48, 36, (6, 2)), half, half)}
    # Sides are multiples of 32; the normalisation is that of ImageNet.
    return {"x": planes(rendered(320, 160, 36, (16, 56)), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}


def sense(name, session, outputs):
    """What the outputs say, for a person to check."""
    y = outputs[0]
    if name == "magika":
        return f"type {int(y[0].argmax())} with score {y[0].max():.3f}"
    if name == "rapidocr_cls":
        return f"turned by {[0, 180][int(y[0].argmax())]} degrees with score {y[0].max():.3f}"
    if name == "rapidocr_rec":
        characters = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
        best = y[0].argmax(1)
        # Connectionist temporal classification: repeats are one character, class 0 is none.
        read = "".join(characters[c] for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1]))
        return f"reads {read!r} (rendered {TEXT!r})"
    rows, columns = np.nonzero(y[0, 0] > 0.3)
    return f"text in rows {rows.min()} to {rows.max()}, columns {columns.min()} to {columns.max()}" if len(rows) else "no text"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--only", default="", help="names, separated by commas: " + ", ".join(MODELS))
    a = parser.parse_args()
    names = [n for n in a.only.split(",") if n] or list(MODELS)
    for n in names:
        if n not in MODELS:
            parser.error(f"no model {n}; there are {', '.join(MODELS)}")
    os.makedirs(a.dir, exist_ok=True)
    for name in names:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(fetch(name, a.dir), options, providers=["CPUExecutionProvider"])
        inputs = inputs_of(name)
        outputs = session.run(None, inputs)
        arrays = {"in_" + k: v for k, v in inputs.items()}
        arrays.update({"out_" + o.name: v for o, v in zip(session.get_outputs(), outputs)})
        np.savez(os.path.join(a.dir, name + ".npz"), **arrays)
        shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in arrays.items())
        print(f"{name}: {shapes}: {sense(name, session, outputs)}", flush=True)


if __name__ == "__main__":
    main()
