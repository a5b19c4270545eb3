package trace

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

type jsonExchange struct {
	Sent          time.Time    `json:"sent"`
	Destination   netip.Addr   `json:"destination"`
	Interface     string       `json:"interface,omitempty"`
	Purpose       string       `json:"purpose,omitempty"`
	Protocol      string       `json:"protocol"`
	Port          uint16       `json:"port,omitempty"`
	Bytes         int          `json:"bytes"`
	FragmentBytes int          `json:"fragment_bytes,omitempty"`
	TTL           uint8        `json:"ttl,omitempty"`
	DontFragment  bool         `json:"dont_fragment"`
	Timeout       float64      `json:"timeout_seconds"`
	What          string       `json:"what"`
	Result        string       `json:"result"`
	Fault         bool         `json:"fault"`
	Packets       []jsonPacket `json:"packets"`
	Omitted       int          `json:"packets_omitted,omitempty"`
	Answers       []jsonAnswer `json:"answers"`
}

// jsonPacket is a Packet in JSON; Data is its beginning in hexadecimal.
type jsonPacket struct {
	At    time.Time `json:"at"`
	Bytes int       `json:"bytes"`
	Data  string    `json:"data"`
}

type jsonAnswer struct {
	Outcome       string      `json:"outcome"`
	From          netip.Addr  `json:"from,omitzero"`
	RoundTrip     *float64    `json:"round_trip_seconds"`
	Late          bool        `json:"late,omitempty"`
	Duplicate     bool        `json:"duplicate,omitempty"`
	MTU           int         `json:"mtu_bytes,omitempty"`
	ICMPError     string      `json:"icmp_error,omitempty"`
	FragmentBytes int         `json:"fragment_bytes,omitempty"`
	TTL           uint8       `json:"ttl,omitempty"`
	DontFragment  bool        `json:"dont_fragment,omitempty"`
	LocalDrops    bool        `json:"local_drops,omitempty"`
	Error         string      `json:"error,omitempty"`
	Packet        *jsonPacket `json:"packet,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (e Exchange) MarshalJSON() ([]byte, error) {
	j := jsonExchange{
		Sent: e.Sent, Destination: e.Dst, Interface: e.Interface, Purpose: e.Purpose,
		Protocol: e.Protocol.String(), Port: e.Port, Bytes: e.Size, FragmentBytes: e.FragmentSize, TTL: e.TTL,
		DontFragment: e.DontFragment, Timeout: e.Timeout.Seconds(),
		What: e.What(), Result: e.Result(), Fault: e.Fault(), Omitted: e.Omitted,
		Packets: make([]jsonPacket, 0, len(e.Packets)), Answers: make([]jsonAnswer, 0, len(e.Answers)),
	}
	for i := range e.Packets {
		j.Packets = append(j.Packets, *jsonOf(&e.Packets[i]))
	}
	for i := range e.Answers {
		a := &e.Answers[i]
		answer := jsonAnswer{
			Outcome: a.Outcome.String(), From: a.From, Late: a.Late, Duplicate: a.Duplicate, MTU: a.MTU,
			ICMPError: e.icmpError(a), FragmentBytes: a.FragmentSize, TTL: a.TTL, DontFragment: a.DontFragment,
			LocalDrops: a.LocalDrops, Error: a.Err,
		}
		if a.received() {
			seconds := a.RoundTrip.Seconds()
			answer.RoundTrip = &seconds
		}
		if len(a.Packet.Bytes) > 0 {
			answer.Packet = jsonOf(&a.Packet)
		}
		j.Answers = append(j.Answers, answer)
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	return b, nil
}

func jsonOf(p *Packet) *jsonPacket {
	return &jsonPacket{At: p.At, Bytes: p.Length, Data: hex.EncodeToString(p.Bytes)}
}

// received reports whether the answer came from the network.
func (a *Answer) received() bool {
	switch a.Outcome {
	case netio.Silent, netio.TooBigLocally, netio.NotSent:
		return false
	default:
		return true
	}
}

// icmpError returns the name of the ICMP error in an answer, or "".
func (e *Exchange) icmpError(a *Answer) string {
	if !a.received() || a.Outcome == netio.Delivered {
		return ""
	}
	return icmp.ErrorName(!e.Dst.Is4(), a.Type, a.Code)
}
