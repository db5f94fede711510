"""Quality for the minutes: configurations trained for equal core-minutes, scored by KID on `select` along the way.

    python benchmarks/quality_per_minute.py --data DATA --out FOLDER --core-minutes 8 [--only NAME ...] [--seeds 0 1]
    python benchmarks/quality_table.py FOLDER [--marks 2 4 8]

Every run is a process of its own on one thread, timed by its processor time, so that the machine's load does not decide.
It is scored at the marks below; KID and FD on `select` choose, those on the hold-out are only for the table. A run is
kept as it stands: repeating the command with more core-minutes takes it further, and a run that was cut off goes on from
its last save. Longer and shorter averages of the same generator (--averages, half-lives in kimg) are kept and scored
beside the configuration's own: the length of G_ema needs no runs of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core_minutes import one_thread, side_by_side, train_for
from quality_candidates import CANDIDATES
from quality_table import records_of, table_of

from stylescan.errors import StylescanError

if TYPE_CHECKING:
    from torch import nn

    from stylescan.config import RunConfig
    from stylescan.train.state import TrainState

MARKS = (2, 4, 8, 15, 22, 30, 45, 60, 75, 90)  # core-minutes at which a run is scored
FAKES = 480
CHUNK = 60.0  # seconds of processor time between saves


class Averages:
    """G averaged with other half-lives than the configuration's, kept beside a run."""

    def __init__(self, state: TrainState, config: RunConfig, half_lives_kimg: list[float], path: Path) -> None:
        self.state, self.config, self.path = state, config, path
        self.nets = {str(each): copy.deepcopy(state.G_ema) for each in half_lives_kimg}

    def that_differ(self) -> dict[str, nn.Module]:
        """Those whose half-life the ramp does not cut down to that of the configuration's own, or of a shorter one."""
        ramp = self.config.train.ema_rampup
        most = math.inf if ramp is None else ramp * self.state.nimg / 1000
        seen, found = {min(self.config.train.ema_half_life_kimg, most)}, {}
        for name in sorted(self.nets, key=float):
            if (half_life := min(float(name), most)) not in seen:
                seen.add(half_life)
                found[name] = self.nets[name]
        return found

    def load(self) -> None:
        """Those of the last save; one that is new begins as the configuration's own average."""
        from safetensors.torch import load_file

        for name, net in self.nets.items():
            net.load_state_dict(self.state.G_ema.state_dict())
            if (self.path / f"{name}.safetensors").is_file():
                net.load_state_dict(load_file(self.path / f"{name}.safetensors"))

    def save(self) -> None:
        """Beside the run's own checkpoint, which names no such files."""
        from safetensors.torch import save

        from stylescan.files import write_bytes_atomic

        self.path.mkdir(exist_ok=True)
        for name, net in self.nets.items():
            tensors = {key: value.contiguous() for key, value in net.state_dict().items()}
            write_bytes_atomic(self.path / f"{name}.safetensors", save(tensors))

    def update(self) -> None:
        """After a step."""
        from stylescan.train.ema import ema_beta, update_ema

        batch, rampup = self.config.train.batch, self.config.train.ema_rampup
        for name, net in self.nets.items():
            beta = ema_beta(batch=batch, nimg=self.state.nimg, half_life_kimg=float(name), rampup=rampup)
            update_ema(net, self.state.G, beta)


def train_and_score(
    name: str, data: Path, run: Path, core_minutes: float, seed: int, half_lives_kimg: list[float]
) -> None:
    """Take one run on until it has used `core_minutes`; RUN/marks.json has a row a mark, RUN/MARK.png a grid."""
    one_thread()
    import torch

    from stylescan.config import merge
    from stylescan.data.prepared import PreparedDataset
    from stylescan.files import write_json_atomic
    from stylescan.presets import build_config
    from stylescan.train.checkpoint import load_checkpoint, save_checkpoint
    from stylescan.train.pictures import fake_grid, save_grid
    from stylescan.train.run_folder import config_hash
    from stylescan.train.start import fingerprint
    from stylescan.train.state import build_state
    from stylescan.train.step import build_setup

    dataset = PreparedDataset.open(data)
    preset, changes = CANDIDATES[name]
    config = build_config(preset, fingerprint(dataset), overrides=merge(changes, {"seed": seed}))
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    identity = {"config_hash": config_hash(config)}
    log, saved = run / "marks.json", run / "state"
    record: dict[str, Any] = {"name": name, "seed": seed, "seconds": 0.0, "marks": []}
    if saved.is_dir():
        record = load_checkpoint(saved, state, config_hash=identity["config_hash"])["record"]
        write_json_atomic(log, record)  # cut off between the two, the log would lack its last mark for good
    averages = Averages(state, config, half_lives_kimg, run / "averages")
    averages.load()
    score = scorer(dataset)
    while record["seconds"] < core_minutes * 60:
        due = next((m for m in MARKS if m * 60 > record["seconds"]), core_minutes)
        left = min(due, core_minutes) * 60 - record["seconds"]
        record["seconds"] += train_for(state, setup, min(left, CHUNK), after_step=averages.update)
        if record["seconds"] >= min(due, core_minutes) * 60:
            row = {"minutes": min(due, core_minutes), "nimg": state.nimg, **score(state.G_ema)}
            for each, net in averages.that_differ().items():
                row |= {f"{key}_at_{each}": value for key, value in score(net).items() if key.endswith("kid")}
            record["marks"].append(row)
            print(name, seed, json.dumps(row), flush=True)
            save_grid(run / f"{row['minutes']:g}.png", fake_grid(state.G_ema, bits=dataset.bits))
        averages.save()
        save_checkpoint(saved, state, identity={**identity, "record": record})
        write_json_atomic(log, record)


def scorer(dataset: Any) -> Any:
    """A function that scores a net as it stands by KID and FD on `select` and on the hold-out."""
    from judge import Judge

    from stylescan.train.pictures import fake_images

    labels = [i % max(dataset.num_classes, 1) for i in range(FAKES)]
    judges = {split: Judge(dataset, split) for split in ("select", "holdout")}

    def score(net: Any) -> dict[str, float]:
        features = judges["select"].features_of(fake_images(net, labels, bits=dataset.bits, noise="random"))
        return {f"{split}_{k}": v for split, judge in judges.items() for k, v in judge.distances_of(features).items()}

    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--core-minutes", type=float, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--averages", type=float, nargs="*", default=[0.3, 3.0, 10.0], help="half-lives in kimg")
    parser.add_argument("--only", nargs="*", choices=list(CANDIDATES))
    parser.add_argument("--one", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    minutes, data, out = arguments.core_minutes, arguments.data, arguments.out
    if arguments.one:
        seed = arguments.seeds[0]
        run = out / f"{arguments.one}-{seed}"
        run.mkdir(parents=True, exist_ok=True)
        try:
            train_and_score(arguments.one, data, run, minutes, seed, arguments.averages)
        except StylescanError as problem:
            sys.exit(f"error: {problem.message}\nremedy: {problem.remedy}")
        return
    runs = [(name, seed) for name in arguments.only or CANDIDATES for seed in arguments.seeds]
    own = ["--data", str(data), "--out", str(out), "--core-minutes", str(minutes)]
    own += ["--averages", *map(str, arguments.averages)]
    side_by_side(
        [[__file__, "--one", name, "--seeds", str(seed), *own] for name, seed in runs], workers=arguments.workers
    )
    print(table_of(records_of(out)))


if __name__ == "__main__":
    main()
