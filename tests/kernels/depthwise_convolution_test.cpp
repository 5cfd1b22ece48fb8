#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(depthwise_convolution)
