// Synthetic chest radiographs in the layout of NIH ChestX-ray14, to train and test on where no real data may
// be had.
//
// What is planted, and what tells of it (docs/phantom.md has the numbers):
// - findings of several sizes and places, from nodules of a few pixels to the width of the heart;
// - Infiltration and Pneumonia look alike: age, view and an effusion on the same side decide which it is;
// - in an AP view the heart looks larger, so Cardiomegaly is judged by width and view together;
// - Atelectasis is a band together with a raised diaphragm on its side; a band alone is a scar;
// - Effusion makes Atelectasis and Pneumonia more likely, Cardiomegaly makes Effusion more likely;
// - age, sex and view change how often the others occur;
// - of the columns of clinical.csv some tell of a finding, the others of nothing.
#pragma once

#include <cstdint>
#include <string>

namespace medfusion::data {

struct PhantomOptions {
  int64_t images = 2000;  // at least 8
  int64_t size = 64;      // pixels each way, 32 to 2048
  uint64_t seed = 1;
};

// Writes DIR/images/*.png (8-bit gray), Data_Entry_2017.csv, train_val_list.txt, test_list.txt (every fourth
// patient), BBox_List_2017.csv (pixels of the images written; a finding on both sides has two boxes),
// clinical.csv (a table to join, see NihOptions::extra_table) and features_truth.csv (what each of its
// columns was planted for: column, feature, label, direction; nothing after the column where that is noise).
// Runs on all threads of parallel_for; the same options give the same bytes whatever their number. Replaces
// files of those names. Throws core::Error where an option is out of range or a file cannot be written.
void write_phantom(const std::string& directory, const PhantomOptions& options);

}  // namespace medfusion::data
