//! `crossrank quantize` of checkpoints whose tensors have other names, or lie elsewhere, than the engine's own.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use common::{copy_model, fixture, reference, run};
use safetensors::{Dtype, SafeTensors, View};

/// A tensor as it is written.
#[derive(Clone)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&*self.data).into()
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The tensors of a file, in the order of names.
fn tensors(path: &Path) -> Vec<(String, Tensor)> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, Tensor { dtype, shape, data })
    };
    let mut tensors: Vec<_> = tensors.tensors().into_iter().map(tensor).collect();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    tensors
}

fn write(path: &Path, tensors: &[(String, Tensor)]) {
    let tensors = tensors.iter().map(|(name, tensor)| (name, tensor));
    fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

#[test]
fn what_a_wrapper_puts_before_all_names_stays_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    copy_model("gelu-new-f16", &path("wrapped"));
    let weights = path("wrapped").join("model.safetensors");
    let wrapped = tensors(&weights).into_iter().map(|(name, tensor)| (format!("wrapper.{name}"), tensor));
    write(&weights, &wrapped.collect::<Vec<_>>());
    fs::write(path("texts.jsonl"), reference("gelu-new-f16").0).unwrap();
    let texts = path("texts.jsonl");
    let calibrated: [&OsStr; 2] = ["--calibrate".as_ref(), texts.as_ref()];
    for options in [&[][..], &calibrated] {
        let quantized = |model: &str, out: &str| {
            let folder = path(out);
            let arguments: [&OsStr; 3] = ["quantize".as_ref(), model.as_ref(), folder.as_ref()];
            let ran = run([&arguments[..], options].concat(), "");
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            let tensors = tensors(&path(out).join("model.safetensors"));
            fs::remove_dir_all(path(out)).unwrap();
            (tensors, ran.stderr)
        };
        let (plain, note) = quantized(&fixture("gelu-new-f16"), "plain");
        assert!(note.contains("left out tensor `bert.embeddings.position_ids` (I64)"), "{note}");
        let (wrapped, note) = quantized(path("wrapped").to_str().unwrap(), "wrapped-i8");
        assert!(note.contains("left out tensor `wrapper.bert.embeddings.position_ids` (I64)"), "{note}");
        assert_eq!(plain.len(), wrapped.len());
        for ((plain, a), (wrapped, b)) in plain.iter().zip(&wrapped) {
            assert_eq!(*wrapped, format!("wrapper.{plain}"));
            assert!((a.dtype, &a.shape, &a.data) == (b.dtype, &b.shape, &b.data), "{plain}");
        }
    }
}

#[test]
fn of_two_copies_the_one_counts_that_the_index_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    copy_model("sharded", &path("copies"));
    let [first, second] = ["model-00001-of-00003", "model-00003-of-00003"]
        .map(|shard| path("copies").join(format!("{shard}.safetensors")));
    let (name, mut copy) = tensors(&first).swap_remove(0);
    copy.data.fill(0);
    let mut others = tensors(&second);
    others.push((name.clone(), copy));
    write(&second, &others);
    let quantized = |model: &str, out: &str| {
        let ran = run(["quantize".as_ref(), model.as_ref(), path(out).as_os_str()], "");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        (tensors(&path(out).join("model.safetensors")), ran.stderr)
    };
    let (expected, _) = quantized(&fixture("sharded"), "plain");
    let (found, note) = quantized(path("copies").to_str().unwrap(), "i8");
    assert!(note.contains(&format!("left out tensor `{name}`")), "{note}");
    assert_eq!(expected.len(), found.len());
    for ((a, expected), (b, found)) in expected.iter().zip(&found) {
        assert!(a == b && expected.data == found.data, "{a}, {b}");
    }
}
