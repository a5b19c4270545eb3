package pmtu

import (
	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/enum"
)

// A Direction is the direction in which large packets are shown to vanish.
type Direction uint8

// The directions.
const (
	// NoDirection means that there is no black hole.
	NoDirection Direction = iota
	// ToPeer and FromPeer are one direction; the other one is not limited, or not known.
	ToPeer
	FromPeer
	// BothWays is both of them.
	BothWays
	// AnyDirection means that neither is shown: it may be one of them, or both.
	AnyDirection
)

// String returns the direction's value of the label direction.
func (d Direction) String() string {
	return enum.Name(d, "none", "forward", "reverse", "both", "unknown")
}

// Direction returns the direction of the black hole that the newest results show. Larger IKE messages
// that arrive show that the replies to echoes vanish, unless replies or routers show something else.
func (s *Snapshot) Direction() Direction {
	var echo *Result
	forward, passes := false, false
	for i := range s.Results {
		r := &s.Results[i]
		if r.Method == collectors.ICMP && s.EchoApart {
			continue
		}
		hole := r.State == search.BlackHole
		if r.Method == collectors.ICMP && hole {
			echo = r
		}
		forward = forward || hole && r.Method != collectors.ICMP
	}
	if echo != nil {
		passes = ikePasses(s.Results, echo.Bytes)
		forward = forward || !passes && s.Forward.State == search.BlackHole
	}
	reverse := s.Reverse.State == search.BlackHole && !s.EchoApart ||
		passes && s.Reverse.State == search.Unknown && !echo.FirstHopFailed.IsValid()
	switch {
	case forward && reverse:
		return BothWays
	case forward:
		return ToPeer
	case reverse:
		return FromPeer
	case echo == nil:
		return NoDirection
	}
	return AnyDirection
}
