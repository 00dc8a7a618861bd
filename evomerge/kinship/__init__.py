"""Model kinship from weights: sufficient statistics from one pass over safetensors files.

    passes = [measure(base, models, base_id="base")]
    statistics = Statistics.merge(passes)
    statistics.pair("pcc", "a", "b")

`measure` (in `stream`) needs torch and reads weights, as `parity` does; everything else here needs
numpy only.
"""
