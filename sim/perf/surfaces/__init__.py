"""How long a kernel takes on a GPU: efficiency surfaces, one kind of kernel per file.

A surface is a frozen dataclass of a few figures relative to the data sheet of the GPU (achieved
fractions, tile sizes, floors). `sim calibrate` fits the figures to measured tables and keeps them
in `perf/calibrations/`; with the default figures a surface is a plain roofline. Methods take whole
arrays and use + − × ÷ max and tables, so that the scalar prices made of them agree to the last bit.
"""
