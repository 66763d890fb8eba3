"""Run kernels in C++ on the CPU: build, attention, loss, decoder."""
