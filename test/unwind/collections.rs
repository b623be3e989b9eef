// SPDX-License-Identifier: MIT
//
// Rust: maps, strings, threads, and panics that are caught.  Argument: rounds.
use std::collections::{BTreeMap, HashMap};
use std::panic;
use std::thread;

#[inline(never)]
fn build(depth: u32, seed: u64) -> Vec<String> {
    let mut words: Vec<String> = (0..5).map(|i| format!("{}-{}-{}", depth, seed % (i + 3), i)).collect();
    if depth > 0 {
        words.extend(build(depth - 1, seed.wrapping_mul(6364136223846793005).wrapping_add(1)));
    }
    words
}

fn fail(depth: u32, words: &[String]) -> usize {
    let kept: Vec<&String> = words.iter().filter(|word| word.len() > depth as usize).collect();
    if depth == 0 {
        panic!("{} words", kept.len());
    }
    fail(depth - 1, words) + kept.len()
}

fn work(seed: u64, rounds: u64) -> usize {
    let mut tree: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut table: HashMap<String, Box<usize>> = HashMap::new();
    let mut panics = 0;
    for round in 0..rounds {
        for (index, word) in build(12, seed + round).into_iter().enumerate() {
            table.insert(word.clone(), Box::new(index));
            tree.entry(word).or_default().push(round);
        }
        if round % 4 == 0 {
            let words = build(3, round);
            panics += panic::catch_unwind(|| fail(6, &words)).is_err() as usize;
        }
    }
    tree.len() + table.len() + panics
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    panic::set_hook(Box::new(|_| {}));
    let threads: Vec<_> = (0..3).map(|i| thread::spawn(move || work(i, rounds))).collect();
    let results: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("{:?}", results);
}
