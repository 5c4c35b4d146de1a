//! What stays resident of a mapped checkpoint: loading gives back the pages of what it has packed.
//!
//! Maps of the whole process are looked at, so this file has one test and shares its process with no other.
#![cfg(target_os = "linux")]

use std::path::Path;

use crossrank::{Dtype, Reranker};

/// KiB that are resident of all maps of a file.
fn resident(file: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut sum) = (false, 0);
    for line in maps.lines() {
        match line.strip_prefix("Rss:") {
            Some(size) if inside => sum += size.trim().trim_end_matches(" kB").parse::<usize>().unwrap(),
            Some(_) => {}
            // A map begins with its addresses; all other lines with a name and a colon.
            None if line.split(' ').next().is_some_and(|first| first.contains('-')) => {
                inside = line.ends_with(file.to_str().unwrap());
            }
            None => {}
        }
    }
    sum
}

#[test]
fn packed_tensors_do_not_stay_resident() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let reranker = Reranker::builder().threads(2).dtype(Dtype::F32).load(&folder).unwrap();
    let file = folder.join("model.safetensors");
    let resident = resident(&file);
    let info = reranker.info();
    // Each of the weights, which have been packed in f32, was read from a byte at least.
    let read = info.packed_bytes / 4 / 1024;
    assert!(resident > 0, "{} is not mapped", file.display());
    assert!(resident < read / 2, "{resident} KiB are resident after {read} KiB and more were packed");
}
