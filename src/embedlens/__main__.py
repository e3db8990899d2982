"""The command line: ``python -m embedlens reproduce``."""

import argparse
import json
from pathlib import Path
import sys
import time

from embedlens import commands


def main(arguments=None):
    """Audit the claims; exit status 1 if one leaves its bound, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    commands.restart_on_jax("embedlens", arguments)
    try:
        return reproduce(options)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished seeds are kept: the same command goes on from there.")
        return 130


def reproduce(options):
    """Measure, judge, print and store; see `audit`."""
    from embedlens import audit, figures

    seeds = range(options.seeds)
    folder = options.folder or audit.default_folder()
    before = len(list(folder.glob("seed-*.json")))
    print(f"{options.seeds} seeds; finished ones are kept in {folder}")
    started = time.perf_counter()
    measures = audit.collect(seeds, folder, jobs=options.jobs)
    seconds = None if before else round(time.perf_counter() - started, 1)
    comparison = audit.compare_with_plain_fit(seeds[: options.plain]) if options.plain else None
    report = audit.report(measures, seconds, comparison)
    assessments = audit.assess_all(measures)
    print(figures.verdict_table(assessments).to_string(max_colwidth=60))
    print(_speed(report, options.seeds))
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"Written: {options.output}")
    if options.figure:
        figures.save_verdict(assessments, options.figure)
        print(f"Written: {options.figure}")
    left = [a.claim for a in assessments if not a.in_bound]
    for claim in left:
        print(f"Out of its bound of {claim.low:g} to {claim.high:g} ({claim.why}): {claim.id}")
    return 1 if left else 0


def _speed(report, n_seeds):
    comparison, seconds = report["comparison"], report["seconds"]
    lines = []
    if seconds is not None:
        lines.append(f"{n_seeds} seeds of all models: {seconds:.0f} s")
    if comparison:
        n_compared = len(comparison["seeds"])
        ratio = comparison["plain_seconds"] / comparison["row_wise_seconds"]
        lines.append(
            f"plain fit: {comparison['plain_seconds'] / n_compared:.0f} s per seed for the post's "
            f"three models; row-wise in the same process: {ratio:.1f} times faster, "
            f"RMSE equal within {comparison['largest_difference']:.5f}"
        )
        if seconds is not None:
            loop = comparison["plain_seconds"] / n_compared * n_seeds
            lines.append(
                f"plain fit in a loop over {n_seeds} seeds: {loop:.0f} s, "
                f"{loop / seconds:.1f} times as long as all of ours"
            )
    return "\n".join(lines)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m embedlens", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    command = subparsers.add_parser("reproduce", help="audit every claim of the post")
    command.add_argument(
        "--seeds", type=commands.at_least(2), default=20, help="number of seeds (20)"
    )
    command.add_argument(
        "--jobs", type=commands.at_least(1), default=-1, help="processes (one per core)"
    )
    command.add_argument(
        "--plain",
        type=commands.at_least(0),
        default=2,
        help="seeds to train by plain fit as well (2)",
    )
    command.add_argument("--output", type=commands.file_to_write, help="JSON file for the report")
    command.add_argument(
        "--figure", type=commands.file_to_write, help="PNG file for the small figure"
    )
    command.add_argument("--folder", type=Path, help="where finished seeds are kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
