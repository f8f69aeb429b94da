from sightline.interop.onnx.export import export_onnx as export_onnx
from sightline.interop.onnx.model import OnnxModel as OnnxModel
