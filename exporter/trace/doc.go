// Package trace keeps the probes that were sent to a peer and the answers to them in bounded
// memory, and exports them as JSON and pcapng. It measures nothing and draws no conclusions.
//
// A Recorder has a budget in bytes for all peers. Everything together takes at most
//
//	budget + 16 KiB + 312 bytes for each open ring
//
// A ring without exchanges takes 96 bytes. Memory is allocated as it is needed. Probes under way,
// about 100 bytes each, and the overhead of the garbage collector are not included.
//
// Exchanges are of three kinds by their purpose: echoes, IKE messages, and the probes of searches,
// comparisons and ladders. Each kind has one share of the budget for exchanges that can show a fault,
// and one for all others, because healthy exchanges must not push out a fault:
//
//	            fault    other
//	echo        2/16     2/16      of the budget, of which the first 1/16
//	IKE         2/16     1/16      (at most 256 KiB) holds what all exchanges
//	searches    6/16     3/16      have in common
//
// Where a share is used up, the oldest exchanges are dropped of the ring that has most of that kind.
// So a flood of one kind pushes out nothing else, and a noisy peer nothing of the others. No ring
// takes more than 1 MiB.
//
// Exchanges are stored as differences from others of their kind, of any peer: an answered echo takes
// some 45 bytes. They come back to the byte.
//
// Stored packets are snapped: of an echo, the headers and the token are kept; of every other packet
// the first 136 bytes, which hold an IKE header behind IP, UDP and a non-ESP marker, also where an
// ICMPv6 error quotes it. NewRing returns a ring that keeps packets whole.
//
//	Watch ──probe, answers──▶ Ring.Record ──body──▶ bases: difference ──record──▶ arena: chain
//	                                  Ring.Exchanges ◀──body + difference──┘
package trace
