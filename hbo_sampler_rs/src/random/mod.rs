//! Randomness: functions from what a random word is for to the word, without any state.

pub mod philox;
pub mod shuffle;
pub mod splitmix;
