#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(batch_norm)
MEDFUSION_KERNEL_TESTS_IN_BF16(batch_norm, "", "simt")
