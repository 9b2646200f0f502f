"""Turns the results of the benchmark into tables.

`results.json` holds what was trained, `scores.csv.gz` what each training
scored on each of its test images. `publish` adds new ones to both, and
writes the tables into the pages, between marks such as
`<!-- benchmark: accuracy -->` and `<!-- end -->`.
"""

import json
import re
from collections import Counter
from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from data import storage
from lab.benchmark import networks, older, record
from lab.benchmark.recipe import RECIPES, Recipe
from lab.benchmark.record import RESULTS
from lab.benchmark.statistics import interval
from lab.lesson import ROOT

SCORES = ROOT / "lab/benchmark/scores.csv.gz"
# What distinguishes the published trainings; all are of PH², 40 epochs.
WHAT = ["framework", "network", "start", "change", "rate", "fold", "seed"]
FRAMEWORKS = {"pytorch": "PyTorch", "tf": "TensorFlow"}
PAGES = {"README.md": "en", "translations/README.no.md": "no",
         "lab/benchmark/README.md": "en", "lab/scaling/README.md": "en"}
# Of the one table that the translated page shows.
NORWEGIAN = {"method": "metode", "pre-trained": "forhåndstrent",
             "flips": "speilet", "one piece": "ett stykke"}
DIAGNOSES = ["common nevus", "atypical nevus", "melanoma"]

# Methods: network, start and variant.
ONE_LOOK, FLIPS, TIDY = "one look", "flips", "flips, one piece"
FLOORS = [("Otsu", "", ONE_LOOK), ("Otsu", "", "smooth, one piece"),
          ("mean mask", "", ONE_LOOK)]
OWN = [(network, start) for start in ("scratch", "synthetic")
       for network in ("SegNet", "UNet")]
METHODS = FLOORS + [(*own, variant) for own in OWN
                    for variant in (ONE_LOOK, TIDY)]
PEERS = [(network, start, "") for start in ("scratch", "synthetic", "ImageNet")
         for network in [*networks.OWN, *networks.PEERS]
         if start in networks.starts(network)] \
    + [(older.NAME, "scratch", change) for change in older.SIZES]
PRETRAINING = 9982  # steps: 713 of an epoch of 5700 synthetic images, times 14
FRONT = ["Otsu", "SegNet", "U-Net", "SegNet, pre-trained",
         "U-Net, pre-trained", "U-Net, pre-trained, flips, one piece"]


def name(network, start, variant=ONE_LOOK):
    """What a method is called in a table."""
    return ", ".join(filter(None, [
        "U-Net" if network == "UNet" else network,
        "pre-trained" if start == "synthetic" else "",
        "" if variant == ONE_LOOK else variant]))


def columns(framework, network, start, variant=ONE_LOOK):
    """What the scores' columns say where they are those of a method."""
    if start == "":  # no framework has a part in it
        framework = "pytorch"
    return {"framework": framework, "network": network, "start": start,
            "variant": variant, "change": "", "rate": 1e-3}


# --- Scores ---------------------------------------------------------------

def table_of(results):
    """One row for each training, variant and test image."""
    return pd.concat([
        pd.DataFrame(result["scores"]).assign(
            **{key: result[key] for key in WHAT})
        for result in results], ignore_index=True)


@cache
def published():
    """The scores of all published trainings, as `table_of` makes them."""
    return pd.read_csv(SCORES, keep_default_na=False)


def published_trainings():
    """{key of a training: what is known of it, without scores}."""
    return record.read(RESULTS, "trainings")["trainings"]


def arrays(scores, *methods, metric="Dice"):
    """Scores of methods, each (folds, seeds, images), None if there are none.

    methods: as `columns` makes them. The arrays have the folds that all
    methods have, and in each of them as many trainings, with seeds that all
    methods have there.
    """
    tables = []
    for method in methods:
        rows = scores
        for column, value in method.items():
            rows = rows[rows[column] == value]
        tables.append({fold: part.pivot(index="seed", columns="image",
                                        values=metric)
                       for fold, part in rows.groupby("fold")})
    folds = sorted(set.intersection(*map(set, tables)))
    if not folds:
        return None
    seeds = [sorted(set.intersection(*(set(table[fold].index)
                                       for table in tables)))
             for fold in folds]
    count = min(map(len, seeds))
    return [np.stack([table[fold].loc[own[:count]]
                      for fold, own in zip(folds, seeds)])
            for table in tables] if count else None


def only(scores, part):
    """The scores, with nan for the images that are not in a part."""
    return scores.assign(Dice=scores["Dice"].where(part))


def mean_and_interval(scores):
    """[mean, low, high] of an array (folds, seeds, images)."""
    return [np.nanmean(scores), *interval(scores)]


def described(scores, method):
    """The numbers of one method, None if it was not tested on all folds."""
    found = arrays(scores, method)
    if not found or len(found[0]) < 5:
        return None

    def dice(part):
        return arrays(only(scores, part), method)[0]

    return {"trainings": found[0].shape[0] * found[0].shape[1],
            "Dice": mean_and_interval(found[0]),
            "quartiles": np.percentile(found[0], [25, 50, 75]),
            **{diagnosis: np.nanmean(dice(scores["diagnosis"] == diagnosis))
               for diagnosis in DIAGNOSES},
            **{metric: np.mean(arrays(scores, method, metric=metric)[0])
               for metric in ("IoU", "HD95")},
            "unseen": mean_and_interval(dice(~scores["looked at"]))}


def gain(scores, after, before):
    """What one method gains over another; None if one was not measured."""
    found = arrays(scores, after, before)
    if not found:
        return None
    difference = found[0] - found[1]
    return {"gain": mean_and_interval(difference),
            "trainings": difference.shape[0] * difference.shape[1]}


def comparisons():
    """Yields (what, of which method, method with it, method without it)."""
    looks = (ONE_LOOK, TIDY)
    for network, look in product(networks.OWN, looks):
        yield ("pre-trained", name(network, "", look),
               (network, "synthetic", look), (network, "scratch", look))
    for start, look in product(("scratch", "synthetic"), looks):
        yield ("U-Net instead of SegNet", name("", start, look),
               ("UNet", start, look), ("SegNet", start, look))
    for own in OWN:
        yield "flips", name(*own), (*own, FLIPS), own
    for own in OWN:
        yield "one piece", name(*own, FLIPS), (*own, TIDY), (*own, FLIPS)


# --- Tables ---------------------------------------------------------------

def markdown(rows, columns):
    """A Markdown table; columns: title → function of a row."""
    lines = ["| " + " | ".join(columns) + " |",
             "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |"
              for row in rows]
    return "\n".join(lines)


def seconds(value):
    """Seconds, rounded to what matters."""
    return f"{value:.1f} s" if value < 20 else f"{value:.0f} s"


def joined(cell):
    """A cell of both frameworks, or one number for both."""
    return lambda row: " / ".join(dict.fromkeys(map(cell, row.values())))


def plain(key):
    """A cell of both frameworks, as it is."""
    return joined(lambda row: str(row[key]))


def of(title, cell):
    """A cell of one framework, empty if it was not measured there."""
    return lambda row: cell(row[title]) if title in row else ""


def with_interval(key, form=".3f"):
    """A cell with a mean and its interval."""
    def cell(row):
        mean, low, high = (format(number, form) for number in row[key])
        return f"{mean} [{low}; {high}]"

    return cell


def both(row_of):
    """{"PyTorch": row, "TensorFlow": row}, where it was measured."""
    rows = {title: row_of(framework)
            for framework, title in FRAMEWORKS.items()}
    return {title: row for title, row in rows.items() if row}


def accuracy_rows(methods):
    """{framework: numbers} of each method that was measured."""
    rows = []
    for method in methods:
        row = both(lambda framework, method=method: described(
            published(), columns(framework, *method)))
        for numbers in row.values():
            numbers["method"] = name(*method)
            if method in FLOORS:
                numbers["trainings"] = ""
        rows += [row] if row else []
    return rows


def dice_columns():
    """Dice of each framework, with its interval."""
    return {f"Dice, {title}": of(title, with_interval("Dice"))
            for title in FRAMEWORKS.values()}


def front_table(_):
    """The six rows of the README."""
    return markdown(
        accuracy_rows([method for method in METHODS
                       if name(*method) in FRONT]),
        {"method": plain("method"), **dice_columns()})


def accuracy_table(_):
    """Scores of all methods, of both frameworks."""
    def quartiles(row):
        return "{:.2f}, {:.2f}, {:.2f}".format(*row["quartiles"])

    return markdown(accuracy_rows(METHODS), {
        "method": plain("method"), "trainings": plain("trainings"),
        **dice_columns(), "quartiles": joined(quartiles),
        **{key: joined(lambda row, key=key: f"{row[key]:.3f}")
           for key in [*DIAGNOSES, "IoU"]},
        "HD95": joined(lambda row: f"{row['HD95']:.0f}"),
        **{f"133 images, {title}": of(title, with_interval("unseen"))
           for title in FRAMEWORKS.values()}})


def comparison_table(_):
    """What each choice gains, in both frameworks."""
    rows = []
    for what, method, after, before in comparisons():
        row = both(lambda framework, pair=(after, before): gain(
            published(), *(columns(framework, *one) for one in pair)))
        rows += [(what, method, row)] if row else []
    for own, look in product(OWN, (ONE_LOOK, TIDY)):
        method = *own, look
        row = gain(published(), columns("tf", *method),
                   columns("pytorch", *method))
        rows += [("TensorFlow instead of PyTorch", name(*method),
                  {"TensorFlow": row})] if row else []
    cell = with_interval("gain", "+.4f")
    return markdown(rows, {
        "what": lambda row: row[0], "method": lambda row: row[1],
        "pairs": lambda row: plain("trainings")(row[2]),
        **{f"gain of Dice, {title}":
           lambda row, title=title: of(title, cell)(row[2])
           for title in FRAMEWORKS.values()}})


def limits_table(found):
    """How close a training step comes to the machine's own speed."""
    limits = found["limits"]
    rate = limits["rates"][limits["about"]["precision"]]
    return markdown(limits["closeness"], {
        "network": lambda row: row["network"],
        "operations of the convolutions":
            lambda row: f"{row['flops'] / 1e9:.1f} billion",
        "a step": lambda row: f"{1000 * row['seconds']:.0f} ms",
        "billions per second":
            lambda row: f"{row['flops'] / row['seconds'] / 1e9:.0f}",
        "matrix products here": lambda row: f"{rate / 1e9:.0f}",
        "share": lambda row: f"{row['share']:.0%}"})


def profile_table(found):
    """Where the time of a training step goes."""
    segnet, unet = found["limits"]["closeness"]
    return markdown(sorted(unet["profile"], key=unet["profile"].get,
                           reverse=True), {
        "what": lambda kind: kind,
        "SegNet": lambda kind: f"{segnet['profile'][kind]:.0%}",
        "U-Net": lambda kind: f"{unet['profile'][kind]:.0%}"})


def settings_table(found):
    """Other settings: the time expected and measured."""
    return markdown(found["limits"]["settings"], {
        "changed": lambda row: row["change"],
        "predicted": lambda row: f"{row['predicted']:.2f}",
        "measured": lambda row: f"{row['measured']:.2f}",
        "the first step": lambda row: seconds(row["first"])
            if row["first"] else ""})


def speed_table(found):
    """How fast both frameworks train and predict."""
    speeds = found["limits"]["speeds"]

    def column(what, form):
        return lambda network: " / ".join(
            form.format(numbers[network][what])
            for numbers in speeds.values() if what in numbers[network])

    return markdown(["SegNet", "UNet"], {
        "network": lambda network: name(network, ""),
        "an epoch of 140 images": column("epoch", "{:.1f} s"),
        "images per second": column("images per second", "{:.0f}"),
        "with torch.compile": column("compiled", "{:.0f}")})


def five(found, network, start, change):
    """The five trainings of `run peers` with one network, each of one fold.

    With the learning rate that all folds had, not those that were only
    tried; [] if there are not five.
    """
    what = "pytorch", network, start, change
    tried = [training for training in found["trainings"].values()
             if training["fold"] == training["seed"] and what == tuple(
                 training[key] for key in WHAT[:4])]
    folds = Counter(training["rate"] for training in tried)
    return [training for training in tried if folds[training["rate"]] == 5]


def steps_needed(training, goal=0.9):
    """Training steps until the validation Dice stays at the goal or above.

    Counted in whole epochs; infinite if it never stays there.
    """
    below = [epoch for epoch, dice in enumerate(training["valid_dice"], 1)
             if dice < goal]
    epochs = 1 + max(below, default=0)
    return epochs * training["steps"] / training["epochs"] \
        if epochs <= training["epochs"] else np.inf


def peer_row(found, scores, network, start, change):
    """What the table says of one network; None if it was not measured."""
    trainings = five(found, network, start, change)
    if not trainings:
        return None
    own = columns("pytorch", network, start) | {
        "change": change, "rate": trainings[0]["rate"]}
    unet = columns("pytorch", "UNet",
                   "scratch" if start == "scratch" else "synthetic")
    step = found["limits"]["steps"]["seconds"][network + change]
    needed = np.median([steps_needed(training) for training in trainings])
    return {"network": ", ".join(filter(None, [name(network, ""), change])),
            "start": start, "rate": own["rate"],
            "weights": trainings[0]["weights"], "step": step,
            "Dice": described(scores, own)["Dice"],
            "gain": gain(scores, own, unet)["gain"] if own != unet else None,
            "needed": needed, "seconds": needed * step,
            "before": step * PRETRAINING if start == "synthetic" else None}


def peers_table(found):
    """Others' networks beside the lesson's."""
    scores = published()
    scores = scores[scores["fold"] == scores["seed"]]
    rows = [peer_row(found, scores, *method) for method in PEERS]
    difference = with_interval("gain", "+.3f")
    return markdown(filter(None, rows), {
        "network": lambda row: row["network"],
        "start": lambda row: row["start"],
        "weights": lambda row: f"{row['weights'] / 1e6:.1f} million",
        "learning rate": lambda row: f"{row['rate']:g}",
        "Dice": with_interval("Dice"),
        "more than U-Net":
            lambda row: difference(row) if row["gain"] else "",
        "a step": lambda row: f"{row['step']:.2f} s",
        "steps to 0.90": lambda row: f"{row['needed']:.0f}"
            if row["needed"] < np.inf else "not reached",
        "time to 0.90": lambda row: seconds(row["seconds"])
            if row["needed"] < np.inf else "",
        "pre-training": lambda row: f"{row['before'] / 60:.0f} min"
            if row["before"] else ""})


def recipe_runs(found, network):
    """{(loss, fold, seed): training} of one network."""
    return {(run["loss"], run["fold"], run["seed"]): run
            for run in found["recipe"].values()
            if run["network"] == network and tuple(
                run[key] for key in Recipe._fields) in RECIPES}


def recipe_gains(found, network):
    """{part of a recipe: [gains of test Dice]}, and Dice without any.

    Both trainings of a pair have the same fold and seed.
    """
    runs = recipe_runs(found, network)
    least = {key[1:]: run for key, run in runs.items()
             if key[0] == "cross-entropy"}
    parts = {"Dice loss added": ("both", "last"),
             "running average": ("cross-entropy", "average"),
             "best epoch": ("cross-entropy", "best"),
             "first recipe: all three": ("both", "best average")}
    gains = {name: [runs[loss, *place][kind]["test"]["dice"]
                    - run["last"]["test"]["dice"]
                    for place, run in least.items()
                    if (loss, *place) in runs]
             for name, (loss, kind) in parts.items()}
    return gains, [run["last"]["test"]["dice"] for run in least.values()]


def recipe_table(found):
    """What each part of a recipe is worth."""
    def mean(dice):
        return f"**{np.mean(dice):.3f}** ({len(dice)})"

    def gain(gains):
        error = np.std(gains, ddof=1) / len(gains) ** 0.5
        return f"{np.mean(gains):+.4f} ± {error:.4f} ({len(gains)})"

    columns = {}
    for network in networks.OWN:
        gains, least = recipe_gains(found, network)
        columns[name(network, "")] = {
            "the least": mean(least),
            **{part: gain(values) for part, values in gains.items()}}
    return markdown(list(columns["SegNet"]), {
        "recipe": lambda part: part,
        **{title: lambda part, column=column: column[part]
           for title, column in columns.items()}})


def about_line(found):
    """On which machines the trainings ran, with what, and when."""
    return "*" + "; ".join(sorted({
        "{processor}, {framework}, {date}".format(**training["about"])
        for training in found["trainings"].values()
        if "about" in training})) + "*"


def machine_line(about):
    """On what machine, with what, and when."""
    cores = "1 core" if about["cores"] == 1 else f"{about['cores']} cores"
    return (f"*{about['processor']}, {cores}; {about['framework']}; "
            f"{about['precision']}; {about['date']}*")


TABLES = {"front": front_table, "recipe": recipe_table,
          "accuracy": accuracy_table, "comparisons": comparison_table,
          "about": about_line, "limits": limits_table,
          "profile": profile_table, "settings": settings_table,
          "peers": peers_table, "speed": speed_table,
          "limitsmachine":
              lambda found: machine_line(found["limits"]["about"]),
         "stepsmachine":
              lambda found: machine_line(found["limits"]["steps"]["about"])}


def filled(page, found, language="en"):
    """A page whose marked tables are made anew from the summary."""
    def table(match):
        content = translated(TABLES[match[1]](found), language)
        return f"<!-- benchmark: {match[1]} -->\n\n{content}\n\n<!-- end -->"

    return re.sub(r"<!-- benchmark: (\w+) -->.*?<!-- end -->", table, page,
                  flags=re.DOTALL)


def translated(table, language):
    """A table with the words and numbers of another language."""
    if language == "no":
        # The longest first, for some words are parts of others.
        for english in sorted(NORWEGIAN, key=len, reverse=True):
            table = table.replace(english, NORWEGIAN[english])
        table = re.sub(r"(?<=\d),(?=\d{3})", "\u00a0", table)
        # 0.93, but not the version 2.15.0
        table = re.sub(r"(?<![\d.])(\d+)\.(?=\d+(?![\d.]))", r"\1,", table)
    return table


def text(results):
    """Mean scores of trainings as plain text, for the terminal."""
    return table_of(results).groupby(
        ["framework", "network", "start", "change", "rate", "seed",
         "variant"],
        sort=False)[["Dice", "IoU", "HD95"]].mean().round(3).to_string()


def line_by_line(found):
    """JSON with one line for each training, so that changes can be seen."""
    parts = []
    for name, values in found.items():
        lines = [f"{json.dumps(key)}: {json.dumps(values[key])}"
                 for key in sorted(values)]
        parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


def publish(trainings, recipe, limits):
    """Keep new results, and put the tables into the pages.

    trainings: {key: result}, of which those on PH² with the recipe's epochs
    are kept; recipe: of `recipe`; limits: of `hardware` and `steps`. What
    is not in them stays as it is.
    """
    new = {key: result for key, result in trainings.items()
           if key.endswith("-PH2-40")}
    if new:
        keep(table_of(new.values()))
    found = record.read(RESULTS, "trainings", "recipe", "limits")
    found["trainings"] |= {
        key: {what: value for what, value in result.items()
              if what != "scores"} for key, result in new.items()}
    found["recipe"] |= recipe
    found["limits"] |= limits
    with storage.whole(RESULTS) as part:
        part.write_text(line_by_line(found), encoding="utf-8")
    for page, language in PAGES.items():
        path = ROOT / page
        made = filled(path.read_text(encoding="utf-8"), found, language)
        with storage.whole(path) as part:
            part.write_text(made, encoding="utf-8")


def keep(scores):
    """Put scores in the place of those of the same trainings."""
    if SCORES.exists():
        old = published()
        known = old.set_index(WHAT).index.isin(scores.set_index(WHAT).index)
        scores = pd.concat([old[~known], scores])
    scores = scores.sort_values([*WHAT, "variant", "image"])
    with storage.whole(SCORES) as part:
        # Without a time, so that the same scores make the same file.
        scores.to_csv(part, index=False,
                      compression={"method": "gzip", "mtime": 0})
    published.cache_clear()
