//! Instruction sets: what is offered can be asked for by name, and what is not says so.

mod common;

use crossrank_kernels::{Isa, PanelDtype};

#[test]
fn every_available_set_is_found_by_its_name_and_is_in_force() {
    let available: Vec<Isa> = Isa::available().collect();
    assert_eq!(available[0].name(), "portable");
    for &isa in &available {
        assert_eq!(Isa::by_name(isa.name()), Ok(isa));
        assert_eq!(isa.in_force(), isa.name());
    }
    // Save that pairs of bfloat16 may be slower than f32.
    let mut fastest = available.iter().rev();
    let best = Isa::best();
    assert!(fastest.next() == Some(&best) || fastest.next() == Some(&best) && best.name() == "avx512");
    let mut checked = Vec::new();
    common::for_each_isa(|isa| checked.push(isa));
    assert_eq!(checked, available, "what the other tests run on");
}

#[test]
fn an_unknown_name_is_an_error_that_lists_what_there_is() {
    for name in ["", "AVX2", "avx2 ", "neon"] {
        let said = Isa::by_name(name).unwrap_err().to_string();
        assert!(said.contains(&format!("`{name}` is unknown")) && said.contains("portable"), "{said}");
    }
}

#[test]
fn a_set_that_the_machine_lacks_is_an_error_that_says_so() {
    for name in Isa::NAMES {
        if let Err(error) = Isa::by_name(name) {
            assert!(error.to_string().contains("not available here"), "{error}");
        }
    }
}

#[test]
fn only_tiles_take_digits_and_store_pairs() {
    for isa in Isa::available() {
        let amx = isa.name() == "amx";
        for dtype in [PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Int8] {
            let line = isa.arithmetic(dtype);
            assert_eq!(line.panels == PanelDtype::Digits, amx && dtype == PanelDtype::F32);
            assert_eq!(line.panels.precision(), dtype);
            assert_eq!(isa.stores_pairs(dtype), amx && dtype != PanelDtype::F32);
        }
    }
}
