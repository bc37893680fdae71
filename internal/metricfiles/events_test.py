# Writes event files as tensorboardX and TensorBoard's own writer (which is PyTorch's) do,
# and prints what TensorBoard reads in them.
import json
import os
import random
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboardX import SummaryWriter

root, r = sys.argv[1], random.Random(int(sys.argv[2]))


def value():
    return r.choice([r.gauss(0, 1), 0.0, -1e30, 1e-30, float("inf"), float("-inf"), 7])


w = SummaryWriter(os.path.join(root, "x"))
for step in range(200):
    w.add_scalar("loss/train", value(), step)
    if step % 50 == 0:
        w.add_histogram("weights", numpy.random.rand(100), step)
        w.add_image("image", numpy.random.randint(0, 255, (3, 8, 8), dtype="uint8"), step)
        w.add_text("text", "hello", step)
    w.add_scalar("größe", value(), 10**12 + step, walltime=1.7e9 + step)
w.close()

w = EventFileWriter(os.path.join(root, "t"))
seen = set()
for step in range(300):
    tag = r.choice(["simple", "tensor", "double", "content", "not a scalar"])
    v = Summary.Value(tag=tag)
    if tag == "simple":
        v.simple_value = value()
    else:
        if tag not in seen:
            plugin = "scalars" if tag != "not a scalar" else "histograms"
            v.metadata.CopyFrom(SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)))
            seen.add(tag)
        t = TensorProto(dtype=DT_DOUBLE if tag == "double" else DT_FLOAT)
        if tag == "content":
            t.tensor_content = numpy.float32(value()).tobytes()
        elif tag == "double":
            t.double_val.append(value())
        else:
            t.float_val.append(value())
        v.tensor.CopyFrom(t)
    w.add_event(Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[v])))
w.close()

out = {}
for d in ("x", "t"):
    a = EventAccumulator(os.path.join(root, d), size_guidance={"scalars": 0, "tensors": 0})
    a.Reload()
    for tag in a.Tags()["scalars"]:
        out[tag] = [[e.step, repr(e.value), e.wall_time] for e in a.Scalars(tag)]
    for tag in a.Tags()["tensors"]:
        if a.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            out[tag] = []
            for e in a.Tensors(tag):
                t = e.tensor_proto
                v = t.double_val[0] if t.double_val else t.float_val[0] if t.float_val else float(numpy.frombuffer(t.tensor_content, "float32")[0])
                out[tag].append([e.step, repr(v), e.wall_time])
print(json.dumps(out))
