"""From numbers to a model: QuantizeLinear/DequantizeLinear pairs, and the proof that they run."""
