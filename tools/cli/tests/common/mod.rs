//! What the command line's tests share. Each test file uses some of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// What a run of the program left behind.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_crossrank"))
}

/// Runs the program with `stdin`, which it need not read.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>, stdin: impl AsRef<[u8]> + Send) -> Ran {
    let mut child = command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that has found an error closes its end.
            let _ = pipe.write_all(stdin.as_ref());
        });
        child.wait_with_output().unwrap()
    });
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Stdout of a run that went well and had nothing to say.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""), "stdout: {}", self.stdout);
        self.stdout
    }

    /// Lines of JSON of a run that went well.
    #[track_caller]
    pub fn json(self) -> Vec<Value> {
        json(&self.ok())
    }

    /// A run that failed on one line of stderr and wrote nothing else; the line after `crossrank: error: `.
    #[track_caller]
    pub fn error(self) -> String {
        assert_eq!((self.code, &*self.stdout), (Some(1), ""), "stderr: {}", self.stderr);
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {:?}", self.stderr));
        assert!(!line.contains('\n'), "several lines: {line}");
        line.strip_prefix("crossrank: error: ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// A usage error: exit code 2, and nothing on stdout.
    #[track_caller]
    pub fn usage_error(self) -> String {
        assert_eq!((self.code, &*self.stdout), (Some(2), ""), "stderr: {}", self.stderr);
        self.stderr
    }
}

#[track_caller]
pub fn json(lines: &str) -> Vec<Value> {
    assert!(lines.is_empty() || lines.ends_with('\n'), "the last line is not whole: {lines:?}");
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

pub fn fixtures_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}

/// A model folder, as an argument.
pub fn fixture(name: &str) -> String {
    fixtures_folder().join(name).into_os_string().into_string().unwrap()
}

/// Every fixture that is a model.
pub fn fixtures() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixtures_folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 7, "fixtures are missing: {names:?}");
    names
}

/// `reference.jsonl` of a fixture: pairs with the logits of `transformers`, in a form that `score` reads.
pub fn reference(name: &str) -> (String, Vec<Value>) {
    let text = std::fs::read_to_string(fixtures_folder().join(name).join("reference.jsonl")).unwrap();
    let values = json(&text);
    assert!(values.len() >= 20, "{name}");
    (text, values)
}

pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// A copy of a model, to be changed.
pub fn copy_model(name: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(fixtures_folder().join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::write(to.join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
}

/// The bytes of one tensor within a safetensors file.
fn tensor_range(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let (header, metadata) = SafeTensors::read_metadata(file).unwrap();
    let (start, end) = metadata.info(name).unwrap_or_else(|| panic!("no tensor {name}")).data_offsets;
    8 + header + start..8 + header + end
}

/// Changes the bytes of one tensor of a model in one file.
pub fn change_tensor(model: &Path, name: &str, change: impl FnOnce(&mut [u8])) {
    let path = model.join("model.safetensors");
    let mut file = std::fs::read(&path).unwrap();
    let range = tensor_range(&file, name);
    change(&mut file[range]);
    std::fs::write(path, file).unwrap();
}

/// Data in F32.
pub fn f32s(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Writes what an I8 checkpoint stands for, in F32, without its scales.
pub fn widen(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut wide = Vec::new();
    for (name, view) in tensors.tensors() {
        if name.ends_with("_scale") {
            continue;
        }
        let (mut dtype, mut data) = (view.dtype(), view.data().to_vec());
        if dtype == Dtype::I8 {
            let scale = tensors.tensor(&format!("{name}_scale")).unwrap();
            let rows = data.chunks_exact(view.shape()[1]).zip(f32s(scale.data()));
            data = rows
                .flat_map(|(row, scale)| {
                    row.iter().flat_map(move |&x| (f32::from(x as i8) * scale).to_le_bytes())
                })
                .collect();
            dtype = Dtype::F32;
        }
        wide.push((name, dtype, view.shape().to_vec(), data));
    }
    let views = wide
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(path, file).unwrap();
}
