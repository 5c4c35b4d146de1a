//! `crossrank bench`: what this machine makes of a model.

mod measure;
mod report;
mod texts;
mod workload;

pub use measure::run as run_one;

use crate::args::{BenchArgs, LoadArgs, ModelArgs, ReportFormat};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;
use measure::Unmeasured;
use report::{Row, Table};
use workload::Workloads;

/// Runs the command.
pub fn run(args: &BenchArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let all = Workloads::read(args.workload.as_deref())?;
    let threads: Vec<Option<usize>> = match &*args.threads {
        [] => vec![None],
        threads => threads.iter().copied().map(Some).collect(),
    };
    let table = Table::new(&all.workloads);
    let mut output = Output::new();
    let steps = progress::steps(all.workloads.len() * args.dtype.len() * threads.len());
    let mut first = true;
    for workload in &all.workloads {
        for &dtype in &args.dtype {
            for &threads in &threads {
                steps.set_message(workload::place(&workload.name));
                let load = LoadArgs { dtype, threads, ..LoadArgs::default() };
                let model = ModelArgs { model: args.model.clone(), load };
                let measured =
                    measure::in_child(&model, args.seconds, workload).map_err(
                        |unmeasured| match unmeasured {
                            Unmeasured::Workload(reason) => all.error(workload, &reason),
                            Unmeasured::Other(failure) => failure,
                        },
                    )?;
                // A line that has been begun is written to its end.
                let _held = interrupt.hold();
                interrupt.check()?;
                steps.suspend(|| {
                    match args.format {
                        ReportFormat::Json => output.json(&Row::new(workload, &measured))?,
                        ReportFormat::Text => {
                            if first {
                                output.line(table.head())?;
                            }
                            output.line(table.row(workload, &measured))?;
                        }
                    }
                    output.flush()
                })?;
                first = false;
                steps.inc(1);
            }
        }
    }
    steps.finish_and_clear();
    if args.format == ReportFormat::Text {
        for note in Table::notes() {
            output.line(note.to_owned())?;
        }
    }
    output.flush()
}
