// Package evidence keeps what shows what the path to a peer does: every probe with what came of it for a while (Recorder, Ring), and for
// months what the path was like when it was healthy and every change of a verdict (History). It measures nothing, draws no conclusions and
// serves no pages; it exports JSON, Markdown and pcapng, and says in a sentence how the path differs from what it was.
//
// # Memory of the packets
//
// A Recorder shares its budget, 64 MiB unless it is told otherwise, evenly among the rings that are open, but gives each at most 1 MiB, and
// at least 4 KiB even where the budget does not reach that far. So all rings together keep at most
//
//	max(budget, rings x 4.25 KiB)
//
// with everything that belongs to them. A ring grows as it fills. A quarter of it is for probes that were answered as on a good path, three
// quarters are for those that were not: however many healthy echoes come, they push out only each other. What a healthy path costs is
// therefore a quarter of the budget, which is 1.5 KiB for each of 10,000 peers. Not in these figures are the probes under way, about 1 KiB
// each, and what the garbage collector adds.
//
// Stored packets are snapped: of an echo the headers and the token remain, of everything else the first 136 bytes, which hold an IKE header
// behind IP, UDP and a non-ESP marker, also where an ICMPv6 error quotes it. NewTrace makes a ring without snapping for one-shot runs.
//
// # Memory and disk of the history
//
// The last 500 changes of each peer, and of all peers together 16 MiB, are kept in memory and, where there is a directory, in a file of at
// most 64 MiB. What does not fit goes, the oldest first. Peers that are not configured any more are forgotten after 30 days.
package evidence
