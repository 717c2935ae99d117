//! A shared library that looks like libnvidia-ml, backed by the simulated plant. The one place with unsafe code.
