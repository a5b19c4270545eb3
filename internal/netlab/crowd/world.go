package crowd

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/wire/ip"
)

// A World is all peers and the paths to them. Handle must be called by one goroutine at a time; the
// other methods are safe for concurrent use.
type World struct {
	config     Config
	base4      uint32
	base6      netip.Addr // :: without IPv6
	peers      [2][]peer  // by family
	events     [events]atomic.Uint64
	identifier atomic.Uint32
	assembler  assembler
	scratch    []byte
	fragmentID uint32
}

// A peer is one peer and what happened to its packets.
type peer struct {
	Profile
	drawn  uint64
	counts [peerCounts]atomic.Uint32
}

// An Emit sends a packet back after a delay. The packet is valid during the call only.
type Emit func(packet []byte, delay time.Duration)

// NewWorld returns the world that a configuration describes.
func NewWorld(c Config) (*World, error) {
	if err := c.Complete(); err != nil {
		return nil, err
	}
	w := &World{config: c, assembler: make(assembler), scratch: make([]byte, 0, 1<<16)}
	for family := range c.prefixes() {
		w.peers[family] = make([]peer, c.Count)
		for i := range w.peers[family] {
			w.peers[family][i].Profile = c.Profile(c.Addr(i, family == 1))
		}
	}
	first := c.Addr(0, false).As4()
	w.base4 = binary.BigEndian.Uint32(first[:])
	w.base6 = netip.IPv6Unspecified()
	if c.IPv6.IsValid() {
		w.base6 = c.Addr(0, true)
	}
	return w, nil
}

// find returns the peer with an address, nil if there is none.
func (w *World) find(a netip.Addr) *peer {
	if a.Is4() {
		b := a.As4()
		return at(w.peers[0], binary.BigEndian.Uint32(b[:])-w.base4)
	}
	b, base := a.As16(), w.base6.As16()
	if [12]byte(b[:12]) != [12]byte(base[:12]) {
		return nil
	}
	return at(w.peers[1], binary.BigEndian.Uint32(b[12:])-binary.BigEndian.Uint32(base[12:]))
}

func at(peers []peer, i uint32) *peer {
	if uint64(i) >= uint64(len(peers)) {
		return nil
	}
	return &peers[i]
}

// Identifier returns the identifier of the newest echo request, as a peer learns it.
func (w *World) Identifier() uint16 { return uint16(w.identifier.Load()) }

// draw returns the next random number from 0 to 1 of the peer (the generator splitmix64).
func (w *World) draw(p *peer) float64 {
	p.drawn++
	x := w.config.Seed ^ hash(p.Address) + p.drawn*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

// A journey is the packet that is handled, on its path to a peer.
type journey struct {
	*World
	*packet

	peer *peer
	emit Emit
	// delay is the round-trip time of this packet.
	delay time.Duration
}

// Handle takes a packet to the peers, and emits what comes back.
func (w *World) Handle(b []byte, emit Emit) {
	w.count(Received)
	p, ok := parse(b)
	if !ok {
		w.count(Foreign)
		return
	}
	peer := w.find(p.dst)
	if peer == nil {
		w.count(Foreign)
		return
	}
	j := journey{World: w, packet: &p, peer: peer, emit: emit, delay: peer.Delay}
	if w.config.Jitter != (Distribution{}) {
		j.delay += w.config.Jitter.at(w.draw(peer), w.draw(peer))
	}
	echo := p.echoRequest() && !p.fragment
	if echo {
		peer.add(EchoRequests)
		w.identifier.Store(uint32(binary.BigEndian.Uint16(p.payload[4:])))
	}
	if peer.Loss > 0 && w.draw(peer) < peer.Loss {
		w.count(Lost)
		if echo {
			peer.add(EchoesLost)
		}
		return
	}
	if j.passesRouters() {
		j.arrive()
	}
}

// passesRouters takes the packet over all routers, and reports whether it leaves the last one.
//
//	exporter ── router 1 ── ... ── router n-1 ══ router n ── peer
//	                                  small link: ═══
func (j *journey) passesRouters() bool {
	last := j.config.Hops
	switch {
	case int(j.ttl) < last:
		j.expire(int(j.ttl))
		return false
	case len(j.whole) > j.peer.MTU && !j.narrows(last-1):
		return false
	case int(j.ttl) == last:
		j.expire(last)
		return false
	case j.fragment && j.peer.FragmentsDropped:
		j.count(FragmentsDropped)
		return false
	case j.peer.Unreachable:
		j.report(last, hostUnreachable, 0)
		return false
	case j.peer.IPsec == Refuses && (j.protocol == ip.ProtocolESP || j.protocol == ip.ProtocolAH):
		j.report(last, prohibited, 0)
		return false
	}
	return true
}

// expire reports that the TTL ran out at a router.
func (j *journey) expire(hop int) {
	j.count(Expired)
	j.report(hop, timeExceeded, 0)
}

// narrows takes a packet that is too large over the small link behind a router, and reports whether
// any of it may go on. Its fragments are put together again at the peer, so they are not cut here.
func (j *journey) narrows(hop int) bool {
	switch {
	case !j.dontFragment && !j.peer.FragmentsDropped:
		return true
	case !j.dontFragment:
		j.count(FragmentsDropped)
	case j.peer.TooBig:
		j.report(hop, tooBig, j.peer.MTU)
	default:
		j.count(Vanished)
	}
	return false
}

// report sends an ICMP error of a router, counted from 1. A mute provider drops it behind the first.
func (j *journey) report(hop int, e icmpError, mtu int) {
	if j.peer.Mute && hop > 1 {
		j.count(Silenced)
		return
	}
	j.count(ICMPErrors)
	b := appendError(j.scratch[:0], j.packet, j.router(hop), e, mtu)
	j.emit(b, j.delay*time.Duration(hop)/time.Duration(j.config.Hops+1))
}

// router returns the address of a router, counted from 1.
func (j *journey) router(hop int) netip.Addr {
	if j.v6 {
		b := router6.As16()
		b[15] += byte(hop - 1)
		return netip.AddrFrom16(b)
	}
	b := router4.As4()
	b[3] += byte(hop - 1)
	return netip.AddrFrom4(b)
}

// arrive gives the packet to the gateway.
func (j *journey) arrive() {
	if j.fragment {
		whole, complete := j.assembler.add(j.packet)
		if !complete {
			return
		}
		j.packet = &whole
	}
	switch {
	case j.echoRequest():
		j.echo()
	case j.protocol == ip.ProtocolUDP:
		j.udp()
	default:
		j.count(Silenced)
	}
}

func (j *journey) echo() {
	if j.peer.Echo != Answers {
		j.count(Silenced)
		return
	}
	if j.reply(appendReply(j.scratch[:0], j.packet)) {
		j.count(EchoesAnswered)
		j.peer.add(EchoReplies)
	}
}

// udp answers a datagram like an IKE gateway.
func (j *journey) udp() {
	h, payload, err := ip.ParseUDP(j.payload)
	if err != nil {
		j.count(Foreign)
		return
	}
	reaction, request, reply := Refuses, OtherUDP, OtherUDP
	switch h.Dst {
	case responder.IKEPort:
		reaction, request, reply = j.peer.IKE, IKERequests, IKEReplies
	case responder.NATTPort:
		reaction, request, reply = j.peer.NATT, NATTRequests, NATTReplies
	}
	j.count(request)
	switch reaction {
	case Ignores:
		j.count(Silenced)
		return
	case Refuses:
		if !j.peer.Mute && j.reply(appendError(j.scratch[:0], j.packet, j.dst, portUnreachable, 0)) {
			j.count(ICMPErrors)
		}
		return
	case Answers:
	}
	var buffer [128]byte
	message, ok := responder.Answer(buffer[:0], payload, h.Dst == responder.NATTPort, j.peer.Versions)
	if !ok {
		j.count(Silenced)
		return
	}
	out := header{src: j.dst, dst: j.src, protocol: ip.ProtocolUDP, ttl: initialTTL}
	b := out.append(j.scratch[:0], ip.HeaderLengthUDP+len(message))
	b = ip.AppendUDP(b, netip.AddrPortFrom(j.dst, h.Dst), netip.AddrPortFrom(j.src, h.Src), message)
	if j.reply(b) {
		j.count(reply)
	}
}

// reply sends a packet of the peer to the exporter, and reports whether any of it went on.
func (j *journey) reply(b []byte) bool {
	large := len(b) > j.peer.ReverseMTU
	switch {
	case j.peer.RepliesLost:
		j.count(Lost)
		return false
	case large && j.peer.ReverseDrop:
		j.count(Vanished)
		return false
	case large && j.peer.FragmentsDropped:
		j.count(FragmentsDropped)
		return false
	case large || len(b) > DefaultMTU:
		j.fragmentID++
		cut(b, min(j.peer.ReverseMTU, DefaultMTU), j.fragmentID, func(part []byte) { j.emit(part, j.delay) })
		return true
	}
	j.emit(b, j.delay)
	return true
}
