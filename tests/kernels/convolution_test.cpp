#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(convolution)
MEDFUSION_KERNEL_TESTS_IN_BF16(convolution, "", "simt", "cudnn")
