// Package pmtu measures the path MTU to a peer: the largest IP packet that crosses the path whole.
//
// Package search is the search itself, a state machine without clock or socket. Here, measure.go
// drives it over a collectors.Network, and collector.go keeps what is known of a peer between
// rounds: one search per method, each with the results of the others as hints. hear.go tests whether
// PTBs would have arrived, limit.go whose limit a black hole is, pieces.go what crosses in one piece;
// reverse.go finds out what the reverse path carries, locate.go between which routers a black hole
// is, bothways.go and routers.go in which direction routers show it; metrics.go names the series.
package pmtu
