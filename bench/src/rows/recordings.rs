//! What recording a run costs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lz4_flex::block::{compress_into, get_maximum_output_size};

use super::{Bench, KVM, Measure, Monitor, OURS, at_most, measure};
use crate::figures::{Demand, Row};
use crate::processes::time_to_answer;
use crate::{Result, images};

const RECORDED: &str = "flatland --record";
const RECORDED_ON_KVM: &str = "flatland --engine kvm --record";

/// How many bytes these take compressed (LZ4).
fn compressed_len(bytes: &[u8]) -> Result<usize> {
    Ok(compress_into(bytes, &mut vec![0; get_maximum_output_size(bytes.len())])?)
}

impl Bench<'_> {
    /// Removes what was written before, which is not measured: a file that is there takes longer to replace than to
    /// write.
    fn new_file(&self) -> Result<PathBuf> {
        let path = self.folder.join("recorded.rec");
        if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }

    /// Measures a run, and the same run recorded to a new file.
    fn with_and_without<'b>(
        &'b self,
        [name, recorded]: [&'static str; 2],
        monitor: Monitor<'b>,
        image: &'b Path,
        once: impl Fn(&mut Command) -> Result<f64> + Copy + 'b,
    ) -> [Measure<'b>; 2] {
        let plain = measure(name, move || {
            self.new_file()?;
            once(&mut monitor.command(image))
        });
        let recorded = measure(recorded, move || {
            let to = self.new_file()?;
            once(monitor.command(image).arg("--record").arg(to))
        });
        [plain, recorded]
    }

    /// KVM has fewer bytes: where it emulates, they take long.
    pub(super) fn recorded_conversation(&self) -> Result<Row> {
        const BYTES: usize = 100_000;
        const BYTES_ON_KVM: usize = 10_000;
        let title = "the conversation recorded (100,000 bytes in and out through pipes, on KVM 10,000), each";
        let image = self.image("conversation.bin", images::CONVERSATION)?;
        let input = images::input(BYTES);
        let answers = images::answers(&input);
        let [kvm, _] = self.by_name();
        let pairs = [([OURS, RECORDED], self.ours(), BYTES), ([KVM, RECORDED_ON_KVM], kvm, BYTES_ON_KVM)];
        let (input, answers, image) = (&input, &answers, &image);
        let measures = pairs.into_iter().flat_map(|(names, monitor, bytes)| {
            self.with_and_without(names, monitor, image, move |command| {
                Ok(time_to_answer(command, &input[..bytes], &answers[..bytes])? * 1e6 / bytes as f64)
            })
        });
        let row = self.in_turns("recorded-conversation", title, "us", [60, 8], measures.collect())?;
        let asked = |of, against| Demand { of, ..at_most(1.03, against) };
        Ok(Row { demands: vec![asked(RECORDED, &[OURS]), asked(RECORDED_ON_KVM, &[KVM])], ..row })
    }

    /// The two rows behind the recorded run say what its time goes to: all but the file, and the file alone.
    pub(super) fn recorded_copy(&self) -> Result<Row> {
        const BYTES: usize = 64 << 20;
        const PIECE: usize = 256 << 10;
        let title = "bulk copy recorded (rep insb, rep outsb; 64 MiB through pipes), in all";
        let image = self.image("copy.bin", images::COPY)?;
        let input = images::input(BYTES);
        let once = |command: &mut Command| Ok(time_to_answer(command, &input, &input)? * 1e3);
        let mut measures = Vec::from(self.with_and_without([OURS, RECORDED], self.ours(), &image, once));
        measures.push(measure("the same to /dev/null", || {
            self.new_file()?;
            once(self.ours().command(&image).args(["--record", "/dev/null"]))
        }));
        measures.push(measure("a write of as many bytes", || {
            let path = self.new_file()?;
            let start = Instant::now();
            let mut file = File::create(path)?;
            input.chunks(PIECE).try_for_each(|piece| file.write_all(piece))?;
            drop(file);
            Ok(start.elapsed().as_secs_f64() * 1e3)
        }));
        let row = self.in_turns("recorded-copy", title, "ms", [40, 5], measures)?;
        Ok(Row { demands: vec![Demand { of: RECORDED, ..at_most(1.1, &[OURS]) }], ..row })
    }

    /// Three runs whose input no compression makes smaller: at once, byte by byte, and byte by byte at two ports in turn.
    /// What the guest reads at the other port counts as input, too.
    pub(super) fn recording_size(&self) -> Result<Row> {
        const MOST: &str = "1.1 inputs, 4 KiB, image";
        const BYTES: usize = 1 << 20;
        let title = "the size of recordings (1 MiB at once, byte by byte, and at two ports in turn)";
        let input = images::random_input(BYTES);
        let echoed = images::answers(&input);
        let guests = [
            ("copy.bin", images::COPY, &input, BYTES, RECORDED),
            ("conversation.bin", images::CONVERSATION, &echoed, BYTES, "the same byte by byte"),
            ("polling.bin", images::POLLING, &input, 2 * BYTES, "the same at two ports"),
        ];
        let mut measures = vec![measure(MOST, || {
            // The strictest of the three.
            let images =
                guests.iter().map(|(_, image, ..)| compressed_len(image)).collect::<Result<Vec<_>>>()?;
            let image = images.into_iter().min().unwrap_or(0);
            Ok((1.1 * BYTES as f64 + 4096.0 + image as f64) / 1024.0)
        })];
        for (name, code, answers, read, contender) in guests {
            let image = self.image(name, code)?;
            let input = &input;
            measures.push(measure(contender, move || {
                let to = self.new_file()?;
                time_to_answer(self.ours().command(&image).arg("--record").arg(&to), input, answers)?;
                // For each MiB that is read.
                Ok(fs::metadata(&to)?.len() as f64 / 1024.0 * (BYTES as f64 / read as f64))
            }));
        }
        let row = self.in_turns("recording-size", title, "KiB", [2, 1], measures)?;
        let demands = guests.map(|(.., contender)| Demand { of: contender, ..at_most(1.0, &[MOST]) });
        Ok(Row { demands: demands.into(), ..row })
    }
}
