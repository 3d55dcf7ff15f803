"""The child that loads a model sees its model and what serves it, and can change neither.

A model file is a stranger's, and what reads it is native code. Whoever takes it over finds:

- Files, read-only: the machine's programs and libraries, with the directories of ld.so.conf and,
  outside of homes, of PATH; the runtime's interpreter with its packages, qgate's own package, the
  model and the one that it is held against, the store of measurements, and what the child's
  environment names. Not there: home directories, the working directory, other models, /run, most
  of /etc. To write to there is an empty folder (HOME, TMPDIR) and a /tmp and /dev/shm in memory,
  which go with the child; of the reference's child also the folder in which its entry is made.
  Compiled kernels are not kept from one child to the next.
- Devices: those of GPUs, and no others but /dev/null and its like.
- Network: a loopback of its own. A runtime whose spec `needs_network` has the machine's.
- Processes: its own alone, all gone when the child ends. No signal, no memory, no environment of
  pytest's; see `qgate.confinement`. Children are the first to go where memory runs out.

What it is not: there is no bound on memory, processes and disk beside those of the machine, as
nobody knows what a sound runtime needs of address space (CUDA reserves all of it) and how many
threads it starts; deadlines end it. A GPU's driver is as wide a door as it is for any other
process. And what a child tells is its own word, whoever has taken it over.

Linux on x86_64 and aarch64, with bubblewrap or `unshare`. `decide` tries it before a model is
opened, and the report says what it found.
"""

from __future__ import annotations
