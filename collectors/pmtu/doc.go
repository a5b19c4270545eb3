// Package pmtu measures the path MTU to a peer: the largest IP packet that crosses the path in one piece.
//
// It believes acks. What a router says in a "packet too big" message is a hint at where to look, never a result, so
// that a lying, silent or throttled router costs packets and not the truth; loss is told from an MTU by pairs of
// probes that differ by one byte. search.go holds the state machine, which knows neither sockets nor time;
// measure.go drives it over a collectors.Network; collector.go keeps what is known of a peer between rounds.
//
// The package does not look at the way back, and does not find out which hop drops.
package pmtu
