"""Between the loop and its health monitor: measure at the loop's events, say and log what is found, and act on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.runtime import Team
from stylescan.train.health import Finding, HealthMonitor, Probed, decide, stop_error
from stylescan.train.losses import ZERO_FIXING_LOSSES
from stylescan.train.probe import FirstBadStep, Probe, weight_facts
from stylescan.train.state import TrainState
from stylescan.train.step import StepStats


class RollBack(Exception):  # noqa: N818 (no error: a way out of the loop's events)
    """Raised in every process at once, where the run must go back to its last good checkpoint."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self.findings = findings


@dataclass
class Guard:
    """The watch over one run. line: writes an event to the log; notice: tells the user.

    Every process judges the same numbers, so all go on, go back or stop together.
    """

    config: RunConfig
    dataset: PreparedDataset
    device: torch.device
    total_nimg: int
    team: Team
    line: Callable[[TrainState, dict[str, Any]], None]
    notice: Callable[[str], None]
    probe: Probe | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        augment = self.config.augment
        p_max = augment.p_max if augment.mode == "ada" else None
        self.monitor = HealthMonitor(
            self.config.health,
            self.total_nimg,
            p_max=p_max,
            signs_tell=self.config.objective.loss in ZERO_FIXING_LOSSES,
        )
        self.first_bad = FirstBadStep(self.device)

    @property
    def good(self) -> bool:
        """Whether a checkpoint of this moment is one to go back to."""
        return self.monitor.good

    def load(self, state: TrainState) -> None:
        """Remember what the checkpoint's monitor did."""
        self.monitor.load_state(state.progress.health)
        self.first_bad.clear()

    def store(self, state: TrainState) -> None:
        """Put the monitor's memory where the checkpoint takes it from."""
        state.progress.health = self.monitor.state()

    def after_step(self, state: TrainState, stats: StepStats) -> None:
        """Note the first step that is not finite, without waiting for the device."""
        self.first_bad.note(state.step, stats.sums.values())

    def check_losses(self, state: TrainState, means: dict[str, float]) -> None:
        """Judge a log line."""
        first_bad = self.first_bad.read()
        self._judge(state, self.monitor.on_log(state.step, state.nimg, means, first_bad=first_bad))

    def check_weights(self, state: TrainState) -> None:
        """Judge the weights; at the start, note what they are compared with."""
        facts = {"G": weight_facts(state.G), "D": weight_facts(state.D)}
        self._judge(state, self.monitor.on_weights(self.first_bad.read() or state.step, state.nimg, facts))

    def check_fakes(self, state: TrainState, kid: float | None) -> None:
        """Judge diversity and D's overfitting; the leader measures."""
        if self.team.leader and self.probe is None:
            self.probe = Probe(self.dataset)
        probed = self.probe(state.G_ema, state.D) if self.probe else None
        shared = Probed(*self.team.share(probed and [probed.diversity, probed.overfitting], self.device))
        values = {"diversity": shared.diversity, "overfitting": shared.overfitting}
        if self.team.leader:
            self.line(state, {name: value for name, value in values.items() if value is not None})
        self._judge(state, self.monitor.on_score(state.step, state.nimg, shared, kid=kid))

    def _judge(self, state: TrainState, findings: list[Finding]) -> None:
        """Say and log what is new; StylescanError or RollBack where the run cannot go on like this."""
        for finding in findings:
            cure = (
                f". {finding.remedy}" if finding.action == "warn" else ""
            )  # else the loop's next words say what is done
            self.notice(f"{finding.watch} at step {finding.step}: {finding.message}{cure}")
            if self.team.leader:
                event = {"event": finding.watch, "since_step": finding.step, "action": finding.action}
                self.line(state, {**event, "message": finding.message})
        todo = decide(findings, state.progress.roll_backs, self.config.health)
        if todo == "stop":
            raise stop_error(findings, state.progress.roll_backs)
        if todo == "roll_back":
            raise RollBack(findings)
