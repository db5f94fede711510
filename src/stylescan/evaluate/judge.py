"""`evaluate`: judge a run, a snapshot or a folder of images on held-out subjects, and write the report."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.cache import Progress, cached_features, extract
from stylescan.evaluate.features import Extractor, get_extractor
from stylescan.evaluate.intervals import CAVEAT, Interval, jackknife_interval
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.reference import Floor, blur_sigma_px, blurred, floor_draws, floor_of, thin_by_subject
from stylescan.evaluate.targets import Generated, Target, open_target

MAX_IMAGES = 2000
MAX_TRAIN = 10_000
MIN_CLASS_IMAGES = 30
MIN_CLASS_SUBJECTS = 5
