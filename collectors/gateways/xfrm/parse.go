//go:build linux

package xfrm

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"ipsec_path_exporter/collectors/gateways"
)

// Offsets in the kernel's structures, and what stands there (linux/xfrm.h). Addresses, ports and
// SPIs are in network order, all else in this host's.
const (
	// struct xfrm_usersa_info: selector, id, source, limits, life so far, statistics, seq, reqid,
	// family, mode, ...
	stateDst    = 56
	stateSPI    = 72
	stateProto  = 76
	stateSrc    = 80
	stateBytes  = 160
	stateAdded  = 176
	stateStats  = 192 // refused by the window, duplicates, failed integrity checks: 32 bits each
	stateReqID  = 208
	stateFamily = 212
	stateWindow = 215
	stateSize   = 224

	// struct xfrm_userpolicy_info: selector, limits, life so far, priority, index, direction, ...
	selectorDst    = 0
	selectorSrc    = 16
	selectorFamily = 40
	selectorDstLen = 42
	selectorSrcLen = 43
	policyDir      = 160
	policySize     = 168

	// struct xfrm_user_tmpl: id, family, source, reqid, mode, ...
	tmplDst    = 0
	tmplFamily = 24
	tmplSrc    = 28
	tmplMode   = 48
	tmplSize   = 64

	// Of enum xfrm_attr_type_t.
	attrAuth, attrCrypt, attrEncap, attrTmpl   = 1, 2, 4, 5
	attrReplay, attrReplayESN, attrOffload     = 10, 23, 28
	attrAEAD, attrAuthTrunc                    = 18, 20
	attrOutputMark, attrInterfaceID, attrSADir = 29, 31, 33

	familyIPv4, familyIPv6 = 2, 10 // AF_INET, AF_INET6
	protoESP, protoAH      = 50, 51

	offloadPacket = 4 // XFRM_OFFLOAD_PACKET: a device handles the whole packet

	dirIn, dirOut = 0, 1 // XFRM_POLICY_IN, XFRM_POLICY_OUT; the other one is forwarding, and as in
)

type direction uint8

const (
	unknownWay direction = iota
	in
	out
)

// A state is one SA of the kernel, one direction of a pair, with the fields that are needed.
type state struct {
	src, dst       netip.Addr
	spi            uint32
	proto          uint8
	reqid          uint32
	interfaceID    uint32
	dir            direction
	keyed          bool // It has keys. An SA without keys is being negotiated.
	encap          bool
	marked         bool // Its packets are routed by a mark.
	bytes, packets uint64
	added          time.Time
	replay         replay
	lost           gateways.Count // set by losses
	// What the replay window and the integrity check have refused.
	late, duplicates, integrity uint32
}

// parseState reads a message about an SA, false if it is neither ESP nor AH.
func parseState(b []byte) (state, bool) {
	if len(b) < stateSize {
		return state{}, false
	}
	order := binary.NativeEndian
	family := order.Uint16(b[stateFamily:])
	s := state{
		src: address(b[stateSrc:], family), dst: address(b[stateDst:], family),
		spi: binary.BigEndian.Uint32(b[stateSPI:]), proto: b[stateProto], reqid: order.Uint32(b[stateReqID:]),
		bytes: order.Uint64(b[stateBytes:]), packets: order.Uint64(b[stateBytes+8:]),
		late: order.Uint32(b[stateStats:]), duplicates: order.Uint32(b[stateStats+4:]), integrity: order.Uint32(b[stateStats+8:]),
	}
	offloaded := false
	if added := order.Uint64(b[stateAdded:]); added < 1<<40 {
		s.added = time.Unix(int64(added), 0)
	}
	attributes(b[stateSize:], func(kind uint16, value []byte) {
		switch kind {
		case attrAuth, attrCrypt, attrAEAD, attrAuthTrunc: // keys, which are not read
			s.keyed = true
		case attrEncap:
			s.encap = true
		case attrReplay:
			s.replay = parseReplay(value, b[stateWindow])
		case attrReplayESN:
			s.replay = parseReplayESN(value)
		case attrOffload: // ifindex, flags
			offloaded = len(value) > 4 && value[4]&offloadPacket != 0
		case attrOutputMark:
			s.marked = len(value) >= 4 && order.Uint32(value) != 0
		case attrInterfaceID:
			if len(value) >= 4 {
				s.interfaceID = order.Uint32(value)
			}
		case attrSADir: // since Linux 6.10, if the daemon set it
			if len(value) > 0 && (value[0] == 1 || value[0] == 2) {
				s.dir = direction(value[0])
			}
		}
	})
	if offloaded { // The device has the sequence numbers, and the kernel does not see them.
		s.replay = replay{}
	}
	return s, (s.proto == protoESP || s.proto == protoAH) && s.dst.IsValid()
}

// attributes calls f for each netlink attribute (linux/netlink.h, struct nlattr).
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

func address(b []byte, family uint16) netip.Addr {
	switch family {
	case familyIPv4:
		return netip.AddrFrom4([4]byte(b[:4]))
	case familyIPv6:
		return netip.AddrFrom16([16]byte(b[:16]))
	}
	return netip.Addr{}
}

// parsePolicy returns the peers of a policy: the far ends of its tunnels.
func parsePolicy(b []byte) []netip.Addr {
	if len(b) < policySize {
		return nil
	}
	outbound := b[policyDir] == dirOut
	var peers []netip.Addr
	attributes(b[policySize:], func(kind uint16, value []byte) {
		for ; kind == attrTmpl && len(value) >= tmplSize; value = value[tmplSize:] {
			at := tmplSrc
			if outbound {
				at = tmplDst
			}
			peer := address(value[at:], binary.NativeEndian.Uint16(value[tmplFamily:]))
			if value[tmplMode] == 0 && peer.IsUnspecified() { // In transport mode the traffic's own ends are the peers.
				peer = selected(b, outbound)
			}
			if peer.IsValid() && !peer.IsUnspecified() {
				peers = append(peers, peer)
			}
		}
	})
	return peers
}

// selected is the one host that a policy is about, not valid if there are more.
func selected(b []byte, outbound bool) netip.Addr {
	at, bits := selectorSrc, b[selectorSrcLen]
	if outbound {
		at, bits = selectorDst, b[selectorDstLen]
	}
	a := address(b[at:], binary.NativeEndian.Uint16(b[selectorFamily:]))
	if a.IsValid() && int(bits) == a.BitLen() {
		return a
	}
	return netip.Addr{}
}

// maxStat bounds the size of /proc/net/xfrm_stat: Linux 6.18 prints 32 lines of less than 50 bytes.
const maxStat = 16 << 10

// parseStat reads /proc/net/xfrm_stat: a name and a number per line.
func parseStat(b []byte) []gateways.DeviceCounter {
	var all []gateways.DeviceCounter
	for line := range bytes.Lines(b[:min(len(b), maxStat)]) {
		fields := strings.Fields(string(line))
		if len(fields) != 2 {
			continue
		}
		if n := gateways.ParseCount(fields[1]); n.Known && word(fields[0]) {
			all = append(all, gateways.DeviceCounter{Kind: snake(fields[0]), Value: n.Value})
		}
	}
	return all
}

func word(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
}

// snake turns XfrmInNoStates into xfrm_in_no_states.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(rune(s[i-1])) || i+1 < len(s) && unicode.IsLower(rune(s[i+1]))) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
