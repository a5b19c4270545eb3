// Package history keeps, for months, the baseline of every peer (what its path was like when it was
// last healthy) and the changes of its diagnoses. It measures nothing and draws no conclusions;
// Compare says in a sentence how a path differs from its baseline.
//
// # Bounds
//
// The last 500 changes of each peer, and 16 MiB of all peers together, are kept in memory and,
// where there is a directory, in a journal of at most 64 MiB. The oldest changes go first. Peers
// that are no longer configured are forgotten after 30 days.
//
// # Journal
//
// The journal is a text file that only grows: a line for each new baseline and each change.
//
//	memory ──▶ queue ──(1 s)──▶ append, fsync ──▶ history.journal
//	   │                                               ▲
//	   └──(too large, damaged, or a peer forgotten)──▶ history.journal.new, fsync, rename
//
// A line is a checksum and a JSON object. Checksums decide which lines count, so damage costs the
// lines that it touches and no others. Numbers in the lines show how many are missing. A last line
// that ends early is what a crash leaves, and no damage. The number of the last line is also in
// history.lock, so that a journal whose end is missing is reported.
//
// The memory is authoritative. While the disk is full or slow, changes wait in a bounded queue, and
// beyond it the next write replaces the whole journal; no caller waits.
package history
