package capture

import (
	"encoding/binary"
	"math/bits"

	"ipsec_path_exporter/internal/wire/ip"
)

// Types of what a frame or a tunnel holds (IEEE 802 numbers).
const (
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd
	etherVLAN      = 0x8100 // IEEE 802.1Q
	etherQinQ      = 0x88a8 // IEEE 802.1ad
	etherQinQ9     = 0x9100 // before 802.1ad
	etherPPPoE     = 0x8864 // RFC 2516, section 5
	etherMPLS      = 0x8847 // RFC 3032, section 5
	etherMPLSMulti = 0x8848
	etherCMD       = 0x8909 // Cisco MetaData: a security group tag
	etherVNTag     = 0x8926 // IEEE 802.1BR
	etherPBB       = 0x88e7 // IEEE 802.1ah
	etherBridged   = 0x6558 // an Ethernet frame
	etherERSPAN2   = 0x88be
	etherERSPAN3   = 0x22eb
	etherPPP       = 0x880b // RFC 2637, section 4.1
	maxLength      = 1500   // smaller types are lengths of IEEE 802.3 frames
)

// Protocols of PPP (IANA).
const (
	pppIPv4    = 0x0021
	pppIPv6    = 0x0057
	pppMPLS    = 0x0281
	pppControl = 0x03 // RFC 1662, section 3.1
)

const (
	lengthPPPoE = 6 // RFC 2516, section 4
	// maxTags bounds the headers between two IP headers, maxDepth the IP headers of a frame.
	maxTags  = 12
	maxDepth = 4
)

const (
	protocolMPLS = 137 // RFC 4023
	protocolWESP = 141 // RFC 5840
)

// Ports of tunnels over UDP.
const (
	portVXLAN      = 4789 // RFC 7348
	portVXLANLinux = 8472
	portGeneve     = 6081 // RFC 8926
	portGTPU       = 2152 // 3GPP TS 29.281
	portMPLS       = 6635 // RFC 7510
)

func ethernet(b []byte) []byte { return typed(b, lengthEthernet, lengthEthernet-2) }

// typed walks over a header of the given length, with the type of what follows at typeAt.
func typed(b []byte, length, typeAt int) []byte {
	if len(b) < length {
		return nil
	}
	return inside(binary.BigEndian.Uint16(b[typeAt:]), b[length:])
}

// inside returns the IP packet in b, which starts with what typ names.
func inside(typ uint16, b []byte) []byte {
	for range maxTags {
		switch typ {
		case etherIPv4, etherIPv6:
			return raw(b)
		case etherPPPoE:
			return ppp(after(b, lengthPPPoE))
		case etherPPP:
			return ppp(b)
		case etherMPLS, etherMPLSMulti:
			b = unlabelled(b)
			if p := raw(b); p != nil {
				return p
			}
			if len(b) > 0 && b[0]>>4 == 0 {
				b = after(b, 4) // the control word of a pseudowire (RFC 4448, section 4.6)
			}
			typ = etherBridged
		}
		n := tagLength(typ, b)
		if n < 2 || len(b) < n {
			return nil
		}
		typ, b = binary.BigEndian.Uint16(b[n-2:]), b[n:]
	}
	return nil
}

// tagLength is the size of a header whose last two bytes are the type of what follows, 0 if typ
// has no such header.
func tagLength(typ uint16, b []byte) int {
	switch typ {
	case etherVLAN, etherQinQ, etherQinQ9:
		return 4
	case etherVNTag:
		return 6
	case etherPBB:
		return 4 + lengthEthernet
	case etherBridged:
		return lengthEthernet
	case etherERSPAN2:
		return 8 + lengthEthernet
	case etherERSPAN3:
		if len(b) >= 12 && b[11]&1 != 0 {
			return 20 + lengthEthernet
		}
		return 12 + lengthEthernet
	case etherCMD:
		if len(b) >= 2 {
			return 2 + 4*int(b[1]) + 2
		}
	}
	if typ <= maxLength && len(b) >= 3 && b[0] == 0xaa && b[1] == 0xaa && b[2] == 0x03 {
		return 8 // LLC and SNAP (RFC 1042)
	}
	return 0
}

// unlabelled skips a stack of MPLS labels (RFC 3032, section 2.1).
func unlabelled(b []byte) []byte {
	for len(b) >= 4 {
		bottom := b[2]&1 != 0
		if b = b[4:]; bottom {
			return b
		}
	}
	return nil
}

// ppp reads a frame with or without address and control, with a protocol of one or two bytes (RFC
// 1661, section 2; RFC 1662, section 3.1), or Cisco's HDLC framing (RFC 1547, section 4.3.1).
func ppp(b []byte) []byte {
	if len(b) >= lengthCHDLC && (b[0] == 0x0f || b[0] == 0x8f) {
		return typed(b, lengthCHDLC, lengthCHDLC-2)
	}
	if len(b) >= 2 && b[0] == 0xff && b[1] == pppControl {
		b = b[2:]
	}
	if len(b) < 2 {
		return nil
	}
	protocol, rest := binary.BigEndian.Uint16(b), b[2:]
	if b[0]&1 != 0 {
		protocol, rest = uint16(b[0]), b[1:]
	}
	switch protocol {
	case pppIPv4, pppIPv6:
		return raw(rest)
	case pppMPLS:
		return inside(etherMPLS, rest)
	}
	return nil
}

// decapsulate returns the IP packet that a tunnel carries and the name of the tunnel, nil if p is
// no tunnel.
func decapsulate(p *packet) (string, []byte) {
	b := p.payload
	if p.offset > 0 {
		return "", nil
	}
	switch p.protocol {
	case ip.ProtocolIPv4:
		return "IP in IP", raw(b)
	case ip.ProtocolIPv6:
		if p.src.Is4() {
			return "6in4", raw(b)
		}
		return "IP in IP", raw(b)
	case ip.ProtocolGRE:
		return "GRE", gre(b)
	case protocolMPLS:
		return "MPLS in IP", inside(etherMPLS, b)
	case ip.ProtocolUDP:
		h, b, err := ip.ParseUDP(b)
		if err != nil {
			return "", nil
		}
		return overUDP(h.Dst, b)
	}
	return "", nil
}

func overUDP(port uint16, b []byte) (string, []byte) {
	switch port {
	case portVXLAN, portVXLANLinux:
		if len(b) >= 8 && b[0]&0x08 != 0 {
			return "VXLAN", ethernet(b[8:])
		}
	case portGeneve:
		if len(b) >= 8 {
			return "Geneve", inside(binary.BigEndian.Uint16(b[2:]), after(b, 8+4*int(b[0]&0x3f)))
		}
	case portGTPU:
		return "GTP-U", gtpu(b)
	case portMPLS:
		return "MPLS in UDP", inside(etherMPLS, b)
	}
	return "", nil
}

// gre reads RFC 2784 with the fields of RFC 2890, and the version of PPTP (RFC 2637, section 4.1).
func gre(b []byte) []byte {
	if len(b) < 4 {
		return nil
	}
	flags, typ := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if flags&0x4000 != 0 {
		return nil // source routes, which RFC 2784 removed
	}
	length := 4 + 4*bits.OnesCount16(flags&0xb000)
	if flags&7 == 1 && flags&0x0080 != 0 {
		length += 4
	}
	if typ == etherERSPAN2 && flags&0x1000 == 0 {
		typ = etherBridged // the first version has no header
	}
	return inside(typ, after(b, length))
}

// gtpu reads a G-PDU with its optional fields and extension headers (3GPP TS 29.281, section 5.1).
func gtpu(b []byte) []byte {
	const user, extended, optional = 0xff, 0x04, 0x07
	if len(b) < 12 || b[0]&0xf0 != 0x30 || b[1] != user {
		return nil
	}
	n := 8
	if b[0]&optional != 0 {
		n = 12
	}
	for next := b[0]&extended != 0 && b[11] != 0; next; {
		size := 0
		if n < len(b) {
			size = 4 * int(b[n])
		}
		if n += size; size == 0 || n > len(b) {
			return nil
		}
		next = b[n-1] != 0
	}
	return raw(after(b, n))
}
