//! Who calls whom, and the heaviest way down.

use super::thumb::{Effect, effect, is_wide};
use super::{Code, StackError};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Parts of names that mark the way into a panic, from which nothing returns.
const PANICS: &[&str] = &["rust_begin_unwind", "9panicking", "defmt_panic"];

/// Our assembly enters its unrolled loops by BX to an address inside itself. What it calls by
/// BL counts like any other call.
const ASSEMBLY: &str = "pressboard_";

/// Calls through registers: part of the caller's name, and parts of the names of what it
/// may call. Any other such call has no bound.
const INDIRECT: &[(&str, &[&str])] = &[
    // The stages of a kernel, chosen once a layer.
    ("8firmware7kernels", &["8firmware7kernels", ASSEMBLY]),
];

/// One function, as far as its stack goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Function {
    pub name: String,
    pub end: u32,
    /// Bytes that all its instructions together take.
    pub frame: u32,
    /// The stack pointer is set from a register.
    pub unknown: bool,
    /// Where it calls or jumps to, itself left out.
    pub targets: BTreeSet<u32>,
    /// It calls or jumps through a register.
    pub indirect: bool,
}

impl Function {
    /// Reads the code at `start..end`; words that may be addresses of functions go to
    /// `taken`.
    pub fn read(name: String, start: u32, end: u32, code: &Code, taken: &mut Vec<u32>) -> Self {
        let mut function = Self {
            name,
            end,
            ..Self::default()
        };
        let mut low: HashMap<u8, u16> = HashMap::new();
        let mut at = start;
        while at < end {
            let Some(first) = code.halfword(at) else {
                break;
            };
            if code.is_data(at) {
                if at.is_multiple_of(4) {
                    let high = code.halfword(at + 2).unwrap_or(0);
                    taken.push(u32::from(high) << 16 | u32::from(first));
                }
                at += 2;
                continue;
            }
            let second = code.halfword(at + 2).unwrap_or(0);
            match effect(at, first, second) {
                Effect::MoveLow(register, value) => {
                    low.insert(register, value);
                }
                Effect::MoveHigh(register, value) => {
                    let low = low.get(&register).copied().unwrap_or(0);
                    taken.push(u32::from(value) << 16 | u32::from(low));
                }
                other => function.apply(other, start),
            }
            at += if is_wide(first) { 4 } else { 2 };
        }
        function
    }

    fn apply(&mut self, effect: Effect, start: u32) {
        match effect {
            Effect::Take(bytes) => self.frame += bytes,
            Effect::TakeUnknown => self.unknown = true,
            // A call of itself stays, as the recursion that it is.
            Effect::Call(target) => {
                self.targets.insert(target);
            }
            Effect::Jump(target) if !(start..self.end).contains(&target) => {
                self.targets.insert(target);
            }
            Effect::JumpRegister if self.name.starts_with(ASSEMBLY) => {}
            Effect::CallRegister | Effect::JumpRegister => self.indirect = true,
            _ => {}
        }
    }

    fn is_panic(&self) -> bool {
        PANICS.iter().any(|part| self.name.contains(part))
    }
}

/// The functions of an image by address.
#[derive(Debug)]
pub(super) struct Program {
    functions: BTreeMap<u32, Function>,
    /// Functions whose address stands somewhere in the image.
    reachable: Vec<u32>,
}

impl Program {
    /// `taken` has every word that may be the address of a function, Thumb bit set.
    pub fn new(functions: BTreeMap<u32, Function>, taken: &[u32]) -> Self {
        let taken: BTreeSet<u32> = taken.iter().copied().collect();
        let starts = functions.keys().copied();
        let reachable = starts.filter(|start| taken.contains(&(start | 1)));
        Self {
            reachable: reachable.collect(),
            functions,
        }
    }

    /// Bytes and path of the heaviest way down from the function called `root`.
    pub fn heaviest(&self, root: &'static str) -> Result<(u32, Vec<(String, u32)>), StackError> {
        let named = self.functions.iter().find(|(_, f)| f.name == root);
        let (&start, _) = named.ok_or(StackError::Missing(root))?;
        let mut walk = Walk {
            program: self,
            done: HashMap::new(),
            open: Vec::new(),
        };
        let bytes = walk.visit(start)?;
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some(at) = next {
            let function = &self.functions[&at];
            path.push((function.name.clone(), function.frame));
            next = walk.done.get(&at).and_then(|(_, heaviest)| *heaviest);
        }
        Ok((bytes, path))
    }

    /// The function that `address` lies in: a jump into the middle of one costs its frame.
    fn at(&self, address: u32) -> Option<u32> {
        let (&start, function) = self.functions.range(..=address).next_back()?;
        (address < function.end).then_some(start)
    }
}

/// A depth-first walk that remembers what it has seen.
struct Walk<'a> {
    program: &'a Program,
    /// Bytes from a function down, and the callee that they come from.
    done: HashMap<u32, (u32, Option<u32>)>,
    /// The way to where the walk is.
    open: Vec<u32>,
}

impl Walk<'_> {
    fn visit(&mut self, start: u32) -> Result<u32, StackError> {
        if let Some((bytes, _)) = self.done.get(&start) {
            return Ok(*bytes);
        }
        let function = &self.program.functions[&start];
        if function.is_panic() {
            return Ok(0);
        }
        if let Some(at) = self.open.iter().position(|open| *open == start) {
            let circle = self.open[at..].iter().chain([&start]);
            let name = |at: &u32| self.program.functions[at].name.clone();
            return Err(StackError::Recursion {
                path: circle.map(name).collect(),
            });
        }
        if function.unknown {
            return Err(StackError::Unknown {
                function: function.name.clone(),
            });
        }
        self.open.push(start);
        let mut deepest = (0, None);
        for callee in self.callees(function)? {
            let bytes = self.visit(callee)?;
            if bytes > deepest.0 {
                deepest = (bytes, Some(callee));
            }
        }
        self.open.pop();
        let bytes = function.frame + deepest.0;
        self.done.insert(start, (bytes, deepest.1));
        Ok(bytes)
    }

    fn callees(&self, function: &Function) -> Result<Vec<u32>, StackError> {
        let direct = function.targets.iter().map(|&target| {
            self.program.at(target).ok_or_else(|| StackError::Outside {
                function: function.name.clone(),
                target,
            })
        });
        let mut callees = direct.collect::<Result<Vec<u32>, _>>()?;
        if function.indirect {
            let listed = INDIRECT
                .iter()
                .find(|(name, _)| function.name.contains(name));
            let (_, parts) = listed.ok_or_else(|| StackError::Indirect {
                function: function.name.clone(),
            })?;
            let may = |at: &&u32| {
                let name = &self.program.functions[*at].name;
                parts.iter().any(|part| name.contains(part))
            };
            callees.extend(self.program.reachable.iter().filter(may));
        }
        Ok(callees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, frame: u32, targets: &[u32]) -> Function {
        Function {
            name: name.into(),
            end: u32::MAX,
            frame,
            targets: targets.iter().copied().collect(),
            ..Function::default()
        }
    }

    fn program(functions: Vec<(u32, Function)>, taken: &[u32]) -> Program {
        let ends: Vec<u32> = functions
            .iter()
            .skip(1)
            .map(|f| f.0)
            .chain([9000])
            .collect();
        let functions = functions.into_iter().zip(ends);
        let functions = functions.map(|((start, f), end)| (start, Function { end, ..f }));
        Program::new(functions.collect(), taken)
    }

    #[test]
    fn the_heaviest_path_counts_and_is_named() {
        let program = program(
            vec![
                (0, function("Reset", 8, &[100, 200])),
                (100, function("light", 100, &[])),
                (200, function("heavy", 40, &[300])),
                (300, function("deep", 80, &[])),
            ],
            &[],
        );
        let (bytes, path) = program.heaviest("Reset").expect("bounded");
        assert_eq!(bytes, 128);
        let names: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Reset", "heavy", "deep"]);
    }

    #[test]
    fn a_call_through_a_register_reaches_what_is_listed_and_has_its_address_taken() {
        let with = |name: &str| {
            let caller = Function {
                indirect: true,
                ..function(name, 0, &[])
            };
            let functions = vec![
                (0, function("Reset", 8, &[50])),
                (50, caller),
                (100, function("8firmware7kernels taken", 100, &[])),
                (200, function("8firmware7kernels not taken", 1000, &[])),
                (300, function("taken by another", 1000, &[])),
            ];
            program(functions, &[101, 301, 7]).heaviest("Reset")
        };
        let (bytes, _) = with("8firmware7kernels8winograd").expect("bounded");
        assert_eq!(bytes, 108);
        assert_eq!(
            with("somebody else"),
            Err(StackError::Indirect {
                function: "somebody else".into()
            })
        );
    }

    #[test]
    fn what_has_no_bound_is_named() {
        let recursive = program(
            vec![
                (0, function("Reset", 8, &[100])),
                (100, function("a", 8, &[200])),
                (200, function("b", 8, &[100])),
            ],
            &[],
        );
        assert_eq!(
            recursive.heaviest("Reset"),
            Err(StackError::Recursion {
                path: vec!["a".into(), "b".into(), "a".into()]
            })
        );
        let outside = program(vec![(0, function("Reset", 8, &[9001]))], &[]);
        assert!(matches!(
            outside.heaviest("Reset"),
            Err(StackError::Outside { target: 9001, .. })
        ));
        let mut dynamic = function("Reset", 8, &[]);
        dynamic.unknown = true;
        let dynamic = program(vec![(0, dynamic)], &[]);
        assert!(matches!(
            dynamic.heaviest("Reset"),
            Err(StackError::Unknown { .. })
        ));
    }

    #[test]
    fn a_panic_ends_the_way() {
        let program = program(
            vec![
                (0, function("Reset", 8, &[100])),
                (100, function("core::9panicking::panic_fmt", 4000, &[100])),
            ],
            &[],
        );
        assert_eq!(program.heaviest("Reset").expect("bounded").0, 8);
    }
}
