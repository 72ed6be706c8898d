"""A plan in lines: what is planned, a table with a line a stage, and what it rests on."""

from pathlib import Path

from pyspk.needs.machine import free_bytes, memory_bytes
from pyspk.needs.sizes import in_words
from pyspk.plan.stages import TABLE_BYTES, Plan


def plan_lines(plan: Plan, work_dir: Path, elsewhere: bool) -> list[str]:
    """The lines. work_dir: whose disk it is compared with. elsewhere: the rate of training was measured there."""
    return [*_what(plan), "", *_table(plan), "", *_there(plan, work_dir), "", "Measured on this machine:",
            *(f"  {line}" for line in _measured(plan, elsewhere)), "Scaled or assumed:",
            *(f"  {line}" for line in _assumed(plan, elsewhere))]


def _what(plan: Plan) -> list[str]:
    corpus, made = plan.corpus, plan.copies.n_made()
    copies = f"; {made} copies of each on the disk" if made else ""
    online = f"; augmented while training (--online {plan.copies.online})" if plan.copies.online else ""
    return [f"{corpus.seconds / 3600:,.0f} h, {corpus.n_utts:,} utterances of {corpus.n_spk:,} speakers "
            f"({corpus.source}){copies}{online}",
            f"{plan.evaluation.n_utts:,} utterances and {plan.evaluation.n_trials:,} trials to evaluate on",
            f"training: {plan.n_trained:,} utterances, {plan.config.n_epochs} epochs, {plan.n_samples:.3g} samples of "
            f"{plan.config.chunk_frames} frames, {plan.cost.flops / 1e9:.1f} GFLOP each, "
            f"{plan.cost.flops * plan.n_samples:.3g} in all; {plan.weights.net / 1e6:.1f} M weights and "
            f"{plan.weights.classifier / 1e6:.1f} M of the speakers"]


def _table(plan: Plan) -> list[str]:
    names = [f"{n} machine{'s' if n > 1 else ''}" for n in plan.n_machines]
    rows = [("stage", "disk", "memory a machine", *names)]
    stages = plan.stages()
    for stage in stages:
        rows.append((stage.name, in_words(stage.disk_bytes), in_words(stage.memory_bytes), *map(_hours, stage.hours)))
    together = [sum(hours) for hours in zip(*(stage.hours for stage in stages), strict=True)]
    rows.append(("all", in_words(sum(stage.disk_bytes for stage in stages)),
                 in_words(max(stage.memory_bytes for stage in stages)), *map(_hours, together)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                  zip(row[1:], widths[1:], strict=True))]) for row in rows]


def _there(plan: Plan, work_dir: Path) -> list[str]:
    stages = plan.stages()
    wanted, memory = sum(stage.disk_bytes for stage in stages), max(stage.memory_bytes for stage in stages)
    disk, here = free_bytes(work_dir), memory_bytes()
    return [f"here: {in_words(disk)} of disk free in {work_dir}, {'enough' if wanted <= disk else 'TOO LITTLE'}; "
            f"{in_words(here)} of memory, {'enough' if memory <= here else 'TOO LITTLE for this many jobs'}"]


def _measured(plan: Plan, elsewhere: bool) -> list[str]:
    of, kind = plan.measured, "a core" if plan.machine.on_cpu else "a GPU"
    lines = [f"features {1 / of.feature_s:,.0f}, decisions {1 / of.decision_s:,.0f}, features of an augmented copy "
             f"{1 / of.copy_s:,.0f} times real time on a core, reading included",
             f"scores: {1 / of.pair_s:,.0f} trials a second; {1 / of.cohort_s:.2g} cohort scores a second",
             f"memory: {of.name_bytes:,.0f} bytes of names and places for each utterance that a process holds, which "
             f"has {in_words(plan.machine.base_bytes)} without any; a job of an array holds its share"]
    if not elsewhere:
        lines.insert(1, f"training {of.samples_per_s:,.1f} samples a second on {_device(plan)} "
                     f"({plan.cost.flops * of.samples_per_s / 1e12:.3f} TFLOP/s); embeddings {1 / of.embedding_s:,.0f} "
                     f"times real time on {kind}")
    return lines


def _assumed(plan: Plan, elsewhere: bool) -> list[str]:
    lines = []
    if elsewhere:
        lines.append(f"training: {plan.measured.samples_per_s:,.0f} samples a second of a device, as given, "
                     f"{plan.cost.flops * plan.measured.samples_per_s / 1e12:.0f} TFLOP/s; embeddings: by the same, a "
                     "third of the work for as many frames")
    lines += [f"a machine has {plan.machine.n_jobs} jobs at a time and {plan.machine.n_devices} "
              f"{'process' if plan.machine.on_cpu else 'GPU'}{'s' * (plan.machine.n_devices > 1)} to train; M machines "
              "do M times as much, from one disk that keeps up; stage 5 is one process",
              "sizes follow from the formats; all frames count as voiced; held-out speakers count as trained on; "
              f"{TABLE_BYTES} bytes of tables for an utterance; workers that read share the memory of their process"]
    if plan.copies.online == "workers":
        lines.append(f"the cores of a machine feed {plan.feed_per_s():,.0f} augmented chunks a second (--online "
                     f"workers), the devices take {plan.measured.samples_per_s * plan.machine.n_devices:,.0f}")
    if not plan.machine.on_cpu:
        each = (f"{in_words(plan.device_bytes(n))} on {n} machine{'s' if n > 1 else ''}" for n in plan.n_machines)
        lines.append("memory of a GPU, computed (weights, gradient, momentum, what the forward pass keeps): "
                     + ", ".join(each))
    if many := plan.too_many():
        lines.append(f"a batch of {plan.config.batch_size} is not for {' or '.join(map(str, many))} machines with "
                     f"{plan.machine.n_devices} each: give a batch_size (and a rate to match) that is a multiple of "
                     f"their number and leaves each 8 chunks or more, such as {_batch_for(plan)}")
    return lines


def _batch_for(plan: Plan) -> int:
    """The smallest batch of 32 chunks or more a device, on the most machines."""
    return 32 * max(plan.n_machines) * plan.machine.n_devices


def _device(plan: Plan) -> str:
    return "this CPU" if plan.machine.on_cpu else "this GPU"


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"
