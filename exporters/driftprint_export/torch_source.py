"""From a PyTorch module to an ONNX graph. Only this file needs torch."""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from driftprint.errors import ConfigError, MissingExtraError, ModelError
from driftprint_export.source import SourceModel, prepare

if TYPE_CHECKING:
    import torch

OPSET = 18


def load_torch(factory: str, checkpoint: Path | None, example: NDArray[Any]) -> SourceModel:
    """Build a module, load its weights and trace it.

    Args:
        factory: ``package.module:function``; called without arguments, it returns a ``torch.nn.Module``.
        checkpoint: a state dict as ``torch.save`` writes it, alone or under ``state_dict`` or ``model``. Read
            without unpickling code. None to keep the weights that the factory gives.
        example: a batch of one frame as the module takes it.

    Raises:
        MissingExtraError: without torch.
        ConfigError: where there is no such factory, or the checkpoint is not its own.
        ModelError: where the module cannot be traced.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("--torch needs PyTorch", extra="export") from None
    module = _call_factory(factory)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"returned a {type(module).__name__}, expected a torch.nn.Module", where=factory)
    if checkpoint is not None:
        _load_weights(module, checkpoint)
    return trace_module(module, example, factory)


def trace_module(module: torch.nn.Module, example: NDArray[Any], name: str) -> SourceModel:
    """Trace a module into a graph, with a free batch axis where it allows one.

    Args:
        module: the module.
        example: a batch of one frame as the module takes it.
        name: what to call it.

    Raises:
        ModelError: where the module cannot be traced.
    """
    import torch

    # With weights in another memory layout torch finds the batch axis not to be free.
    module.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return prepare(_to_onnx(module, torch.from_numpy(example), name), name, {})


def _call_factory(factory: str) -> Any:
    module_name, _, function_name = factory.partition(":")
    if not function_name:
        raise ConfigError("expected the form package.module:function", where=f"--torch {factory}")
    # As `python -m` does: a model's code most often lies in the folder one works in.
    sys.path.insert(0, str(Path.cwd()))
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module_name), function_name)
        return function()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot be imported ({error})", where=f"--torch {factory}") from None
    except Exception as error:  # the user's own code
        raise ConfigError(f"failed: {error!r}", where=f"--torch {factory}") from error
    finally:
        sys.path.pop(0)


def _load_weights(module: torch.nn.Module, checkpoint: Path) -> None:
    import torch

    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror or error})", where=str(checkpoint)) from None
    except Exception as error:  # torch raises many kinds for files that are no checkpoints
        raise ConfigError(
            f"no checkpoint of plain tensors ({str(error).splitlines()[0]})",
            where=str(checkpoint),
            fix="save it with torch.save(model.state_dict(), path)",
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    try:
        module.load_state_dict(loaded)
    except (RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(" ".join(lines[:2]), where=str(checkpoint)) from None


def _to_onnx(module: torch.nn.Module, example: torch.Tensor, factory: str) -> onnx.ModelProto:
    import torch

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                program = torch.onnx.export(
                    module,
                    (example,),
                    dynamo=True,
                    opset_version=OPSET,
                    input_names=["input"],
                    dynamic_shapes=({0: torch.export.Dim("N")},),
                    verbose=False,
                )
            except Exception:  # not every module allows a free batch axis
                program = torch.onnx.export(
                    module, (example,), dynamo=True, opset_version=OPSET, input_names=["input"], verbose=False
                )
    except ImportError as error:
        raise MissingExtraError(f"--torch needs {error.name}", extra="export") from None
    except Exception as error:  # torch's exporter raises many kinds
        raise ModelError(
            f"torch cannot export it ({str(error).splitlines()[0]})",
            where=factory,
            fix="export it to ONNX by hand and give the file with --onnx",
        ) from None
    if program is None:
        raise ModelError("torch cannot export it", where=factory)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        program.save(file)
        return onnx.load(str(file))
