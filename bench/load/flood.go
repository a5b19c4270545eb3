package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/internal/netlab/crowd"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

// A Forgery is a kind of forged packet, as an attacker off the path can send it: it claims to come
// from a peer, and guesses sequence numbers, tokens and SPIs.
type Forgery string

// The kinds.
const (
	// ForgedReplies are ICMP echo replies with a few bytes of data.
	ForgedReplies Forgery = "replies"
	// ForgedErrors are ICMP errors that quote the IP header and at most 8 bytes of a packet (RFC 792).
	ForgedErrors Forgery = "errors"
	// ForgedUDP are datagrams of random bytes.
	ForgedUDP Forgery = "udp"
	// ForgedIKE are IKE_SA_INIT responses with random SPIs.
	ForgedIKE Forgery = "ike"
)

// Forgeries returns all kinds.
func Forgeries() []Forgery { return []Forgery{ForgedReplies, ForgedErrors, ForgedUDP, ForgedIKE} }

// A Flood sends forged packets to this host through a device of its own.
type Flood struct {
	// To is the attacked address. First and Count are the addresses that the packets claim to come
	// from.
	To, First netip.Addr
	Count     int
	// Ports are the UDP ports of the victim's probes, and Identifier that of its echoes, as an attacker
	// knows them who has seen a probe once. Without any, they are random.
	Ports      []uint16
	Identifier uint16
	// Kinds are sent one after the other, each for a Turn, and again.
	Kinds []Forgery
	Turn  time.Duration
	// Rate is in packets per second.
	Rate int
	Seed uint64
}

const (
	floodDevice = "flood0"
	floodTick   = 2 * time.Millisecond
	floodTTL    = 55
)

// Run sends until ctx ends and returns the number of packets. It needs CAP_NET_ADMIN.
func (f Flood) Run(ctx context.Context) (int, error) {
	device, err := crowd.OpenTUN(floodDevice)
	if err != nil {
		return 0, err
	}
	defer device.Close()
	link, err := netlink.LinkByName(floodDevice)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return 0, fmt.Errorf("%s up: %w", floodDevice, err)
	}
	random := rand.New(rand.NewPCG(f.Seed, 0))
	sent, lost, start := 0, 0, time.Now()
	packet := make([]byte, 0, crowd.DefaultMTU)
	for ctx.Err() == nil {
		for due := int(time.Since(start).Seconds() * float64(f.Rate)); sent < due; sent++ {
			packet = f.append(packet[:0], f.kind(time.Since(start)), random)
			if _, err := device.Write(packet); err != nil {
				lost++
			}
		}
		time.Sleep(floodTick)
	}
	if lost > 0 {
		return sent, fmt.Errorf("%w: %d of %d", errFlood, lost, sent)
	}
	return sent, nil
}

var errFlood = errors.New("the kernel refused forged packets")

// kind returns what is sent at a time since the start.
func (f *Flood) kind(since time.Duration) Forgery { return f.Kinds[int(since/f.Turn)%len(f.Kinds)] }

// append appends one forged packet.
func (f *Flood) append(dst []byte, kind Forgery, random *rand.Rand) []byte {
	first := f.First.As4()
	binary.BigEndian.PutUint32(first[:], binary.BigEndian.Uint32(first[:])+uint32(random.IntN(f.Count)))
	from := netip.AddrFrom4(first)
	var body []byte
	protocol := uint8(ip.ProtocolICMP)
	switch kind {
	case ForgedReplies:
		body = icmp.AppendEcho4(nil, f.identifier(random), uint16(random.Uint32()), noise(random, 8))
		body[0] = icmp.V4EchoReply
	case ForgedErrors:
		body = f.forgedError(from, random)
	case ForgedUDP, ForgedIKE:
		protocol = ip.ProtocolUDP
		body = f.datagram(kind, from, random)
	}
	if protocol == ip.ProtocolICMP {
		body[2], body[3] = 0, 0
		binary.BigEndian.PutUint16(body[2:], ip.Checksum(body))
	}
	h := ip.IPv4{TotalLength: ip.HeaderLengthIPv4 + len(body), ID: uint16(random.Uint32()), TTL: floodTTL, Protocol: protocol, Src: from, Dst: f.To}
	return append(h.Append(dst), body...)
}

func (f *Flood) identifier(random *rand.Rand) uint16 {
	return cmp.Or(f.Identifier, uint16(random.Uint32()))
}

func (f *Flood) port(random *rand.Rand) uint16 {
	if len(f.Ports) > 0 {
		return f.Ports[random.IntN(len(f.Ports))]
	}
	return uint16(1024 + random.IntN(1<<16-1024))
}

// forgedError returns an ICMP error that quotes the beginning of an echo request or of a datagram to a
// peer.
func (f *Flood) forgedError(peer netip.Addr, random *rand.Rand) []byte {
	codes := [...]uint8{icmp.V4HostUnreachable, icmp.V4PortUnreachable, icmp.V4FragmentationNeeded, icmp.V4CommunicationProhibited}
	body := []byte{icmp.V4DestinationUnreachable, codes[random.IntN(len(codes))], 0, 0}
	body = binary.BigEndian.AppendUint32(body, 1000) // the MTU of a "packet too big"
	quoted := ip.IPv4{TotalLength: 84, ID: uint16(random.Uint32()), TTL: floodTTL, Protocol: ip.ProtocolICMP, Src: f.To, Dst: peer}
	quote := icmp.AppendEcho4(nil, f.identifier(random), uint16(random.Uint32()), nil)
	if random.IntN(2) == 0 {
		quoted.Protocol = ip.ProtocolUDP
		from, to := netip.AddrPortFrom(f.To, f.port(random)), netip.AddrPortFrom(peer, responder.IKEPort)
		quote = ip.AppendUDP(nil, from, to, noise(random, 56))[:ip.HeaderLengthUDP]
	}
	body = quoted.Append(body)
	if random.IntN(4) == 0 {
		quote = quote[:random.IntN(len(quote))]
	}
	return append(body, quote...)
}

// datagram returns a UDP datagram from a port of IKE.
func (f *Flood) datagram(kind Forgery, from netip.Addr, random *rand.Rand) []byte {
	port := uint16(responder.IKEPort)
	var payload []byte
	if random.IntN(2) == 0 {
		port, payload = responder.NATTPort, make([]byte, 4) // RFC 3948, section 2.2
	}
	if kind == ForgedUDP {
		payload = append(payload, noise(random, 60)...)
	} else {
		h := ike.Header{
			InitiatorSPI: [8]byte(noise(random, 8)), ResponderSPI: [8]byte(noise(random, 8)), NextPayload: ike.PayloadNotify,
			Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse, Length: ike.HeaderLength + 8,
		}
		payload = append(h.Append(payload), 0, 0, 0, 8, 0, 0, 0, ike.NotifyNoProposalChosen)
	}
	return ip.AppendUDP(nil, netip.AddrPortFrom(from, port), netip.AddrPortFrom(f.To, f.port(random)), payload)
}

// noise returns n random bytes.
func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, random.Uint64())
	}
	return b[:n]
}
