"""The command line: ``python -m embedlens``. What a command needs is imported when it runs."""

import os
from pathlib import Path
import sys

import click

from embedlens import experiments

RESULTS = Path("book/results")
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
JOBS = click.IntRange(min=1)


class _FileToWrite(click.Path):
    """A file, new or not, in a folder that exists."""

    def __init__(self):
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value, param, ctx):
        path = Path(super().convert(value, param, ctx))
        if not path.parent.is_dir():
            self.fail(f"{str(path)!r}: no file in an existing folder", param, ctx)
        return path


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Collaborative filtering with embeddings, reproduced and checked."""


@main.command("list")
def list_():
    """List the stored results: minutes, fresh or stale."""
    for name, entry in experiments.EXPERIMENTS.items():
        changed = experiments.changed_sources(name, RESULTS / f"{name}.json")
        state = "not stored" if changed is None else "fresh" if not changed else "stale"
        print(f"{name:18} {entry.minutes:3} min  {state:10} {entry.what}")
        if changed:
            print(f"{'':25}  changed since: {', '.join(changed)}")


@main.command()
@click.argument("name", type=click.Choice(list(experiments.EXPERIMENTS)), metavar="NAME")
@click.option("--output", type=_FileToWrite(), help="JSON file (book/results/NAME.json)")
@click.option("--jobs", type=JOBS, help="processes (as the experiment says)")
@click.option("--folder", type=FOLDER, help="where finished parts are kept (the cache)")
@click.option("--data", help="tuning: a release, folder or zip file to search a setting for")
@click.option("--minutes", type=click.FloatRange(min=0), help="with --data: no trial begins later")
def run(name, output, jobs, folder, data, minutes):
    """Run an experiment of the list and store it."""
    os.environ["KERAS_BACKEND"] = experiments.EXPERIMENTS[name].backend
    if data is not None and name == "tuning":
        _tune(data, minutes, output, jobs, folder)
    elif data is not None or minutes is not None:
        raise click.UsageError("--data goes with tuning, and --minutes with --data")
    else:
        _measure(experiments.get(name), output or _stored(name), jobs, folder)


@main.command()
@click.option("--splits", type=click.IntRange(min=2), default=10, help="number of splits (10)")
@click.option("--seeds", type=click.IntRange(min=2), default=4, help="seeds of each split (4)")
@click.option("--plain", type=click.IntRange(min=0), default=3, help="splits by plain fit too (3)")
@click.option("--jobs", type=JOBS, help="processes (one per core)")
@click.option("--output", type=_FileToWrite(), help="JSON file for the report")
@click.option("--figure", type=_FileToWrite(), help="PNG file for the small figure")
@click.option("--folder", type=FOLDER, help="where finished runs are kept (the cache)")
def reproduce(splits, seeds, plain, jobs, output, figure, folder):
    """Audit the post's claims; 1 if one leaves its bound."""
    os.environ["KERAS_BACKEND"] = "jax"
    from embedlens.experiments import verdict, verdict_figures

    report = _measure(verdict.experiment(splits, seeds, plain), output, jobs, folder)
    print(verdict.as_text(report))
    if figure:
        verdict_figures.save(report, figure)
        print(f"Written: {figure}")
    sys.exit(1 if verdict.out_of_bound(report) else 0)


@main.command()
@click.argument("names", nargs=-1)
def execute(names):
    """Run chapters from their text, store the outputs."""
    from embedlens.book import chapters

    try:
        chapters.execute_all(names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


@main.command()
def plain():
    """Derive the plain notebooks from the chapters."""
    from embedlens.book import plain

    try:
        kept = plain.write_all()
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for path in kept:
        print(f"It was run in its place, and is kept: {path}")


@main.command()
@click.argument("target", type=_FileToWrite(), default="book/_static/movies-data.js")
def pages(target):
    """Train the models, write the data of the pages."""
    from embedlens.book import pages
    import embedlens.quiet  # noqa: F401

    print(f"Written: {', '.join(map(str, pages.write(target)))}")


@main.command()
@click.argument("folder", type=FOLDER)
def projector(folder):
    """Write vectors for the Embedding Projector."""
    from embedlens.book import pages
    import embedlens.quiet  # noqa: F401

    pages.write_projector(folder)
    print(f"Written: {folder}/vectors.tsv, {folder}/metadata.tsv")


@main.command()
@click.argument("what", type=click.Choice(["book", "card"]), default="book")
def pdf(what):
    """Print the built book, or the card for links."""
    from embedlens.book import pdf

    try:
        print(f"Written: {pdf.print_book() if what == 'book' else pdf.draw_card()}")
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("folder", type=FOLDER, required=False)
def snapshot(folder):
    """Rebuild and verify the embedded ratings."""
    from embedlens.movielens.snapshot import rebuild

    print(f"Rebuilt and verified in {rebuild.write(folder)}")


def _by_environment(option, **settings):
    variable = "EMBEDLENS_" + option.removeprefix("--").upper().replace("-", "_")
    return click.option(option, envvar=variable, show_default=True, **settings)


@main.command()
@_by_environment("--address", help="HOST:PORT of host 0, the same on every host")
@_by_environment("--hosts", type=click.IntRange(1), default=1, help="how many")
@_by_environment("--host", type=click.IntRange(0), default=0, help="number of this one, from 0")
@_by_environment("--sharded", is_flag=True, help="cut the tables by rows over the hosts")
@_by_environment("--data", help="folder or zip file of a MovieLens release")
@_by_environment("--seed", type=int, default=0)
@_by_environment("--epochs", type=click.IntRange(1), default=2)
@_by_environment("--batch-size", type=click.IntRange(1), help="of all hosts; default: the model's")
@_by_environment("--feedback", is_flag=True, help="train feedback both ways, not the bias model")
@_by_environment("--arrival-timeout", type=click.IntRange(1), default=300, help="seconds for all")
@_by_environment("--peer-timeout", type=click.IntRange(1), default=30, help="until a host is dead")
@_by_environment("--output", type=_FileToWrite(), help="JSON file that host 0 writes")
@_by_environment("--weights", type=_FileToWrite(), help="npz file for the rows of this host")
def distribute(**options):
    """Train on several machines: once on each."""
    os.environ["KERAS_BACKEND"] = "jax"
    from embedlens import distributed

    try:
        distributed.run(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _tune(source, minutes, output, jobs, folder):
    from embedlens.experiments import tuning

    try:
        experiment = tuning.on_other_data(source, minutes)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    output = output or Path(f"tuned-{Path(source).resolve().stem}.json")
    report = _measure(experiment, output, jobs, folder)
    trials = len(report["runs"]) - 1
    print(f"The best of {trials} settings has RMSE {report['rmse']:.4f} on ratings not searched on")
    for key, value in report["recipe"].items():
        print(f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}")
    print(f'To train with it: recipes.load("{output}")')


def _stored(name):
    if not RESULTS.is_dir():
        raise click.UsageError(f"no folder {RESULTS} here: name a file with --output")
    return RESULTS / f"{name}.json"


def _measure(experiment, output, jobs, folder):
    from embedlens.experiments import runner

    try:
        report = experiment.run(folder, jobs)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished parts are kept: the same command goes on from there.")
        sys.exit(130)
    if output:
        runner.write(report, output)
        print(f"Written: {output}")
    return report


if __name__ == "__main__":
    main(prog_name="python -m embedlens")
