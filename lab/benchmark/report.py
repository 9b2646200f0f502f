"""Turns the results of the benchmark's runs into tables.

`summary` condenses the files of the runs to the numbers that are printed;
they are kept in `results.json`. `publish` writes them as Markdown tables
into the pages, between marks such as `<!-- benchmark: speed -->` and
`<!-- end -->`.
"""

import json
import re

import numpy as np
import pandas as pd

from data import storage
from lab.benchmark import record
from lab.lesson import ROOT

RESULTS = ROOT / "lab/benchmark/results.json"
RUN = "about", "per_image", "training"  # what a run leaves
METRICS = ["Dice", "IoU", "Sensitivity", "Specificity", "Pixel accuracy"]
DIAGNOSES = ["common nevus", "atypical nevus", "melanoma"]
FRAMEWORKS = {"pytorch": "PyTorch", "tf": "TensorFlow"}
PAGES = {"README.md": "en", "translations/README.no.md": "no",
         "lab/benchmark/README.md": "en", "lab/scaling/README.md": "en"}
# The learning rates that were chosen on validation images.
LEAST_RATE = {"PH2": 1e-3, "sample": 3e-3}
# Of the one table that the translated page shows.
NORWEGIAN = {"method": "metode", "pre-trained": "forhåndstrent",
             "flips": "speilet", "one piece": "ett stykke"}
FRONT = ["Otsu", "SegNet", "U-Net", "SegNet, pre-trained",
         "U-Net, pre-trained", "U-Net, pre-trained, flips, one piece"]


def read(files):
    """The results of finished runs, with the names of their files."""
    return [{**record.read(file, *RUN), "file": file.stem}
            for file in files if file.exists()]


def per_image(runs):
    """One row for each run, method and test image."""
    return pd.DataFrame([
        {"framework": framework_of(run), **row}
        for run in runs for row in run["per_image"]])


def framework_of(run):
    """PyTorch or TensorFlow, from the name of a run's file."""
    return FRAMEWORKS[run["file"].split("-")[1]]


def accuracy(table):
    """Scores of each method in each framework, over all test images."""
    rows = []
    for (method, framework), part in table.groupby(["method", "framework"],
                                                   sort=False):
        tp, fp, fn = part[["TP", "FP", "FN"]].sum()
        rows.append({
            "method": method, "framework": framework, "images": len(part),
            **{metric: [part[metric].mean(), part[metric].std()]
               for metric in METRICS},
            "all pixels together": 2 * tp / (2 * tp + fp + fn),
            **{diagnosis: part.loc[part["diagnosis"] == diagnosis,
                                   "Dice"].mean()
               for diagnosis in DIAGNOSES}})
    return rows


def speed(runs):
    """Medians over the runs of how long training and prediction took."""
    table = pd.DataFrame([
        {"framework": framework_of(run), **row,
         "memory": run["about"]["peak_memory"]}
        for run in runs for row in run["training"]])
    table["memory"] = table["memory"].astype(float)  # None: not known
    # A run that never got there took longer than any that did.
    table["enough"] = table["enough"].astype(float).fillna(np.inf)
    medians = table.groupby(["method", "framework"], sort=False).median()
    medians = medians.replace([np.inf, np.nan], None).reset_index()
    return medians.to_dict("records")


def lever(base, changed, what):
    """Mean change of Dice on the images that both have, by method."""
    keys = ["method", "framework", "name"]
    both = changed.set_index(keys)[["Dice"]].join(
        base.set_index(keys)["Dice"].rename("before"), how="inner")
    gain = both["Dice"] - both["before"]
    return [{"what": what, "method": method, "framework": framework,
             "images": len(part), "gain": part.mean(),
             "error": part.std() / len(part) ** 0.5}
            for (method, framework), part in
            gain.groupby(level=[0, 1], sort=False)]


def built_in_levers(table):
    """What pre-training and flips changed, from the main runs alone."""
    rows = []
    for what in ("pre-trained", "flips", "one piece"):
        ending = f", {what}"
        changed = table[table["method"].str.endswith(ending)]
        changed = changed.assign(
            method=changed["method"].str.removesuffix(ending))
        rows += lever(table, changed, what)
    return rows


def peers(file):
    """One row for each network that was trained beside the lesson's."""
    run = record.read(file, *RUN)
    dice = pd.DataFrame(run["per_image"]).groupby("method")["Dice"].mean()
    return {"about": run["about"], "rows": [
        {**row, "Dice": dice[row["method"]]} for row in run["training"]]}


def text(runs):
    """The main scores as plain text, for the terminal."""
    rows = [{"method": row["method"], "framework": row["framework"],
             "images": row["images"],
             **{metric: "{:.3f} ± {:.3f}".format(*row[metric])
                for metric in METRICS}}
            for row in accuracy(per_image(runs))]
    return pd.DataFrame(rows).to_string(index=False)


def summary(runs, changed):
    """The numbers of the tables about cross-validation.

    runs: those with the notebooks' own parameters; changed: a dict from
    what was changed to its runs.
    """
    table = per_image(runs)
    levers = built_in_levers(table)
    for what, others in changed.items():
        others = per_image(others)
        plain = ~others["method"].str.contains("Otsu|flips")
        levers += lever(table, others[plain], what)
    newest = max(runs, key=lambda run: run["about"]["date"])["about"]
    return {
        "about": {**newest, "frameworks": sorted(
            {run["about"]["framework"] for run in runs})},
        "accuracy": accuracy(table), "speed": speed(runs),
        "levers": levers}


def markdown(rows, columns):
    """A Markdown table; columns: title → function of a row."""
    lines = ["| " + " | ".join(columns) + " |",
             "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |"
              for row in rows]
    return "\n".join(lines)


def seconds(value):
    """Seconds, rounded to what matters; "never" if there was no end."""
    if value is None:
        return "never"
    return f"{value:.1f} s" if value < 20 else f"{value:.0f} s"


def plus_minus(metric):
    """A cell with the mean and the standard deviation of a metric."""
    return lambda row: "{:.3f} ± {:.3f}".format(*row[metric])


def three_digits(key):
    """A cell with three digits after the point."""
    return lambda row: f"{row[key]:.3f}"


def side_by_side(rows, *keys):
    """Rows whose two frameworks are joined: {"PyTorch": …, "TensorFlow": …}.

    keys: what the rows of a pair have in common.
    """
    pairs = {}
    for row in rows:
        pairs.setdefault(tuple(row[key] for key in keys), {})[
            row["framework"]] = row
    return list(pairs.values())


def common(key):
    """A cell with what both frameworks have in common."""
    return lambda pair: str(next(iter(pair.values()))[key])


def of(framework, cell):
    """A cell about one framework, empty if it was not measured there."""
    return lambda pair: cell(pair[framework]) if framework in pair else ""


def both(cell):
    """A cell with PyTorch / TensorFlow, or with one number for both."""
    def joined(pair):
        cells = [cell(pair[framework]) for framework in FRAMEWORKS.values()
                 if framework in pair]
        return " / ".join(dict.fromkeys(cells))
    return joined


def dice_columns():
    """Dice of both frameworks, each with its standard deviation."""
    return {f"Dice, {framework}": of(framework, plus_minus("Dice"))
            for framework in FRAMEWORKS.values()}


def front_table(found):
    """The six rows of the README."""
    rows = [row for row in found["accuracy"] if row["method"] in FRONT]
    return markdown(side_by_side(rows, "method"),
                    {"method": common("method"), **dice_columns()})


def accuracy_table(found):
    """Mean scores over all test images, and Dice for each diagnosis."""
    return markdown(side_by_side(found["accuracy"], "method"), {
        "method": common("method"), **dice_columns(),
        **{key: both(three_digits(key)) for key in DIAGNOSES},
        **{metric: both(lambda row, metric=metric: f"{row[metric][0]:.3f}")
           for metric in METRICS[1:]},
        "all pixels together": both(three_digits("all pixels together"))})


def speed_table(found):
    """How long trainings took; medians over the folds."""
    return markdown(side_by_side(found["speed"], "method"), {
        "method": common("method"),
        "weights": both(lambda row: f"{row['weights']:,.0f}"),
        "training": both(lambda row: seconds(row["seconds"])),
        "an epoch": both(lambda row: seconds(row["epoch"])),
        "until validation Dice 0.90":
            both(lambda row: seconds(row["enough"])),
        "images per second":
            both(lambda row: f"{row['images_per_second']:.0f}"),
        "memory": both(lambda row: f"{row['memory'] / 1e9:.1f} GB"
                       if row["memory"] else "")})


def lever_table(found):
    """What each change was worth: mean gain of Dice ± standard error."""
    def gain(row):
        return f"{row['gain']:+.4f} ± {row['error']:.4f}"

    return markdown(side_by_side(found["levers"], "what", "method"), {
        "what was changed": common("what"), "method": common("method"),
        "test images": common("images"),
        **{f"gain of Dice, {framework}": of(framework, gain)
           for framework in FRAMEWORKS.values()}})


def peers_table(found):
    """Other networks beside the lesson's, and how much sooner it is."""
    rows = found["peers"]["rows"]
    [older] = [row["enough"] for row in rows
               if row["method"].startswith("older lesson")]

    def sooner(row):
        known = row["enough"] and older
        return f"{older / row['enough']:.1f} ×" if known else ""

    return markdown(rows, {
        "network": lambda row: row["method"],
        "weights": lambda row: f"{row['weights']:,}",
        "an epoch": lambda row: seconds(row["epoch"]),
        "until validation Dice 0.90": lambda row: seconds(row["enough"]),
        "sooner than the older lesson": sooner,
        "epochs": lambda row: str(row["epochs"]),
        "training": lambda row: seconds(row["seconds"]),
        "Dice": three_digits("Dice")})


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


def recipe_runs(found, framework, data, network):
    """{(loss, rate, fold, seed): training} of one network and framework."""
    return {(run["loss"], run["rate"], run["fold"], run["seed"]): run
            for run in found["recipe"]
            if (run.get("framework", "pytorch"), run["data"],
                run["network"]) == (framework, data, network)}


def recipe_gains(found, data, network):
    """{part of a recipe: [gains of test Dice]}, and Dice without any.

    Both trainings of a pair have the same fold and seed.
    """
    runs = recipe_runs(found, "pytorch", data, network)
    rate = LEAST_RATE[data]
    least = {key[2:]: run for key, run in runs.items()
             if key[:2] == ("cross-entropy", rate)}
    parts = {"Dice loss added": ("both", rate, "last"),
             "running average": ("cross-entropy", rate, "average"),
             "best epoch": ("cross-entropy", rate, "best"),
             "first recipe: all three": ("both", 1e-3, "best average"),
             "learning rate 2e-3": ("cross-entropy", 2e-3, "last"),
             "learning rate 3e-3": ("cross-entropy", 3e-3, "last")}
    gains = {name: [runs[loss, changed, *place][kind]["test"]["dice"]
                    - run["last"]["test"]["dice"]
                    for place, run in least.items()
                    if (loss, changed, *place) in runs]
             for name, (loss, changed, kind) in parts.items()
             if (changed, kind) != (rate, "last") or loss == "both"}
    return gains, [run["last"]["test"]["dice"] for run in least.values()]


def recipe_column(found, data, network):
    """{row of the table: text} of one network and data set."""
    def mean(dice):
        return f"**{np.mean(dice):.3f}** ({len(dice)})" if dice else ""

    def gain(gains):
        if len(gains) < 2:
            return ""
        error = np.std(gains, ddof=1) / len(gains) ** 0.5
        return f"{np.mean(gains):+.4f} ± {error:.4f} ({len(gains)})"

    gains, least = recipe_gains(found, data, network)
    keras = recipe_runs(found, "tf", data, network).values()
    return {"the least": mean(least),
            "the least, in TensorFlow": mean([run["last"]["test"]["dice"]
                                              for run in keras]),
            **{name: gain(values) for name, values in gains.items()}}


def recipe_table(found):
    """What each part of a recipe is worth, on both sets of images."""
    columns = {f"{network.replace('UNet', 'U-Net')}, {title}":
               recipe_column(found, data, network)
               for data, title in (("PH2", "PH²"), ("sample", "sample"))
               for network in ("SegNet", "UNet")}
    names = dict.fromkeys(name for column in columns.values()
                          for name, text in column.items() if text)
    return markdown(list(names), {
        "recipe": lambda name: name,
        **{title: lambda name, column=column: column.get(name, "")
           for title, column in columns.items()}})


def about_line(found):
    """On what machine the cross-validation ran, with what, and when."""
    return machine_line({**found["about"], "framework": ", ".join(
        found["about"]["frameworks"])})


def machine_line(about):
    """On what machine, with what, and when."""
    cores = "1 core" if about["cores"] == 1 else f"{about['cores']} cores"
    return (f"*{about['processor']}, {cores}; {about['framework']}; "
            f"{about['precision']}; {about['date']}*")


TABLES = {"front": front_table, "recipe": recipe_table,
          "accuracy": accuracy_table, "speed": speed_table,
          "levers": lever_table, "about": about_line,
          "peers": peers_table, "limits": limits_table,
          "profile": profile_table, "settings": settings_table,
          "peersmachine":
              lambda found: machine_line(found["peers"]["about"]),
          "limitsmachine":
              lambda found: machine_line(found["limits"]["about"])}


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


def merged(old, new):
    """The new levers, and the old ones that were not measured again."""
    def key(row):
        return row["what"], row["method"], row["framework"]

    measured = {key(row) for row in new}
    return new + [row for row in old if key(row) not in measured]


def publish(parts):
    """Keep new parts of the results, and put their tables into the pages."""
    old = record.read(RESULTS, "levers")
    found = {**old, **parts}
    found["levers"] = merged(old["levers"], found["levers"])
    with storage.whole(RESULTS) as part:
        part.write_text(json.dumps(found, indent=1, ensure_ascii=False)
                        + "\n", encoding="utf-8")
    for name, language in PAGES.items():
        path = ROOT / name
        page = filled(path.read_text(encoding="utf-8"), found, language)
        with storage.whole(path) as part:
            part.write_text(page, encoding="utf-8")
