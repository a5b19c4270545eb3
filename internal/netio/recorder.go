package netio

import "time"

// A Recorder keeps echoes as evidence (Packet.Recorder). Unlike Packet.OnWire, it gets the request
// together with its first answer, so that nothing has to be kept for it meanwhile.
type Recorder interface {
	// Record takes an answer to an echo, before the echo's owner does. before is what it returned for
	// the first answer to the same request, the zero Entry at that one. The request, its Wire and the
	// answer are valid only during the call.
	Record(r *Request, a *Answer, before Entry) Entry
}

// An Entry is what a Recorder needs to find an echo again. The zero Entry is none.
type Entry struct{ Number, Detail uint64 }

// A Request is an echo request as it was sent.
type Request struct {
	Packet
	Timeout time.Duration
	// At is when the kernel took it, Wire the IP packet: nil if it did not leave this host, and for
	// further answers.
	At   time.Time
	Wire []byte
}
