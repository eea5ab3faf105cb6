"""The Bloom filter in 512-bit blocks: its shape, its kernels, its shared memory."""
