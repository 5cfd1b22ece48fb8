#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(activation)
MEDFUSION_KERNEL_TESTS_IN_BF16(activation, "relu ", "simt")
