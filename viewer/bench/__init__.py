"""The measured core: micro-benchmarks of this machine's CPU and GPU, and the files they leave behind.

``kernels`` names every CUDA kernel, ``build`` compiles it, ``sass`` reads what came out, ``cuda_run`` times
it; ``cpu_build`` and ``cpu_run`` do the same for the processor; ``statistics`` says when to stop and what to
report; ``schema`` is the result file; ``hardware_file`` makes of it a description that every command takes.
"""

from __future__ import annotations
