package capture

import (
	"encoding/binary"
	"strconv"

	"github.com/gopacket/gopacket/layers"
)

// Types of what an Ethernet frame holds (IEEE 802 numbers).
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100 // IEEE 802.1Q
	etherQinQ  = 0x88a8 // IEEE 802.1ad
	etherQinQ9 = 0x9100 // what came before 802.1ad
	etherPPPoE = 0x8864 // RFC 2516, section 5
)

// Protocols of PPP (IANA).
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
)

// Sizes of headers in front of IP, in bytes.
const (
	lengthEthernet = 14
	lengthVLAN     = 4
	lengthPPPoE    = 6  // RFC 2516, section 4
	lengthSLL      = 16 // LINKTYPE_LINUX_SLL
	lengthSLL2     = 20 // LINKTYPE_LINUX_SLL2
	lengthNull     = 4  // LINKTYPE_NULL, LINKTYPE_LOOP
	maxTags        = 4
)

// Raw IP has other numbers in files of some systems (pcap-linktype(7)).
const (
	linkRaw12 layers.LinkType = 12
	linkRaw14 layers.LinkType = 14
)

// linkName names a kind of link.
func linkName(l layers.LinkType) string {
	switch l {
	case layers.LinkTypeEthernet:
		return "Ethernet"
	case layers.LinkTypeRaw, linkRaw12, linkRaw14, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return "raw IP"
	case layers.LinkTypeLinuxSLL:
		return "Linux cooked"
	case layers.LinkTypeLinuxSLL2:
		return "Linux cooked v2"
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return "loopback"
	case layers.LinkTypePPP:
		return "PPP"
	default:
		return "link type " + strconv.Itoa(int(l))
	}
}

// network returns the IP packet inside of a frame. known is false where the kind of link is not known; without an IP
// packet in it, it is nil.
func network(l layers.LinkType, b []byte) (packet []byte, known bool) {
	switch l {
	case layers.LinkTypeEthernet:
		return tagged(b, lengthEthernet, lengthEthernet-2), true
	case layers.LinkTypeLinuxSLL:
		return tagged(b, lengthSLL, lengthSLL-2), true
	case layers.LinkTypeLinuxSLL2:
		return tagged(b, lengthSLL2, 0), true
	case layers.LinkTypeRaw, linkRaw12, linkRaw14, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return raw(b), true
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		// The family in front has another number on each system; the IP version says the same.
		return raw(after(b, lengthNull)), true
	case layers.LinkTypePPP:
		return ppp(b), true
	default:
		return nil, false
	}
}

func after(b []byte, n int) []byte {
	if len(b) < n {
		return nil
	}
	return b[n:]
}

// tagged walks over a header of the given length, which has the type of what follows at typeAt, and any VLAN tags behind it.
func tagged(b []byte, length, typeAt int) []byte {
	if len(b) < length {
		return nil
	}
	typ := binary.BigEndian.Uint16(b[typeAt:])
	b = b[length:]
	for range maxTags {
		switch typ {
		case etherIPv4, etherIPv6:
			return raw(b)
		case etherPPPoE:
			return ppp(after(b, lengthPPPoE))
		case etherVLAN, etherQinQ, etherQinQ9:
			if len(b) < lengthVLAN {
				return nil
			}
			typ = binary.BigEndian.Uint16(b[2:])
			b = b[lengthVLAN:]
		default:
			return nil
		}
	}
	return nil
}

func ppp(b []byte) []byte {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:] // address and control (RFC 1662, section 3.1)
	}
	if len(b) < 2 {
		return nil
	}
	if p := binary.BigEndian.Uint16(b); p != pppIPv4 && p != pppIPv6 {
		return nil
	}
	return raw(b[2:])
}

// raw returns b if it may be an IP packet.
func raw(b []byte) []byte {
	if len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6 {
		return nil
	}
	return b
}
