//go:build linux

package netio

import "ipsec_path_exporter/internal/wire/icmp"

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
