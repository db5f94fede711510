"""Train, sample, mix styles: python examples/train_sample_mix.py [OUT] [MINUTES] [SCANS]; demo subjects without SCANS.

Each `# %%` starts a cell in VS Code, Spyder and Jupytext. The images are synthetic: not for diagnosis.
"""

import sys
from pathlib import Path

import numpy as np

from stylescan import mix_styles, prepare_scans, sample_images, train_generator, write_picture, write_population

given = [] if "ipykernel" in sys.modules else sys.argv[1:]  # a notebook's own arguments are not ours
out, minutes, scans, *_ = [*given, *["library-demo", "2", ""][len(given) :]]
out = Path(out)

# %% Scans: a folder or a CSV list; here 30 virtual subjects (needs nilearn, fetches nothing)
scans = scans or write_population(out / "scans", subjects=30, slices_per_subject=12, resolution=64)
data = prepare_scans(scans, out / "data", resolution=64, workers=1, notice=print)

# %% Training: run this cell again to continue where it was stopped
quick = {"train.score_kimg": None}  # no scores on the way: in minutes, the last generator is the best
run = train_generator(data, out / "run", minutes=float(minutes), settings=quick, resume=True, notice=print)
snapshot = run.snapshot()

# %% Samples: a row a class
classes = data.class_names or [None]
rows = [sample_images(snapshot, range(8), labels=name) for name in classes]
print(write_picture(out / "samples.png", np.stack(rows), snapshot, overwrite=True))

# %% Style mixing: coarse styles from the first row, all finer ones from the first column
sources, targets = range(100, 106), range(4)
kind = {"labels": classes[0], "noise": "none"}
top, left = sample_images(snapshot, sources, **kind), sample_images(snapshot, targets, **kind)
mixed = mix_styles(snapshot, targets, sources, row_labels=classes[0], column_labels=classes[0], noise="none")
header = np.concatenate([np.zeros_like(top[:1]), top])
table = np.concatenate([left[:, None], mixed], axis=1)  # [targets, 1 + sources, C, R, R]
print(write_picture(out / "mix.png", np.concatenate([header[None], table]), snapshot, overwrite=True))
