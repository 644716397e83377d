"""These tests fork, and OpenMP's threads are not forked along: a child that has several waits for them for ever."""

import torch

torch.set_num_threads(1)
