package netio

import "time"

// A SynAck is what a host answered to one request for a TCP connection.
type SynAck struct {
	// Answered means that the host offers the connection, Refused that it does not: nothing listens
	// there. Neither means silence.
	Answered, Refused bool
	// MSS is the most payload of a segment that the answer allows, in bytes; that of the standard where
	// it names none.
	MSS       int
	RoundTrip time.Duration
}
