"""Reads wheels as Python's own packaging library, pip and an index do."""
import base64, csv, hashlib, io, os, sys, zipfile
from packaging.metadata import Metadata
from packaging.tags import parse_tag
from packaging.utils import parse_wheel_filename

for file in sys.argv[1:]:
    name, version, build, tags = parse_wheel_filename(os.path.basename(file))
    assert (name, str(version), build) == ("aml-train", "1.2.3", ()), file
    with zipfile.ZipFile(file) as wheel:
        assert wheel.testzip() is None
        names = wheel.namelist()
        assert len(names) == len(set(names)), names
        info = f"aml_train-{version}.dist-info"
        metadata = Metadata.from_email(wheel.read(info + "/METADATA"), validate=True)
        assert metadata.name == "aml-train" and metadata.version == version and metadata.license_expression == "MIT"
        assert metadata.description.startswith("# aml-train\n") and metadata.description_content_type == "text/markdown"
        assert metadata.license_files == ["LICENSE"] and info + "/licenses/LICENSE" in names
        said = dict(line.split(": ", 1) for line in wheel.read(info + "/WHEEL").decode().splitlines())
        assert said["Wheel-Version"] == "1.0" and said["Root-Is-Purelib"] == "false"
        listed = [line[5:] for line in wheel.read(info + "/WHEEL").decode().splitlines() if line.startswith("Tag: ")]
        assert frozenset().union(*map(parse_tag, listed)) == tags, (listed, tags)
        record = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.read(info + "/RECORD").decode()))}
        assert sorted(record) == sorted(names) and names[-1] == info + "/RECORD"
        for entry, (digest, size) in record.items():
            text = wheel.read(entry)
            sha256 = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
            assert (digest, size) == (("", "") if entry == names[-1] else (sha256, str(len(text)))), entry
    print(os.path.basename(file), "agrees")
