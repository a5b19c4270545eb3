package trace

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// An Exchange is one probe and all answers to it.
type Exchange struct {
	// Sent is when the probe was handed to the kernel, or would have been.
	Sent time.Time
	// Interface is the configured interface, empty if the routing table chose it.
	Dst       netip.Addr
	Interface string
	// Purpose is what the probe tests, as its collector named it; it may be empty.
	Purpose  string
	Protocol netio.Protocol
	// Port is the UDP destination port.
	Port uint16
	// Size is the size of the whole IP packet in bytes, FragmentSize the size of the fragments in
	// which it was sent (0: sent whole).
	Size, FragmentSize int
	// TTL is the requested hop limit, 0 for the default.
	TTL          uint8
	DontFragment bool
	// Timeout is how long the probe waited for an answer.
	Timeout time.Duration
	// Packets are the packets on the wire; Omitted counts the packets that were not kept.
	Packets []Packet
	Omitted int
	// Answers are in the order of arrival. The first one decided the result.
	Answers []Answer
}

// A Packet is one IP packet as it was on the wire.
type Packet struct {
	At time.Time
	// Length is the size of the packet; Bytes may hold only its beginning.
	Length int
	Bytes  []byte
}

// An Answer is one outcome of a probe; netio.Answer describes the fields.
type Answer struct {
	Outcome         netio.Outcome
	Late, Duplicate bool
	From            netip.Addr
	MTU             int
	RoundTrip       time.Duration
	Type, Code      uint8
	FragmentSize    int
	TTL             uint8
	DontFragment    bool
	LocalDrops      bool
	// Err is why the probe was not sent.
	Err string
	// Packet is the received packet, without Bytes if they were not seen. At is the kernel's time
	// of arrival, zero if no packet was received.
	Packet Packet
}

// Of returns the exchange of a packet that is sent at a time, without what is on the wire.
func Of(p *netio.Packet, timeout time.Duration, sent time.Time) Exchange {
	return Exchange{
		Sent: sent, Dst: p.Path.Dst, Interface: p.Path.Interface, Purpose: p.Purpose, Protocol: p.Protocol, Port: p.Port,
		Size: p.WireSize(), FragmentSize: p.FragmentSize, TTL: p.TTL, DontFragment: p.DontFragment, Timeout: timeout,
	}
}

// AnswerOf returns an answer with the bytes of its packet, which are not copied.
func AnswerOf(a *netio.Answer) Answer {
	out := Answer{
		Outcome: a.Outcome, Late: a.Late, Duplicate: a.Duplicate, From: a.From, MTU: a.MTU, RoundTrip: a.RoundTrip, Type: a.Type, Code: a.Code,
		FragmentSize: a.FragmentSize, TTL: a.TTL, DontFragment: a.DontFragment, LocalDrops: a.LocalDrops,
		Packet: Packet{At: a.Received, Length: len(a.Wire), Bytes: a.Wire},
	}
	if a.Err != nil {
		out.Err = a.Err.Error()
	}
	return out
}

// What returns what the probe tested: "path MTU by ike: 1401 bytes with DF".
func (e *Exchange) What() string {
	s := e.Purpose
	if s == "" {
		s = e.Protocol.String()
		if e.Protocol == netio.UDP {
			s += " port " + strconv.Itoa(int(e.Port))
		}
	}
	s += ": " + strconv.Itoa(e.Size) + " bytes"
	if e.DontFragment {
		s += " with DF"
	}
	if e.FragmentSize != 0 {
		s += " in fragments of at most " + strconv.Itoa(e.FragmentSize)
	}
	if e.TTL != 0 {
		s += " with TTL " + strconv.Itoa(int(e.TTL))
	}
	if e.Interface != "" {
		s += " by " + e.Interface
	}
	return s
}

// Result returns the outcome of the probe: "no answer within 200 ms".
func (e *Exchange) Result() string {
	all := make([]string, len(e.Answers))
	for i := range e.Answers {
		all[i] = e.outcome(&e.Answers[i])
	}
	return strings.Join(all, "; ")
}

func (e *Exchange) outcome(a *Answer) string {
	var s string
	switch a.Outcome {
	case netio.Delivered:
		s = "answered"
	case netio.TooBig:
		s = "packet too big"
		if a.MTU != 0 {
			s += " (" + strconv.Itoa(a.MTU) + " bytes would pass)"
		} else {
			s += " (without a size)"
		}
	case netio.Refused:
		s = "refused (" + icmp.ErrorName(!e.Dst.Is4(), a.Type, a.Code) + ")"
	case netio.Unreachable:
		s = "unreachable (" + icmp.ErrorName(!e.Dst.Is4(), a.Type, a.Code) + ")"
	case netio.TimeExceeded:
		s = "TTL exceeded"
	case netio.Silent:
		s = "no answer within " + seconds(e.Timeout)
		if a.LocalDrops {
			s += ", but this host lost answers meanwhile"
		}
		return s
	case netio.TooBigLocally:
		s = "not sent: too big for this host's link"
		if a.MTU != 0 {
			s += " of " + strconv.Itoa(a.MTU) + " bytes"
		}
		return s
	case netio.NotSent:
		return "not sent: " + a.Err
	}
	return s + e.circumstances(a)
}

// circumstances returns the source, the delay and the form of an answer.
func (e *Exchange) circumstances(a *Answer) string {
	s := ""
	if a.From.IsValid() {
		s += " by " + a.From.String()
	}
	s += " after " + seconds(a.RoundTrip)
	if a.Late {
		s += ", too late"
	}
	if a.Duplicate {
		s += ", once more"
	}
	if a.FragmentSize != 0 {
		s += ", in fragments of at most " + strconv.Itoa(a.FragmentSize) + " bytes"
	}
	return s
}

// seconds formats a duration with its unit: "21.35 ms".
func seconds(d time.Duration) string {
	unit, name := time.Microsecond, " µs"
	switch {
	case d >= time.Second:
		unit, name = time.Second, " s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, " ms"
	}
	return strconv.FormatFloat(math.Round(100*float64(d)/float64(unit))/100, 'f', -1, 64) + name
}

// order moves packets before the answers to them: a packet gets its time after the kernel has
// returned, and the answer may have arrived by then.
func (e *Exchange) order() {
	for i := range e.Packets {
		at := &e.Packets[i].At
		if i == 0 && at.After(e.Sent) {
			*at = e.Sent
		}
		for k := range e.Answers {
			if came := e.Answers[k].Packet.At; !came.IsZero() && at.After(came) {
				*at = came
			}
		}
	}
}
