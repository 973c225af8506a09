//! A profile for Firefox's profiler (profiler.firefox.com), which shows it without sending it anywhere.
//!
//! The format is that of "processed" profiles, as the crate `fxprof-processed-profile` 0.8.1 writes it. That crate is
//! not used: its counts have 32 bits, and it takes as long to compile as half of the host.

use jzon::{JsonValue, array, object};

use super::Profile;

/// The version of the format. The profiler reads all versions up to its own.
const VERSION: u32 = 55;

impl Profile {
    /// For Firefox's profiler: a sample for each call path, which weighs as many samples as the path has executed
    /// instructions itself. The axis of time means nothing.
    pub fn firefox(&self, title: &str) -> String {
        let nodes = &self.tree.nodes()[1..];
        // The first node, that of everything, is left out: a node's index is one less than its number.
        let sampled: Vec<_> = (0_u32..).zip(nodes).filter(|(_, node)| node.own > 0).collect();
        let (functions, stacks) = (self.names.len(), nodes.len());
        let all = |count: usize, value: JsonValue| JsonValue::Array(vec![value; count]);
        let numbers =
            |numbers: &mut dyn Iterator<Item = u32>| JsonValue::Array(numbers.map(JsonValue::from).collect());
        let names = (0..functions).map(|name| JsonValue::from(self.names.get(name as u32))).collect();
        let prefixes =
            nodes.iter().map(|node| node.parent.checked_sub(1).map_or(JsonValue::Null, Into::into));
        let thread = object! {
            name: title,
            isMainThread: true,
            processType: "default",
            processName: title,
            processStartupTime: 0,
            processShutdownTime: null,
            registerTime: 0,
            unregisterTime: null,
            pausedRanges: [],
            showMarkersInTimeline: false,
            pid: "1",
            tid: "1",
            frameTable: {
                length: functions,
                address: all(functions, (-1).into()),
                inlineDepth: all(functions, 0.into()),
                category: all(functions, 0.into()),
                subcategory: all(functions, 0.into()),
                func: numbers(&mut (0..functions as u32)),
                nativeSymbol: all(functions, JsonValue::Null),
                innerWindowID: all(functions, 0.into()),
                line: all(functions, JsonValue::Null),
                column: all(functions, JsonValue::Null),
            },
            funcTable: {
                length: functions,
                name: numbers(&mut (0..functions as u32)),
                isJS: all(functions, false.into()),
                relevantForJS: all(functions, false.into()),
                resource: all(functions, (-1).into()),
                fileName: all(functions, JsonValue::Null),
                lineNumber: all(functions, JsonValue::Null),
                columnNumber: all(functions, JsonValue::Null),
            },
            stackTable: {
                length: stacks,
                prefix: JsonValue::Array(prefixes.collect()),
                frame: numbers(&mut nodes.iter().map(|node| node.name)),
            },
            samples: {
                length: sampled.len(),
                weightType: "samples",
                stack: numbers(&mut sampled.iter().map(|(index, _)| *index)),
                timeDeltas: all(sampled.len(), 1.into()),
                weight: JsonValue::Array(sampled.iter().map(|(_, node)| node.own.into()).collect()),
                threadCPUDelta: all(sampled.len(), 0.into()),
            },
            markers: { length: 0, category: [], data: [], endTime: [], name: [], phase: [], startTime: [] },
            nativeSymbols: { length: 0, address: [], functionSize: [], libIndex: [], name: [] },
            resourceTable: { length: 0, lib: [], name: [], host: [], "type": [] },
            stringArray: JsonValue::Array(names),
        };
        let profile = object! {
            meta: {
                categories: [{ name: "Other", color: "grey", subcategories: ["Other"] }],
                debug: false,
                extensions: { length: 0, baseURL: [], id: [], name: [] },
                interval: 1,
                markerSchema: [],
                pausedRanges: [],
                preprocessedProfileVersion: VERSION,
                processType: 0,
                product: title,
                sampleUnits: { eventDelay: "ms", threadCPUDelta: "µs", time: "ms" },
                sourceCodeIsNotOnSearchfox: true,
                startTime: 0,
                symbolicated: true,
                usesOnlyOneStackType: true,
                version: 24,
            },
            libs: [],
            pages: [],
            profilerOverhead: [],
            counters: [],
            threads: array![thread],
        };
        profile.dump() + "\n"
    }
}
