// Package search finds the largest packet that crosses a path, the path MTU, by probing. It is a
// state machine without clock, socket or randomness: Next returns the probes to send, Observe takes
// their outcomes, until Next has no more and Verdict has the result. Package pmtu drives it.
//
// Three kinds of outcome weigh differently. An ack is proof that a size passes. A PTB, the ICMP
// message "packet too big", is a hint where to look, and evidence that the path reports its limit;
// a wrong one costs packets, not the truth. A missing answer proves nothing alone: it may be loss,
// a rate limit, or the MTU.
//
// In the drawing, link is the MTU of the local link, V the size of the last verdict, control the
// smallest probe, F the largest size acked so far (the code calls it proven), ceiling the smallest
// size above F that failed, and {...} a round of probes.
//
//	       opening {link}, or {V,V+1} of the last verdict
//	          |      \__ link acked ------------------------------------> clean
//	          |       \_ V acked, V+1 failed as last time --------------> as last time
//	 nothing acked     \_ PTB names m --> hint {m,m+1} -- m acked,
//	          v                             |             m+1 refused --> reduced
//	control {control,link} <----------------+ none acked
//	          |  \__ 5 times nothing -----------------------------------> unreachable
//	          v
//	 hints of others {h,h+1}...   (an open bracket: proven < MTU < ceiling)
//	          v
//	       sweep of plateaus -- twice nothing, but a lone control acked --> slow mode: one
//	          v                                                            probe each 1.1 s,
//	   +-> narrow {F+1 ... F} --.                                          bisection, a control
//	   |      v bracket closed  | > 70 % of controls lost ---------------> after each silence
//	   |   watch for PTBs, where the path used to send them                  |   \__ out of time
//	   |      v                                                              v        |
//	   +-- pairs F+1 F, F F+1 ... <---------------------------------------- pairs      v
//	 F+1 acked |    \__ F+1 refused by a usable PTB --> reduced                inconclusive,
//	           v                                                               at least F
//	  n misses in a row, a second time if that is news
//	           |    \__ any usable PTB for more than F --> reduced
//	           v
//	       black hole
//
// Two rules keep it honest. A size is named only because it was acked, and a boundary only because
// F+1 failed under the very conditions under which F did not (matched pairs, see pairs.go).
//
// search.go is the machine, plan.go chooses its rounds, evidence.go holds the outcomes and what
// follows from them, pairs.go confirms a boundary, slow.go is the mode for rate-limited paths.
package search
