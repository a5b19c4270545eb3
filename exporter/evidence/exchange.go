package evidence

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// An Exchange is one probe and everything that came of it.
type Exchange struct {
	// Sent is when the probe was handed to the kernel, or would have been.
	Sent time.Time
	// Dst is where it went, Interface the device it was made to leave by, if any.
	Dst       netip.Addr
	Interface string
	// Purpose says what it was for; empty if nobody said so.
	Purpose  string
	Protocol netio.Protocol
	// Port is the UDP destination port.
	Port uint16
	// Size is the size of the whole IP packet in bytes, FragmentSize that of the fragments it was sent in (0: it was sent whole).
	Size, FragmentSize int
	// TTL is the hop limit that was asked for, 0 if none was.
	TTL          uint8
	DontFragment bool
	// Timeout is how long an answer was waited for.
	Timeout time.Duration
	// Packets are what was on the wire; Omitted counts those beyond them that are not kept.
	Packets []Packet
	Omitted int
	// Answers are what came of it in the order of arrival. The first one decided.
	Answers []Answer
}

// A Packet is one IP packet as it was on the wire.
type Packet struct {
	At time.Time
	// Length is its size, of which Bytes may be only the beginning.
	Length int
	Bytes  []byte
}

// An Answer is what became of a probe; netio.Answer describes the fields.
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
	// Err says why the probe was not sent.
	Err string
	// Packet is what came, without Bytes if that was not seen. At is the kernel's time of arrival, zero if nothing came.
	Packet Packet
}

// What says what the probe tested: "path MTU by ike: 1401 bytes with DF".
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

// Result says what came of the probe: "no answer within 200 ms".
func (e *Exchange) Result() string {
	all := make([]string, len(e.Answers))
	for i := range e.Answers {
		all[i] = e.came(&e.Answers[i])
	}
	return strings.Join(all, "; ")
}

// came says what one answer was.
func (e *Exchange) came(a *Answer) string {
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

// circumstances says from where, when and how an answer came.
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

// seconds writes a duration with three or four digits and its unit: "21.35 ms".
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

// Fault tells whether what came of the probe can show a fault of the path: anything but an answer in time, or a reason on this host.
func (e *Exchange) Fault() bool {
	return len(e.Answers) > 0 && fault(e.Answers[0].Outcome, e.Answers[0].LocalDrops)
}

func fault(o netio.Outcome, localDrops bool) bool {
	switch o {
	case netio.Delivered, netio.TooBigLocally, netio.NotSent:
		return false
	case netio.Silent:
		return !localDrops
	case netio.TooBig, netio.Refused, netio.Unreachable, netio.TimeExceeded:
	}
	return true
}

// order keeps a packet from seeming later than the answer to it: it is stamped when the kernel has returned, and by then the answer may be
// there.
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
