"""Train a classifier on Fisher's Iris data with nothing but the standard library.

Softmax regression by gradient descent. What it learns goes to ./outputs, which
becomes part of the run's history: metrics.json (numbers and a curve), model.json,
a confusion matrix as a table and as a picture.
"""

import argparse
import csv
import json
import math
import os
import random


def load(path):
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    species = sorted({r["species"] for r in rows})
    features = [n for n in rows[0] if n != "species"]
    data = [([float(r[n]) for n in features], species.index(r["species"])) for r in rows]
    return data, features, species


def standardise(data):
    columns = list(zip(*(x for x, _ in data)))
    mean = [sum(c) / len(c) for c in columns]
    deviation = [math.sqrt(sum((v - m) ** 2 for v in c) / len(c)) for c, m in zip(columns, mean)]
    return mean, deviation


def softmax(scores):
    top = max(scores)
    e = [math.exp(s - top) for s in scores]
    total = sum(e)
    return [v / total for v in e]


def predict(weights, x):
    return softmax([w[0] + sum(a * b for a, b in zip(w[1:], x)) for w in weights])


def evaluate(weights, data, classes):
    loss, confusion = 0.0, [[0] * classes for _ in range(classes)]
    for x, y in data:
        p = predict(weights, x)
        loss -= math.log(max(p[y], 1e-12))
        confusion[y][p.index(max(p))] += 1
    right = sum(confusion[i][i] for i in range(classes))
    return loss / len(data), right / len(data), confusion


def picture(confusion, species):
    cell, left = 90, 110
    most = max(map(max, confusion))
    parts = []
    for i, row in enumerate(confusion):
        y = 40 + i * cell
        parts.append(f'<text x="{left - 8}" y="{y + cell / 2}" text-anchor="end">{species[i]}</text>')
        parts.append(f'<text x="{left + i * cell + cell / 2}" y="30" text-anchor="middle">{species[i]}</text>')
        for j, n in enumerate(row):
            x = left + j * cell
            parts.append(f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="#2f81f7" '
                         f'fill-opacity="{n / most:.2f}" stroke="#8b949e"/>')
            parts.append(f'<text x="{x + cell / 2}" y="{y + cell / 2}" text-anchor="middle">{n}</text>')
    side = left + len(species) * cell + 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side - 60}" '
            f'font-family="sans-serif" font-size="13">{"".join(parts)}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="iris.csv")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    data, features, species = load(args.data)
    random.Random(args.seed).shuffle(data)
    cut = len(data) * 4 // 5
    mean, deviation = standardise(data[:cut])
    scaled = [([(v - m) / d for v, m, d in zip(x, mean, deviation)], y) for x, y in data]
    train, test = scaled[:cut], scaled[cut:]
    print(f"{len(train)} flowers to learn from, {len(test)} to be judged by")

    weights = [[0.0] * (len(features) + 1) for _ in species]
    losses = []
    for epoch in range(args.epochs):
        for x, y in train:
            p = predict(weights, x)
            for k, w in enumerate(weights):
                error = p[k] - (k == y)
                w[0] -= args.rate * error / 10
                for i, v in enumerate(x):
                    w[i + 1] -= args.rate * error * v / 10
        loss, accuracy, _ = evaluate(weights, train, len(species))
        losses.append(round(loss, 6))
        if (epoch + 1) % 10 == 0 or epoch == 0:
            print(f"epoch {epoch + 1:3d}  loss {loss:.4f}  accuracy {accuracy:.3f}")

    loss, accuracy, confusion = evaluate(weights, test, len(species))
    print(f"test accuracy {accuracy:.3f}")

    os.makedirs("outputs", exist_ok=True)
    with open("outputs/metrics.json", "w") as f:
        json.dump({"accuracy": round(accuracy, 4), "test": {"loss": round(loss, 6)}, "loss": losses}, f)
    with open("outputs/model.json", "w") as f:
        json.dump({"features": features, "species": species, "mean": mean, "deviation": deviation, "weights": weights}, f, indent=1)
    with open("outputs/confusion.csv", "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["actual \\ predicted"] + species)
        table.writerows([name] + row for name, row in zip(species, confusion))
    with open("outputs/confusion.svg", "w") as f:
        f.write(picture(confusion, species))


if __name__ == "__main__":
    main()
