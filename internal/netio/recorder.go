package netio

import (
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
)

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

// A recordRoom is room for what a recorder gets, for reuse.
type recordRoom struct {
	request       Request
	answer        Answer
	data, message []byte
}

// record shows an answer to the recorder of a flight.
func (f *flight) record(a *Answer, in *recordRoom) {
	r := &in.request
	in.answer = *a
	r.Packet = Packet{
		Path: Path{Dst: f.dst, Src: f.src, Interface: f.set.device}, Protocol: Echo, Size: f.size, DontFragment: f.dontFragment, Purpose: f.purpose,
	}
	r.Timeout, r.At, r.Wire = f.deadline.Sub(f.entered), f.sent, r.Wire[:0]
	if f.entry == (Entry{}) && a.Outcome != NotSent && a.Outcome != TooBigLocally {
		r.Wire = in.appendEcho(r.Wire, f)
	}
	f.entry = f.recorder.Record(r, &in.answer, f.entry)
}

// appendEcho appends the IP packet that an echo request was.
func (in *recordRoom) appendEcho(b []byte, f *flight) []byte {
	p := &in.request.Packet
	in.data = appendEchoData(in.data[:0], p, f)
	if p.Path.IPv6() {
		in.message = icmp.AppendEcho6(in.message[:0], f.src, f.dst, f.flow.echoID, f.seq, in.data)
	} else {
		in.message = icmp.AppendEcho4(in.message[:0], f.flow.echoID, f.seq, in.data)
	}
	return appendFragment(b, p, f, in.message, 0, false, false)
}
