// MedMNIST (Yang et al., "MedMNIST v2", Scientific Data 2023): one .npz file with train, val and test arrays.
// 2-D sets only.
#pragma once

#include <string>

#include "data/dataset.h"
#include "data/readers/file_limits.h"

namespace medfusion::data {

// Reads {train,val,test}_images, [N, H, W], [N, H, W, 1] or [N, H, W, 3] of any integer type or bool, and
// {train,val,test}_labels, integers or bool: [N, 1] or [N] holds the index of a class and gives one label per
// class, class_0, class_1, ...; [N, L] holds 0 or 1 and gives label_0, ... (chestmnist: the 14 findings of
// ChestX-ray14). Classes exclude each other. Two classes, also as [N, 2] with one 1 in every row, are one
// label: class_1, or label_1. Images of u8 are 8-bit, of bool black and white; others are 8-bit where no
// pixel of the file is above 255, else 16-bit. Ids are train_0, ..., val_0, ..., test_0, ...; the files name
// no patients, so each image is taken for one. Images are kept in memory, at the size of the arrays.
// Dataset::notes holds what was decided. An array may have `most_bytes` bytes. Throws core::InputError naming
// the file and the array.
Dataset read_medmnist(const std::string& file, int64_t most_bytes = FileLimits().array_bytes());

}  // namespace medfusion::data
