"""Train a classifier on Fisher's Iris data with scikit-learn, and log it with MLflow.

Nothing here names a tracking server or a run: MLflow finds both in the environment
that aml-train sets, as it would on Azure Machine Learning.
"""

import argparse

import mlflow
import numpy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", default="iris.csv")
parser.add_argument("--trees", type=int, default=50)
args = parser.parse_args()

table = numpy.genfromtxt(args.data, delimiter=",", names=True, dtype=None, encoding="utf-8")
features = [n for n in table.dtype.names if n != "species"]
x = numpy.column_stack([table[n] for n in features])
y = table["species"]
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=1, stratify=y)

mlflow.autolog(log_datasets=False)
with mlflow.start_run():
    model = RandomForestClassifier(n_estimators=args.trees, warm_start=False, random_state=1)
    model.fit(x_train, y_train)
    for n in range(1, args.trees + 1, max(args.trees // 25, 1)):
        some = RandomForestClassifier(n_estimators=n, random_state=1)
        with mlflow.utils.autologging_utils.disable_autologging():
            some.fit(x_train, y_train)
        mlflow.log_metric("loss", log_loss(y_test, some.predict_proba(x_test)), step=n)
    predicted = model.predict(x_test)
    mlflow.log_metric("accuracy", accuracy_score(y_test, predicted))
    mlflow.log_dict({"labels": model.classes_.tolist(), "matrix": confusion_matrix(y_test, predicted).tolist()}, "confusion.json")
    mlflow.set_tag("features", ", ".join(features))
    print("test accuracy", accuracy_score(y_test, predicted))
