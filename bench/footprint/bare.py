"""Run as a script: nothing but onnxruntime with a model. Prints a line after the first frame, and one after many.

``bare.py MODEL.onnx FRAMES``
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

PAGE = 4096


def main(path: Path, frames: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    [graph_input] = session.get_inputs()
    frame = np.zeros([size if isinstance(size, int) else 1 for size in graph_input.shape], np.float32)
    session.run(None, {graph_input.name: frame})
    print("first", flush=True)
    for _ in range(frames):
        session.run(None, {graph_input.name: frame})
    print(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
